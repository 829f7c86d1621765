"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.passes.rewriter import Rewriter

_COMMUTE = {"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "bitwise_and", "bitwise_or"}


def cse(graph: Graph) -> Graph:
    """Let one call stand for all calls of the same op on the same operands with the same parameters.

    Random draws are never shared. Before::

        %0: f32[4] = input(name='x')
        %1: f32[4] = input(name='y')
        %2: f32[4] = add(%0, %1)
        %3: f32[4] = add(%1, %0)
        %4: f32[4] = mul(%2, %3)
        return %4

    After::

        %0: f32[4] = input(name='x')
        %1: f32[4] = input(name='y')
        %2: f32[4] = add(%0, %1)
        %3: f32[4] = mul(%2, %2)
        return %3
    """
    return Rewriter(graph, {}, share=_Shared()).run()


class _Shared:
    """The calls seen so far, by what they compute."""

    def __init__(self) -> None:
        self.seen: dict[Any, tuple[Value, ...]] = {}

    def __call__(self, call: Call) -> tuple[Value, ...] | None:
        """The results of an equal earlier call; None for the first of its kind."""
        key = (call.op.name, operands_key(call), *((name, frozen(p)) for name, p in call.params.items()))
        known = self.seen.setdefault(key, call.results)
        return None if known is call.results else known


def operands_key(call: Call) -> Any:
    """The operands as something to compare and hash; those of commutative ops in one order."""
    key = tuple(map(frozen, call.operands))
    if call.op.name in _COMMUTE and all(isinstance(a, Value) for a in call.operands):
        return tuple(sorted(key, key=str))
    return key


def frozen(p: Any) -> Any:
    """`p` as something to compare and hash: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(p, Value):
        return _constant_key(p.data) if p.data is not None and p.data.size <= 16 else (id(p),)
    if type(p) in (tuple, list):
        return tuple(map(frozen, p))
    if type(p) is slice:
        return ("slice", frozen(p.start), frozen(p.stop), frozen(p.step))
    if p is None or p is Ellipsis or type(p) in (int, str, bool) or isinstance(p, np.dtype):
        return (type(p).__name__, str(p))
    if type(p) in (float, complex):
        return (type(p).__name__, repr(p))
    return ("object", id(p))


def _constant_key(data: Any) -> Any:
    return (data.dtype.str, data.shape, data.tobytes())
