"""Rewriting of what in-place writes to views leave: `write_view(x, value, chain)` is `x` with one part replaced."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.graph import Call, Value
from rushlight.compiler.passes.rewriter import Rewrite, Rewriter
from rushlight.compiler.passes.shapes import SLICES, Found, ranged, the_range


def index_of(chain: Any) -> Any:
    """The index of a chain of one slicing view; None for other chains."""
    if len(chain) != 1:
        return None
    name, params, part = chain[0]
    return dict(params)["index"] if name in SLICES and part is None else None


def written_again(call: Call, rewriter: Rewriter) -> Found:
    """A write to the part that the write before it went to."""
    x, value = call.operands
    if not isinstance(x, Value) or x.call is None or x.call.op is not call.op or x.call.params != call.params:
        return None
    return rewriter.make("write_view", x.call.operands[0], value, chain=call.params["chain"])


def written_throughout(call: Call, rewriter: Rewriter) -> Found:
    """Writes side by side that together fill the whole are a concatenation: each alone would copy all of it."""
    cut, before = _cut(call), call.operands[0]
    if cut is None:
        return None
    dim, start, stop = cut
    already = rewriter.written.get(before, (dim, 0))
    covered = stop - start + (already[1] if already[0] == dim else 0)
    rewriter.written[call.result] = (dim, covered)
    return _filled(call, dim, rewriter) if covered >= call.result.shape[dim] else None


def _cut(call: Call) -> Any:
    """(dim, start, stop) of the part that a write goes to."""
    index = index_of(call.params["chain"])
    return None if index is None else the_range(ranged(index, call.result.shape), call.result.shape)


def _filled(call: Call, dim: int, rewriter: Rewriter) -> Found:
    shape, size = call.result.shape, call.result.shape[dim]
    parts: dict[int, tuple[int, Value]] = {}
    at: Call | None = call
    while at is not None and at.op is call.op and sum(stop - start for start, (stop, _) in parts.items()) < size:
        cut = _cut(at)
        if cut is None or cut[0] != dim or any(cut[1] < stop and start < cut[2] for start, (stop, _) in parts.items()):
            return None
        if not isinstance(at.operands[1], Value):
            return None
        parts[cut[1]] = (cut[2], at.operands[1])
        at = at.operands[0].call if isinstance(at.operands[0], Value) else None
    if sum(stop - start for start, (stop, _) in parts.items()) != size:
        return None
    pieces = []
    for start, (stop, part) in sorted(parts.items(), key=lambda p: p[0]):
        wanted = (*shape[:dim], stop - start, *shape[dim + 1 :])
        pieces.append(part if part.shape == wanted else rewriter.make("unsafe_view", part, shape=wanted))
    return rewriter.make("cat", tuple(pieces), dim=dim)


def read_after_write(call: Call, rewriter: Rewriter) -> Found:
    """The part that was written is the value; a part that was not is that of the value before."""
    x, index = call.operands[0], call.params["index"]
    if x.call is None or x.call.op.name != "write_view" or not isinstance(x.call.operands[1], Value):
        return None
    before, value = x.call.operands
    written = index_of(x.call.params["chain"])
    if written is None:
        return None
    read, wrote = the_range(ranged(index, x.shape), x.shape), _cut(x.call)
    if read is None or wrote is None or read[0] != wrote[0]:
        return None
    if read == wrote and value.spec == call.result.spec:
        return value
    if read[2] <= wrote[1] or wrote[2] <= read[1]:
        return rewriter.make(call.op.name, before, index=index)
    return None


RULES: tuple[tuple[tuple[str, ...], Rewrite], ...] = (
    (("write_view",), written_again),
    (("write_view",), written_throughout),
    (SLICES, read_after_write),
)
