"""What the steps of a program work on: addresses for native code, arrays for host calls, and how inputs get there."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler import plan as planning
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.program_memory import Memory, array_at
from rushlight.ops.random import draw_contiguous, draw_into
from rushlight.spec import Spec

ndarray = np.ndarray


@dataclass(eq=False)
class Place:
    """An input or output: what is bound to it now, and where its address and its array are looked for."""

    home: planning.Home
    cells: list[tuple[int, int]]
    followers: list[tuple[int, Value | None]]
    array: Any = None


class Slots:
    """The addresses that kernels read, all in one array; cells of inputs and outputs follow what is bound."""

    def __init__(self, plan: planning.Plan, memory: Memory) -> None:
        self.plan = plan
        self.memory = memory
        self.words: list[int] = []
        self.cells: dict[planning.Home, list[tuple[int, int]]] = {}
        self.moving: list[int] = []
        self.array: Any = None
        self.address = 0

    def add(self, values: Sequence[Value], workspace: int) -> int:
        """Slots for a kernel; their offset in bytes."""
        start = len(self.words)
        for value in values:
            self._show(value)
        self._in_arena(workspace)
        return start * 8

    def add_copy(self, home: planning.Home, source: Value, size: int) -> int:
        """Slots for a copy of `size` bytes."""
        start = len(self.words)
        self._follow(home, 0)
        self._show(source)
        self.words.append(size)
        return start * 8

    def _show(self, value: Value) -> None:
        root = self.plan.root(value)
        offset = self.plan.layouts[value][0] if root is not value else 0
        home = self.plan.homes.get(root)
        if home is None:
            self.words.append(self.memory.address(root) + offset)
        elif home.place == "arena":
            self._in_arena(self.memory.address(root) + offset)
        else:
            self._follow(home, offset)

    def _in_arena(self, address: int) -> None:
        if self.memory.moves:
            self.moving.append(len(self.words))
        self.words.append(address)

    def _follow(self, home: planning.Home, offset: int) -> None:
        self.cells.setdefault(home, []).append((len(self.words), offset))
        self.words.append(0)

    def finish(self) -> None:
        """Nothing more is added."""
        self.array = (ctypes.c_uint64 * max(1, len(self.words)))(*self.words)
        self.address = ctypes.addressof(self.array)
        self.numbers = np.frombuffer(self.array, np.uint64)
        self.indices = np.array(self.moving, np.intp)
        self.offsets = self.numbers[self.indices]

    def move(self, start: int) -> None:
        """Let the arena begin at another address."""
        self.numbers[self.indices] = self.offsets + np.uint64(start)

    def put(self, cells: list[tuple[int, int]], address: int) -> None:
        """Write an input's or output's address where it is looked for."""
        array = self.array
        for cell, offset in cells:
            array[cell] = address + offset


class Table:
    """The arrays that host calls and copies work on; those over inputs and outputs follow what is bound."""

    def __init__(self, plan: planning.Plan, memory: Memory) -> None:
        self.plan = plan
        self.memory = memory
        self.arrays: list[Any] = []
        self.positions: dict[Any, int] = {}
        self.followers: dict[planning.Home, list[tuple[int, Value | None]]] = {}
        self.moving: list[tuple[int, Spec, Any, int]] = []

    def staging(self, copy: planning.Copy) -> int:
        """Position of an array in the arena that a copy goes through."""
        self.positions[copy] = at = self.add(None)
        self._in_arena(at, copy.source.spec, None, self.memory.staged(copy))
        return at

    def add(self, array: Any) -> int:
        """Another entry; its position."""
        self.arrays.append(array)
        return len(self.arrays) - 1

    def target(self, home: planning.Home) -> int:
        """Position of the array bound to an input or output."""
        if home not in self.positions:
            self.positions[home] = self.add(None)
            self.followers.setdefault(home, []).append((self.positions[home], None))
        return self.positions[home]

    def position(self, value: Value) -> int:
        """Position of a value's array."""
        if value not in self.positions:
            self.positions[value] = at = self.add(value.data)
            root = self.plan.root(value)
            home = self.plan.homes.get(root)
            if home is None:
                if value in self.plan.alias:
                    self._show(at, value, self.memory.address(root))
            elif home.place == "arena":
                offset, strides = self.plan.layouts.get(value, (0, None))
                self._in_arena(at, value.spec, strides, self.memory.address(root) + offset)
            else:
                self.followers.setdefault(home, []).append((at, value))
        return self.positions[value]

    def _in_arena(self, at: int, spec: Spec, strides: Any, address: int) -> None:
        self.moving.append((at, spec, strides, address))
        if not self.memory.moves:
            self.move(0)

    def move(self, start: int) -> None:
        """Let the arena begin at another address."""
        for at, spec, strides, address in self.moving:
            self.arrays[at] = array_at(start + address, spec.shape, spec.dtype, strides)

    def put(self, followers: list[tuple[int, Value | None]], array: Any) -> None:
        """Show an input's or output's array where it is looked for."""
        for at, value in followers:
            if value is None or (value.is_input and value not in self.plan.alias):
                self.arrays[at] = array
            else:
                self._show(at, value, planning.address_of(array))

    def _show(self, at: int, value: Value, address: int) -> None:
        offset, strides = self.plan.layouts.get(value, (0, None))
        self.arrays[at] = array_at(address + offset, value.shape, value.dtype, strides)


