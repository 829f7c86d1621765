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

KERNEL, PRODUCT, HOST = "#dbe9f6", "#e8e0f0", "#f6d9d9"
LONGEST = 44  # letters in a line of a box
MOST_TAKEN = 5  # inputs or results that are named in a box


def draw(compiled: Any, path: str | Path | None = None, *, limit: int = 1000) -> Picture:
    """Draw the program of the trace that ran last.

    Kernels are blue, those with a matrix product or convolution violet, calls of NumPy red. Each box says which ops and
    lines it carries out, what it takes from outside, and what it gives back or changes there.

    Parameters
    ----------
    path : path, optional
        Where to save the picture; the name says the format, `.svg` needs no other library.
    limit : int
        Largest number of steps that is drawn.

    Raises
    ------
    ValueError
        If nothing was compiled yet, or there are more than `limit` steps.
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
    """A box for each step; what it takes from outside and gives to it stands in the box, so that arrows stay few."""
    if len(program.steps) > limit:
        raise ValueError(f"draw: the program has {len(program.steps)} steps; pass limit= to draw more than {limit}")
    made: dict[Value, Box] = {}
    given = _given(program)
    boxes = []
    for step in program.steps:
        inputs = [v for v in _roots(step) if v.is_input]
        results = [line for v in _results(step) for line in given.get(v, ())]
        box = Box(_lines(step, inputs, results), _colour(step))
        box.sources = list(dict.fromkeys(made[v] for v in _roots(step) if v in made))
        made.update((v, box) for v in _results(step))
        boxes.append(box)
    return boxes


def _given(program: Any) -> dict[Value, list[str]]:
    """What becomes of the values that outlive the program."""
    given: dict[Value, list[str]] = {}
    for v in program.graph.outputs:
        given.setdefault(_root(v), []).append(f"gives {_shown(v)}")
    for target, v in program.graph.updates:
        given.setdefault(_root(v), []).append(f"changes {target.name} {_shown(v)}".replace("  ", " "))
    return given


def _lines(step: Step, inputs: list[Value], results: list[str]) -> tuple[str, ...]:
    calls = calls_of(step)
    names = " ".join(dict.fromkeys(c.op.name for c in calls))
    cost = cost_of(step)
    work = f"{cost.bytes / 1e3:,.1f} kB" + (f", {cost.flops / 1e6:,.1f} MFLOP" if _is_product(step) else "")
    lines = [name_of(step), names if len(calls) > 1 and names != name_of(step) else "", work, lines_of(step)]
    lines += [f"takes {v.name} {_shown(v)}".replace("  ", " ") for v in inputs] if len(inputs) <= MOST_TAKEN else []
    lines += [f"takes {len(inputs)} inputs"] if len(inputs) > MOST_TAKEN else []
    lines += results if len(results) <= MOST_TAKEN else [f"gives or changes {len(results)} arrays"]
    return tuple(_short(line) for line in lines if line)


def _short(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _is_product(step: Step) -> bool:
    return isinstance(step, Kernel) and bool(step.flops)


def _colour(step: Step) -> str:
    return PRODUCT if _is_product(step) else KERNEL if isinstance(step, Kernel) else HOST


def _shown(value: Value) -> str:
    return f"{NAMES[value.dtype]} {list(value.shape)}"


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
