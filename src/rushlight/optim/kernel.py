"""Running the in-place programs of update rules, in pieces that fit into a core's caches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from rushlight.optim.program import UFUNCS, Program

# Elements per piece: scratch memory stays small and in cache. Measured from 8192 to 262144: larger was never slower.
PIECE = 262144
# Shapes whose scratch views are kept; a model has fewer.
SHAPES_KEPT = 1024


class Kernel:
    """A program bound to 0-d arrays and scratch memory of one dtype.

    Call `begin` before each step, then the kernel once for each parameter.
    """

    __slots__ = (
        "_last",
        "_outputs",
        "array_inputs",
        "base",
        "cells",
        "dtype",
        "program",
        "run",
        "scalar_inputs",
        "scalars",
        "scratch",
    )

    def __init__(self, program: Program, dtype: Any) -> None:
        self.program = program
        self.dtype = dtype
        self.scalar_inputs = program.scalar_inputs
        self.array_inputs = program.array_inputs
        self.cells = [np.zeros((), dtype) for _ in range(program.constants)]
        names = {name: getattr(np, name) for name in UFUNCS} | {"copyto": np.copyto}
        self.run = _define(program.array_source, "run", names | {f"c{i}": c for i, c in enumerate(self.cells)})
        mathematics = {"sqrt": math.sqrt, "maximum": max, "minimum": min}
        self.scalars = _define(program.scalar_source, "scalars", mathematics)
        self.base = [np.empty(PIECE, dtype) for _ in range(program.scratch)]
        self.scratch: dict[tuple[int, ...], list[Any]] = {}
        self._last: tuple[float, ...] | None = None
        self._outputs: tuple[float, ...] = ()

    def define(self, names: dict[str, Any]) -> Callable[..., None]:
        """The array code over other functions and constants than NumPy's."""
        return _define(self.program.array_source, "run", names)

    def begin(self) -> None:
        """Forget the scalars: hyper-parameters may have changed since the last step."""
        self._last = None

    def load(self, group: dict[str, Any], given: tuple[float, ...]) -> tuple[float, ...]:
        """Compute the scalars for one parameter, unless the last one had the same; return its new scalar state."""
        if given != self._last:
            values = self.scalars(group, *given)
            for cell, value in zip(self.cells, values, strict=False):
                cell[()] = value
            self._outputs = values[len(self.cells) :]
            self._last = given
        return self._outputs

    def __call__(self, data: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter and its state."""
        scalars = self.scalar_inputs
        if len(scalars) == 1:
            cell = state[scalars[0]]._data
            cell[()] = self.load(group, (float(cell),))[0]
        elif scalars:
            cells = [state[name]._data for name in scalars]
            for cell, value in zip(cells, self.load(group, tuple(map(float, cells))), strict=True):
                cell[()] = value
        elif self._last is None:
            self.load(group, ())
        arrays = [state[name]._data for name in self.array_inputs] if self.array_inputs else ()
        scratch = self.scratch.get(data.shape)
        if scratch is not None:
            self.run(data, g, *arrays, *scratch)
        elif data.size <= PIECE:
            self.run(data, g, *arrays, *self._views(data.shape))
        else:
            self._run_large([data, g, *arrays])

    def _views(self, shape: tuple[int, ...]) -> list[Any]:
        views = [t[: math.prod(shape)].reshape(shape) for t in self.base]
        if len(self.scratch) >= SHAPES_KEPT:
            self.scratch.clear()
        self.scratch[shape] = views
        return views

    def _run_large(self, arrays: list[Any]) -> None:
        size = arrays[0].size
        if not all(a.flags.c_contiguous for a in arrays):
            self.run(*arrays, *[np.empty_like(arrays[0]) for _ in self.base])
            return
        flat = [a.reshape(-1) for a in arrays]
        for start in range(0, size, PIECE):
            stop = min(start + PIECE, size)
            self.run(*[a[start:stop] for a in flat], *[t[: stop - start] for t in self.base])


@lru_cache(maxsize=256)
def _compiled(source: str) -> Any:
    return compile(source, "<update rule>", "exec")


def _define(source: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    namespace = dict(names)
    # The source was assembled by `program.record` from an update rule, never from data.
    exec(_compiled(source), namespace)
    function: Callable[..., Any] = namespace[name]
    return function
