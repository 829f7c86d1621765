"""Updates of all large parameters of a group as one compiled program, where there is a compiler.

The choice depends on sizes, dtypes and layouts alone, so that a run gives the same bits when it is repeated or resumed.
"""

from __future__ import annotations

from operator import is_
from typing import Any

import numpy as np

from rushlight.ops import native
from rushlight.optim.kernel import Kernel

ndarray = np.ndarray
# Elements of a group's parameters from which a program pays (benchmarks/eager.py).
FLOOR = 1 << 15
# The same for rules without state arrays, of which NumPy's form has two or three passes.
FLOOR_STATELESS = 1 << 19
# Sets of parameters that get a program of their own; others are updated one parameter at a time, to the same bits.
MOST_SETS = 8
MOST_SIZES = 512
# A parameter, the array of its gradient, its state.
Member = tuple[Any, Any, dict[str, Any]]


def is_small(params: list[Any], floor: int) -> bool:
    """Whether parameters have fewer elements together."""
    total = 0
    for p in params:
        total += p._data.size
        if total >= floor:
            return False
    return True


class Together:
    """The programs of one update rule."""

    __slots__ = ("_count", "_programs", "_seen", "_together", "kernel")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._programs: dict[tuple[int, ...], Any] = {}
        self._count = 0
        self._seen: list[Any] = []
        self._together: list[bool] = []

    def __call__(self, members: list[Member], hyper: dict[str, Any]) -> list[Member]:
        """Update those that can be; returns the others."""
        targets = self._targets(members)
        if len(targets) != len(self._seen) or not all(map(is_, targets, self._seen)):
            self._together = self._choose(members)
            self._seen = targets
        if not any(self._together):
            return members
        chosen, others = [], []
        for (p, g, state), is_chosen in zip(members, self._together, strict=True):
            data = p._data
            if not is_chosen or g.shape != data.shape or g.dtype != data.dtype:
                others.append((p, g, state))
            else:
                chosen.append((p, g if g.flags.c_contiguous else np.ascontiguousarray(g), state))
        return others + self._update(chosen, hyper)

    def _targets(self, members: list[Member]) -> list[Any]:
        """All arrays that change."""
        names = self.kernel.array_inputs
        targets = []
        for p, _, state in members:
            targets.append(p._data)
            for name in names:
                targets.append(state[name]._data)
        return targets

    def _choose(self, members: list[Member]) -> list[bool]:
        """For each parameter whether a program may update it."""
        chosen = [self._is_plain(p._data, state) for p, _, state in members]
        total = sum(p._data.size for (p, _, _), good in zip(members, chosen, strict=True) if good)
        floor = FLOOR if self.kernel.array_inputs else FLOOR_STATELESS
        if total < floor or len({id(p) for p, _, _ in members}) < len(members):
            return [False] * len(members)
        return chosen

    def _is_plain(self, data: Any, state: dict[str, Any]) -> bool:
        held = [data, *(state[name]._data for name in self.kernel.array_inputs)]
        return data.size > 0 and all(
            type(a) is ndarray and a.dtype == data.dtype and a.shape == data.shape and a.flags.c_contiguous
            for a in held
        )

    def _update(self, members: list[Member], hyper: dict[str, Any]) -> list[Member]:
        """Update as many at once as have the same scalar state; returns those that share memory."""
        names = self.kernel.scalar_inputs
        given = [tuple([float(state[name]._data) for name in names]) for _, _, state in members]
        if not given:
            return members
        if given.count(given[0]) == len(given):
            program = self._program(members)
            if program is not None:
                return [] if self._run(program, members, given[0], hyper) else members
        left = []
        for member, scalars in zip(members, given, strict=True):
            program = self._program([member])
            if program is None or not self._run(program, [member], scalars, hyper):
                left.append(member)
        return left

    def _run(self, program: Any, members: list[Member], given: tuple[float, ...], hyper: dict[str, Any]) -> bool:
        new = self.kernel.load(hyper, given)
        if not program(self._targets(members), [g for _, g, _ in members]):
            return False
        names = self.kernel.scalar_inputs
        for _, _, state in members:
            for name, value in zip(names, new, strict=True):
                state[name]._data[()] = value
        return True

    def _program(self, members: list[Member]) -> Any:
        sizes = tuple([p._data.size for p, _, _ in members])
        if sizes in self._programs:
            return self._programs[sizes]
        if len(self._programs) >= MOST_SIZES or len(sizes) > 1 and self._count >= MOST_SETS:
            return None
        self._count += len(sizes) > 1
        kernel = self.kernel
        counts = (1 + len(kernel.array_inputs), 1)
        made = native.update(kernel.define, kernel.program.scratch, kernel.cells, counts, sizes)
        self._programs[sizes] = made
        return made
