"""The graph of a traced program: values, the calls that make them, and the text of both.

A graph is in static single assignment form: each value is made once, by an input, a constant or a call, before it is
used. Calls are calls of declared ops (`rushlight.ops`), composites taken apart; nothing in a graph changes in place.
What a program changes is stated at its end: `updates` pairs an input with the value that its memory holds afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rushlight.ops.kinds import Op
from rushlight.spec import Spec


class Value:
    """One array of a program.

    Attributes
    ----------
    spec : shape and NumPy dtype
    call : the call that makes it, None for inputs and constants
    part : which of the call's results it is
    strides : of an input, the strides in bytes that every call of the program brings; None: C-contiguous
    data : of a constant, its array (never changed)
    """

    __slots__ = ("spec", "call", "part", "strides", "data", "name")

    def __init__(
        self, spec: Spec, call: Call | None = None, part: int = 0, *, strides: tuple[int, ...] | None = None,
        data: Any = None, name: str = "",
    ) -> None:  # fmt: skip
        self.spec = spec
        self.call = call
        self.part = part
        self.strides = strides
        self.data = data
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dims."""
        return self.spec.shape

    @property
    def dtype(self) -> Any:
        """NumPy dtype."""
        return self.spec.dtype

    @property
    def is_input(self) -> bool:
        """Whether each call of the program brings it."""
        return self.call is None and self.data is None

    @property
    def is_constant(self) -> bool:
        """Whether it is known when the program is made."""
        return self.data is not None

    def __repr__(self) -> str:
        return f"<{self.name or 'value'} {self.dtype}{list(self.shape)}>"


# An operand of a call: a value, None for an absent optional one, a Python number, or a tuple for a variadic operand.
Operand = Any


@dataclass(eq=False)
class Call:
    """One call of a declared op; `where` is the user's line, as `tape.where.caller` returns it."""

    op: Op
    operands: tuple[Operand, ...]
    params: dict[str, Any]
    results: tuple[Value, ...] = ()
    where: Any = None

    @property
    def result(self) -> Value:
        """The only result."""
        (only,) = self.results
        return only

    @property
    def has_effect(self) -> bool:
        """Whether it draws random numbers: it is neither shared nor dropped, and keeps its place among its like."""
        return "generator" in self.params

    def values(self) -> Iterator[Value]:
        """The operands that are values, variadic ones spliced in."""
        for a in self.operands:
            if isinstance(a, Value):
                yield a
            elif isinstance(a, (tuple, list)):
                yield from (e for e in a if isinstance(e, Value))


@dataclass(eq=False)
class Graph:
    """A program: what it takes, the calls in order, what it gives back and what it changes.

    Attributes
    ----------
    inputs : values that each call of the program brings
    calls : in an order in which every operand exists
    outputs : values handed back
    updates : (input, value): after the call the input's memory holds the value
    """

    inputs: list[Value] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    updates: list[tuple[Value, Value]] = field(default_factory=list)

    def input(self, spec: Spec, *, strides: tuple[int, ...] | None = None, name: str = "") -> Value:
        """Add an input."""
        value = Value(spec, strides=strides, name=name)
        self.inputs.append(value)
        return value

    def call(self, op: Op, operands: tuple[Operand, ...], params: dict[str, Any], where: Any = None) -> Any:
        """Add a call; returns its value, or a tuple of values for an op of several results."""
        spec = op.spec(tuple(map(_spec_of, operands)), dict(params))
        call = Call(op, operands, params, where=where)
        several = isinstance(spec, tuple) and not isinstance(spec, Spec)
        specs = spec if several else (spec,)
        call.results = tuple(Value(s, call, part) for part, s in enumerate(specs))
        self.calls.append(call)
        return call.results if several else call.results[0]

    def kept(self) -> Iterator[Value]:
        """The values that outlive the program: outputs and new values of inputs."""
        yield from self.outputs
        for _, value in self.updates:
            yield value

    def users(self) -> dict[Value, list[Call]]:
        """The calls that take each value, in order; a call that takes one twice is listed once."""
        found: dict[Value, list[Call]] = {}
        for call in self.calls:
            for value in dict.fromkeys(call.values()):
                found.setdefault(value, []).append(call)
        return found


def _spec_of(a: Operand) -> Any:
    if a is None:
        return None
    if isinstance(a, (tuple, list)):
        return tuple(map(_spec_of, a))
    return a.spec if isinstance(a, Value) else Spec((), None)
