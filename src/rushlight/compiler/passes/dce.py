"""Dead code: calls whose results nothing uses are dropped."""

from __future__ import annotations

from rushlight.compiler.graph import Graph


def dce(graph: Graph) -> Graph:
    """Keep what outputs, updates and random draws need. Inputs stay, used or not.

    Before::

        %0: f32[4] = input(name='x')
        %1: f32[4] = exp(%0)
        %2: f32[4] = neg(%1)
        %3: f32[4] = sqrt(%0)
        return %3

    After::

        %0: f32[4] = input(name='x')
        %1: f32[4] = sqrt(%0)
        return %1
    """
    wanted = set(graph.kept())
    calls = []
    for call in reversed(graph.calls):
        if call.has_effect or not wanted.isdisjoint(call.results):
            calls.append(call)
            wanted.update(call.values())
    return Graph(list(graph.inputs), calls[::-1], list(graph.outputs), list(graph.updates))
