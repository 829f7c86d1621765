"""Where the values of a program lie: one arena, or, for tests, pages with nothing around them."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from rushlight.compiler import plan as planning
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel


class Memory:
    """An arena for the values that steps make, and the constants."""

    def __init__(self, plan: planning.Plan) -> None:
        self.plan = plan
        self.block = np.empty(plan.arena + planning.ALIGN, np.uint8)
        self.start = -(-planning.address_of(self.block) // planning.ALIGN) * planning.ALIGN
        self.constants: dict[Value, Any] = {}

    def address(self, root: Value) -> int:
        """Address of a value in the arena, or of a constant."""
        if root.data is not None:
            return self.constant(root)
        return self.start + self.plan.homes[root].index

    def constant(self, value: Value) -> int:
        """Address of a constant, made contiguous."""
        if value not in self.constants:
            self.constants[value] = np.asarray(value.data, value.dtype, order="C")
        return planning.address_of(self.constants[value])

    def workspace(self, at: int) -> int:
        """Address of a step's workspace."""
        return self.start + self.plan.workspaces[at]

    def staged(self, copy: planning.Copy) -> int:
        """Address of the bytes that a copy goes through."""
        return self.start + (copy.staged or 0)


class GuardedMemory(Memory):
    """Pages of its own for every value, the page on one side of it out of bounds."""

    def __init__(self, plan: planning.Plan, side: str) -> None:
        super().__init__(plan)
        self.side = side
        self.places: dict[Any, int] = {}

    def _place(self, key: Any, size: int) -> int:
        if key not in self.places:
            self.places[key] = guarded(size, self.side)
        return self.places[key]

    def address(self, root: Value) -> int:
        """Address of a value's own pages."""
        if root.data is not None:
            return self.constant(root)
        return self._place(root, planning.nbytes(root))

    def constant(self, value: Value) -> int:
        """Address of a copy of a constant."""
        fresh = value not in self.places
        address = self._place(value, planning.nbytes(value))
        if fresh:
            np.copyto(array_at(address, value.shape, value.dtype), value.data)
        return address

    def workspace(self, at: int) -> int:
        """Address of a step's workspace."""
        step = self.plan.steps[at]
        return self._place(at, step.workspace) if isinstance(step, Kernel) else 0

    def staged(self, copy: planning.Copy) -> int:
        """Address of the bytes that a copy goes through."""
        return self._place(copy.home, planning.nbytes(copy.source))


# Guarded pages stay until the process ends: a test that uses them is a process of its own.
_guarded_pages: list[mmap.mmap] = []


def guarded(size: int, side: str) -> int:
    """Address of `size` bytes that end right before (or, `side` "before", begin right after) a forbidden page."""
    if side not in ("after", "before"):
        raise ValueError(f'guard must be "after" or "before", not {side!r}')
    page = mmap.PAGESIZE
    inner = -(-size // page) * page
    pages = mmap.mmap(-1, inner + 2 * page)
    _guarded_pages.append(pages)
    start = ctypes.addressof(ctypes.c_ubyte.from_buffer(pages))
    libc = ctypes.CDLL(None)
    for forbidden in (start, start + page + inner):
        if libc.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):
            raise OSError("mprotect failed")
    return start + page + (inner - size if side == "after" else 0)


def array_at(address: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> Any:
    """An array over memory that somebody else keeps alive."""
    if 0 in shape:
        return np.empty(shape, dtype)
    if strides is None:
        strides = planning.dense_strides(shape, dtype.itemsize)
    low, high = planning.extent(shape, dtype.itemsize, strides)
    memory: Any = (ctypes.c_ubyte * (high - low)).from_address(address + low)
    return np.ndarray(shape, dtype, memory, -low, strides)
