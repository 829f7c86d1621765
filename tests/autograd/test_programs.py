"""Every program gives what PyTorch gives: as recorded in `golden.json`, and live where PyTorch is installed."""

import json
import warnings
from typing import Any

import pytest

import rushlight
from tests.autograd.outcome import GOLDEN, outcome
from tests.autograd.programs import PROGRAMS

RECORDED: dict[str, Any] = json.loads(GOLDEN.read_text())


def close(ours: Any, theirs: Any) -> bool:
    """Equal, numbers within the rounding of float32 summed in another order."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(close(ours[k], theirs[k]) for k in ours)
    if type(ours) is float or type(theirs) is float:
        return not isinstance(ours, (str, list)) and bool(ours == pytest.approx(theirs, rel=1e-4, abs=1e-6))
    return bool(ours == theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_as_recorded(name: str) -> None:
    ours = outcome(rushlight, PROGRAMS[name])
    assert close(ours, RECORDED[name]), f"\nours   {ours}\ntorch  {RECORDED[name]}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_recording_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert close(outcome(torch, PROGRAMS[name]), RECORDED[name])


def test_recorded_programs_exist() -> None:
    assert RECORDED.keys() == PROGRAMS.keys()
