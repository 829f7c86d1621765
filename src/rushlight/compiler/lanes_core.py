"""Vectors of lanes in LLVM IR: values with NumPy's operators and dtype rules, and what loads, converts and stores them.

float16 and bfloat16 live in registers as float32 that a narrow number can hold: every result is rounded again. bool is
`i1` in registers and a byte in memory. Nothing here is undefined where NumPy is defined: integer division by zero gives
0, shifts by the width or more give what NumPy's do, conversions out of range give what NumPy's give on x86.
"""

# What an operator gives depends on its operands.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.compiler.binding import ir, llvm
from rushlight.compiler.lanes_arithmetic import (
    ARITHMETIC,
    BF16,
    BOOL,
    F32,
    HALF,
    I32,
    I64,
    compare,
    convert,
    is_float,
    plain,
    suffix,
)
from rushlight.compiler.lanes_narrow import I16, from_half, half_bits, round_bf16, round_half
from rushlight.dtypes import NP_HALF

CONTRACT = ("contract",)
"""Flags of user arithmetic: a multiplication may join the addition after it. Not `reassoc`: (x + 1) - 1 is not x."""


def promote(*dtypes: Any) -> Any:
    """NumPy's common dtype of arrays."""
    out = dtypes[0]
    for d in dtypes[1:]:
        if d != out:
            out = np.result_type(np.empty(0, out), np.empty(0, d))
    return out


