"""The functions of `draws` as LLVM IR: `void name(ptr state, ptr out, i64 n, ...)`."""

# What an operator gives depends on its operands.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler import target
from rushlight.compiler.binding import ir
from rushlight.compiler.lanes_core import Emitter, Lanes
from rushlight.compiler.vmath_base import F32, F64, I32, I64, pick, poly
from rushlight.dtypes import NP_BOOL

U32 = np.dtype(np.uint32)
WORDS, MIDDLE = 624, 397
UPPER, LOWER, MATRIX = 0x80000000, 0x7FFFFFFF, 0x9908B0DF
PIECE = 1024
"""Elements whose words are drawn at a time: they stay in the first-level cache."""

LOG_POLYNOMIAL = (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1, -1.2420140846e-1,
    1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2,
)  # fmt: skip
SINE_POLYNOMIAL = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
COSINE_POLYNOMIAL = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
SQRT_HALF_BITS = 0x3F3504F3


class Writer:
    """Writes one function: loops over an LLVM builder, and lanes at addresses."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        self.b = ir.IRBuilder(fn.append_basic_block("entry"))
        self.emitter = Emitter(self.b, fn.module, ())

    def count(self, n: int) -> Any:
        """A number of elements."""
        return ir.Constant(ir.IntType(64), n)

    def at(self, ptr: Any, index: Any, size: int) -> Any:
        """The address of an element of `size` bytes."""
        return self.b.gep(ptr, [self.b.mul(index, self.count(size))], source_etype=ir.IntType(8))

    def load(self, ptr: Any, index: Any, dtype: Any, lanes: int, mask: Any = None) -> Lanes:
        """Lanes from element `index` on."""
        return self.emitter.load(self.at(ptr, index, dtype.itemsize), dtype, lanes, mask).strict()

    def store(self, lanes: Lanes, ptr: Any, index: Any, mask: Any = None) -> None:
        """Write lanes from element `index` on."""
        self.emitter.store(lanes, self.at(ptr, index, lanes.dtype.itemsize), mask)

    def loop(self, start: Any, stop: Any, step: int, body: Callable[[Any], None]) -> None:
        """`body(i)` for i = start, start + step, ... below stop."""
        b = self.b
        head, inner, after = (self.fn.append_basic_block(n) for n in ("head", "body", "after"))
        before = b.block
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(ir.IntType(64))
        i.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", i, stop), inner, after)
        b.position_at_end(inner)
        body(i)
        i.add_incoming(b.add(i, self.count(step)), b.block)
        b.branch(head)
        b.position_at_end(after)

    def vectors(self, n: Any, lanes: int, body: Callable[[Any, Any], None]) -> None:
        """`body(i, mask)` for whole vectors below n without a mask, then once for the rest."""
        b = self.b
        whole = b.and_(n, self.count(-lanes))
        self.loop(self.count(0), whole, lanes, lambda i: body(i, None))
        rest = b.sub(n, whole)
        with b.if_then(b.icmp_signed(">", rest, self.count(0))):
            body(whole, self.emitter.first(rest, lanes))

    def smaller(self, x: Any, y: Any) -> Any:
        """The smaller of two numbers of elements."""
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)


def _function(module: Any, name: str, kinds: list[Any], *, internal: bool = False) -> Writer:
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    if internal:
        fn.linkage = "internal"
        fn.attributes.add("noinline")
    return Writer(fn)


def _words_per_vector() -> int:
    return target.host().lanes(U32)


def _logical(x: Lanes, step: int) -> Lanes:
    return x.like(x.emitter.builder.lshr(x.value, x.of(step).value))


def _mixed(upper: Lanes, lower: Lanes) -> Lanes:
    """What a word and the one after it put into the next generation."""
    both = (upper & UPPER) | (lower & LOWER)
    return (both >> 1) ^ pick((lower & 1) != 0, upper.constant(MATRIX), 0)


def _write_twist(module: Any) -> Any:
    """The next 624 words in place of the last: each follows from the word there, the next one and one 397 on."""
    w = _function(module, "rushlight.twist", [ir.PointerType()], internal=True)
    (state,) = w.fn.args
    lanes = _words_per_vector()

    def part(first: int, size: int, distance: int) -> None:
        def body(i: Any, mask: Any) -> None:
            i = w.b.add(i, w.count(first))
            other = w.load(state, w.b.add(i, w.count(distance)), U32, lanes, mask)
            here, after = (w.load(state, w.b.add(i, w.count(k)), U32, lanes, mask) for k in (0, 1))
            w.store(other ^ _mixed(here, after), state, i, mask)

        w.vectors(w.count(size), lanes, body)

    part(0, WORDS - MIDDLE, MIDDLE)
    part(WORDS - MIDDLE, MIDDLE - 1, MIDDLE - WORDS)
    last, first, middle = (w.load(state, w.count(k), U32, 1) for k in (WORDS - 1, 0, MIDDLE - 1))
    w.store(middle ^ _mixed(last, first), state, w.count(WORDS - 1))
    w.b.ret_void()
    return w.fn


def _tempered(y: Lanes) -> Lanes:
    y = y ^ (y >> 11)
    y = y ^ ((y << 7) & 0x9D2C5680)
    y = y ^ ((y << 15) & 0xEFC60000)
    return y ^ (y >> 18)


def _write_fill(module: Any) -> Any:
    """`fill(state, out, n)`: the next n words."""
    twist = _write_twist(module)
    w = _function(module, "rushlight.fill", [ir.PointerType(), ir.PointerType(), ir.IntType(64)], internal=True)
    state, out, n = w.fn.args
    b, lanes = w.b, _words_per_vector()
    word = ir.IntType(32)
    place = w.at(state, w.count(WORDS), 4)
    done = b.alloca(ir.IntType(64))
    b.store(w.count(0), done)
    head, more, after = (w.fn.append_basic_block(k) for k in ("more", "some", "done"))
    b.branch(head)
    b.position_at_end(head)
    start = b.load(done, typ=ir.IntType(64))
    b.cbranch(b.icmp_signed("<", start, n), more, after)
    b.position_at_end(more)
    with b.if_then(b.icmp_signed(">=", b.load(place, typ=word), ir.Constant(word, WORDS))):
        b.call(twist, [state])
        b.store(ir.Constant(word, 0), place)
    position = b.sext(b.load(place, typ=word), ir.IntType(64))
    some = w.smaller(b.sub(n, start), b.sub(w.count(WORDS), position))

    def body(i: Any, mask: Any) -> None:
        words = _tempered(w.load(state, b.add(position, i), U32, lanes, mask))
        w.store(words, out, b.add(start, i), mask)

    w.vectors(some, lanes, body)
    b.store(b.trunc(b.add(position, some), word), place)
    b.store(b.add(start, some), done)
    b.branch(head)
    b.position_at_end(after)
    b.ret_void()
    return w.fn


def _in_pieces(
    module: Any, fill: Any, name: str, kinds: list[Any], words: int, body: Callable[[Writer, Any, Any, Any, Any], None]
) -> None:
    """A function that draws `words` words for each element and has `body(w, drawn, start, some, out)` use them."""
    pointer = ir.PointerType()
    w = _function(module, name, [pointer, pointer, ir.IntType(64), *kinds])
    state, out, n = w.fn.args[:3]
    room = w.b.alloca(ir.ArrayType(ir.IntType(32), PIECE * words))
    room.align = 64
    drawn = w.at(room, w.count(0), 4)
    drawn.type = pointer  # llvmlite gives what `alloca` returns a pointee

    def piece(start: Any) -> None:
        some = w.smaller(w.b.sub(n, start), w.count(PIECE))
        w.b.call(fill, [state, drawn, w.b.mul(some, w.count(words))])
        body(w, drawn, start, some, out)

    w.loop(w.count(0), n, PIECE, piece)
    w.b.ret_void()


def _bits53(w: Writer, drawn: Any, i: Any, lanes: int, mask: Any) -> Lanes:
    """Integers of 53 bits: the low 21 of a word, then the word after it."""
    both = w.load(drawn, i, I64, lanes, mask)
    return ((both & 0x1FFFFF) << 32) | _logical(both, 32)


def _uniform32(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    lanes = target.host().lanes(F32)
    scale, shift, high = (w.emitter.splat(a, lanes, F32).strict() for a in w.fn.args[3:])

    def body(i: Any, mask: Any) -> None:
        units = (w.load(drawn, i, I32, lanes, mask) & 0xFFFFFF).astype(F32) * 2.0**-24
        values = units.fma(scale, shift)
        w.store(pick(values == high, shift, values), out, w.b.add(start, i), mask)

    w.vectors(some, lanes, body)


def _uniform64(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    lanes = target.host().lanes(F64)
    scale, shift, high = (w.emitter.splat(a, lanes, F64).strict() for a in w.fn.args[3:])

    def body(i: Any, mask: Any) -> None:
        values = (_bits53(w, drawn, i, lanes, mask).astype(F64) * 2.0**-53).fma(scale, shift)
        w.store(pick(values == high, shift, values), out, w.b.add(start, i), mask)

    w.vectors(some, lanes, body)


def _bernoulli(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    lanes = target.host().lanes(I64)
    threshold = w.emitter.splat(w.fn.args[3], lanes, I64)

    def body(i: Any, mask: Any) -> None:
        below = _bits53(w, drawn, i, lanes, mask) < threshold
        w.store(below.astype(NP_BOOL), out, w.b.add(start, i), mask)

    w.vectors(some, lanes, body)


def _chosen32(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    lanes = target.host().lanes(I64)
    threshold = w.emitter.splat(w.fn.args[3], lanes, I64)
    kept, dropped = (w.emitter.splat(a, lanes, F32) for a in w.fn.args[4:])

    def body(i: Any, mask: Any) -> None:
        below = _bits53(w, drawn, i, lanes, mask) < threshold
        w.store(pick(below, kept, dropped), out, w.b.add(start, i), mask)

    w.vectors(some, lanes, body)


def _below(words: Lanes, span: Lanes) -> Lanes:
    """The remainders of words by a span below 2**28: exact, as a quotient is at least 2**-32 off an integer."""
    wide = words.astype(F64)
    return words.emitter.elementary("floor", wide / span).fma(-span, wide)


def _integers(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    lanes = target.host().lanes(F64)
    low, span = w.emitter.splat(w.fn.args[3], lanes, I64), w.emitter.splat(w.fn.args[4], lanes, F64).strict()

    def body(i: Any, mask: Any) -> None:
        rest = _below(w.load(drawn, i, U32, lanes, mask), span)
        # to int32 and on: older processors convert to that only
        w.store(rest.astype(I32).astype(I64) + low, out, w.b.add(start, i), mask)

    w.vectors(some, lanes, body)


def _permutation(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    """Exchanges position i with one of i, ..., n - 1; the function is called for n - 1 elements after `_ordered`."""
    b, lanes = w.b, target.host().lanes(F64)
    left = b.sub(b.add(w.fn.args[2], w.count(1)), start)
    steps = w.emitter.sequence([float(k) for k in range(lanes)], F64).strict()

    def body(i: Any, mask: Any) -> None:
        span = w.emitter.splat(b.sitofp(b.sub(left, i), ir.DoubleType()), lanes, F64).strict() - steps
        span = pick(span < 1.0, 1.0, span)
        rest = _below(w.load(drawn, i, U32, lanes, mask), span)
        w.store(rest.astype(I32), drawn, i, mask)

    w.vectors(some, lanes, body)
    number = ir.IntType(64)

    def swap(k: Any) -> None:
        i = b.add(start, k)
        target_index = b.add(i, b.zext(b.load(w.at(drawn, k, 4), typ=ir.IntType(32)), number))
        here, there = w.at(out, i, 8), w.at(out, target_index, 8)
        x, y = b.load(here, typ=number), b.load(there, typ=number)
        b.store(x, there)
        b.store(y, here)

    w.loop(w.count(0), some, 1, swap)


def _log(x: Lanes) -> Lanes:
    """The logarithm of positive x, with the roundings of Cephes' logf in fused arithmetic."""
    bits = x.view(I32)
    exponent = (bits - SQRT_HALF_BITS) >> 23
    m = (bits - (exponent << 23)).view(F32) - 1.0
    e = exponent.astype(F32)
    square = m * m
    out = poly(m, LOG_POLYNOMIAL) * m
    out = out.fma(square, e * -2.12194440e-4)
    return (out - square * 0.5) + m + e * 0.693359375


