"""What stays in memory: of shapes that are not met again, and of programs whose arenas grow."""

import ctypes
import gc
import sys
import weakref
from typing import Any

import pytest

import rushlight as torch
from rushlight.compiler import api, cache, program_memory
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph
from rushlight.compiler.plan import Plan

native = pytest.mark.skipif(not is_available(), reason="needs llvmlite")


class HeapFigures(ctypes.Structure):
    """What glibc says of its heap; `used` are the bytes in use."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("a", "b", "c", "d", "mapped", "e", "f", "used", "g", "h")]


def heap_in_use() -> int:
    """Bytes that the C library has given out, Python's and LLVM's."""
    function = ctypes.CDLL(None).mallinfo2
    function.restype = HeapFigures
    gc.collect()
    figures = function()
    return int(figures.used + figures.mapped)


def scaled(x: Any) -> Any:
    """A small step."""
    return (x * 2 + 1).sum()


@native
def test_a_thousand_shapes_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces and code are dropped, and LLVM gives back all but what its pass builder keeps."""
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("asks glibc")
    monkeypatch.setattr(api, "MOST_TRACES", 4)
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 4)
    monkeypatch.setenv("RUSHLIGHT_CACHE", "0")
    step, levels = torch.compile(scaled), []
    for n in range(1, 1001):
        assert step(torch.ones(n)).item() == 3 * n
        if n in (100, 1000):
            levels.append(heap_in_use())
    assert len(step.traces) == 4
    each = (levels[1] - levels[0]) / 900
    assert each < 6000, f"{each:.0f} bytes stay of each shape"


@native
def test_code_stays_while_a_program_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 1)
    step = torch.compile(scaled)
    step(torch.ones(5))
    code = weakref.ref(step.traces[0].program._keep[0])
    for n in range(6, 9):
        step(torch.ones(n))
    gc.collect()
    assert code() is not None
    found = torch.compile(scaled)
    found(torch.ones(5))
    assert found.traces[0].program._keep[0] is code()
    del step, found
    torch.compile(scaled)(torch.ones(9))
    gc.collect()
    assert code() is None


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shared block of this test's own."""

    class Shared(program_memory._Shared):
        block, start, size = None, 0, 0

    monkeypatch.setattr(program_memory, "_Shared", Shared)
    return Shared


def memory_of(arena: int) -> program_memory.Memory:
    """The memory of a program with an arena of that size."""
    return program_memory.Memory(Plan(Graph(), [], {}, {}, {}, [], [], [], arena))


def test_a_larger_arena_replaces_the_shared_one(shared: Any) -> None:
    small, large = memory_of(1 << 17), memory_of(1 << 18)
    small.leave(small.enter())
    first = weakref.ref(shared.block)
    large.leave(large.enter())
    assert first() is None, "the smaller program keeps the block that it ran in"
    small.leave(small.enter())
    assert shared.size == 1 << 18 and small.start == shared.start == large.start


def test_no_memory_for_an_arena_leaves_the_lock_free(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(size: int) -> Any:
        raise MemoryError

    memory = memory_of(1 << 17)
    with monkeypatch.context() as patched:
        patched.setattr(program_memory, "_aligned_block", none)
        with pytest.raises(MemoryError):
            memory.enter()
    lock = memory.enter()
    assert lock is not None and memory.block is not None
    memory.leave(lock)
    assert memory.block is None
