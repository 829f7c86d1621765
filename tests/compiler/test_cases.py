"""Every row of the case table, compiled: values and gradients are those of eager mode, in any layout."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.program import GuardedProgram
from rushlight.config import config
from rushlight.ops.kinds import OPS, Composite
from rushlight.tape import wrap
from tests.ops.cases import CASES
from tests.ops.test_ops import flat, strided

ROWS = [pytest.param(c, sample, id=f"{c.op}-{k}") for c in CASES.values() for k, sample in enumerate(c.samples)]

# Rows whose shapes or gradients depend on numbers: they run eagerly, with a warning.
EAGER = {"nonzero", "lu_factor_ex"}

# float32, compiled against eager: sums in another order, functions of their own
TOLERANCE = (3e-5, 2e-5)


def tensors(op: Any, arrays: list[Any], layout: str, grad: bool) -> list[Any]:
    """Tensors over copies of the arrays in a layout; those for which there is a formula are differentiated."""

    def make(a: Any, wanted: bool) -> Any:
        if isinstance(a, list):
            return [make(e, wanted) for e in a]
        if not isinstance(a, np.ndarray):
            return a
        t = wrap(strided(a, layout) if layout and a.ndim else a.copy())
        return t.requires_grad_() if wanted and a.dtype.kind in "fc" else t

    def has_formula(i: int) -> bool:
        return bool(op.joint or i < len(op.grads) and op.grads[i])

    inner = isinstance(op, Composite) and not op.declared
    return [make(a, grad and (inner or has_formula(i))) for i, a in enumerate(arrays)]


def program(case: Any, sample: Any) -> Any:
    """A function of the operands that gives the results and the gradients of a weighted sum of them."""
    call, params = OPS[case.op], sample.params

    def run(*operands: Any) -> Any:
        results = flat(call(*operands, **params))
        total: Any = 0
        for k, t in enumerate(results):
            if t.requires_grad:
                weight = rushlight.linspace(0.5, 1.5 + k, t.numel(), dtype=rushlight.float32).reshape(t.shape)
                total = total + (t * weight).abs().sum()
        if not isinstance(total, int):
            total.backward()
        return [t.detach() for t in results]

    return run


def leaves(operands: list[Any]) -> list[Any]:
    """The tensors among the operands whose gradient is wanted."""
    return [t for t in flat(operands) if t.requires_grad]


def assert_close(a: Any, b: Any) -> None:
    """Same shape, dtype and, but for rounding, numbers."""
    assert (tuple(a.shape), a.dtype) == (tuple(b.shape), b.dtype)
    x, y = a.detach().numpy(), b.detach().numpy()
    if y.dtype.kind not in "fc":
        np.testing.assert_array_equal(x, y)
        return
    scale = float(np.abs(y[np.isfinite(y)]).max(initial=1e-3))
    np.testing.assert_allclose(x, y, TOLERANCE[0], TOLERANCE[1] * scale)


def compare(case: Any, sample: Any, layouts: tuple[str, ...], debug: str) -> Any:
    """The compiled program of a row; fails unless it gives what the eager one gives."""
    arrays = case.draw(sample, np.float32)
    eager = program(case, sample)
    compiled = rushlight.compile(eager)
    warned = pytest.warns(UserWarning, match="it runs eagerly") if case.op in EAGER else contextlib.nullcontext()
    with config(debug=debug), warned:
        for layout in layouts:
            expected, received = (tensors(OPS[case.op], arrays, layout, case.grad) for _ in range(2))
            rushlight.manual_seed(3)
            wanted = eager(*expected)
            rushlight.manual_seed(3)
            got = compiled(*received)
            assert len(got) == len(wanted)
            for a, b in zip(got, wanted, strict=True):
                assert_close(a, b)
            for a, b in zip(leaves(received), leaves(expected), strict=True):
                assert (a.grad is None) == (b.grad is None)
                if b.grad is not None:
                    assert_close(a.grad, b.grad)
    return compiled


@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_compiled_equals_eager(case, sample):
    # one sample of each row in another layout too: that is a trace, and code, of its own
    again = sample is case.samples[0] and case.op not in ("as_strided", "take_strided", "view_as", "view_as_complex")
    compare(case, sample, ("", "stepped") if again else ("",), "verify")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forbids memory with mprotect")
@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_no_kernel_touches_what_lies_beside_its_buffers(case, sample):
    compiled = compare(case, sample, ("",), "guard")
    assert all(isinstance(t.program, GuardedProgram) for t in compiled.traces)
