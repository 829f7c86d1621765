"""What the functions of `vmath` are written in: exact lanes, polynomials, powers of two.

The functions take and give lanes (`lanes_core.Lanes`) of float32 or float64 that carry no fast-math flags: their range
reductions and error terms must be done as written. They use arithmetic, comparisons and bits only, so that any number
of lanes gives the same bits, and compute every branch, choosing at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.compiler import target
from rushlight.compiler.binding import ir

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I32, I64, U64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint64)
Lanes = Any


class Format:
    """The layout of a floating-point dtype.

    Attributes
    ----------
    bits : the integer dtype of the same size
    digits : bits of the fraction that are stored
    bias : what the exponent field holds for 1.0
    shift : 1.5 * 2**digits; what is added to it is rounded to an integer, which stands in its low bits
    """

    def __init__(self, bits: Any, digits: int, bias: int) -> None:
        self.bits = bits
        self.digits = digits
        self.bias = bias
        self.shift = 1.5 * 2.0**digits
        self.shift_bits = int(np.array(self.shift, F32 if digits == 23 else F64).view(bits))
        self.one_bits = bias << digits
        self.smallest = 2.0 ** (1 - bias)


SINGLE, DOUBLE = Format(I32, 23, 127), Format(I64, 52, 1023)


def format_of(x: Lanes) -> Format:
    """The layout of the lanes' dtype."""
    return SINGLE if x.dtype == F32 else DOUBLE


