"""Passes over graphs: pure functions `Graph -> Graph`, and the order in which a program goes through them."""

from __future__ import annotations

import gc
from collections.abc import Callable

from rushlight.compiler.graph import Graph
from rushlight.compiler.passes.cse import cse
from rushlight.compiler.passes.dce import dce
from rushlight.compiler.passes.layouts import layouts
from rushlight.compiler.passes.simplify import simplify
from rushlight.compiler.show import is_shown, show
from rushlight.compiler.text import text
from rushlight.compiler.verify import verify

Stages = tuple[tuple[str, Callable[[Graph], Graph]], ...]

__all__ = ["cse", "dce", "layouts", "optimise", "simplify"]


def optimise(graph: Graph, *, fast_math: bool = False) -> Graph:
    """The graph made smaller and cheaper, with the same inputs, results and random draws.

    Parameters
    ----------
    graph : Graph
        Stays as it is.
    fast_math : bool
        Also apply rules that change more than rounding (overflow, NaN, the sign of zero).
    """
    stages: Stages = (
        ("simplify", lambda g: simplify(g, fast_math=fast_math)),
        ("cse", cse),
        # what became equal, or one operand, in the first round
        ("simplify", lambda g: simplify(g, fast_math=fast_math)),
        ("cse", cse),
        ("dce", dce),
        ("layouts", layouts),
    )
    collects = gc.isenabled()
    gc.disable()  # much is made and most of it kept: going through it again and again finds nothing
    try:
        return _through(stages, graph)
    finally:
        if collects:
            gc.enable()


def _through(stages: Stages, graph: Graph) -> Graph:
    """The graph after all stages, shown and checked between them where the settings say so."""
    checked = is_shown("verify")
    if checked:
        verify(graph, "the traced graph")
    if is_shown("trace"):
        show("trace", text(graph))
    for name, stage in stages:
        before, graph = graph, stage(graph)
        if checked:
            verify(graph, f"the graph after {name}", before)
        if is_shown(name):
            show(name, text(graph))
    if is_shown("graph"):
        show("graph", text(graph))
    return graph
