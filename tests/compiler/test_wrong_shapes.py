"""Operands that do not fit: kernels are made for shapes, so whatever does not fit is refused before they run.

Every op that has kernels is called with one size of one operand changed, its buffers beside forbidden memory.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.binding import is_available
from rushlight.config import config
from rushlight.ops import native
from rushlight.ops.kinds import OPS
from tests.compiler.test_cases import program, tensors
from tests.compiler.test_eager import set_floors
from tests.ops.cases import CASES

pytestmark = [
    pytest.mark.skipif(not is_available(), reason="llvmlite is not installed"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forbids memory with mprotect"),
]


def changed(arrays: list[Any]) -> list[list[Any]]:
    """Operands with one dim of one array made larger by one."""
    found = []
    for i, a in enumerate(arrays):
        for d in range(a.ndim if isinstance(a, np.ndarray) else 0):
            larger = np.resize(a, (*a.shape[:d], a.shape[d] + 1, *a.shape[d + 1 :]))
            found.append([*arrays[:i], larger, *arrays[i + 1 :]])
    return found


def outcome(run: Any, case: Any, arrays: list[Any]) -> list[tuple[int, ...]] | None:
    """Shapes of the results; None where the call is refused."""
    try:
        return [tuple(t.shape) for t in run(*tensors(OPS[case.op], arrays, "", case.grad))]
    except (RuntimeError, ValueError, IndexError):
        return None


@pytest.mark.parametrize("name", [name for name in native.FLOORS if name in CASES])
def test_kernels_refuse_what_the_body_refuses(name, monkeypatch):
    case = CASES[name]
    sample = case.samples[0]
    run = program(case, sample)
    for arrays in changed(case.draw(sample, np.float32)):
        found = []
        for floor, call in ((sys.maxsize, run), (0, run), (0, rushlight.compile(run))):
            set_floors(monkeypatch, floor)
            with config(debug="guard"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(outcome(call, case, arrays))
        assert found[1] == found[0]
        assert found[2] == found[0]
