"""What follows a product or a convolution on its numbers while they are in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.lanes_core import Emitter, Lanes

Ints = tuple[int, ...]
Emit = Callable[[Emitter, Lanes, Sequence[Lanes]], Sequence[Lanes]]
Resolve = Callable[[Value], Access | None]


@dataclass(frozen=True)
class Epilogue:
    """Pointwise arithmetic whose steps are the elements of a product, or of a convolution's result.

    Attributes
    ----------
    emit : emit(emitter, x, operands) writes it for one vector: `x` the product's numbers, `operands` those of `inputs`
        at the same places, lanes all; it returns the lanes of each output, then those of what is summed
    inputs : what it reads, broadcast to the shape of the result by strides of 0
    outputs : what it writes instead of the plain result: row-major over the elements of the result, dtypes of their own
    key : says all about `emit` that the code depends on
    calls : the graph's calls that it carries out
    sums : what it writes besides, one number for each plane: sums over the plane
    """

    emit: Emit
    inputs: tuple[Access, ...]
    outputs: tuple[Value, ...]
    key: str
    calls: tuple[Call, ...] = ()
    sums: tuple[Value, ...] = ()


def broadcast(x: Access, shape: Ints) -> Access:
    """The access stretched to `shape` by strides of 0."""
    lead = len(shape) - len(x.shape)
    strides = [0 if n == 1 != m else s for n, m, s in zip(x.shape, shape[lead:], x.strides, strict=True)]
    return replace(x, shape=shape, strides=(*[0] * lead, *strides))
