"""Rewrite rules written in the ops' own language: a function that returns an expression and what may stand for it.

    @rule
    def double_negation(x):
        return neg(neg(x)), x

Called with symbols, the function gives two patterns; called with arrays it computes both sides, so that every rule is
its own test. Rules that differ from eager execution in more than rounding (also for NaN, infinities and overflow) say
`exact=False` and run only under `fast_math=True`; rules that may turn -0.0 into 0.0 or back say `zeros=True`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from rushlight.compiler.graph import Call, Value
from rushlight.compiler.passes.rewriter import Rewriter
from rushlight.ops.kinds import OPS, Composite, Op

ANY = "biufcV"  # letters of all dtypes; products of complex infinities follow no rule
_COMMUTE = {"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "bitwise_and", "bitwise_or"}
_OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "gt": "gt", "lt": "lt"}


class Symbol:
    """A variable of a rule, or an op applied to symbols and numbers."""

    op_rank = 1
    __array_ufunc__ = None

    def __init__(self, op: Op | None = None, operands: tuple[Any, ...] = (), params: Any = None) -> None:
        self.op = op
        self.operands = operands
        self.params = params or {}

    def interpret(self, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Note an op; composites are noted as their parts."""
        return op.body(*operands, **params) if isinstance(op, Composite) else Symbol(op, operands, params)

    def __neg__(self) -> Any:
        return OPS["neg"](self)


def _operator(name: str, swap: bool) -> Callable[[Any, Any], Any]:
    return lambda a, b: OPS[name](b, a) if swap else OPS[name](a, b)


for _dunder, _name in _OPERATORS.items():
    setattr(Symbol, f"__{_dunder}__", _operator(_name, False))
    setattr(Symbol, f"__r{_dunder}__", _operator(_name, True))


@dataclass(frozen=True)
class Rule:
    """A rewrite rule.

    Attributes
    ----------
    function : gives (what is looked for, what stands for it) for symbols or arrays
    names : its variables; those in `numbers` stand for Python numbers, the others for values
    exact, zeros : see the module
    kinds : letters of the dtypes of results to which it applies
    """

    function: Callable[..., tuple[Any, Any]]
    names: tuple[str, ...]
    numbers: frozenset[str]
    exact: bool
    zeros: bool
    kinds: str


RULES: dict[str, Rule] = {}


F = TypeVar("F", bound=Callable[..., Any])


@overload
def rule(function: F) -> F: ...
@overload
def rule(*, exact: bool = True, zeros: bool = False, kinds: str = "biufV") -> Callable[[F], F]: ...
def rule(
    function: Callable[..., Any] | None = None, *, exact: bool = True, zeros: bool = False, kinds: str = "biufV"
) -> Any:
    """Declare a rule."""

    def declare(f: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(f).parameters
        numbers = frozenset(n for n, p in signature.items() if p.annotation in (float, "float"))
        RULES[f.__name__] = Rule(f, tuple(signature), numbers, exact, zeros, kinds)
        return f

    return declare(function) if function else declare


def rewrites(rules: Iterator[Rule]) -> Iterator[tuple[tuple[str, ...], Callable[[Call, Rewriter], Any]]]:
    """The rules as `Rewriter` takes them."""
    for r in rules:
        variables = {name: Symbol() for name in r.names}
        before, after = r.function(**variables)
        numbers = frozenset(variables[n] for n in r.numbers)
        patterns = list(_orders(before))
        yield (before.op.name,), _rewrite(patterns, after, numbers, r.kinds)


def _orders(pattern: Any) -> Iterator[Any]:
    """The pattern with the operands of commutative ops in every order."""
    if not isinstance(pattern, Symbol) or pattern.op is None:
        yield pattern
        return
    for operands in itertools.product(*(list(_orders(a)) for a in pattern.operands)):
        yield Symbol(pattern.op, operands, pattern.params)
        if pattern.op.name in _COMMUTE and operands[0] is not operands[1]:
            yield Symbol(pattern.op, operands[::-1], pattern.params)


def _rewrite(
    patterns: list[Any], after: Any, numbers: frozenset[Symbol], kinds: str
) -> Callable[[Call, Rewriter], Any]:
    def apply(call: Call, rewriter: Rewriter) -> Any:
        spec = call.results[0].spec
        if spec.dtype.kind not in kinds:
            return None
        for pattern in patterns:
            found: dict[Symbol, Any] = {}
            if _matches_call(pattern, call, found, numbers) and _alike(found, spec):
                return _fitted(_built(after, found, rewriter), spec, rewriter)
        return None

    return apply


def _matches_call(pattern: Symbol, call: Call, found: dict[Symbol, Any], numbers: frozenset[Symbol]) -> bool:
    if call.op is not pattern.op or call.params != pattern.params:
        return False
    return all(_matches(p, a, found, numbers) for p, a in zip(pattern.operands, call.operands, strict=True))


def _matches(pattern: Any, a: Any, found: dict[Symbol, Any], numbers: frozenset[Symbol]) -> bool:
    if not isinstance(pattern, Symbol):
        return not isinstance(a, Value) and _same_number(pattern, a)
    if pattern.op is not None:
        return isinstance(a, Value) and a.call is not None and _matches_call(pattern, a.call, found, numbers)
    if pattern in numbers:
        fits = isinstance(a, (int, float)) and not isinstance(a, bool)
    else:
        fits = isinstance(a, Value)
    if not fits:
        return False
    known = found.setdefault(pattern, a)
    return known is a or not isinstance(a, Value) and _same_number(known, a)


def _same_number(a: Any, b: Any) -> bool:
    return isinstance(b, (int, float)) and a == b and str(float(a)) == str(float(b))


def _alike(found: dict[Symbol, Any], spec: Any) -> bool:
    """Whether no variable has another dtype than the result, but for masks."""
    return all(
        not isinstance(v, Value) or v.dtype == spec.dtype or v.dtype.kind == "b" or spec.dtype.kind == "b"
        for v in found.values()
    )


def _built(pattern: Any, found: dict[Symbol, Any], rewriter: Rewriter) -> Any:
    if not isinstance(pattern, Symbol):
        return pattern
    if pattern.op is None:
        return found[pattern]
    operands = tuple(_built(a, found, rewriter) for a in pattern.operands)
    if not any(isinstance(a, Value) for a in operands):
        return pattern.op.body(None, *operands)  # arithmetic of numbers
    return rewriter.make(pattern.op.name, *operands, **pattern.params)


def _fitted(value: Any, spec: Any, rewriter: Rewriter) -> Any:
    """`value` broadcast to the shape of what it stands for; None where its dtype differs."""
    if not isinstance(value, Value) or value.dtype != spec.dtype:
        return None
    return value if value.shape == spec.shape else rewriter.make("expand", value, shape=spec.shape)
