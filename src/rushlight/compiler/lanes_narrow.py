"""float16 and bfloat16 lanes: rounding float32 to what they can hold, and their bits.

Where the processor converts float16 itself, its instructions do; elsewhere LLVM would call a library that may not be
there, so that bits and exact products do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.compiler import target
from rushlight.compiler.binding import ir
from rushlight.compiler.vmath_base import F32, F64, I32, pick

I16 = np.dtype(np.int16)
Lanes = Any


def _converts_half() -> bool:
    features = target.host().features.split(",")
    return "+f16c" in features or "+avx512f" in features or "+neon" in features or "+fp-armv8" in features


def _halves(x: Lanes) -> Any:
    return ir.HalfType() if x.count == 1 else ir.VectorType(ir.HalfType(), x.count)


def from_half(bits: Lanes) -> Lanes:
    """float16 given by its bits, as float32."""
    if _converts_half():
        b = bits.emitter.builder
        return bits.like(b.fpext(b.bitcast(bits.value, _halves(bits)), bits.emitter.type_of(F32, bits.count)), F32)
    wide = bits.astype(I32)
    size = ((wide & 0x7FFF) << 13).view(F32).strict()
    special = (wide & 0x7C00) == 0x7C00
    scaled = pick(special, ((wide & 0x3FF) << 13 | 0x7F800000).view(F32).strict(), size * 2.0**112)
    return (scaled.view(I32) | (wide & 0x8000) << 16).view(F32).loose()


def half_bits(x: Lanes) -> Lanes:
    """The bits of float32 lanes that float16 can hold."""
    if _converts_half():
        b = x.emitter.builder
        return x.like(b.bitcast(b.fptrunc(x.value, _halves(x)), x.emitter.type_of(I16, x.count)), I16)
    x = x.like(x.value, F32).strict()
    size = abs(x)
    bits = (size * 2.0**-112).view(I32) >> 13
    bits = pick(size == math.inf, 0x7C00, pick(size != size, 0x7E00, bits))
    return (bits | (x.view(I32) >> 16) & 0x8000).astype(I16)


def round_half(x: Lanes) -> Lanes:
    """float32 lanes rounded to the nearest float16, ties to even; still float32."""
    if _converts_half():
        b = x.emitter.builder
        return x.like(b.fpext(b.fptrunc(x.value, _halves(x)), x.value.type), F32)
    x = x.like(x.value, F32).strict()
    size = abs(x)
    bits = size.view(I32)
    near = ((bits + ((bits >> 13) & 1) + 0xFFF) & -0x2000).view(F32)
    near = pick(near > 65504.0, math.inf, near)
    near = pick(size < 2.0**-14, (size + 0.5) - 0.5, pick(size == size, near, size))
    return (near.view(I32) | x.view(I32) & -0x80000000).view(F32).loose()


def round_bf16(x: Lanes) -> Lanes:
    """float32 lanes rounded to the nearest bfloat16, ties to even; still float32."""
    bits = x.view(I32)
    up = (bits >> 16) & 1
    near = ((bits + up + 0x7FFF) & -0x10000).view(F32)
    return x.emitter.select(x != x, x, near)


def to_odd(x: Lanes) -> Lanes:
    """float64 as float32, rounded to odd: rounding that to float16 gives what rounding once gives."""
    near = x.like(x.emitter.builder.fptrunc(x.value, x.emitter.type_of(F32, x.count)), F32)
    back = near.astype(F64)
    bits = near.view(I32)
    inexact = (back != x) & (x == x)
    away = abs(back) > abs(x)
    return x.emitter.select(inexact, (bits - away.astype(I32)) | 1, bits).view(F32)
