"""Calls that are more than one loop, written as several simpler calls before fusion.

Labels are looked over before a program runs (`access_index.py`); those that are to be ignored do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler.access_index import is_unchecked
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernels.attention_lowering import MOST_FEATURES
from rushlight.compiler.kernels.pool_lowering import plane_dims, spreads
from rushlight.compiler.loops_nodes import INDEX
from rushlight.compiler.passes.layouts import LEAST_QUERIES
from rushlight.dtypes import NP_HALF
from rushlight.ops import elementwise, linear, matmul, reduce
from rushlight.ops.kinds import OPS, Elementwise, normal_dims
from rushlight.spec import Spec

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
Ints = tuple[int, ...]
# expansions are written in ops of these files
_FILES = (elementwise, linear, matmul, reduce)


class Expansion:
    """Writes calls in the place of others.

    Attributes
    ----------
    calls : written so far
    counts : what was counted of labels, by (labels, weights, ignored label)
    used : the values that something needs
    sums : of arrays that hold one number per row, that number and its dim
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.counts: dict[Any, Value] = {}
        self.used: set[Value] = set()
        self.sums: dict[Value, tuple[Value, int]] = {}
        self.where: Any = None

    def call(self, name: str, *operands: Any, into: Value | None = None, **params: Any) -> Value:
        """One call of an op with one result; `into` is the value that it makes."""
        op = OPS[name]
        specs = tuple(a.spec if isinstance(a, Value) else None if a is None else Spec((), None) for a in operands)
        call = Call(op, operands, {**op.defaults, **params}, where=self.where)
        spec = op.spec(specs, dict(call.params)) if into is None else into.spec
        call.results = (Value(spec, call) if into is None else into,)
        self.calls.append(call)
        return call.result

    def cast(self, x: Value, dtype: Any, into: Value | None = None) -> Value:
        """Another dtype, or a copy into `into`."""
        if into is None and x.dtype == dtype:
            return x
        return self.call("copy", x, into=into) if x.dtype == dtype else self.call("cast", x, into=into, dtype=dtype)

    def view(self, x: Value, shape: Ints) -> Value:
        """Another shape."""
        return x if x.shape == shape else self.call("unsafe_view", x, shape=shape)

    def index(self, shape: Ints, dim: int) -> Value:
        """0, 1, 2 ... along a dim of an array of `shape`."""
        kept = tuple(n if i == dim else 1 for i, n in enumerate(shape))
        return Value(Spec(kept, np.dtype(np.int64)), data=np.arange(shape[dim]).reshape(kept), name=INDEX)


def expanded(graph: Graph) -> list[Call]:
    """The calls of a graph with those that have an expansion replaced by it."""
    e = Expansion()
    e.used.update(graph.kept(), *(call.values() for call in graph.calls))
    for call in graph.calls:
        write = EXPANSIONS.get(call.op.name)
        e.where = call.where
        mark = len(e.calls)
        lowers = write is not None and not any(0 in v.shape for v in call.values()) and not is_unchecked(call)
        if write is None or not lowers or not write(e, call):
            del e.calls[mark:]
            e.calls.append(call)
    return e.calls


def _labels(e: Expansion, target: Value, shape: Ints) -> tuple[Value, Value, int]:
    """Labels with the class dim of size 1, where each class is the label, and that dim."""
    dim = 1 if len(shape) > 1 else 0
    kept = tuple(1 if i == dim else n for i, n in enumerate(shape))
    labels = e.view(target, kept)
    return labels, e.call("eq", e.index(shape, dim), labels), dim


def _weights(e: Expansion, weight: Value | None, hit: Value, counted: Value, dim: int, dtype: Any) -> Value:
    """Weight of each label, 0 where it is ignored; class dim of size 1."""
    if weight is None:
        return e.cast(counted, dtype)
    per_class = e.view(weight, tuple(n if i == dim else 1 for i, n in enumerate(hit.shape)))
    chosen = e.call("sum", e.call("where", hit, e.cast(per_class, dtype), 0.0), dim=(dim,), keepdim=True)
    return e.call("where", counted, chosen, 0.0)


def _count(e: Expansion, target: Value, weight: Value | None, ignored: int, weights: Value) -> Value:
    """Sum of the weights of the labels that count; from the labels alone where that is possible."""
    key = (target, weight, ignored)
    if key not in e.counts:
        if weight is None:
            weights = e.cast(e.call("ne", target, ignored), weights.dtype)
        e.counts[key] = e.call("sum", e.view(weights, target.shape), dim=None, keepdim=False)
    return e.counts[key]


