"""Rewriting of what moves elements without computing: views, casts, copies, sums over nothing, gradients of slices."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Value
from rushlight.compiler.passes.rewriter import Rewrite, Rewriter
from rushlight.layout import contiguous_strides
from rushlight.ops.kinds import View, normal_dims

Found = Any  # a value, a tuple of values for an op of several results, or None
RESHAPES = ("view_as", "unsafe_view", "unsqueeze", "squeeze", "squeeze_dim", "getitem_unsqueeze")
PERMUTES = ("permute", "transpose", "t")
SLICES = ("getitem_slice", "getitem_select", "getitem_mixed")


def same_memory(call: Call, rewriter: Rewriter) -> Found:
    """Copies, and the conjugate of a real value: values never change, so the value itself will do."""
    x = call.operands[0]
    if not isinstance(x, Value) or call.op.name == "conj" and x.dtype.kind == "c":
        return None
    return x


def is_dense(x: Value) -> bool:
    """Whether `x` lies in memory in row-major order: not a view with strides of its own."""
    if x.call is None:
        return x.strides is None or x.strides == _row_major(x)
    if isinstance(x.call.op, View):
        return x.call.op.name in RESHAPES and is_dense(x.call.operands[0])
    return True


def _row_major(x: Value) -> tuple[int, ...]:
    return tuple(k * x.dtype.itemsize for k in contiguous_strides(x.shape))


def reshaped(call: Call, rewriter: Rewriter) -> Found:
    """A reshape to the own shape, or of a reshape."""
    x, shape = call.operands[0], call.result.shape
    if x.shape == shape:
        return x
    origin = x
    while origin.call is not None and origin.call.op.name in RESHAPES:
        origin = origin.call.operands[0]
    if origin.shape == shape:
        return origin
    if origin is not x and is_dense(origin):
        return rewriter.make("unsafe_view", origin, shape=shape)
    return None


def cut_and_turned(call: Call, rewriter: Rewriter) -> Found:
    """A reshape of a permutation of a reshape that only cuts dims in the end: one cut, then one permutation.

    The first reshape may join dims that do not lie side by side in memory, which would be a copy.
    """
    turned = call.operands[0].call
    if turned is None or turned.op.name not in PERMUTES:
        return None
    joined = turned.operands[0].call
    if joined is None or joined.op.name not in RESHAPES or 0 in call.result.shape:
        return None
    source = joined.operands[0]
    pieces = _common_pieces(source.shape, joined.result.shape)
    if pieces is None:
        return None
    groups = _dealt(list(range(len(pieces))), pieces, joined.result.shape)
    order = [p for d in order_of(turned) for p in groups[d]]
    if tuple(pieces[p] for p in order) != call.result.shape:
        return None
    cut = source if source.shape == pieces else rewriter.make("unsafe_view", source, shape=pieces)
    return rewriter.make("permute", cut, dims=tuple(order))


def _common_pieces(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sizes of the coarsest dims that both shapes are made of."""
    ends = sorted({math.prod(shape[d:]) for shape in (a, b) for d in range(len(shape) + 1)}, reverse=True)
    if any(high % low for high, low in itertools.pairwise(ends)):
        return None
    return tuple(high // low for high, low in itertools.pairwise(ends))


def _dealt(left: list[int], sizes: tuple[int, ...], shape: tuple[int, ...]) -> list[list[int]]:
    """Pieces, in order, for each dim of `shape`."""
    groups = []
    for n in shape:
        size, group = 1, []
        while size < n:
            group.append(left.pop(0))
            size *= sizes[group[-1]]
        groups.append(group)
    return groups


def order_of(call: Call) -> tuple[int, ...]:
    """The dims of a permuting call's operand in the order of the result."""
    dims = list(range(len(call.result.shape)))
    if call.op.name == "permute":
        return tuple(d % len(dims) for d in call.params["dims"])
    if call.op.name == "t":
        return tuple(dims[::-1])
    a, b = call.params["dim0"], call.params["dim1"]
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return tuple(dims)


def permuted(call: Call, rewriter: Rewriter) -> Found:
    """A permutation that moves nothing, of a permutation, or of dims of size 1 only."""
    x, dims = call.operands[0], order_of(call)
    if dims == tuple(range(len(dims))):
        return x
    if x.call is not None and x.call.op.name in PERMUTES:
        inner = order_of(x.call)
        return rewriter.make("permute", x.call.operands[0], dims=tuple(inner[d] for d in dims))
    long = [d for d in dims if x.shape[d] != 1]
    if long == sorted(long) and is_dense(x):
        return rewriter.make("unsafe_view", x, shape=call.result.shape)
    return None


def expanded(call: Call, rewriter: Rewriter) -> Found:
    """An expansion to the own shape, or of an expansion."""
    x, shape = call.operands[0], call.result.shape
    if x.shape == shape:
        return x
    if x.call is not None and x.call.op.name == "expand":
        return rewriter.make("expand", x.call.operands[0], shape=shape)
    return None


def whole_slice(call: Call, rewriter: Rewriter) -> Found:
    """A slice of everything; one of what was placed there; one of concatenated parts that is one of them."""
    x, index = call.operands[0], call.params["index"]
    if all(type(i) is slice and _is_whole(i, n) for i, n in zip(index, x.shape, strict=False)):
        if call.result.shape == x.shape:
            return x
    if x.call is None:
        return None
    if x.call.op.name == "place_slice":
        return _placed_there(x.call, index, call.result)
    if x.call.op.name == "cat":
        return _part_of(x.call, index, call.result)
    return None


def _placed_there(placed: Call, index: Any, wanted: Value) -> Value | None:
    part = placed.operands[0]
    return part if _same_index(index, placed.params["index"]) and part.shape == wanted.shape else None


def _part_of(joined: Call, index: Any, wanted: Value) -> Found:
    cut = the_range(ranged(index, joined.result.shape), joined.result.shape)
    if cut is None or cut[0] != joined.params["dim"] % len(joined.result.shape):
        return None
    dim, at = cut[0], 0
    for part in joined.operands[0]:
        if part.shape == (0,):
            return None
        if (at, at + part.shape[dim]) == cut[1:] and part.spec == wanted.spec:
            return part
        at += part.shape[dim]
    return None


def _same_index(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(type(i) is type(j) and i == j for i, j in zip(a, b, strict=True))


def _is_whole(i: slice, n: int) -> bool:
    return i.indices(n) == (0, n, 1)


def the_range(index: Any, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(dim, start, stop) of an index that takes a range with step 1 of one dim and all of the others."""
    found = None
    for d, i in enumerate(index):
        if i is Ellipsis and d == len(index) - 1:
            break
        if type(i) is not slice or d >= len(shape):
            return None
        start, stop, step = i.indices(shape[d])
        if step == 1 and (start, stop) == (0, shape[d]):
            continue
        if step != 1 or found is not None or stop < start:
            return None
        found = (d, start, stop)
    return found


def split_apart(call: Call, rewriter: Rewriter) -> Found:
    """Each piece of a split is a slice."""
    x, dim, at, pieces = call.operands[0], call.params["dim"], 0, []
    for n in call.params["sizes"]:
        pieces.append(rewriter.make("getitem_slice", x, index=(*(slice(None),) * dim, slice(at, at + n))))
        at += n
    return tuple(pieces)


def unbound(call: Call, rewriter: Rewriter) -> Found:
    """Each piece of an unbind is a slice that takes one position."""
    x, dim = call.operands[0], call.params["dim"]
    return tuple(rewriter.make("getitem_select", x, index=(*(slice(None),) * dim, i, ...)) for i in range(x.shape[dim]))


def joined(call: Call, rewriter: Rewriter) -> Found:
    """A concatenation of one part, or of all slices of a value in order."""
    parts, shape = call.operands[0], call.result.shape
    dim = call.params["dim"] % len(shape)
    parts = [p for p in parts if p.shape != (0,) or shape == (0,)]
    if len(parts) == 1 and parts[0].spec == call.result.spec:
        return parts[0]
    whole, at = None, 0
    for p in parts:
        if p.call is None or p.call.op.name != "getitem_slice":
            return None
        source = p.call.operands[0]
        if source is not (whole or source) or source.spec != call.result.spec:
            return None
        if the_range(p.call.params["index"], source.shape) != (dim, at, at + p.shape[dim]):
            return None
        whole, at = source, at + p.shape[dim]
    return whole if at == shape[dim] else None


def placed_side_by_side(call: Call, rewriter: Rewriter) -> Found:
    """The sum of two slices' gradients that lie side by side is that of their concatenation; -0.0 may stay -0.0."""
    shape = call.result.shape
    cuts = [_placed_range(a) for a in call.operands]
    if None in cuts or any(a.shape != shape for a in call.operands):
        return None
    low, high = sorted(cuts, key=lambda c: c[:2])
    (dim, start, middle, _), (other, begin, stop, _) = low, high
    if dim != other or middle != begin:
        return None
    parts = []
    for _, i, j, part in (low, high):
        size = (*shape[:dim], j - i, *shape[dim + 1 :])
        parts.append(part if part.shape == size else rewriter.make("unsafe_view", part, shape=size))
    both = rewriter.make("cat", tuple(parts), dim=dim)
    if (start, stop) == (0, shape[dim]):
        return both
    index = (*(slice(None),) * dim, slice(start, stop))
    return rewriter.make("place_slice", both, shape=shape, index=index)


def _placed_range(a: Any) -> Any:
    """(dim, start, stop, part) of a part placed at a range, or at one position, of one dim."""
    if not isinstance(a, Value) or a.call is None or a.call.op.name != "place_slice":
        return None
    cut = the_range(ranged(a.call.params["index"], a.shape), a.shape)
    return None if cut is None else (*cut, a.call.operands[0])


def ranged(index: Any, shape: tuple[int, ...]) -> Any:
    """A basic index with ranges of one position for positions."""
    if index and index[-1] is Ellipsis:
        index = index[:-1]
    if len(index) > len(shape):
        return index
    return tuple(slice(i % n, i % n + 1) if type(i) is int and n else i for i, n in zip(index, shape, strict=False))


def flat_cat(call: Call, rewriter: Rewriter) -> Found:
    """A concatenation of concatenations along the same dim is one; grown pairwise it would copy again and again."""
    dim = call.params["dim"] % len(call.result.shape)
    parts: list[Value] = []
    for p in call.operands[0]:
        inner = p.call is not None and p.call.op.name == "cat" and p.call.params["dim"] % len(p.shape) == dim
        parts.extend(p.call.operands[0] if inner else (p,))
    if len(parts) == len(call.operands[0]):
        return None
    return rewriter.make("cat", tuple(parts), dim=dim)


def cast_again(call: Call, rewriter: Rewriter) -> Found:
    """A cast to the own dtype, or of a cast that lost nothing."""
    x, dtype = call.operands[0], call.result.dtype
    if not isinstance(x, Value):
        return None
    if x.dtype == dtype:
        return x
    if x.call is not None and x.call.op.name == "cast":
        source = x.call.operands[0]
        if isinstance(source, Value) and _is_lossless(source.dtype, x.dtype):
            return rewriter.make("cast", source, dtype=dtype)
    return None


# bits that each kind of number can hold exactly as an integer
_EXACT_BITS = {"f2": 11, "f4": 24, "f8": 53}


def _is_lossless(a: Any, b: Any) -> bool:
    if a.kind == "b":
        return bool(b.kind in "iuf")
    if a.kind == b.kind == "f":
        return bool(b.itemsize >= a.itemsize)
    if a.kind == "V":
        return bool(b.kind == "f" and b.itemsize >= 4)
    if a.kind in "iu" and b.kind == "f":
        return bool(8 * a.itemsize <= _EXACT_BITS[b.str[1:]])
    return bool(a.kind in "iu" and b.kind in "iu" and np.can_cast(a, b, "safe"))


def _reduced_dims(call: Call) -> tuple[int, ...]:
    ndim = len(call.operands[0].shape)
    dims = normal_dims(call.params["dim"], ndim)
    return tuple(range(ndim)) if dims is None else dims


def reduced_nothing(call: Call, rewriter: Rewriter) -> Found:
    """A reduction over dims of size 1 only changes the shape."""
    x = call.operands[0]
    if x.dtype != call.result.dtype or any(x.shape[d] != 1 for d in _reduced_dims(call)):
        return None
    if x.shape == call.result.shape:
        return x
    return rewriter.make("unsafe_view", x, shape=call.result.shape)


def sum_of_expanded(call: Call, rewriter: Rewriter) -> Found:
    """A sum over dims that an expansion made is a product with their size."""
    x, dims = call.operands[0], _reduced_dims(call)
    if x.call is None or x.call.op.name != "expand" or x.dtype.kind not in "iufV" or x.dtype != call.result.dtype:
        return None
    source = x.call.operands[0]
    lead = (1,) * (len(x.shape) - len(source.shape)) + source.shape
    repeated = [d for d in dims if lead[d] == 1 != x.shape[d]]
    count = math.prod(x.shape[d] for d in repeated)
    if not repeated or not count:
        return None
    smaller = tuple(1 if d in repeated else n for d, n in enumerate(x.shape))
    part = source if lead == source.shape else rewriter.make("unsafe_view", source, shape=lead)
    part = rewriter.make("expand", part, shape=smaller)
    total = rewriter.make("sum", part, dim=dims, keepdim=call.params["keepdim"])
    return rewriter.make("mul", total, count if x.dtype.kind in "iu" else float(count))


RULES: tuple[tuple[tuple[str, ...], Rewrite], ...] = (
    (("alias", "copy", "clone", "conj"), same_memory),
    (RESHAPES, reshaped),
    (RESHAPES, cut_and_turned),
    (PERMUTES, permuted),
    (("expand",), expanded),
    (SLICES, whole_slice),
    (("split",), split_apart),
    (("unbind",), unbound),
    (("cat",), joined),
    (("cat",), flat_cat),
    (("add",), placed_side_by_side),
    (("cast",), cast_again),
    (("sum", "amax", "amin", "prod"), reduced_nothing),
    (("sum",), sum_of_expanded),
)
