"""In-place NumPy programs made from update rules.

A rule such as `SGD.update` is a pure expression: run as it stands it makes a new array for every operation. Here the
rule is run once on recording values; what it did becomes straight-line NumPy calls that write into the parameter, its
state and a few scratch arrays. There is no second statement of the rule: the program is the rule, with storage
assigned. `tests/optim/test_program.py` compares both bit by bit.

For SGD with momentum the generated array code is::

    multiply(momentum_buffer, c0, momentum_buffer)
    multiply(g, c1, t0)
    add(momentum_buffer, t0, momentum_buffer)
    multiply(momentum_buffer, c2, t0)
    subtract(p, t0, p)

where `c0`, `c1`, `c2` are 0-d arrays (three times cheaper for NumPy than Python floats) that hold the values of the
scalar code, `momentum`, `1 - dampening` and `lr`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

Rule = Callable[[Any, Any, dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]


class NotRecordable(Exception):
    """The rule did something that has no in-place form; it runs as it stands."""


class Scalar:
    """A number known at every step: Python source over the names of the inputs.

    Its truth value is fixed when the program is recorded (a program is recorded per combination of zero and
    non-zero hyper-parameters), which is all that rules may ask of it.
    """

    __slots__ = ("source", "nonzero")

    def __init__(self, source: str, nonzero: bool | None = None) -> None:
        self.source = source
        self.nonzero = nonzero

    def __bool__(self) -> bool:
        if self.nonzero is None:
            raise NotRecordable(f"a branch on the value of {self.source}")
        return self.nonzero

    def call(self, name: str, *others: Any) -> Scalar:
        return Scalar(f"{name}({', '.join([self.source, *map(_scalar_source, others)])})")

    def __neg__(self) -> Scalar:
        return Scalar(f"(-{self.source})")


def _scalar_source(x: Any) -> str:
    if isinstance(x, Scalar):
        return x.source
    if isinstance(x, (int, float)):
        return repr(x)
    raise NotRecordable(f"{type(x).__name__} among numbers")


class Recorded:
    """An array that the program will hold: the result of `call` number `index`, or an input (negative index)."""

    __slots__ = ("recorder", "index")
    __array_ufunc__ = None

    def __init__(self, recorder: Recorder, index: int) -> None:
        self.recorder = recorder
        self.index = index

    def call(self, name: str, *others: Any) -> Recorded:
        return self.recorder.add(name, self, *others)

    def __neg__(self) -> Recorded:
        return self.call("negative")

    def __abs__(self) -> Recorded:
        return self.call("absolute")


def _install_operators() -> None:
    symbols = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**"}
    ufuncs = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}

    def scalar_forward(self: Scalar, other: Any, symbol: str) -> Any:
        if isinstance(other, Recorded):
            return NotImplemented
        return Scalar(f"({self.source} {symbol} {_scalar_source(other)})")

    def scalar_reflected(self: Scalar, other: Any, symbol: str) -> Any:
        return Scalar(f"({_scalar_source(other)} {symbol} {self.source})")

    for name, symbol in symbols.items():
        ufunc = ufuncs[name]
        setattr(Scalar, f"__{name}__", lambda self, other, s=symbol: scalar_forward(self, other, s))
        setattr(Scalar, f"__r{name}__", lambda self, other, s=symbol: scalar_reflected(self, other, s))
        setattr(Recorded, f"__{name}__", lambda self, other, u=ufunc: self.recorder.add(u, self, other))
        setattr(Recorded, f"__r{name}__", lambda self, other, u=ufunc: self.recorder.add(u, other, self))


_install_operators()

def _compare(self: Any, other: Any) -> Any:
    raise NotRecordable("a comparison")


for _name in ("lt", "le", "gt", "ge"):
    setattr(Scalar, f"__{_name}__", _compare)
    setattr(Recorded, f"__{_name}__", _compare)

UFUNCS = frozenset(
    ("add", "subtract", "multiply", "divide", "power", "negative", "absolute", "sqrt", "sign", "maximum", "minimum")
)


@dataclass
class Call:
    """One NumPy call: its name and operands, each an array index or the source of a scalar."""

    name: str
    operands: tuple[int | str, ...]


@dataclass
class Recorder:
    """What a rule does, in order."""

    calls: list[Call] = field(default_factory=list)

    def add(self, name: str, *operands: Any) -> Recorded:
        if name not in UFUNCS:
            raise NotRecordable(name)
        kept = tuple(x.index if isinstance(x, Recorded) else _scalar_source(x) for x in operands)
        self.calls.append(Call(name, kept))
        return Recorded(self, len(self.calls) - 1)


@dataclass(frozen=True)
class Program:
    """Python source of one update, and the names its caller binds.

    Attributes
    ----------
    scalar_inputs : names of the scalar state, in the order in which the scalar code takes them
    array_inputs : names of the array state
    constants : number of 0-d arrays that the scalar code fills
    scratch : number of temporary arrays
    """

    scalar_inputs: tuple[str, ...]
    array_inputs: tuple[str, ...]
    constants: int
    scratch: int
    scalar_source: str
    array_source: str


P, G = -1, -2


def record(rule: Rule, state: dict[str, bool], group: dict[str, Any]) -> Program:
    """Run `rule` on recording values.

    Parameters
    ----------
    rule
        `update` of an optimizer.
    state
        Name of each state entry, and whether it is a scalar.
    group
        Hyper-parameters; numbers become inputs of the program, all else is fixed in it.
    """
    recorder = Recorder()
    arrays = tuple(name for name, is_scalar in state.items() if not is_scalar)
    scalars = tuple(name for name, is_scalar in state.items() if is_scalar)
    given: dict[str, Any] = {name: Recorded(recorder, G - 1 - i) for i, name in enumerate(arrays)}
    given.update((name, Scalar(f"s_{name}")) for name in scalars)
    new_p, new_state = rule(Recorded(recorder, P), Recorded(recorder, G), given, symbolic(group))
    if set(new_state) != set(state):
        raise NotRecordable(f"state changes from {sorted(state)} to {sorted(new_state)}")
    targets = {P: _array_index(new_p)}
    targets.update((G - 1 - i, _array_index(new_state[name])) for i, name in enumerate(arrays))
    outputs = [_scalar_source(new_state[name]) for name in scalars]
    return _assemble(recorder.calls, arrays, scalars, targets, outputs)


def _array_index(x: Any) -> int:
    if not isinstance(x, Recorded):
        raise NotRecordable("a number where an array is expected")
    return x.index


def symbolic(group: dict[str, Any]) -> dict[str, Any]:
    """`group` with each number, also in tuples, replaced by a `Scalar` that reads it."""

    def lift(value: Any, source: str) -> Any:
        if isinstance(value, tuple):
            return tuple(lift(v, f"{source}[{i}]") for i, v in enumerate(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        return Scalar(source, value != 0)

    return {name: lift(value, f"h[{name!r}]") for name, value in group.items()}


def structure(group: dict[str, Any]) -> tuple[Any, ...]:
    """What of `group` a program is recorded for: flags and texts themselves, of numbers only whether they are 0."""
    return (*group, *map(_structure_of, group.values()))


def _structure_of(value: Any) -> Any:
    kind = value.__class__
    if kind is float or kind is int:
        return value != 0
    return tuple(map(_structure_of, value)) if kind is tuple else value


@dataclass
class _Storage:
    """Which array holds which value while the program is laid out."""

    last_use: dict[int, int]
    home: dict[int, str]
    free: list[str] = field(default_factory=list)
    scratch: int = 0

    def is_dead(self, index: int, now: int) -> bool:
        return self.last_use.get(index, -1) <= now

    def temporary(self) -> str:
        if self.free:
            return self.free.pop()
        self.scratch += 1
        return f"t{self.scratch - 1}"


def _assemble(
    calls: list[Call],
    arrays: tuple[str, ...],
    scalars: tuple[str, ...],
    targets: dict[int, int],
    outputs: list[str],
) -> Program:
    buffers = {P: "p", G: "g", **{G - 1 - i: f"a_{name}" for i, name in enumerate(arrays)}}
    constants: dict[str, int] = {}
    lines = _place(calls, buffers, targets, constants)
    body = lines + _copies(targets, buffers)
    storage_count = max((int(word[1:]) + 1 for line in lines for word in _words(line) if _is_temporary(word)), default=0)
    names = ["p", "g", *(f"a_{name}" for name in arrays), *(f"t{i}" for i in range(storage_count))]
    array_source = f"def run({', '.join(names)}):\n" + "".join(f"    {line}\n" for line in body or ["pass"])
    tuple_source = "".join(f"{source}, " for source in [*constants, *outputs])
    scalar_source = f"def scalars({', '.join(['h', *(f's_{name}' for name in scalars)])}):\n    return ({tuple_source})\n"
    return Program(scalars, arrays, len(constants), storage_count, scalar_source, array_source)


def _words(line: str) -> list[str]:
    return line[line.index("(") + 1 : -1].split(", ")


def _is_temporary(word: str) -> bool:
    return word[0] == "t" and word[1:].isdigit()


def _place(
    calls: list[Call], buffers: dict[int, str], targets: dict[int, int], constants: dict[str, int]
) -> list[str]:
    """Give every value an array: its target if the target's old value is no longer needed, else scratch."""
    forever = len(calls)
    last_use = {x: i for i, call in enumerate(calls) for x in call.operands if isinstance(x, int)}
    last_use.update((value, forever) for value in targets.values())
    storage = _Storage(last_use, dict(buffers))
    wanted = {value: target for target, value in targets.items() if value >= 0}
    lines = []
    for i, call in enumerate(calls):
        words = [
            storage.home[x] if isinstance(x, int) else f"c{constants.setdefault(x, len(constants))}"
            for x in call.operands
        ]
        for x in {x for x in call.operands if isinstance(x, int)}:
            if storage.is_dead(x, i) and _is_temporary(storage.home[x]):
                storage.free.append(storage.home[x])
        target = wanted.get(i)
        storage.home[i] = buffers[target] if target is not None and storage.is_dead(target, i) else storage.temporary()
        lines.append(f"{call.name}({', '.join([*words, storage.home[i]])})")
    buffers.update({value: storage.home[value] for value in targets.values()})
    return lines