def _sine_and_cosine(x: Lanes) -> tuple[Lanes, Lanes]:
    """Both of x in [0, 2 pi], with the roundings of Cephes' sinf and cosf."""
    octant = ((x * 1.27323954473516).astype(I32) + 1) & ~1
    y = octant.astype(F32)
    x = (x + y * -0.78515625) + y * -2.4187564849853515625e-4
    x = y.fma(-3.77489497744594108e-8, x)
    square = x * x
    sine = (poly(square, SINE_POLYNOMIAL) * square).fma(x, x)
    cosine = (poly(square, COSINE_POLYNOMIAL) * square).fma(square, square * -0.5) + 1.0
    swapped = (octant & 2) != 0
    sine, cosine = pick(swapped, cosine, sine), pick(swapped, sine, cosine)

    def signed(v: Lanes, shift: int) -> Lanes:
        return (v.view(I32) ^ (((octant + shift) & 4) << 29)).view(F32)

    return signed(sine, 0), signed(cosine, 2)


def box_muller(radius: Lanes, angle: Lanes) -> tuple[Lanes, Lanes]:
    """Two normals from two uniforms."""
    size = radius.emitter.elementary("sqrt", _log(1.0 - radius) * -2.0)
    sine, cosine = _sine_and_cosine(angle * 6.2831853071795864769)
    return cosine * size, sine * size