def _losses(e: Expansion, call: Call, chosen: Callable[[Value, int], Value], shape: Ints, dtype: Any) -> None:
    """Write a loss over labels; `chosen(hit, dim)` is the negative log-likelihood of each."""
    target, weight = call.operands[1], call.operands[2]
    ignored, reduction = call.params["ignore_index"], call.params["reduction"]
    labels, hit, dim = _labels(e, target, shape)
    counted = e.call("ne", labels, ignored)
    valid = e.call("bitwise_and", e.call("ge", labels, 0), e.call("lt", labels, shape[dim]))
    weights = _weights(e, weight, hit, counted, dim, dtype)
    losses = e.call("where", valid, chosen(hit, dim), math.nan)
    if weight is not None:
        losses = e.call("mul", losses, weights)
    losses = e.view(e.call("where", counted, losses, 0.0), target.shape)
    result = call.results[0]
    if reduction == "none":
        e.cast(losses, result.dtype, result)
        return
    # the count comes first and alone: the gradient waits for it, and must not wait for the losses
    count = _count(e, target, weight, ignored, weights) if reduction == "mean" else None
    total = e.call("sum", losses, dim=None, keepdim=False)
    if count is not None:
        total = e.call("div", total, count)
    e.cast(total, result.dtype, result)


def _cross_entropy(e: Expansion, call: Call) -> bool:
    x, p = call.operands[0], call.results[1]
    wide = e.cast(x, F32) if x.dtype in NP_HALF else x
    dim = 1 if len(x.shape) > 1 else 0
    shifted = e.call("sub", wide, e.call("amax", wide, dim=(dim,), keepdim=True))
    grown = e.call("exp", shifted)
    total = e.call("sum", grown, dim=(dim,), keepdim=True)
    e.cast(e.call("div", grown, total), p.dtype, p)

    def chosen(hit: Value, dim: int) -> Value:
        picked = e.call("sum", e.call("where", hit, shifted, 0.0), dim=(dim,), keepdim=True)
        return e.call("sub", e.call("log", total), picked)

    _losses(e, call, chosen, x.shape, wide.dtype)
    return True


def _nll_loss(e: Expansion, call: Call) -> bool:
    x = call.operands[0]
    wide = e.cast(x, F32) if x.dtype in NP_HALF else x

    def chosen(hit: Value, dim: int) -> Value:
        return e.call("neg", e.call("sum", e.call("where", hit, wide, 0.0), dim=(dim,), keepdim=True))

    _losses(e, call, chosen, x.shape, wide.dtype)
    return True


def _nll_loss_grad(e: Expansion, call: Call) -> bool:
    g, target, weight = call.operands
    shape, ignored = call.params["shape"], call.params["ignore_index"]
    dtype = F32 if g.dtype in NP_HALF else g.dtype
    labels, hit, dim = _labels(e, target, shape)
    counted = e.call("ne", labels, ignored)
    weights = _weights(e, weight, hit, counted, dim, dtype)
    share = e.cast(g, dtype)
    if call.params["reduction"] == "mean":
        count = _count(e, target, weight, ignored, weights)
        share = e.call("where", e.call("eq", count, 0), 0.0, e.call("div", share, count))
    elif share.shape:
        share = e.view(share, labels.shape)
    each = e.call("neg", share if weight is None else e.call("mul", share, weights))
    placed = e.call("where", e.call("bitwise_and", hit, counted), each, 0.0)
    e.cast(placed, g.dtype, call.result)
    valid = e.call("bitwise_and", e.call("ge", labels, 0), e.call("lt", labels, shape[dim]))
    e.sums[call.result] = e.call("where", e.call("bitwise_and", valid, counted), each, 0.0), dim
    return True


def _known_sum(e: Expansion, call: Call) -> bool:
    """The sum over rows that hold one number each is that number."""
    x = call.operands[0]
    if x not in e.sums or not call.params.get("keepdim"):
        return False
    total, dim = e.sums[x]
    if normal_dims(call.params["dim"], len(x.shape)) != (dim,):
        return False
    e.cast(total, call.result.dtype, call.result)
    return True


def _picks_one(index: Value, shape: Ints, dim: int) -> bool:
    """Whether an index takes one element of each slice."""
    return len(index.shape) == len(shape) and all(
        n == (1 if i == dim else m) for i, (n, m) in enumerate(zip(index.shape, shape, strict=True))
    )


# Of so many elements one is picked while all are read; of more only where what makes them is part of the program.
MOST_LOOKED_AT = 16


