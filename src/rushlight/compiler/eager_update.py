"""Optimizer updates of many parameters as one program.

The array code of an update rule (`optim/program.py`) is straight-line: here it runs once per parameter on names for
values of a graph, and what it leaves in the parameter and its state is what the program writes to their memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from rushlight.compiler import program
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.passes import optimise
from rushlight.compiler.plan import address_of
from rushlight.compiler.schedule import schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

OP_OF = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "negative": "neg",
    "absolute": "abs", "sqrt": "sqrt", "sign": "sign", "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip
ArrayCode = Callable[[dict[str, Any]], Callable[..., None]]


class _Cell:
    """A name in the array code: what its array holds now."""

    __slots__ = ("value",)

    def __init__(self, value: Value | None = None) -> None:
        self.value = value


def make(code: ArrayCode, scratch: int, cells: Sequence[Any], counts: tuple[int, int], sizes: Sequence[int]) -> Any:
    """The update of parameters of these sizes, or None where there is no native code for it.

    Parameters
    ----------
    code : gives the function over (p, g, state.., scratch..) for the NumPy functions and constants it calls by name
    scratch : number of its temporary arrays
    cells : the 0-d arrays c0, c1, .. that hold its constants at each run
    counts : how many arrays a parameter has that change, and how many that are only read
    sizes : elements of each parameter
    """
    if not is_available():
        return None
    graph = Graph()
    dtype = cells[0].dtype
    names: dict[str, Any] = {f"c{i}": _Cell(graph.input(Spec((), dtype))) for i in range(len(cells))}
    names.update((name, _function(graph, op)) for name, op in OP_OF.items())
    names["copyto"] = _copy
    function = code(names)
    for n in sizes:
        arrays = [_Cell(graph.input(Spec((n,), dtype))) for _ in range(sum(counts))]
        before = [cell.value for cell in arrays]
        function(*arrays, *(_Cell() for _ in range(scratch)))
        for old, cell in zip(before, arrays, strict=True):
            if cell.value is not old and old is not None and cell.value is not None:
                graph.updates.append((old, cell.value))
    graph = optimise(graph)
    steps = schedule(graph)
    if any(isinstance(step, HostCall) for step in steps):
        return None
    return Update(program.build(graph, steps), cells, sizes)


def _function(graph: Graph, name: str) -> Callable[..., None]:
    op = OPS[name]

    def call(*cells: Any, out: Any = None) -> None:
        operands, target = (cells[:-1], cells[-1]) if out is None else (cells, out)
        target.value = graph.call(op, tuple([cell.value for cell in operands]), {})

    return call


def _copy(target: Any, source: Any) -> None:
    target.value = source.value


class Update:
    """A program bound to parameters and their state; each run takes other gradients."""

    def __init__(self, made: program.Program, cells: Sequence[Any], sizes: Sequence[int]) -> None:
        self.program = made
        self.cells = cells
        self.sizes = sizes
        self.held: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.fits = False
        for i, cell in enumerate(cells):
            made.bind(i, cell)

    def __call__(self, targets: list[Any], gradients: list[Any]) -> bool:
        """Update; False, with nothing done, if arrays share memory or cannot be written.

        `targets` are the parameter and the state arrays of the first, of the second, ..; all arrays are row-major and
        of the dtype of the cells.
        """
        held = self.held
        if len(held) != len(targets) or not all(map(is_, held, targets)):
            self._hold(targets)
        if not self.fits:
            return False
        point, width = self.program.point, len(targets) // len(gradients) + 1
        starts, ends = self.starts, self.ends
        at = len(self.cells) + 1
        for g in gradients:
            start = address_of(g)
            # the last target that begins before the gradient's end must end before its start
            before = bisect_right(starts, start + g.nbytes - 1)
            if before and ends[before - 1] > start:
                return False
            point(at, start)
            at += width
        self.program.run()
        return True

    def _hold(self, targets: list[Any]) -> None:
        self.held = []
        self.fits = all(a.flags.writeable and a.flags.aligned for a in targets)
        ranges = sorted((address_of(a), address_of(a) + a.nbytes) for a in targets)
        self.starts = [start for start, _ in ranges]
        self.ends = [end for _, end in ranges]
        self.fits = self.fits and all(end <= start for end, start in zip(self.ends, self.starts[1:], strict=False))
        width = len(targets) // len(self.sizes)
        at = len(self.cells)
        for i, a in enumerate(targets):
            # the gradient comes second
            self.program.point(at + i // width * (width + 1) + (i % width and i % width + 1), address_of(a))
        self.held = targets
