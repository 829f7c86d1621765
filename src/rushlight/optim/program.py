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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Rule = Callable[[Any, Any, dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]


class NotRecordable(Exception):
    """The rule did something that has no in-place form; it runs as it stands."""


class Scalar:
    """A number known at every step: Python source over the names of the inputs.

    Its truth value is fixed when the program is recorded (a program is recorded per combination of zero and
    non-zero hyper-parameters), which is all that rules may ask of it.
    """

    __slots__ = ("nonzero", "source")

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

    __slots__ = ("index", "recorder")
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

# NumPy takes their output by keyword only.
KEYWORD_OUT = ("maximum", "minimum")
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
    """Which array holds which value while the program is laid out.

    Attributes
    ----------
    last_use : index of the call that reads a value last; results are read by the caller, after all calls
    home : array of each value
    ready : for the arrays of the parameter and its state, the call that makes their new value
    free : scratch arrays that hold nothing
    """

    last_use: dict[int, int]
    home: dict[int, str]
    ready: dict[str, int]
    free: list[str] = field(default_factory=list)
    scratch: int = 0

    def is_dead(self, value: int, now: int) -> bool:
        """Whether nothing after call `now` reads `value`."""
        return self.last_use.get(value, -1) <= now

    def choose(self, operands: tuple[int | str, ...], now: int, wanted: str | None) -> str:
        """An array for the result of call `now`: the wanted one, one whose value dies here, or scratch."""
        if wanted is not None and not self._is_taken(wanted, now):
            return wanted
        dying = [self.home[x] for x in operands if isinstance(x, int) and self.is_dead(x, now)]
        for array in dying:
            # An array that waits for its new value may serve until then.
            if self.ready.get(array, -1) >= self.last_use.get(now, now) and not self._is_taken(array, now):
                return array
        if not self.free:
            self.free.append(f"t{self.scratch}")
            self.scratch += 1
        return self.free.pop()

    def _is_taken(self, array: str, now: int) -> bool:
        return any(home == array and not self.is_dead(value, now) for value, home in self.home.items())


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
    storage_count = max(
        (int(word[1:]) + 1 for line in lines for word in _words(line) if _is_temporary(word)), default=0
    )
    names = ["p", "g", *(f"a_{name}" for name in arrays), *(f"t{i}" for i in range(storage_count))]
    array_source = f"def run({', '.join(names)}):\n" + "".join(f"    {line}\n" for line in body or ["pass"])
    tuple_source = "".join(f"{source}, " for source in [*constants, *outputs])
    scalar_source = (
        f"def scalars({', '.join(['h', *(f's_{name}' for name in scalars)])}):\n    return ({tuple_source})\n"
    )
    return Program(scalars, arrays, len(constants), storage_count, scalar_source, array_source)


def _words(line: str) -> list[str]:
    return [word.removeprefix("out=") for word in line[line.index("(") + 1 : -1].split(", ")]


def _is_temporary(word: str) -> bool:
    return word[0] == "t" and word[1:].isdigit()


def _place(calls: list[Call], buffers: dict[int, str], targets: dict[int, int], constants: dict[str, int]) -> list[str]:
    """Give every value an array: its target if the target's old value is no longer needed, else scratch."""
    last_use = {x: i for i, call in enumerate(calls) for x in call.operands if isinstance(x, int)}
    last_use.update((value, len(calls)) for value in targets.values())
    ready = {buffers[target]: value if value >= 0 else len(calls) for target, value in targets.items()}
    storage = _Storage(last_use, dict(buffers), ready)
    wanted = {value: buffers[target] for target, value in targets.items() if value >= 0}
    lines = []
    for i, call in enumerate(calls):
        words = [
            storage.home[x] if isinstance(x, int) else f"c{constants.setdefault(x, len(constants))}"
            for x in call.operands
        ]
        for x in {x for x in call.operands if isinstance(x, int)}:
            if storage.is_dead(x, i) and _is_temporary(storage.home[x]):
                storage.free.append(storage.home[x])
        storage.home[i] = storage.choose(call.operands, i, wanted.get(i))
        out = f"out={storage.home[i]}" if call.name in KEYWORD_OUT else storage.home[i]
        lines.append(f"{call.name}({', '.join([*words, out])})")
    buffers.update({value: storage.home[value] for value in targets.values()})
    return lines


def _copies(targets: dict[int, int], buffers: dict[int, str]) -> list[str]:
    """Copies for results that could not be computed in their target; a source is read before it is overwritten."""
    pending = {
        buffers[target]: buffers[value] for target, value in targets.items() if buffers[target] != buffers[value]
    }
    lines = []
    while pending:
        ready = [target for target in pending if target not in pending.values()]
        if not ready:
            raise NotRecordable("state entries that change places")
        for target in ready:
            lines.append(f"copyto({target}, {pending.pop(target)})")
    return lines
