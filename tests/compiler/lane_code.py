"""Running what is written on lanes over whole arrays, for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.compiler import target
from rushlight.compiler.binding import ir
from rushlight.compiler.lanes import Emitter, Lanes


class Functions:
    """Functions of lanes compiled as one module; each runs over arrays, the last vector under a mask."""

    def __init__(self) -> None:
        self.module = ir.Module("lanes")
        self.dtypes: dict[str, Any] = {}
        self.found: dict[str, int] = {}

    def add(self, name: str, body: Callable[..., Lanes], dtypes: Sequence[Any], count: int) -> None:
        """`body(emitter, *lanes)` as a function `name`."""
        word, pointer = ir.IntType(64), ir.PointerType()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * (len(dtypes) + 1) + [word])
        fn = ir.Function(self.module, kind, name)
        builder = ir.IRBuilder(fn.append_basic_block("entry"))
        loop, done = fn.append_basic_block("loop"), fn.append_basic_block("done")
        before, n = builder.block, fn.args[-1]
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(ir.Constant(word, 0), before)
        emitter = Emitter(builder, self.module)
        mask = emitter.first(builder.sub(n, i), count) if count > 1 else None

        def at(ptr: Any, dtype: Any) -> Any:
            start = builder.mul(i, ir.Constant(word, np.dtype(dtype).itemsize))
            return builder.gep(ptr, [start], source_etype=ir.IntType(8))

        out = body(emitter, *(emitter.load(at(p, d), d, count, mask) for p, d in zip(fn.args, dtypes, strict=False)))
        emitter.store(out, at(fn.args[-2], out.dtype), mask)
        later = builder.add(i, ir.Constant(word, count))
        i.add_incoming(later, builder.block)
        builder.cbranch(builder.icmp_signed("<", later, n), loop, done)
        builder.position_at_end(done)
        builder.ret_void()
        self.dtypes[name] = out.dtype

    def compile(self) -> Functions:
        """Make machine code of them all."""
        self.found = target.load(target.compile_module(self.module))
        return self

    def __call__(self, name: str, *arrays: Any) -> Any:
        arrays = tuple(map(np.ascontiguousarray, arrays))
        out = np.empty(arrays[0].shape, self.dtypes[name])
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(arrays) + 1), ctypes.c_int64)
        kind(self.found[name])(*(a.ctypes.data for a in arrays), out.ctypes.data, out.size)
        return out


def run(body: Callable[..., Lanes], *arrays: Any, count: int = 8) -> Any:
    """What one function gives."""
    code = Functions()
    code.add("f", body, [a.dtype for a in arrays], count)
    return code.compile()("f", *arrays)


def numbers(rng: np.random.Generator, dtype: Any, n: int) -> Any:
    """Numbers of a dtype of all sizes, special ones among them."""
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return rng.random(n) < 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        special = [limits.min, limits.min + 1, limits.max, limits.max - 1, 0, 1, 2, 3, 8 * dtype.itemsize]
        large = rng.integers(limits.min, limits.max, n, dtype=dtype, endpoint=True)
        out = np.where(rng.random(n) < 0.5, large, rng.integers(0 if dtype.kind == "u" else -9, 10, n).astype(dtype))
    else:
        special = [0.0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, np.inf, -np.inf, np.nan, 6, -6, 20, 88.9, -104, 1e-40,
                   -1e-40, 65504, 1e30, -1e30, 0.75, 1e-7, 2.5, -1.5]  # fmt: skip
        with np.errstate(all="ignore"):
            out = (rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4, n)).astype(dtype)
            special = np.array(special).astype(dtype)
    chosen = rng.random(n) < 0.3
    out[chosen] = rng.choice(np.asarray(special).astype(dtype), chosen.sum())
    return out
