"""Running kernels one by one, without a memory plan: every value has an array of its own."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import numpy as np

from rushlight.compiler import target
from rushlight.compiler.access import whole
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import run_call
from rushlight.compiler.kernel import HostCall, Kernel
from rushlight.ops.kinds import View

_functions: dict[str, Any] = {}
ROOM = 64


def function(kernel: Kernel) -> Any:
    """The native function of a kernel."""
    if kernel.key not in _functions:
        module = ir.Module("test")
        kernel.build(module, "kernel")
        found = target.load(target.compile_module(module))
        _functions[kernel.key] = (ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(found["kernel"]), found)
    return _functions[kernel.key][0]


class Guarded:
    """An array with bytes around it that nobody may write."""

    def __init__(self, like: Any) -> None:
        self.bytes = np.full(like.nbytes + 2 * ROOM, 0xA5, np.uint8)
        inner = self.bytes[ROOM : ROOM + like.nbytes]
        self.array = inner.view(like.dtype).reshape(like.shape)
        self.array[...] = like

    def check(self) -> None:
        """Fails if the margin was written."""
        assert (self.bytes[:ROOM] == 0xA5).all() and (self.bytes[-ROOM:] == 0xA5).all()


def run_kernel(kernel: Kernel, known: dict[Value, Any], *, inplace: bool = False) -> None:
    """Run all chunks in a random order and add what the kernel writes to `known`."""
    reads = [known[v] if v.data is None else v.data for v in kernel.reads]
    writes = [Guarded(np.full(v.shape, 77).astype(v.dtype)) for v in kernel.writes]
    held = [w.array for w in writes]
    if inplace:
        taken = set()
        for w, r in kernel.inplace:
            if r not in taken and held[w] is writes[w].array and kernel.reads.count(kernel.reads[r]) == 1:
                taken.add(r)
                reads[r] = reads[r].copy()
                held[w] = reads[r].view(kernel.writes[w].dtype).reshape(kernel.writes[w].shape)
    workspace = np.zeros(kernel.workspace + 64, np.uint8)
    arrays = [*reads, *held, workspace]
    slots = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    order = list(range(kernel.chunks))
    random.Random(0).shuffle(order)
    fn = function(kernel)
    for chunk in order:
        fn(ctypes.addressof(slots), chunk)
    for guard in writes:
        guard.check()
    known.update(zip(kernel.writes, held, strict=True))


def run_steps(graph: Graph, steps: Any, inputs: Any, *, inplace: bool = False) -> tuple[list[Any], list[Any]]:
    """As `interpret`, with the steps of a schedule."""
    known: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for value in graph.inputs:
        assert value.strides is None or known[value].strides == whole(value).strides

    def look(value: Value) -> Any:
        if value.data is not None:
            return value.data
        if value not in known:
            assert isinstance(value.call.op, View), f"{value} of {value.call.op.name} was never made"
            known.update(zip(value.call.results, run_call(value.call, look), strict=True))
        return known[value]

    for step in steps:
        if isinstance(step, HostCall):
            results = [np.array(r, order="C") for r in run_call(step.call, look)]
            known.update(zip(step.call.results, results, strict=True))
        else:
            for value in step.reads:
                known[value] = look(value)
            run_kernel(step, known, inplace=inplace)
    return [look(v) for v in graph.outputs], [look(v) for _, v in graph.updates]