def _take_along(e: Expansion, call: Call) -> bool:
    x, index = call.operands
    dim = call.params["dim"]
    if not x.shape or x.dtype.kind != "f" or not _picks_one(index, x.shape, dim % len(x.shape)):
        return False
    dim %= len(x.shape)
    if x.call is None and x.shape[dim] > MOST_LOOKED_AT:
        return False
    hit = e.call("eq", e.index(x.shape, dim), index)
    valid = e.call("bitwise_and", e.call("ge", index, 0), e.call("lt", index, x.shape[dim]))
    picked = e.call("sum", e.call("where", hit, x, 0.0), dim=(dim,), keepdim=True)
    e.call("where", valid, picked, math.nan, into=call.result)
    return True


def _place_along(e: Expansion, call: Call) -> bool:
    x, index = call.operands
    shape, dim = call.params["shape"], call.params["dim"]
    if not shape or x.shape != index.shape or not _picks_one(index, shape, dim % len(shape)):
        return False
    hit = e.call("eq", e.index(shape, dim % len(shape)), index)
    e.call("where", hit, x, 0, into=call.result)
    return True


def _index_add(e: Expansion, call: Call) -> bool:
    """What is added up by index, then added to the rest."""
    x, index, source = call.operands
    rows = call.op.name == "index_add"
    if not x.shape or x.dtype not in (F32, F64) or not rows and source.shape != index.shape:
        return False
    alpha = call.params.get("alpha", 1)
    if alpha != 1:
        source = e.call("mul", source, float(alpha))
    name = "rows_place" if rows else "scatter_add_zeros"
    e.call("add", x, e.call(name, source, index, shape=x.shape, dim=call.params["dim"]), into=call.result)
    return True


def _index_at_place(e: Expansion, call: Call) -> bool:
    """Rows added up by one index, whose negative numbers count from the end."""
    x, (index, *others) = call.operands
    shape = call.params["shape"]
    if others or call.params["pattern"] != (None,) or x.dtype not in (F32, F64) or index.dtype.kind != "i":
        return False
    index = e.view(index, (math.prod(index.shape),))
    index = e.call("where", e.call("lt", index, 0), e.call("add", index, shape[0]), index)
    e.call("rows_place", e.view(x, (*index.shape, *shape[1:])), index, shape=shape, dim=0, into=call.result)
    return True


def _attention(e: Expansion, call: Call) -> bool:
    """Of few queries, products with a softmax between them: faster than the kernel, which holds no matrix of scores."""
    if call.operands[0].dtype in NP_HALF:
        return _in_single(e, call)
    q, k, v, mask, drop = call.operands
    if q.shape[-2] >= LEAST_QUERIES and max(q.shape[-1], v.shape[-1]) <= MOST_FEATURES:
        return False
    dtype = q.dtype
    n = len(q.shape)
    scores = e.call("batched_matmul", q, e.call("transpose", k, dim0=n - 2, dim1=n - 1))
    scores = e.call("mul", scores, float(call.params["scale"]))
    if call.params["causal"]:
        allowed = e.call("le", e.index(scores.shape, n - 1), e.index(scores.shape, n - 2))
        scores = e.call("where", allowed, scores, -math.inf)
    if mask is not None:
        is_bool = mask.dtype == np.dtype(np.bool_)
        scores = e.call("where", mask, scores, -math.inf) if is_bool else e.call("add", scores, e.cast(mask, dtype))
    top = e.call("amax", scores, dim=(n - 1,), keepdim=True)
    if mask is not None:
        top = e.call("where", e.call("isinf", top), 0.0, top)
    grown = e.call("exp", e.call("sub", scores, top))
    total = e.call("sum", grown, dim=(n - 1,), keepdim=True)
    p = e.call("div", grown, total)
    if mask is not None:  # a row that is masked whole gives zeros
        p = e.call("where", e.call("eq", total, 0.0), 0.0, p)
    if drop is not None:
        p = e.call("mul", p, e.cast(drop, dtype))
    e.call("batched_matmul", p, v, into=call.results[0])
    if call.results[1] in e.used:
        logarithms = e.call("add", top, e.call("log", total))
        e.call("where", e.call("eq", total, 0.0), 0.0, logarithms, into=call.results[1])
    return True


def _in_single(e: Expansion, call: Call) -> bool:
    """A call of several results whose operands in half precision become float32, and its results half again."""
    if call.operands[0].dtype not in NP_HALF:
        return False
    operands = tuple(e.cast(a, F32) if isinstance(a, Value) and a.dtype in NP_HALF else a for a in call.operands)
    single = Call(call.op, operands, call.params, where=call.where)
    single.results = tuple(
        Value(Spec(r.shape, F32), single, part) if r.dtype in NP_HALF else r for part, r in enumerate(call.results)
    )
    e.used.update(new for new, r in zip(single.results, call.results, strict=True) if r in e.used)
    write = EXPANSIONS[call.op.name]
    if not write(e, single):
        e.calls.append(single)
    for new, r in zip(single.results, call.results, strict=True):
        if new is not r:
            e.cast(new, r.dtype, r)
    return True


