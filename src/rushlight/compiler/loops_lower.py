"""How each call is computed inside a fused loop: graph calls to nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler import lanes
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.loops_nodes import Builder, Node, Term
from rushlight.compiler.loops_space import Misfit
from rushlight.dtypes import NP_HALF
from rushlight.ops.kinds import Elementwise, View, normal_dims

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)
Lowering = Callable[[Builder, Call], Any]
REAL = "biuf"

LOWERINGS: dict[str, Lowering] = {}
"""Calls that are not declared elementwise, by name."""


def lowering(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a function for ops of these names."""

    def enter(fn: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(names, fn))
        return fn

    return enter


def is_number_dtype(dtype: Any) -> bool:
    """Whether lanes hold this dtype."""
    return dtype is not None and (dtype.kind in REAL and dtype.itemsize <= 8 or dtype in NP_HALF)


def operand(b: Builder, a: Any) -> Any:
    """An operand as a term; numbers and None as they are."""
    if isinstance(a, Value):
        return b.load(a)
    if isinstance(a, (np.ndarray, np.generic)) and a.ndim == 0:
        return b.fill(a.item(), a.dtype, ())
    return a


def can_lower(call: Call) -> bool:
    """Whether `lower` has a chance: dtypes and shapes only, no joins."""
    specs = [v.spec for v in call.values()] + [v.spec for v in call.results]
    if call.has_effect or any(0 in s.shape or not is_number_dtype(s.dtype) for s in specs):
        return False
    if isinstance(call.op, Elementwise):
        kinds = [a.dtype if isinstance(a, Value) else a for a in call.operands]
        return lanes.supports(call.op, kinds, call.params)
    return call.op.name in LOWERINGS or isinstance(call.op, View)


def lower(b: Builder, call: Call) -> tuple[Term, ...]:
    """The nodes of a call; one term for each result."""
    if isinstance(call.op, Elementwise):
        out: Any = b.call(call.op, *(operand(b, a) for a in call.operands), dtype=call.result.dtype, **call.params)
    elif isinstance(call.op, View):
        out = _materialised_view(b, call)
    else:
        out = LOWERINGS[call.op.name](b, call)
    terms = out if isinstance(out, tuple) else (out,)
    return tuple(
        b.cast(Term(t.node, b.space.reshape(t.runs, v.shape) if len(t.runs) != len(v.shape) else t.runs), v.dtype)
        for t, v in zip(terms, call.results, strict=True)
    )


def _materialised_view(b: Builder, call: Call) -> Term:
    """A reshape that strides do not allow: the elements in order, with another shape."""
    if len(call.results) != 1:
        raise Misfit("a view with several parts")
    return b.view(operand(b, call.operands[0]), call.op.name, call.result.shape, call.params)


@lowering("copy", "clone")
def _copy(b: Builder, call: Call) -> Term:
    return operand(b, call.operands[0])  # type: ignore[no-any-return]


@lowering("cast")
def _cast(b: Builder, call: Call) -> Term:
    return b.cast(operand(b, call.operands[0]), call.result.dtype)


@lowering("zeros_as")
def _zeros(b: Builder, call: Call) -> Term:
    return b.fill(0, call.result.dtype, b.space.fresh(call.result.shape))


def _triangle(b: Builder, call: Call, keep: str) -> Term:
    x = operand(b, call.operands[0])
    diagonal = call.params.get("diagonal", 0)
    row, column = (b.index(x.runs, len(x.runs) - k) for k in (2, 1))
    inside = b.call(keep, column, b.call("add", row, diagonal), dtype=BOOL)
    return b.call("where", inside, x, b.fill(0, x.dtype, ()), dtype=x.dtype)


@lowering("tril")
def _tril(b: Builder, call: Call) -> Term:
    return _triangle(b, call, "le")


@lowering("triu")
def _triu(b: Builder, call: Call) -> Term:
    return _triangle(b, call, "ge")


