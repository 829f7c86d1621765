"""Every row of the case table under `vmap`: at once, or refused and then one by one, but never other numbers."""

from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight import func
from rushlight.func import batching
from rushlight.func.examples import Unbatchable
from rushlight.ops.kinds import OPS
from rushlight.tape import wrap
from tests.ops.cases import CASES
from tests.ops.table import Draw

COUNT = 3
# Which operands differ between examples: all, the first, all but the first.
WAYS = ("all", "first", "others")
ROWS = [pytest.param(c, sample, id=f"{c.op}-{k}") for c in CASES.values() for k, sample in enumerate(c.samples)]
# Ops whose parameters belong to the values that the row's own draw gives.
AT_ONCE: set[str] = set()
TRIED: set[str] = set()


def drawn(case: Any, sample: Any, seed: int) -> list[Any]:
    rng = np.random.default_rng([seed, len(case.op)])

    def make(d: Any) -> Any:
        if isinstance(d, list):
            return [make(e) for e in d]
        return d.array(rng, np.float64) if isinstance(d, Draw) else d

    return [make(d) for d in sample.operands]


def is_array(a: Any) -> bool:
    return isinstance(a, np.ndarray)


def batch_of(case: Any, sample: Any, way: str) -> tuple[list[Any], list[Any]]:
    """Operands with a leading dim where they differ, and the dim of each (None: the same for all)."""
    several = [drawn(case, sample, seed) for seed in range(COUNT)]
    values: list[Any] = []
    dims: list[Any] = []
    for position, column in enumerate(zip(*several, strict=True)):
        differs = way == "all" or (way == "first") == (position == 0)
        if is_array(column[0]):
            values.append(wrap(np.stack(column) if differs else column[0].copy()))
            dims.append(0 if differs else None)
        elif isinstance(column[0], list):
            parts = list(zip(*column, strict=True))
            values.append([wrap(np.stack(p) if differs else p[0].copy()) for p in parts])
            dims.append([0 if differs else None for _ in parts])
        else:
            values.append(column[0])
            dims.append(None)
    return values, dims


def one_by_one(function: Any, values: Any, dims: Any) -> Any:
    flat = batching.leaves((tuple(values), {}))
    spread = batching._spread(tuple(dims), tuple(values), "in_dims")
    return batching._one_by_one(function, (tuple(values), {}), flat, spread, COUNT, 0, "error")


def at_once(function: Any, values: Any, dims: Any) -> Any:
    flat = batching.leaves((tuple(values), {}))
    spread = batching._spread(tuple(dims), tuple(values), "in_dims")
    return batching._at_once(function, (tuple(values), {}), flat, spread, COUNT, 0)


def compare(function: Any, values: Any, dims: Any) -> bool:
    """Whether it runs at once; then the results agree."""
    try:
        wanted = one_by_one(function, values, dims)
    except Exception:
        return False  # other values than the row's own do not suit the op
    try:
        found = at_once(function, values, dims)
    except (Unbatchable, Exception):
        return False  # `vmap` then runs one by one
    for a, b in zip(batching.leaves(found), batching.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-7, 1e-9)
    return True


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_every_op(case: Any, sample: Any, way: str) -> None:
    values, dims = batch_of(case, sample, way)
    if not any(d == 0 or isinstance(d, list) and 0 in d for d in dims):
        pytest.skip("nothing to map over")
    op = OPS[case.op]
    TRIED.add(case.op)
    if compare(lambda *operands: op(*operands, **sample.params), values, dims):
        AT_ONCE.add(case.op)


@pytest.mark.parametrize(("case", "sample"), [row for row in ROWS if row.values[0].grad])
def test_gradients_of_every_op(case: Any, sample: Any) -> None:
    values, dims = batch_of(case, sample, "all")
    op = OPS[case.op]
    position = next((k for k, v in enumerate(values) if isinstance(v, torch.Tensor) and v.is_floating_point()), None)
    if position is None:
        pytest.skip("no floating operand")

    def scalar(x: Any, *rest: Any) -> Any:
        out = op(*rest[:position], x, *rest[position:], **sample.params)
        parts = [t for t in batching.leaves(out) if t.is_floating_point() or t.is_complex()]
        return sum(
            (t.abs() * torch.arange(1.0, t.numel() + 1, dtype=torch.float64).reshape(t.shape)).sum() for t in parts
        )

    x, rest = values[position], values[:position] + values[position + 1 :]
    compare(func.grad(scalar), [x, *rest], [0, *dims[:position], *dims[position + 1 :]])


def test_most_ops_run_at_once() -> None:
    if len(TRIED) < 50:
        pytest.skip("runs after the rows, in the same process")
    assert len(AT_ONCE) > 0.8 * len(TRIED), sorted(TRIED - AT_ONCE)