class Emitter:
    """Writes instructions on lanes through a builder.

    Attributes
    ----------
    builder, module : of llvmlite.ir; `builder` may be replaced between calls
    flags : fast-math flags of arithmetic on plain lanes
    """

    __slots__ = ("builder", "module", "flags")

    def __init__(self, builder: Any, module: Any, flags: tuple[str, ...] = CONTRACT) -> None:
        self.builder = builder
        self.module = module
        self.flags = flags

    def scalar_type(self, dtype: Any, *, memory: bool = False) -> Any:
        """The LLVM type of one number, in a register or in memory."""
        if dtype.kind == "c" or dtype.kind not in "biuf" and dtype not in NP_HALF:
            raise NotImplementedError(f"lanes of {dtype}")
        if dtype == BOOL:
            return ir.IntType(8 if memory else 1)
        if dtype.kind in "iu":
            return ir.IntType(8 * dtype.itemsize)
        if dtype in NP_HALF:
            return ir.IntType(16) if memory else ir.FloatType()
        return ir.FloatType() if dtype == F32 else ir.DoubleType()

    def type_of(self, dtype: Any, count: int, *, memory: bool = False) -> Any:
        """The LLVM type of `count` lanes; of 1 lane a plain number."""
        scalar = self.scalar_type(dtype, memory=memory)
        return scalar if count == 1 else ir.VectorType(scalar, count)

    def constant(self, value: Any, dtype: Any, count: int) -> Lanes:
        """A number in all lanes, rounded to the dtype."""
        dtype = np.dtype(dtype)
        return Lanes(self, self._literal(self.scalar_type(dtype), plain(value, dtype), count), dtype, count)

    def sequence(self, values: Sequence[Any], dtype: Any) -> Lanes:
        """A number of its own in each lane."""
        dtype = np.dtype(dtype)
        scalar = self.scalar_type(dtype)
        each = [ir.Constant(scalar, plain(v, dtype)) for v in values]
        value = each[0] if len(each) == 1 else ir.Constant(ir.VectorType(scalar, len(each)), each)
        return Lanes(self, value, dtype, len(each))

    @staticmethod
    def _literal(scalar: Any, value: Any, count: int) -> Any:
        one = ir.Constant(scalar, value)
        if count == 1:
            return one
        all_lanes = ir.FormattedConstant(scalar, f"splat ({scalar} {one.get_reference()})")
        all_lanes.type = ir.VectorType(scalar, count)  # the constructor would take a string for a sequence
        return all_lanes

    def splat(self, value: Any, count: int, dtype: Any = None) -> Lanes:
        """One lane (or an LLVM value with its dtype) in all lanes."""
        if isinstance(value, Lanes):
            value, dtype = value.value, value.dtype
        if count == 1:
            return Lanes(self, value, np.dtype(dtype), 1)
        wide = ir.VectorType(value.type, count)
        nothing = ir.Constant(wide, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), count), [ir.Constant(ir.IntType(32), 0)] * count)
        return Lanes(self, self.builder.shuffle_vector(first, nothing, order), np.dtype(dtype), count)

    def first(self, n: Any, count: int) -> Lanes:
        """A mask of the lanes before lane `n` (a Python int or an LLVM integer)."""
        if isinstance(n, int):
            return self.sequence([lane < n for lane in range(count)], BOOL)
        width = np.dtype(f"i{n.type.width // 8}")
        return self.sequence(list(range(count)), width) < self.splat(n, count, width)

    def intrinsic(self, name: str, out: Any, *args: Any) -> Any:
        """The result, of LLVM type `out`, of an LLVM function on LLVM values."""
        fn = self.module.globals.get(name)
        if fn is None:
            fn = ir.Function(self.module, ir.FunctionType(out, [a.type for a in args]), name)
        return self.builder.call(fn, args)

    def elementary(self, name: str, *args: Lanes) -> Lanes:
        """The result of an LLVM intrinsic whose operands and result have one type: `llvm.<name>`."""
        x = args[0]
        full = f"llvm.{name}.{suffix(x.value.type)}"
        return x.like(self.intrinsic(full, x.value.type, *(a.value for a in args)))

    def select(self, c: Lanes, x: Lanes, y: Lanes) -> Lanes:
        """x where c, else y; x and y of one dtype."""
        return x.like(self.builder.select(c.value, x.value, y.value))

    def load(self, ptr: Any, dtype: Any, count: int, mask: Lanes | None = None) -> Lanes:
        """`count` numbers from consecutive addresses; lanes outside the mask are not touched and hold 0."""
        dtype = np.dtype(dtype)
        kind = self.type_of(dtype, count, memory=True)
        if mask is None:
            raw = self.builder.load(ptr, typ=kind, align=dtype.itemsize)
        else:
            kind = self._vector(kind)
            name = f"llvm.masked.load.{suffix(kind)}.p0"
            args = (ptr, self._mask(mask), ir.Constant(kind, None))
            raw = self._scalar(self._masked(name, kind, dtype.itemsize, 0, args), count)
        return self.from_memory(raw, dtype, count)

    def store(self, lanes: Lanes, ptr: Any, mask: Lanes | None = None) -> None:
        """Write lanes to consecutive addresses; lanes outside the mask write nothing."""
        raw = self.to_memory(lanes)
        if mask is None:
            self.builder.store(raw, ptr, align=lanes.dtype.itemsize)
            return
        lane = _only_lane(mask)
        if lane is not None and lanes.count > 1:
            # LLVM 20 makes a constant mask of one lane a store of 4 bytes where the lanes were narrowed to 2
            place = ir.Constant(ir.IntType(64), lane * lanes.dtype.itemsize)
            self.store(lanes.part(lane, 1), self.builder.gep(ptr, [place], source_etype=ir.IntType(8)))
            return
        raw = self._widen(raw)
        name = f"llvm.masked.store.{suffix(raw.type)}.p0"
        self._masked(name, ir.VoidType(), lanes.dtype.itemsize, 1, (raw, ptr, self._mask(mask)))

    def gather(self, ptr: Any, index: Lanes, dtype: Any, mask: Lanes | None = None, *, scale: int = 0) -> Lanes:
        """Numbers at `ptr` + index * `scale` bytes (default: the dtype's size); lanes outside the mask hold 0."""
        dtype = np.dtype(dtype)
        kind = self._vector(self.type_of(dtype, index.count, memory=True))
        where = self._addresses(ptr, index, scale or dtype.itemsize)
        mask = mask if mask is not None else self.constant(True, BOOL, index.count)
        name = f"llvm.masked.gather.{suffix(kind)}.{suffix(where.type)}"
        args = (where, self._mask(mask), ir.Constant(kind, None))
        raw = self._scalar(self._masked(name, kind, dtype.itemsize, 0, args), index.count)
        return self.from_memory(raw, dtype, index.count)

    def scatter(self, lanes: Lanes, ptr: Any, index: Lanes, mask: Lanes | None = None, *, scale: int = 0) -> None:
        """Write lanes to `ptr` + index * `scale` bytes, in the order of lanes where addresses repeat."""
        raw = self._widen(self.to_memory(lanes))
        where = self._addresses(ptr, index, scale or lanes.dtype.itemsize)
        mask = mask if mask is not None else self.constant(True, BOOL, index.count)
        name = f"llvm.masked.scatter.{suffix(raw.type)}.{suffix(where.type)}"
        self._masked(name, ir.VoidType(), lanes.dtype.itemsize, 1, (raw, where, self._mask(mask)))

    def _masked(self, name: str, out: Any, align: int, pointer: int, args: tuple[Any, ...]) -> Any:
        """A masked access; before LLVM 22 the alignment is an operand, since then an attribute of the pointer."""
        as_operand = llvm.llvm_version_info[0] < 22
        if as_operand:
            args = (*args[: pointer + 1], ir.Constant(ir.IntType(32), align), *args[pointer + 1 :])
        fn = self.module.globals.get(name)
        if fn is None:
            fn = ir.Function(self.module, ir.FunctionType(out, [a.type for a in args]), name)
        call = self.builder.call(fn, args)
        if not as_operand:
            call.arg_attributes[pointer] = attributes = ir.values.ArgumentAttributes()
            attributes.align = align
        return call

    def _addresses(self, ptr: Any, index: Lanes, scale: int) -> Any:
        steps = index.astype(I64) * scale
        kind = ir.VectorType(ir.PointerType(), index.count)
        where = self.builder.gep(ptr, [self._widen(steps.value)], source_etype=ir.IntType(8))
        where.type = kind
        return where

    @staticmethod
    def _vector(kind: Any) -> Any:
        return kind if isinstance(kind, ir.VectorType) else ir.VectorType(kind, 1)

    def _widen(self, value: Any) -> Any:
        if isinstance(value.type, ir.VectorType):
            return value
        nothing = ir.Constant(ir.VectorType(value.type, 1), ir.Undefined)
        return self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))

    def _scalar(self, value: Any, count: int) -> Any:
        return value if count > 1 else self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    def _mask(self, mask: Lanes) -> Any:
        return self._widen(mask.value)

    def from_memory(self, raw: Any, dtype: Any, count: int) -> Lanes:
        """Lanes of an LLVM value as it stands in memory."""
        if dtype == BOOL:
            raw = self.builder.icmp_unsigned("!=", raw, self._literal(ir.IntType(8), 0, count))
        elif dtype == HALF:
            raw = from_half(Lanes(self, raw, I16, count)).value
        elif dtype == BF16:
            wide = self.builder.zext(raw, self.type_of(I32, count))
            raw = self.builder.bitcast(
                self.builder.shl(wide, self._literal(ir.IntType(32), 16, count)), self.type_of(F32, count)
            )
        return Lanes(self, raw, dtype, count)

    def to_memory(self, lanes: Lanes) -> Any:
        """The LLVM value of lanes as it stands in memory."""
        count, value = lanes.count, lanes.value
        if lanes.dtype == BOOL:
            return self.builder.zext(value, self.type_of(BOOL, count, memory=True))
        if lanes.dtype == HALF:
            return half_bits(lanes).value
        if lanes.dtype == BF16:
            bits = self.builder.bitcast(value, self.type_of(I32, count))
            high = self.builder.lshr(bits, self._literal(ir.IntType(32), 16, count))
            return self.builder.trunc(high, self.type_of(BF16, count, memory=True))
        return value

    def reduce(self, lanes: Lanes, combine: Callable[[Lanes, Lanes], Lanes]) -> Lanes:
        """All lanes combined to one, halves with halves: an order that depends on their number only."""
        while lanes.count > 1:
            half = lanes.count // 2
            if lanes.count % 2:
                raise NotImplementedError("a reduction of lanes whose number is no power of two")
            lanes = combine(lanes.part(0, half), lanes.part(half, half))
        return lanes