@lowering("one_hot")
def _one_hot(b: Builder, call: Call) -> Term:
    index = operand(b, call.operands[0])
    runs = (*index.runs, *b.space.fresh((call.params["classes"],)))
    return b.cast(b.call("eq", Term(index.node, (*index.runs, ())), b.index(runs, len(runs) - 1), dtype=BOOL), I64)


@lowering("embedding", "embedding_with_sparse_gradient")
def _embedding(b: Builder, call: Call) -> Term:
    weight, index = call.operands
    if weight.dtype.kind != "f":
        raise Misfit("rows of integers")
    at = operand(b, index)
    return b.rows(weight, at)


# Reductions


def dims_of(x: Term, call: Call) -> tuple[tuple[int, ...], bool]:
    """The dims that a reduction combines, and whether they stay with size 1."""
    dims = normal_dims(call.params.get("dim"), x.ndim)
    return tuple(range(x.ndim)) if dims is None else dims, bool(call.params.get("keepdim", False))


def widened(b: Builder, x: Term) -> Term:
    """What a sum is computed in: half precision in float32, integers in int64."""
    if x.dtype in NP_HALF:
        return b.cast(x, F32)
    return b.cast(x, I64) if x.dtype.kind in "biu" else x


def extent(b: Builder, x: Term, dims: tuple[int, ...]) -> int:
    """Number of elements combined into one."""
    return math.prod(b.space.size(x.runs[d]) for d in dims)


@lowering("sum", "prod")
def _sum(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    dims, keep = dims_of(x, call)
    return b.reduce(call.op.name, widened(b, x), dims, keep)


@lowering("mean")
def _mean(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    if x.dtype.kind in "biu":
        raise Misfit("mean of integers")
    dims, keep = dims_of(x, call)
    wide = widened(b, x)
    return b.call("div", b.reduce("sum", wide, dims, keep), float(extent(b, x, dims)), dtype=wide.dtype)


def _extreme(how: str) -> Lowering:
    def build(b: Builder, call: Call) -> Term:
        x = operand(b, call.operands[0])
        dims, keep = dims_of(x, call)
        if x.dtype == BOOL:
            return b.reduce("any" if how == "max" else "all", x, dims, keep)
        return b.reduce(how, x, dims, keep)

    return build


for _names, _how in ((("amax", "max_all"), "max"), (("amin", "min_all"), "min")):
    lowering(*_names)(_extreme(_how))


@lowering("all", "any")
def _all(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    dims, keep = dims_of(x, call)
    return b.reduce(call.op.name, _nonzero(b, x), dims, keep)


def _nonzero(b: Builder, x: Term) -> Term:
    return x if x.dtype == BOOL else b.call("ne", x, 0, dtype=BOOL)


@lowering("count_nonzero")
def _count(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    dims, keep = dims_of(x, call)
    return b.reduce("sum", b.cast(_nonzero(b, x), I64), dims, keep)


@lowering("var", "std")
def _variance(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    dims, keep = dims_of(x, call)
    n, correction = extent(b, x, dims), call.params["correction"]
    if not x.ndim or n <= correction:
        raise Misfit("variance of too few elements")
    wide = widened(b, x)
    center = b.call("div", b.reduce("sum", wide, dims, True), float(n))
    d = b.call("sub", wide, center)
    total = b.reduce("sum", b.call("mul", d, d), dims, keep)
    out = b.call("div", total, float(n - correction))
    return b.call("sqrt", out) if call.op.name == "std" else out


@lowering("vector_norm")
def _norm(b: Builder, call: Call) -> Term:
    x = operand(b, call.operands[0])
    p = call.params["p"]
    if x.dtype.kind in "biu" or p not in (1, 2, math.inf, -math.inf):
        raise Misfit(f"norm of order {p}")
    dims, keep = dims_of(x, call)
    wide = b.cast(x, F32) if x.dtype in NP_HALF else x
    if p == 2:
        return b.call("sqrt", b.reduce("sum", b.call("mul", wide, wide), dims, keep))
    how = {1: "sum", math.inf: "max"}.get(p, "min")
    return b.reduce(how, b.call("abs", wide), dims, keep)


def is_reduction(node: Node) -> bool:
    """Whether a node combines elements."""
    return node.kind == "reduce"
