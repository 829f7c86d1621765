"""What the study notes rely on, feature by feature: on Rushlight, and on PyTorch itself where it is installed."""

import importlib

import pytest

import rushlight
from tests.features.session import check, rows

ROWS = rows()
NUMBERS = {*(f"F{k:03}" for k in range(1, 228)), *(f"E{k:02}" for k in range(1, 55))}
NEEDS_A_GPU = {"F207"}  # the device suffix of a printed tensor off the default device
SLIPS_OF_THE_PEN = {"E07", "E09", "E22", "E30", "E45", "E47", "E53"}  # in the notes: nothing to run


@pytest.mark.parametrize("row", ROWS)
def test_on_rushlight(row: str) -> None:
    check(ROWS[row], rushlight)


@pytest.mark.parametrize("row", ROWS)
def test_the_record_is_what_pytorch_gives(row: str) -> None:
    pytest.importorskip("torch")
    check(ROWS[row], importlib.import_module("torch"))


def test_every_feature_has_its_row() -> None:
    assert NUMBERS - NEEDS_A_GPU - SLIPS_OF_THE_PEN == set(ROWS)


def test_every_row_shows_output() -> None:
    assert not [row for row, text in ROWS.items() if ">>>" not in text]


@pytest.mark.parametrize(
    "wrong",
    [
        ">>> 1 + 1\n3\n",
        ">>> 1 + 1\n",
        ">>> 1 / 0\nValueError: division by zero\n",
        ">>> 1 / 0\nZeroDivisionError: other\n",
    ],
)
def test_a_wrong_output_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError, match="wanted"):
        check(wrong, rushlight)


def test_a_right_output_holds() -> None:
    check(
        ">>> 1 + 1\n2\n>>> 1 / 0\nArithmeticError: division ...\n>>> print(torch.Size([2]))\ntorch.Size([...])\n",
        rushlight,
    )
