"""Programs written for PyTorch give PyTorch's losses under `rushlight run`: on record, and beside PyTorch itself."""

import json
from typing import Any

import pytest

from tests.conftest import Run
from tests.examples.programs import GOLDEN, RUNS, STEPS, command_of, losses_in, losses_with_pytorch

# float32 sums in another order differ in the last bits, and 20 steps amplify that.
TOLERANCE = 3e-5


def record_of(name: str) -> list[float]:
    """PyTorch's losses; some programs print two a step."""
    record: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    losses: list[float] = record["losses"]
    assert record["steps"] == STEPS
    assert len(losses) in (STEPS, 2 * STEPS)
    return losses


@pytest.mark.parametrize("name", RUNS)
def test_the_program_runs_unmodified_with_pytorchs_losses(name: str, run_python: Run) -> None:
    out = run_python("-m", "rushlight", "run", *command_of(name)).stdout
    assert losses_in(out) == pytest.approx(record_of(name), rel=TOLERANCE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_the_record_is_what_pytorch_gives_here(name: str) -> None:
    pytest.importorskip("torch")
    assert losses_with_pytorch(name) == pytest.approx(record_of(name), rel=TOLERANCE)


def test_every_record_has_a_run() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(RUNS)
