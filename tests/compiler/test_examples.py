"""The programs of examples/, their training step compiled, give the losses that PyTorch gave."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.compiler.compiled_examples import compiled
from tests.conftest import ROOT, Run
from tests.examples.programs import FOLDER, GOLDEN, RUNS, losses_in

STEPS = 20
# of `loss_fn(...)` over float32 sums in another order, some steps on
TOLERANCE = 5e-5
# Their steps are not one function: an update walks back into what earlier calls recorded, or happens in a closure.
APART = {"actor_critic": "finish_episode walks into history of earlier calls", "time_sequence": "LBFGS calls a closure"}
OTHERS = {
    "softmax_regression.py": ("--epochs", "2"),
    "lenet.py": ("--epochs", "1"),
    "character_model.py": ("--steps", "100"),
}


def run_compiled(program: Path, options: tuple[str, ...], run_python: Run, tmp_path: Path) -> str:
    """What a program prints with its training step compiled, which it must be."""
    path = tmp_path / program.name
    path.write_text(compiled(program), encoding="utf-8")
    out = run_python("-m", "rushlight", "run", str(path), *options).stdout
    traces, eager = map(int, re.findall(r"traces (\d+) eager (\d+)", out)[0])
    assert 1 <= traces <= 3 and eager == 0, out
    return out


@pytest.mark.parametrize("name", [name for name in RUNS if name not in APART])
def test_a_compiled_step_gives_pytorchs_losses(name: str, run_python: Run, tmp_path: Path) -> None:
    program, *options = RUNS[name]
    out = run_compiled(FOLDER / program, (*options, "--steps", str(STEPS)), run_python, tmp_path)
    record = json.loads((GOLDEN / f"{name}.json").read_text())
    each = len(record["losses"]) // record["steps"]
    assert losses_in(out) == pytest.approx(record["losses"][: each * STEPS], rel=TOLERANCE)


@pytest.mark.parametrize("name", OTHERS)
def test_a_compiled_step_prints_what_the_eager_one_does(name: str, run_python: Run, tmp_path: Path) -> None:
    out = run_compiled(ROOT / "examples" / name, OTHERS[name], run_python, tmp_path)
    expected = run_python(str(ROOT / "examples" / name), *OTHERS[name]).stdout
    numbers = [[float(x) for x in re.findall(r"loss ([\d.]+)", text)] for text in (out, expected)]
    assert numbers[0] and numbers[0] == pytest.approx(numbers[1], rel=1e-2)
