"""Fifty training steps give PyTorch's losses, from the same seed: against the record, and against PyTorch itself."""

import json
from typing import Any

import pytest

import rushlight
from tests.steps.programs import GOLDEN, PROGRAMS, SEED, STEPS, train

# float32 sums in another order differ in the last bits, and 50 steps amplify that.
TOLERANCE = 2e-5


def record_of(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    assert (record["seed"], record["steps"], len(record["losses"])) == (SEED, STEPS, STEPS)
    return record


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_and_weights_are_those_on_record(name: str) -> None:
    record = record_of(name)
    losses, sizes = train(rushlight, name)
    assert losses == pytest.approx(record["losses"], rel=TOLERANCE)
    assert sizes == pytest.approx(record["sizes"], rel=TOLERANCE)
    assert list(sizes) == list(record["sizes"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_record_is_what_pytorch_gives_here(name: str) -> None:
    torch = pytest.importorskip("torch")
    record = record_of(name)
    losses, sizes = train(torch, name)
    assert losses == pytest.approx(record["losses"], rel=TOLERANCE)
    assert sizes == pytest.approx(record["sizes"], rel=TOLERANCE)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_recorded_run_learns(name: str) -> None:
    losses = record_of(name)["losses"]
    assert min(losses[-5:]) < losses[0]


def test_the_same_seed_gives_the_same_losses_to_the_last_bit() -> None:
    assert train(rushlight, "mlp", 5) == train(rushlight, "mlp", 5)
