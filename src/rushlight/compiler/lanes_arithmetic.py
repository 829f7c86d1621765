"""Arithmetic and conversions of lanes, with NumPy's results where LLVM's instructions leave them open.

Integer division by zero gives 0 and never traps; the least integer divided by -1 is itself; shifts by the width or
more, or by less than 0, give what NumPy's give; floating point out of an integer's range converts as on x86.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import rushlight.compiler.vmath as vmath
from rushlight.compiler.binding import ir
from rushlight.compiler.lanes_narrow import to_odd
from rushlight.dtypes import NP_HALF, bfloat16

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
BOOL, I32, I64, U64 = np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint64)
HALF, BF16 = np.dtype(np.float16), bfloat16.np
Lanes = Any


def is_float(dtype: Any) -> bool:
    """Whether registers of this dtype hold floating-point numbers."""
    return dtype.kind == "f" or dtype in NP_HALF


def shaped(scalar: Any, count: int) -> Any:
    """A vector type; of 1 lane the scalar type."""
    return scalar if count == 1 else ir.VectorType(scalar, count)


def suffix(kind: Any) -> str:
    """How names of intrinsics spell a type."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    if isinstance(kind, ir.PointerType):
        return "p0"
    if isinstance(kind, ir.IntType):
        return f"i{kind.width}"
    return {"half": "f16", "float": "f32", "double": "f64"}[str(kind)]


def plain(value: Any, dtype: Any) -> Any:
    """A number as an LLVM constant of this dtype takes it."""
    if is_float(dtype):
        return float(np.asarray(value).astype(dtype).astype(F64))
    if dtype == BOOL:
        return int(bool(value))
    if isinstance(value, float) or getattr(value, "dtype", I64).kind == "f":
        return int(np.asarray(value).astype(dtype))
    limits = np.iinfo(dtype)
    if not limits.min <= int(value) <= limits.max:
        raise NotImplementedError(f"{value} as {dtype}")
    return int(value)


def compare(op: str, x: Lanes, y: Lanes) -> Lanes:
    """Lanes of one dtype compared, as bool lanes; false with NaN, except that NaN != anything."""
    b = x.emitter.builder
    if is_float(x.dtype):
        value = (b.fcmp_unordered if op == "!=" else b.fcmp_ordered)(op, x.value, y.value)
    elif x.dtype.kind == "i":
        value = b.icmp_signed(op, x.value, y.value)
    else:
        value = b.icmp_unsigned(op, x.value, y.value)
    return x.like(value, BOOL)


def _basic(floating: str, integer: str, boolean: str) -> Callable[[Lanes, Lanes], Lanes]:
    def compute(x: Lanes, y: Lanes) -> Lanes:
        b = x.emitter.builder
        if is_float(x.dtype):
            flags = () if x.exact or y.exact else x.emitter.flags
            return x.like(getattr(b, floating)(x.value, y.value, flags=flags)).rounded()
        name = boolean if x.dtype == BOOL else integer
        if not name:
            raise NotImplementedError(f"{floating[1:]} of bool lanes")
        return x.like(getattr(b, name)(x.value, y.value))

    return compute


def _bitwise(name: str) -> Callable[[Lanes, Lanes], Lanes]:
    def compute(x: Lanes, y: Lanes) -> Lanes:
        if is_float(x.dtype):
            raise NotImplementedError(f"bits of {x.dtype}")
        return x.like(getattr(x.emitter.builder, name)(x.value, y.value))

    return compute


def _true_divide(x: Lanes, y: Lanes) -> Lanes:
    if not is_float(x.dtype):
        x, y = x.astype(F64), y.astype(F64)
    return x.like(x.emitter.builder.fdiv(x.value, y.value)).rounded()


