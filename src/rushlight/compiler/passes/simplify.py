"""Simplification: rules of arithmetic, of shapes and of constants, applied in one walk."""

from __future__ import annotations

from functools import cache

from rushlight.compiler.graph import Graph
from rushlight.compiler.passes import algebra, folding, shapes, writes
from rushlight.compiler.passes.patterns import RULES, rewrites
from rushlight.compiler.passes.rewriter import Rewrite, Rewriter, by_op

__all__ = ["algebra", "simplify"]


def simplify(graph: Graph, *, fast_math: bool = False) -> Graph:
    """Replace what a rule has something simpler for. Calls that nothing uses any more stay for `dce`.

    Before::

        %0: f32[4, 3] = input(name='x')
        %1: f32[4, 3] = neg(%0)
        %2: f32[4, 3] = neg(%1)
        %3: f32[3, 4] = t(%2)
        %4: f32[4, 3] = t(%3)
        %5: f32[4, 3] = mul(%4, 1)
        %6: f32[4, 3] = exp(%5)
        return %6

    After::

        %0: f32[4, 3] = input(name='x')
        %1: f32[4, 3] = neg(%0)
        %2: f32[3, 4] = t(%0)
        %3: f32[4, 3] = exp(%0)
        return %3
    """
    return Rewriter(graph, _rules(fast_math)).run()


@cache
def _rules(fast_math: bool) -> dict[str, list[Rewrite]]:
    """The rules by op; patterns first, as they say most."""
    patterns = (r for r in RULES.values() if r.exact or fast_math)
    return by_op([*rewrites(patterns), *shapes.RULES, *writes.RULES, *folding.rules(fast_math)])
