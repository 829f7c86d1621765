"""What follows a product or a convolution on its numbers while they are in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.lanes_core import Emitter, Lanes

Emit = Callable[[Emitter, Lanes, Sequence[Lanes]], Sequence[Lanes]]


@dataclass(frozen=True)
class Epilogue:
    """Pointwise arithmetic whose steps are the elements of a product, or of a convolution's result.

    Attributes
    ----------
    emit : emit(emitter, x, operands) writes it for one vector: `x` the product's numbers, `operands` those of `inputs` at the
        same places, lanes all; it returns the lanes of each output
    inputs : what it reads, broadcast to the shape of the result by strides of 0
    outputs : what it writes instead of the plain result: row-major over the elements of the result, dtypes of their own
    key : says all about `emit` that the code depends on
    calls : the graph's calls that it carries out
    """

    emit: Emit
    inputs: tuple[Access, ...]
    outputs: tuple[Value, ...]
    key: str
    calls: tuple[Call, ...] = ()