def poly(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """A polynomial, lowest coefficient first, by Horner's rule."""
    out = x.constant(coefficients[-1]).strict()
    for c in coefficients[-2::-1]:
        out = out.fma(x, c)
    return out


def pick(c: Lanes, x: Any, y: Any) -> Lanes:
    """x where c, else y; one of the two may be a number."""
    x, y = (x, x.of(y)) if hasattr(x, "of") else (y.of(x), y)
    return x.emitter.select(c, x, y)


def at_most(x: Lanes, limit: float) -> Lanes:
    """The smaller, NaN of NaN, in one instruction."""
    return pick(x > limit, limit, x)


def at_least(x: Lanes, limit: float) -> Lanes:
    """The greater, NaN of NaN."""
    return pick(x < limit, limit, x)


def nearest(x: Lanes, scale: float = 1.0) -> tuple[Lanes, Lanes]:
    """x * scale rounded to an integer: as a float and as the integer, for |x * scale| < 2**22; of NaN anything."""
    f = format_of(x)
    shifted = x.fma(scale, f.shift)
    return shifted - f.shift, shifted.view(f.bits) - f.shift_bits


def nearest_of_square(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """-x*x rounded to an integer, as a float and as the integer, and the rest, for |x| < 2**11; of NaN the rest is."""
    f = format_of(x)
    shifted = x.fma(-x, f.shift)
    k = shifted - f.shift
    return k, shifted.view(f.bits) - f.shift_bits, x.fma(-x, -k)


def power_of_two(n: Lanes, dtype: Any) -> Lanes:
    """2.0 ** n for integer lanes in the range of normal exponents."""
    f = SINGLE if dtype == F32 else DOUBLE
    return ((n + f.bias) << f.digits).view(dtype)


def times_power_of_two(x: Lanes, n: Lanes, k: Lanes | None = None) -> Lanes:
    """x * 2**n rounded once, for 0.5 <= |x| < 2 and any n that |2 * bias| bounds; `k` is n in floating point.

    AVX-512 has an instruction for it (given the same bits), which saves a third of `exp`.
    """
    if k is not None and target.host().has_avx512 and x.count * x.dtype.itemsize == 64:
        kind = "ps" if x.dtype == F32 else "pd"
        full = ir.Constant(ir.IntType(x.count), -1)
        direction = ir.Constant(ir.IntType(32), 4)  # as the processor is set
        operands = (x.value, k.value, x.value, full, direction)
        return x.like(x.emitter.intrinsic(f"llvm.x86.avx512.mask.scalef.{kind}.512", x.value.type, *operands))
    half = n >> 1
    return x * power_of_two(half, x.dtype) * power_of_two(n - half, x.dtype)


def with_sign(x: Lanes, y: Lanes) -> Lanes:
    """|x| with the sign of y."""
    return x.emitter.elementary("copysign", x, y)


def in_double(function: Any) -> Any:
    """A function of float64 lanes that takes float32 ones too: computed in float64 and rounded."""

    def both(*operands: Lanes) -> Lanes:
        if operands[0].dtype == F64:
            return function(*operands)
        return function(*(x.astype(F64) for x in operands)).astype(F32)

    both.__name__, both.__doc__ = function.__name__, function.__doc__
    return both


def two_sum(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """x + y and what rounding lost, for any two (D. Knuth, The Art of Computer Programming 2, 4.2.2)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def two_product(x: Lanes, y: Any) -> tuple[Lanes, Lanes]:
    """x * y and what rounding lost."""
    product = x * y
    return product, x.fma(y, -product)


def outlined(name: str, body: Any, *operands: Lanes, inline: bool = True) -> Lanes:
    """The result, of the first operand's type, of a private function of the module, made from `body` on first use.

    Bodies with branches are functions so that who writes straight-line code around them need not know of the blocks;
    without `inline` they stay functions, for code that seldom runs.
    """
    emitter = operands[0].emitter
    module = emitter.module
    full = f"rushlight.{name}.{'.'.join(f'{x.dtype}x{x.count}' for x in operands)}"
    fn = module.globals.get(full)
    if fn is None:
        kinds = [x.value.type for x in operands]
        fn = ir.Function(module, ir.FunctionType(kinds[0], kinds), full)
        fn.linkage = "internal"
        fn.attributes.add("alwaysinline" if inline else "noinline")
        inner = type(emitter)(ir.IRBuilder(fn.append_basic_block("entry")), module, ())
        made = (type(x)(inner, a, x.dtype, x.count, True) for x, a in zip(operands, fn.args, strict=True))
        inner.builder.ret(body(*made).value)
    return operands[0].like(emitter.builder.call(fn, [x.value for x in operands]))


def any_lane(c: Lanes) -> Any:
    """Whether a bool lane is true, as an LLVM i1."""
    if c.count == 1:
        return c.value
    return c.emitter.intrinsic(f"llvm.vector.reduce.or.v{c.count}i1", ir.IntType(1), c.value)


def where_any(c: Lanes, seldom: Any, otherwise: Lanes) -> Lanes:
    """`seldom()` where c, `otherwise` elsewhere; computed only if c is true in some lane. For outlined bodies."""
    builder = c.emitter.builder
    before = builder.block
    slow, after = builder.function.append_basic_block("slow"), builder.function.append_basic_block("after")
    builder.cbranch(any_lane(c), slow, after)
    builder.position_at_end(slow)
    chosen = pick(c, seldom(), otherwise)
    slow_end = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    out = builder.phi(otherwise.value.type)
    out.add_incoming(otherwise.value, before)
    out.add_incoming(chosen.value, slow_end)
    return otherwise.like(out)


def repeat_while(state: Sequence[Lanes], goes_on: Any, step: Any) -> list[Lanes]:
    """`state = step(*state)` as long as `goes_on(*state)` is true in some lane. For outlined bodies."""
    builder = state[0].emitter.builder
    before = builder.block
    head, body, after = (builder.function.append_basic_block(n) for n in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    phis = [builder.phi(x.value.type) for x in state]
    now = [x.like(p) for x, p in zip(state, phis, strict=True)]
    builder.cbranch(any_lane(goes_on(*now)), body, after)
    builder.position_at_end(body)
    later = step(*now)
    for p, x, y in zip(phis, state, later, strict=True):
        p.add_incoming(x.value, before)
        p.add_incoming(y.value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return now