def _normal32(w: Writer, drawn: Any, start: Any, some: Any, out: Any) -> None:
    """Blocks of 16: the first 8 words give radii, the last 8 angles; two blocks at a time where there are two."""
    b = w.b

    def units(i: Any) -> Lanes:
        return (w.load(drawn, i, I32, 8) & 0xFFFFFF).astype(F32) * 2.0**-24

    def blocks(i: Any, number: int) -> None:
        eights = [units(b.add(i, w.count(8 * k))) for k in range(2 * number)]
        radius, angle = (eights[0].join(eights[2]), eights[1].join(eights[3])) if number == 2 else eights
        scale, shift = (w.emitter.splat(a, 8 * number, F32).strict() for a in w.fn.args[3:])
        halves = [v.fma(scale, shift) for v in box_muller(radius, angle)]
        for k in range(number):
            for side, values in enumerate(halves):
                part = values.part(8 * k, 8) if number == 2 else values
                w.store(part, out, b.add(b.add(start, i), w.count(16 * k + 8 * side)))

    pairs = b.and_(some, w.count(-32))
    w.loop(w.count(0), pairs, 32, lambda i: blocks(i, 2))
    w.loop(pairs, some, 16, lambda i: blocks(i, 1))


# name: what it does with the words, the kinds of its further arguments
FUNCTIONS: dict[str, tuple[tuple[int, Any], tuple[str, ...]]] = {
    "uniform32": ((1, _uniform32), ("f32", "f32", "f32")),
    "uniform64": ((2, _uniform64), ("f64", "f64", "f64")),
    "bernoulli": ((2, _bernoulli), ("i64",)),
    "chosen32": ((2, _chosen32), ("i64", "f32", "f32")),
    "integers": ((1, _integers), ("i64", "f64")),
    "permutation": ((1, _permutation), ()),
    "normal32": ((1, _normal32), ("f32", "f32")),
}


def module_text() -> str:
    """All functions, as LLVM assembler."""
    module = ir.Module("draws")
    fill = _write_fill(module)
    kinds = {"f32": ir.FloatType(), "f64": ir.DoubleType(), "i64": ir.IntType(64)}
    for name, ((words, body), extras) in FUNCTIONS.items():
        _in_pieces(module, fill, name, [kinds[e] for e in extras], words, body)
    return str(module)
