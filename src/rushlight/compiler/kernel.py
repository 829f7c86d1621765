"""What the compiler's stages hand on: native kernels and host calls, the steps of a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rushlight.compiler.graph import Call, Value


@dataclass(frozen=True, eq=False)
class Kernel:
    """A native function `void name(ptr slots, i64 chunk)` and what it works on.

    `slots` is an array of addresses: those of `reads`, then of `writes`, then of the workspace. Chunks 0 to
    `chunks` - 1 may run in any order and side by side; their number follows from sizes alone, not from the threads'.
    Every read and write is a value with memory of its own (views are resolved into the code), C-contiguous unless
    it is an input with `strides`.

    Attributes
    ----------
    name : short, for people: "matmul 256x784x256 + relu"
    key : equal keys mean the same machine code; says all that `build` bakes in
    build : `build(module, name)` adds the function to an `llvmlite.ir.Module`
    workspace : bytes that all chunks together may use
    calls : the graph's calls that it carries out
    inplace : pairs (index into writes, index into reads) that may be the same memory
    flops : arithmetic of matrix products and convolutions, multiply and add counted as two
    """

    name: str
    key: str
    build: Callable[[Any, str], None]
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    chunks: int = 1
    workspace: int = 0
    calls: tuple[Call, ...] = ()
    inplace: tuple[tuple[int, int], ...] = ()
    flops: int = 0


@dataclass(frozen=True, eq=False)
class HostCall:
    """A call that has no native form yet: NumPy runs it between native stretches."""

    call: Call


Step = Kernel | HostCall
