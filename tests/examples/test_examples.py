"""The programs in examples/, in short form, learn."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.examples.programs import RUNS, command_of

SHORT = {
    "softmax_regression.py": ("--epochs", "5"),
    "lenet.py": ("--epochs", "2"),
    "character_model.py": ("--steps", "200"),
}


def test_every_example_is_tested_and_listed() -> None:
    programs = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert programs == {*SHORT, *(Path(command_of(name)[0]).name for name in RUNS)}
    assert programs == set(
        re.findall(r"^\| \[(\w+\.py)\]", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("name", SHORT)
def test_the_example_learns(name: str, run_python: Run) -> None:
    out = run_python(str(ROOT / "examples" / name), *SHORT[name]).stdout
    losses = [float(value) for value in re.findall(r"loss ([\d.]+)", out)]
    assert len(losses) >= 2
    assert losses[-1] < 0.9 * losses[0]
