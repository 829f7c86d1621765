"""Where the values of a program lie: one arena, or, for tests, pages with nothing around them."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from typing import Any

import numpy as np

from rushlight.compiler import plan as planning
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel

# Arenas up to this size are not worth a lock.
PRIVATE_BYTES = 1 << 16


class _Shared:
    """The block that programs with large arenas take turns in."""

    block: Any = None
    start = 0
    size = 0
    lock = threading.Lock()


def _forget_holder() -> None:
    _Shared.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_holder)


def _aligned_block(size: int) -> tuple[Any, int]:
    block = np.empty(size + planning.ALIGN, np.uint8)
    return block, -(-planning.address_of(block) // planning.ALIGN) * planning.ALIGN


class Memory:
    """An arena for the values that steps make, and the constants.

    Nothing in an arena outlives a run, so that programs share one block, of the size that the largest needs. A small
    arena, or one that is needed while another program runs, is a block of its own.

    Attributes
    ----------
    moves : whether addresses in the arena are offsets until a run says where it begins
    is_shared : whether a run must `enter` and `leave`
    """

    moves = True

    def __init__(self, plan: planning.Plan) -> None:
        self.plan = plan
        self.is_shared = plan.arena > PRIVATE_BYTES
        self.constants: dict[Value, Any] = {}
        self.block: Any = None
        self.start = 0
        if not self.is_shared:
            self.block, self.start = _aligned_block(plan.arena)

    def enter(self) -> Any:
        """Get hold of the shared block, or of another; returns what `leave` wants."""
        lock = _Shared.lock
        if not lock.acquire(blocking=False):
            self.block, self.start = _aligned_block(self.plan.arena)
            return None
        try:
            if _Shared.size < self.plan.arena:
                _Shared.block, _Shared.size = None, 0
                _Shared.block, _Shared.start = _aligned_block(self.plan.arena)
                _Shared.size = self.plan.arena
        except BaseException:  # no memory, or interrupted
            lock.release()
            raise
        self.block, self.start = _Shared.block, _Shared.start
        return lock

    def leave(self, lock: Any) -> None:
        """Let others have the block; a larger one may take its place, which frees it unless it is held here."""
        self.block = None
        if lock is not None:
            lock.release()

    def address(self, root: Value) -> int:
        """Address of a value in the arena (from its start), or of a constant."""
        return self.constant(root) if root.data is not None else self.plan.homes[root].index

    def constant(self, value: Value) -> int:
        """Address of a constant, made contiguous."""
        if value not in self.constants:
            self.constants[value] = np.asarray(value.data, value.dtype, order="C")
        return planning.address_of(self.constants[value])

    def workspace(self, at: int) -> int:
        """Address of a step's workspace (from the arena's start)."""
        return self.plan.workspaces[at]

    def staged(self, copy: planning.Copy) -> int:
        """Address of the bytes that a copy goes through (from the arena's start)."""
        return copy.staged or 0


class GuardedMemory(Memory):
    """Pages of its own for every value, the page on one side of it out of bounds."""

    moves = False

    def __init__(self, plan: planning.Plan, side: str) -> None:
        super().__init__(plan)
        self.is_shared = False
        self.start = 0
        self.side = side
        self.places: dict[Any, int] = {}
        self._pages: list[mmap.mmap] = []

    def pages(self, size: int) -> int:
        """Address of `size` bytes in pages of their own, which live as long as this memory."""
        address, pages = guarded(size, self.side)
        self._pages.append(pages)
        return address

    def _place(self, key: Any, size: int) -> int:
        if key not in self.places:
            self.places[key] = self.pages(size)
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


def guarded(size: int, side: str) -> tuple[int, mmap.mmap]:
    """`size` bytes that end right before (or, `side` "before", begin right after) a forbidden page.

    Returns
    -------
    tuple[int, mmap.mmap]
        Their address, and what keeps them alive.
    """
    if side not in ("after", "before"):
        raise ValueError(f'guard must be "after" or "before", not {side!r}')
    page = mmap.PAGESIZE
    inner = -(-size // page) * page
    pages = mmap.mmap(-1, inner + 2 * page)
    start = ctypes.addressof(ctypes.c_ubyte.from_buffer(pages))
    libc = ctypes.CDLL(None)
    for forbidden in (start, start + page + inner):
        if libc.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):
            raise OSError("mprotect failed")
    return start + page + (inner - size if side == "after" else 0), pages


def array_at(address: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> Any:
    """An array over memory that somebody else keeps alive."""
    if 0 in shape:
        return np.empty(shape, dtype)
    if strides is None:
        strides = planning.dense_strides(shape, dtype.itemsize)
    low, high = planning.extent(shape, dtype.itemsize, strides)
    memory: Any = (ctypes.c_ubyte * (high - low)).from_address(address + low)
    return np.ndarray(shape, dtype, memory, -low, strides)
