"""What the study notes rely on, feature by feature: on Rushlight, and on PyTorch itself where it is installed."""

import importlib

import pytest

import rushlight
from tests.features.session import check, rows

ROWS = rows()
COUNT = 227
NEEDS_A_GPU = {"F207"}  # the device suffix of a printed tensor off the default device


@pytest.mark.parametrize("row", ROWS)
def test_on_rushlight(row: str) -> None:
    check(ROWS[row], rushlight)


@pytest.mark.parametrize("row", ROWS)
def test_the_record_is_what_pytorch_gives(row: str) -> None:
    pytest.importorskip("torch")
    check(ROWS[row], importlib.import_module("torch"))


def test_every_feature_has_its_row() -> None:
    assert {f"F{k:03}" for k in range(1, COUNT + 1)} - NEEDS_A_GPU == set(ROWS)


def test_every_row_shows_output() -> None:
    assert not [row for row, text in ROWS.items() if ">>>" not in text]