# Sums over so much that several chunks should share each: added up in two steps


MOST_STEPS = 8
"""Calls that are looked at for a pooling's gradient behind a value."""
SPLIT_BYTES = 512 << 10
ENOUGH = 8
"""Results (or vectors of results) from which on the chunks of one step suffice."""


def _pieces(shape: Ints, dims: Ints, itemsize: int) -> tuple[int, int] | None:
    """The dim to cut and into how many pieces, None where one step is better."""
    total = math.prod(shape) * itemsize
    kept = math.prod(n for i, n in enumerate(shape) if i not in dims)
    parallel = kept if len(shape) - 1 in dims else -(-kept // 16)
    if total < SPLIT_BYTES or parallel >= ENOUGH or not dims:
        return None
    wanted = max(2, min(64, total >> 16) // parallel)
    dim = max(dims, key=lambda d: (shape[d] >= wanted, -d))
    n = shape[dim]
    best = max((k for k in range(1, min(n, 2 * wanted) + 1) if n % k == 0), default=1)
    return (dim, best) if best > 1 else None


def _split_reduction(e: Expansion, call: Call) -> bool:
    x, how = call.operands[0], call.op.name
    dims = normal_dims(call.params.get("dim"), len(x.shape))
    dims = tuple(range(len(x.shape))) if dims is None else dims
    cut = _pieces(x.shape, dims, x.dtype.itemsize)
    if cut is None or how == "mean" and x.dtype.kind in "biu":
        return False
    dim, pieces = cut
    if how in ("sum", "mean"):
        x = e.cast(x, F32 if x.dtype in NP_HALF else np.dtype(np.int64) if x.dtype.kind in "biu" else x.dtype)
    parted = e.view(x, (*x.shape[:dim], pieces, x.shape[dim] // pieces, *x.shape[dim + 1 :]))
    step = {"mean": "sum", "max_all": "amax", "min_all": "amin"}.get(how, how)
    inner = tuple(d + (d >= dim) for d in dims)
    part = e.call(step, parted, dim=inner, keepdim=True)
    out = e.view(e.call(step, part, dim=(dim,), keepdim=False), _kept(x.shape, dims))
    if how == "mean":
        out = e.call("div", out, float(math.prod(x.shape[d] for d in dims)))
    e.cast(e.view(out, call.result.shape), call.result.dtype, call.result)
    return True


def _plane_sums(e: Expansion, call: Call) -> bool:
    """A sum over what follows a pooling's gradient: over each plane as it is made, then over the images."""
    x = call.operands[0]
    dims = normal_dims(call.params["dim"], len(x.shape))
    source = _spread_source(x)
    if source is None or dims is None or x.dtype not in (F32, F64):
        return False
    lead = len(x.shape) - plane_dims(source)
    planes, images = tuple(range(lead, len(x.shape))), tuple(d for d in dims if d < lead)
    if not images or not set(planes) <= set(dims):
        return False
    keepdim = bool(call.params.get("keepdim"))
    part = e.call("sum", x, dim=planes, keepdim=keepdim)
    e.call("sum", part, dim=images, keepdim=keepdim, into=call.result)
    return True


def _spread_source(x: Any) -> Call | None:
    """The pooling's gradient that `x` is, or follows from element by element."""
    shape, left = x.shape, [x]
    for _ in range(MOST_STEPS):
        if not left:
            return None
        call = left.pop().call
        if call is not None and spreads(call):
            return call  # type: ignore[no-any-return]
        if call is not None and isinstance(call.op, Elementwise):
            left = [v for v in call.values() if v.shape == shape] + left
    return None


def _kept(shape: Ints, dims: Ints) -> Ints:
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


EXPANSIONS: dict[str, Callable[[Expansion, Call], bool]] = {
    "cross_entropy": _cross_entropy,
    "cross_entropy2d": _cross_entropy,
    "nll_loss": _nll_loss,
    "nll_loss2d": _nll_loss,
    "nll_loss_grad": _nll_loss_grad,
    "attention": _attention,
    "attention_grad": _in_single,
    "gather": _take_along,
    "take_along": _take_along,
    "place_along": _place_along,
    "scatter_add_zeros": _place_along,
    "index_add": _index_add,
    "scatter_add": _index_add,
    "index_at_place": _index_at_place,
    "sum": lambda e, call: _known_sum(e, call) or _plane_sums(e, call) or _split_reduction(e, call),
    **dict.fromkeys(("mean", "amax", "amin", "max_all", "min_all"), _split_reduction),
}
