"""`compiled.draw("step.svg")`: the steps of a program as boxes, and what flows between them as arrows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rushlight.compiler.explain import calls_of, cost_of, lines_of, name_of
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel, Step
from rushlight.compiler.text import NAMES
from rushlight.ops.kinds import View
from rushlight.utils.diagram import Box, laid_out
from rushlight.utils.picture import Picture

KERNEL, PRODUCT, HOST, INPUT, RESULT = "#dbe9f6", "#e8e0f0", "#f6d9d9", "#fde5c8", "#d5efd5"
LONGEST = 44  # letters in a line of a box


def draw(compiled: Any, path: str | Path | None = None, *, limit: int = 1000) -> Picture:
    """Draw the program of the trace that ran last.

    Kernels are blue, those with a matrix product or convolution violet, calls of NumPy red; what the function takes is
    orange, what it gives back or changes green.

    Parameters
    ----------
    path : path, optional
        Where to save the picture; the name says the format, `.svg` needs no other library.
    limit : int
        Largest number of boxes that is drawn.

    Raises
    ------
    ValueError
        If nothing was compiled yet, or there are more than `limit` boxes.
    """
    if not compiled.traces:
        raise ValueError("draw: the function was not compiled yet; call it first")
    trace = compiled.traces[0]
    boxes = _boxes(trace.program, limit)
    picture = laid_out(boxes, getattr(compiled.fn, "__qualname__", "program"))
    if path is not None:
        picture.save(path)
    return picture


def _boxes(program: Any, limit: int) -> list[Box]:
    made: dict[Value, Box] = {}
    boxes: list[Box] = []
    inputs: dict[Value, Box] = {}
    for step in program.steps:
        box = Box(_lines(step), _colour(step))
        sources: dict[Box, None] = {}
        for value in _roots(step):
            if value in made:
                sources[made[value]] = None
            elif value.is_input:
                sources[inputs.setdefault(value, Box(_shown(value, "input"), INPUT))] = None
        box.sources = list(sources)
        boxes.append(box)
        made.update((v, box) for v in _results(step))
    ends = [(_root(v), Box(_shown(v, "result"), RESULT)) for v in program.graph.outputs]
    ends += [(_root(v), Box(_shown(target, "new"), RESULT)) for target, v in program.graph.updates]
    for value, box in ends:
        source = made.get(value) or inputs.get(value)
        if source is not None:
            box.sources = [source]
    found = [*inputs.values(), *boxes, *(box for _, box in ends if box.sources)]
    if len(found) > limit:
        raise ValueError(f"draw: the program has {len(found)} boxes; pass limit= to draw more than {limit}")
    return found


def _lines(step: Step) -> tuple[str, ...]:
    calls = calls_of(step)
    names = " ".join(dict.fromkeys(c.op.name for c in calls))
    cost = cost_of(step)
    numbers = [f"{cost.bytes / 1e3:,.1f} kB"] + ([f"{cost.flops / 1e6:,.1f} MFLOP"] if _is_product(step) else [])
    lines = [_short(name_of(step)), _short(names) if len(calls) > 1 else "", ", ".join(numbers), _short(lines_of(step))]
    return tuple(line for line in lines if line)


def _short(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _is_product(step: Step) -> bool:
    return isinstance(step, Kernel) and bool(step.flops)


def _colour(step: Step) -> str:
    return PRODUCT if _is_product(step) else KERNEL if isinstance(step, Kernel) else HOST


def _shown(value: Value, what: str) -> tuple[str, ...]:
    return (value.name or what, f"{NAMES[value.dtype]} {list(value.shape)}")


def _roots(step: Step) -> list[Value]:
    values = step.reads if isinstance(step, Kernel) else step.call.values()
    return list(dict.fromkeys(_root(v) for v in values))


def _results(step: Step) -> tuple[Value, ...]:
    return step.writes if isinstance(step, Kernel) else step.call.results


def _root(value: Value) -> Value:
    """The value whose memory `value` shows."""
    while value.call is not None and isinstance(value.call.op, View) and isinstance(value.call.operands[0], Value):
        value = value.call.operands[0]
    return value
