"""Python numbers that only a run of the program knows: hyper-parameters, and what `.item()` gives."""

from __future__ import annotations

import math
import operator as py_operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from rushlight.compiler.trace_array import Buffer, TracedArray, broken
from rushlight.modes import state
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from rushlight.tape import Variable, wrap

_SIGNS = {
    "__add__": "+", "__sub__": "-", "__mul__": "*", "__truediv__": "/", "__pow__": "**", "__floordiv__": "//",
    "__mod__": "%",
}  # fmt: skip
_FLOAT, _INT = np.dtype(np.float64), np.dtype(np.int64)


class Known(NamedTuple):
    """A number that the caller gave, or what was computed of such: Python source and the value in the traced call."""

    source: str
    value: Any


def decided(test: str, outcome: bool) -> bool:
    """What the program does depends on a test of Python numbers: its trace holds where the test comes out alike."""
    state.trace.number_tests.append((test if outcome else f"not ({test})", "a number that the function tests"))
    return outcome


def _known(x: Any) -> Known | None:
    if isinstance(x, TracedNumber):
        return x.known
    return Known(f"({x!r})", x) if type(x) is int or type(x) is float and math.isfinite(x) else None


class TracedNumber(TracedArray):
    """A number, float64 or int64. Whether it is 0 may be known: a trace then holds for numbers alike only."""

    __slots__ = ("known", "nonzero")
    is_number = True

    def __init__(self, buffer: Buffer, spec: Spec, nonzero: bool | None = None, known: Known | None = None) -> None:
        super().__init__(buffer, spec)
        self.nonzero = nonzero
        self.known = known

    def __bool__(self) -> bool:
        if self.known is not None:
            return bool(decided(f"({self.known.source}) != 0", self.known.value != 0))
        if self.nonzero is None:
            raise broken("branches on a number that .item() gave")
        return self.nonzero

    def call(self, name: str, *others: Any) -> TracedNumber:
        """A function of update rules."""
        given = tuple(_array(o) for o in (self, *others))
        return _number(OPS[name].apply(given, {}))

    def item(self) -> TracedNumber:
        """Itself."""
        return self

    def __neg__(self) -> TracedNumber:
        return _number(OPS["neg"].apply((_array(self),), {}))

    def __abs__(self) -> TracedNumber:
        return _number(OPS["abs"].apply((_array(self),), {}))

    def __pos__(self) -> TracedNumber:
        return self

    def __format__(self, spec: str) -> str:
        raise broken("formats a number that .item() gave")

    def __str__(self) -> str:
        raise broken("prints a number that .item() gave")

    def __round__(self, digits: int | None = None) -> Any:
        raise broken("rounds a number that .item() gave")

    __hash__ = object.__hash__


def _array(x: Any) -> TracedArray:
    if isinstance(x, TracedArray):
        return TracedArray(x.buffer, x.spec, x.parent, x.step)
    made: TracedArray = state.trace.as_traced(np.asarray(x))
    return made


def _number(x: Any) -> TracedNumber:
    x = x if x.dtype in (_FLOAT, _INT) else x.astype(_FLOAT)
    return TracedNumber(Buffer(x.read()), x.spec)


def _operator(name: str, dunder: str, swap: bool) -> Callable[..., Any]:
    def method(a: Any, b: Any) -> Any:
        if isinstance(b, Variable):
            t = wrap(a)
            return getattr(b, dunder)(t) if swap else getattr(t, dunder)(b)
        if not isinstance(b, (int, float, TracedNumber, np.generic)):
            return NotImplemented
        x, y = _array(a), _array(b if not isinstance(b, np.generic) else b.item())
        if name == "pow" and x.dtype == y.dtype == _INT:
            raise broken("raises an integer that only a run knows to a power")
        if name in ("div", "pow") or x.dtype != y.dtype:
            x, y = x.astype(_FLOAT, copy=False), y.astype(_FLOAT, copy=False)
        made = _number(OPS[name].apply((y, x) if swap else (x, y), {}))
        one, two = _known(b if swap else a), _known(a if swap else b)
        if one is not None and two is not None:
            with suppress(ArithmeticError):
                value = getattr(py_operator, dunder)(one.value, two.value)
                made.known = Known(f"({one.source} {_SIGNS[dunder]} {two.source})", value)
        return made

    return method


def _comparison(dunder: str, sign: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        one, two = _known(self), _known(other)
        if one is None or two is None:
            raise broken("compares a number that .item() gave")
        return decided(f"{one.source} {sign} {two.source}", getattr(py_operator, dunder)(one.value, two.value))

    return method


for _dunder, _op in {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "floordiv": "floor_divide",
    "mod": "remainder",
}.items():  # fmt: skip
    setattr(TracedNumber, f"__{_dunder}__", _operator(_op, f"__{_dunder}__", False))
    setattr(TracedNumber, f"__r{_dunder}__", _operator(_op, f"__{_dunder}__", True))
for _dunder, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}.items():
    setattr(TracedNumber, f"__{_dunder}__", _comparison(f"__{_dunder}__", _sign))