def _only_lane(mask: Lanes) -> int | None:
    """The lane that a constant mask is made of, if it is one."""
    constant = getattr(mask.value, "constant", None)
    if not isinstance(constant, (list, tuple)):
        return None
    chosen = [i for i, c in enumerate(constant) if c.constant]
    return chosen[0] if len(chosen) == 1 else None


def _operator(name: str, flip: bool = False) -> Callable[[Any, Any], Any]:
    return lambda a, b: a._arithmetic(name, b, flip)


class Lanes:
    """`count` numbers of one dtype that instructions work on at once; behaves as a NumPy array does.

    Results have NumPy's dtypes; Python numbers take the dtype of the lanes they meet. `exact` lanes carry no fast-math
    flags, and what is computed from them does not either.
    """

    __slots__ = ("emitter", "value", "dtype", "count", "exact")
    __array_ufunc__ = None

    def __init__(self, emitter: Emitter, value: Any, dtype: Any, count: int, exact: bool = False) -> None:
        self.emitter = emitter
        self.value = value
        self.dtype = dtype
        self.count = count
        self.exact = exact

    @property
    def ndim(self) -> int:
        """1: lanes are a row."""
        return 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of lanes."""
        return (self.count,)

    def __repr__(self) -> str:
        return f"<{self.count} lanes of {self.dtype}>"

    def __bool__(self) -> bool:
        raise NotImplementedError("lanes have no values while code is written")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("lanes are no array")

    def __iter__(self) -> Any:
        raise NotImplementedError("lanes cannot be looped over")

    def like(self, value: Any, dtype: Any = None) -> Lanes:
        """Lanes of the same count over another LLVM value."""
        return Lanes(self.emitter, value, dtype or self.dtype, self.count, self.exact)

    def strict(self) -> Lanes:
        """The same lanes, exact: arithmetic on them is done as written."""
        return Lanes(self.emitter, self.value, self.dtype, self.count, True)

    def loose(self) -> Lanes:
        """The same lanes, not exact."""
        return Lanes(self.emitter, self.value, self.dtype, self.count)

    def copy(self) -> Lanes:
        """The lanes themselves: they never change."""
        return self

    def constant(self, value: Any, dtype: Any = None) -> Lanes:
        """A number in as many lanes."""
        return self.emitter.constant(value, dtype or self.dtype, self.count)

    def part(self, start: int, count: int) -> Lanes:
        """Some neighbouring lanes."""
        index = ir.IntType(32)
        if count == 1:
            value = self.emitter.builder.extract_element(self.value, ir.Constant(index, start))
        else:
            order = ir.Constant(ir.VectorType(index, count), [ir.Constant(index, start + k) for k in range(count)])
            nothing = ir.Constant(self.value.type, ir.Undefined)
            value = self.emitter.builder.shuffle_vector(self.value, nothing, order)
        return Lanes(self.emitter, value, self.dtype, count, self.exact)

    def join(self, other: Lanes) -> Lanes:
        """These lanes followed by as many others."""
        index, n = ir.IntType(32), self.count
        x, y = self.emitter._widen(self.value), self.emitter._widen(other.value)
        order = ir.Constant(ir.VectorType(index, 2 * n), [ir.Constant(index, k) for k in range(2 * n)])
        return Lanes(self.emitter, self.emitter.builder.shuffle_vector(x, y, order), self.dtype, 2 * n, self.exact)

    def view(self, dtype: Any) -> Lanes:
        """The bits of the lanes as numbers of another dtype of the same size."""
        dtype = np.dtype(dtype)
        value = self.emitter.builder.bitcast(self.value, self.emitter.type_of(dtype, self.count))
        return Lanes(self.emitter, value, dtype, self.count, self.exact)

    def fma(self, y: Any, z: Any) -> Lanes:
        """self * y + z, rounded once; all of one floating dtype."""
        return self.emitter.elementary("fma", self, self.of(y), self.of(z))

    def of(self, x: Any) -> Lanes:
        """`x`, a number or lanes of this dtype, as lanes of this dtype and count."""
        return x if isinstance(x, Lanes) else self.constant(x)

    def astype(self, dtype: Any, **_: Any) -> Lanes:
        """The lanes converted as NumPy converts."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        return Lanes(self.emitter, convert(self, dtype), dtype, self.count, self.exact)

    def pair(self, other: Any) -> tuple[Lanes, Lanes] | None:
        """This and another operand in their common dtype and count; None if the other is no number."""
        if isinstance(other, Lanes):
            dtype = promote(self.dtype, other.dtype)
            count = max(self.count, other.count)
            return self._spread(dtype, count), other._spread(dtype, count)
        if isinstance(other, (np.ndarray, np.generic)) and other.ndim == 0 and other.dtype.kind != "O":
            dtype = promote(self.dtype, other.dtype)
        elif isinstance(other, (bool, int, float)):
            dtype = self.dtype if self.dtype in NP_HALF else np.result_type(np.empty(0, self.dtype), other)
        else:
            return None
        return self.astype(dtype), self.constant(other, dtype)

    def _spread(self, dtype: Any, count: int) -> Lanes:
        out = self.astype(dtype)
        return out if out.count == count else self.emitter.splat(out, count)

    def rounded(self) -> Lanes:
        """The lanes as their dtype can hold them: narrow numbers are computed in float32."""
        if self.dtype == HALF:
            return self.like(round_half(self).value)
        if self.dtype == BF16:
            return self.like(round_bf16(self).value)
        return self

    def _arithmetic(self, name: str, other: Any, flip: bool = False) -> Any:
        both = self.pair(other)
        if both is None:
            return NotImplemented
        x, y = reversed(both) if flip else both
        return ARITHMETIC[name](x, y)

    def _compare(self, op: str, other: Any) -> Any:
        both = self.pair(other)
        return NotImplemented if both is None else compare(op, *both)

    __add__, __radd__ = _operator("add"), _operator("add", True)
    __sub__, __rsub__ = _operator("sub"), _operator("sub", True)
    __mul__, __rmul__ = _operator("mul"), _operator("mul", True)
    __truediv__, __rtruediv__ = _operator("truediv"), _operator("truediv", True)
    __floordiv__, __rfloordiv__ = _operator("floordiv"), _operator("floordiv", True)
    __mod__, __rmod__ = _operator("mod"), _operator("mod", True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", True)
    __and__, __rand__ = _operator("and"), _operator("and", True)
    __or__, __ror__ = _operator("or"), _operator("or", True)
    __xor__, __rxor__ = _operator("xor"), _operator("xor", True)
    __lshift__, __rlshift__ = _operator("lshift"), _operator("lshift", True)
    __rshift__, __rrshift__ = _operator("rshift"), _operator("rshift", True)

    def __eq__(self, other: Any) -> Any:
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Any:
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Any:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Any:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Any:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Any:
        return self._compare(">=", other)

    __hash__ = None  # type: ignore[assignment]

    def __pos__(self) -> Lanes:
        return self

    def __neg__(self) -> Lanes:
        b = self.emitter.builder
        if self.dtype == BOOL:
            raise NotImplementedError("negative of bool lanes")
        return self.like(b.fneg(self.value) if is_float(self.dtype) else b.neg(self.value))

    def __invert__(self) -> Lanes:
        if is_float(self.dtype):
            raise NotImplementedError("~ of floating lanes")
        return self.like(self.emitter.builder.not_(self.value))

    def __abs__(self) -> Lanes:
        if is_float(self.dtype):
            return self.emitter.elementary("fabs", self)
        if self.dtype.kind != "i":
            return self
        return self.emitter.select(compare("<", self, self.constant(0)), -self, self)