def _copies(targets: dict[int, int], buffers: dict[int, str]) -> list[str]:
    """Copies for results that could not be computed in their target; a source is read before it is overwritten."""
    pending = {buffers[target]: buffers[value] for target, value in targets.items() if buffers[target] != buffers[value]}
    lines = []
    while pending:
        ready = [target for target in pending if target not in pending.values()]
        if not ready:
            raise NotRecordable("state entries that change places")
        for target in ready:
            lines.append(f"copyto({target}, {pending.pop(target)})")
    return lines


class Kernel:
    """A program bound to 0-d arrays of one dtype: ready to run."""

    __slots__ = ("program", "run", "scalars", "cells", "dtype", "_last", "_outputs")

    def __init__(self, program: Program, dtype: Any) -> None:
        self.program = program
        self.dtype = dtype
        self.cells = [np.zeros((), dtype) for _ in range(program.constants)]
        names = {name: getattr(np, name) for name in UFUNCS} | {"copyto": np.copyto}
        self.run = _define(program.array_source, "run", names | {f"c{i}": c for i, c in enumerate(self.cells)})
        mathematics = {"sqrt": math.sqrt, "maximum": max, "minimum": min}
        self.scalars = _define(program.scalar_source, "scalars", mathematics)
        self._last: tuple[float, ...] | None = None
        self._outputs: tuple[float, ...] = ()

    def begin(self) -> None:
        """Forget the scalars: hyper-parameters may have changed since the last step."""
        self._last = None

    def load(self, group: dict[str, Any], given: tuple[float, ...]) -> tuple[float, ...]:
        """Compute the scalars for one parameter, unless the last one had the same; return its new scalar state."""
        if given != self._last:
            values = self.scalars(group, *given)
            for cell, value in zip(self.cells, values, strict=False):
                cell[()] = value
            self._outputs = values[len(self.cells) :]
            self._last = given
        return self._outputs


@lru_cache(maxsize=256)
def _compiled(source: str) -> Any:
    return compile(source, "<update rule>", "exec")


def _define(source: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    namespace = dict(names)
    exec(_compiled(source), namespace)  # noqa: S102 - source assembled above from a rule, never from data
    function: Callable[..., Any] = namespace[name]
    return function


def spans(size: int, step: int) -> Iterable[slice]:
    """Consecutive slices of at most `step` that cover `size` elements."""
    return (slice(start, min(start + step, size)) for start in range(0, size, step))
