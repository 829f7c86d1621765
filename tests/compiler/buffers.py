"""Running kernels whose buffers end where memory that may be touched ends, and whose workspace is full of NaN."""

from __future__ import annotations

import ctypes
import mmap
import random
from typing import Any

import numpy as np

from rushlight.compiler.kernel import Kernel
from tests.compiler.native import function

PAGE = mmap.PAGESIZE
LINE = 64


def fenced(nbytes: int) -> tuple[Any, Any]:
    """`nbytes` bytes that end right before a page that must not be touched, and what keeps them alive.

    They start at the first multiple of 64 bytes that leaves fewer than 64 bytes unguarded.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    size = -(-nbytes // PAGE) * PAGE + 2 * PAGE
    memory = mmap.mmap(-1, size)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + size - PAGE):
        if libc.mprotect(
            ctypes.c_void_p(page), ctypes.c_size_t(PAGE), mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0
        ):
            raise OSError(ctypes.get_errno(), "mprotect")
    end = size - PAGE
    return np.frombuffer(memory, np.uint8, nbytes, end - nbytes), memory


def run_fenced(kernels: list[Kernel], known: dict[Any, Any], seed: int = 0) -> None:
    """Run kernels in turn, chunks in a random order, every buffer fenced; adds what they write to `known`."""
    kept: list[Any] = []

    def place(array: Any) -> Any:
        raw, memory = fenced(max(array.nbytes, 1))
        kept.append(memory)
        span = raw[: array.nbytes].view(array.dtype)
        span[...] = array.ravel(order="K")
        order = np.argsort([-s for s in array.strides], kind="stable") if array.ndim else []
        shaped = span.reshape([array.shape[i] for i in order])
        return shaped.transpose(np.argsort(order)) if array.ndim else span.reshape(())

    at = {v: place(a) for v, a in known.items()}
    for kernel in kernels:
        for v in kernel.writes:
            at[v] = place(np.full(v.shape, 77).astype(v.dtype))
        room = place(np.full(kernel.workspace // 8 + 8, np.nan))[: kernel.workspace // 8]
        arrays = [at[v] for v in (*kernel.reads, *kernel.writes)] + [room]
        slots = (ctypes.c_void_p * len(arrays))(*(a.__array_interface__["data"][0] for a in arrays))
        order = list(range(kernel.chunks))
        random.Random(seed).shuffle(order)
        for chunk in order:
            function(kernel)(ctypes.addressof(slots), chunk)
        known.update((v, at[v].copy()) for v in kernel.writes)