def _divisor(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """A divisor that neither traps nor overflows, and where the given one is 0."""
    zero = compare("==", y, y.constant(0))
    bad = zero
    if x.dtype.kind == "i":
        lowest = x.constant(np.iinfo(x.dtype).min)
        bad = zero | (compare("==", x, lowest) & compare("==", y, y.constant(-1)))
    return x.emitter.select(bad, y.constant(1), y), zero


def quotient(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Integers divided with the quotient rounded to zero: quotient, remainder, where the divisor is 0."""
    safe, zero = _divisor(x, y)
    b = x.emitter.builder
    divide, modulo = (b.sdiv, b.srem) if x.dtype.kind == "i" else (b.udiv, b.urem)
    return x.like(divide(x.value, safe.value)), x.like(modulo(x.value, safe.value)), zero


def _floor_divide(x: Lanes, y: Lanes) -> Lanes:
    if is_float(x.dtype):
        return vmath.floor_divide(x, y)
    _integers(x)
    q, r, zero = quotient(x, y)
    if x.dtype.kind == "i":
        q = q - _opposite(r, y).astype(x.dtype)
    return x.emitter.select(zero, x.constant(0), q)


def _remainder(x: Lanes, y: Lanes) -> Lanes:
    if is_float(x.dtype):
        return vmath.remainder(x, y)
    _integers(x)
    _, r, _ = quotient(x, y)
    return r if x.dtype.kind == "u" else r + x.emitter.select(_opposite(r, y), y, y.constant(0))


def _opposite(r: Lanes, y: Lanes) -> Lanes:
    """Where a remainder is not 0 and has not the divisor's sign."""
    return compare("!=", r, r.constant(0)) & compare("<", r ^ y, r.constant(0))


def _integers(x: Lanes) -> None:
    if x.dtype.kind not in "iu":
        raise NotImplementedError(f"integer division of {x.dtype}")


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """The remainder with the sign of x."""
    if is_float(x.dtype):
        return vmath.fmod(x, y)
    _integers(x)
    return quotient(x, y)[1]


def _shift(name: str) -> Callable[[Lanes, Lanes], Lanes]:
    def compute(x: Lanes, y: Lanes) -> Lanes:
        _integers(x)
        b, bits = x.emitter.builder, 8 * x.dtype.itemsize
        unsigned = np.dtype(f"u{x.dtype.itemsize}")
        inside = compare("<", y.view(unsigned), y.constant(bits, unsigned))
        arithmetic = name == "right" and x.dtype.kind == "i"
        # an arithmetic shift by width - 1 is what shifting everything out leaves
        step = x.emitter.select(inside, y, y.constant(bits - 1 if arithmetic else 0))
        moved = x.like((b.shl if name == "left" else b.ashr if arithmetic else b.lshr)(x.value, step.value))
        return moved if arithmetic else x.emitter.select(inside, moved, x.constant(0))

    return compute


def power(x: Lanes, y: Lanes) -> Lanes:
    """x ** y of floating lanes."""
    if not is_float(x.dtype):
        raise NotImplementedError("powers of integer lanes: NumPy looks at the exponents")
    return vmath.pow(x, y)


def power_by(x: Lanes, n: int) -> Lanes:
    """x ** n of integer lanes for n >= 0, wrapping around."""
    out = x.constant(1)
    while n:
        if n & 1:
            out = out * x
        n >>= 1
        if n:
            x = x * x
    return out


ARITHMETIC: dict[str, Callable[[Lanes, Lanes], Lanes]] = {
    "add": _basic("fadd", "add", "or_"),
    "sub": _basic("fsub", "sub", ""),
    "mul": _basic("fmul", "mul", "and_"),
    "truediv": _true_divide,
    "floordiv": _floor_divide,
    "mod": _remainder,
    "pow": power,
    "and": _bitwise("and_"),
    "or": _bitwise("or_"),
    "xor": _bitwise("xor"),
    "lshift": _shift("left"),
    "rshift": _shift("right"),
}


def convert(x: Lanes, dtype: Any) -> Any:
    """The LLVM value of lanes of another dtype."""
    source = x.dtype
    if dtype == BOOL:
        return compare("!=", x, x.constant(0)).value
    if is_float(source):
        return _float_to_float(x, dtype) if is_float(dtype) else _float_to_integer(x, dtype).value
    b, kind = x.emitter.builder, x.emitter.type_of(dtype, x.count)
    signed = source.kind == "i"
    if is_float(dtype):
        if dtype in NP_HALF:
            return x.astype(F32).astype(dtype).value
        return (b.sitofp if signed else b.uitofp)(x.value, kind)
    wider = dtype.itemsize > source.itemsize or source == BOOL
    if not wider:
        return x.value if dtype.itemsize == source.itemsize else b.trunc(x.value, kind)
    return (b.sext if signed else b.zext)(x.value, kind)


def _float_to_float(x: Lanes, dtype: Any) -> Any:
    b = x.emitter.builder
    if dtype == F64:
        return b.fpext(x.value, x.emitter.type_of(F64, x.count))
    if x.dtype == F64:
        if dtype == HALF:
            x = to_odd(x)
        else:
            x = x.like(b.fptrunc(x.value, x.emitter.type_of(F32, x.count)), F32)
    return x.like(x.value, dtype).rounded().value


def _float_to_integer(x: Lanes, dtype: Any) -> Lanes:
    """What `cvtt` instructions of x86 give: the lowest integer out of range, then the low bits for narrow types."""
    if dtype == U64:
        half = x.constant(2.0**63)
        large = compare(">=", x, half)
        low, high = _truncated(x, I64), _truncated((x.strict() - half), I64)
        return x.emitter.select(large, high ^ low.constant(-(2**63)), low).view(U64)
    if dtype.itemsize == 8 or dtype == np.uint32:
        return _truncated(x, I64).astype(dtype)
    return _truncated(x, I32).astype(dtype)


def _truncated(x: Lanes, dtype: Any) -> Lanes:
    limit = 2.0 ** (8 * dtype.itemsize - 1)
    # -2**31 - 1 is a float64 and truncates into range; the next number below -2**63 does not
    low = compare(">", x, x.constant(-limit - 1)) if dtype == I32 and x.dtype == F64 else x >= -limit
    inside = low & (x < limit)
    kind = x.emitter.type_of(dtype, x.count)
    out = x.like(x.emitter.builder.fptosi(x.value, kind), dtype)
    return x.emitter.select(inside, out, out.constant(np.iinfo(dtype).min))