class HostStep:
    """One call on NumPy arrays: results are copied to their planned memory, or kept as they came."""

    def __init__(self, step: HostCall, table: Table, drops: Sequence[Value]) -> None:
        call, homes = step.call, table.plan.homes
        self.call = call
        self.arrays = table.arrays
        self.operands = tuple(
            [_position(table, e) for e in a] if isinstance(a, (tuple, list)) else _position(table, a)
            for a in call.operands
        )
        # operands in planned memory: what shares it must be copied before that memory is used again
        self.planned = [table.position(v) for v in call.values() if table.plan.root(v) in homes]
        self.results = [(table.position(v), v in homes, v) for v in call.results]
        self.drops = [table.position(v) for v in drops]
        if call.op is draw_contiguous and self.results[0][1]:
            self.run = self._draw  # type: ignore[method-assign]

    def _draw(self) -> None:
        """Draw right into planned memory."""
        arrays = self.arrays
        draw_into(arrays[self.results[0][0]], self.call.params)
        for at in self.drops:
            arrays[at] = None

    def run(self) -> None:
        """Carry it out."""
        arrays, call = self.arrays, self.call
        operands = tuple([arrays[i] for i in a] if isinstance(a, list) else arrays[a] for a in self.operands)
        out = call.op.eager(operands, dict(call.params))
        results = out if isinstance(out, tuple) else (out,)
        for (at, planned, value), result in zip(self.results, results, strict=True):
            if planned:
                if np.shape(result) != value.shape:
                    raise AssertionError(f"{call.op.name} gave shape {np.shape(result)}, its rule says {value.shape}")
                np.copyto(arrays[at], result, casting="unsafe")
            else:
                arrays[at] = self._own(np.asarray(result, value.dtype))
        for at in self.drops:
            arrays[at] = None

    def _own(self, result: Any) -> Any:
        """`result`, copied if it shows planned memory."""
        if not self.planned:
            return result
        owner = _owner(result)
        if owner.base is not None or any(_owner(self.arrays[i]) is owner for i in self.planned):
            return result.copy(order="K")
        return result


def _owner(array: Any) -> Any:
    """The end of an array's chain of bases."""
    while type(array.base) is ndarray:
        array = array.base
    return array


def _position(table: Table, operand: Any) -> int:
    return table.position(operand) if isinstance(operand, Value) else table.add(operand)
