"""The array namespace that writes vector instructions: op bodies run on lanes of LLVM values, unchanged.

`apply` runs the body of a declared op on lanes and gives what the op's eager form gives; `supports` says whether it
can. A body that calls a NumPy function on a value or looks at data cannot be written as instructions: NumPy runs it.
"""

# What an operator gives depends on its operands.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.compiler import vmath
from rushlight.compiler.binding import ir, is_available
from rushlight.compiler.lanes_arithmetic import (
    BOOL,
    F32,
    F64,
    compare,
    fmod,
    is_float,
    power,
    power_by,
    quotient,
)
from rushlight.compiler.lanes_core import CONTRACT as CONTRACT
from rushlight.compiler.lanes_core import Emitter as Emitter
from rushlight.compiler.lanes_core import Lanes as Lanes
from rushlight.compiler.lanes_core import promote as promote
from rushlight.dtypes import NP_HALF
from rushlight.ops.activation import INV_SQRT_2PI
from rushlight.ops.kinds import OPS, Elementwise, Op
from rushlight.spec import Spec

Number = Any


def _together(*operands: Any) -> tuple[Lanes, ...]:
    """Operands as lanes of one dtype and count; Python numbers take the dtype of the lanes."""
    lead = next((a for a in operands if isinstance(a, Lanes)), None)
    if lead is None:
        raise NotImplementedError("a function of numbers alone")
    for a in operands:
        if a is not lead:
            both = lead.pair(a)
            if both is None:
                raise NotImplementedError(f"an operand of type {type(a).__name__}")
            lead = both[0]
    return tuple(lead if a is lead else _second(lead, a) for a in operands)


def _second(lead: Lanes, a: Any) -> Lanes:
    both = lead.pair(a)
    if both is None:
        raise NotImplementedError(f"an operand of type {type(a).__name__}")
    return both[1]


def _floating(x: Lanes) -> Lanes:
    """Lanes as NumPy's floating-point functions take them: narrow integers as narrow floats."""
    return x if is_float(x.dtype) else x.astype(np.dtype(f"f{min(2 * x.dtype.itemsize, 8)}"))


def _unary(function: Callable[[Any], Any]) -> Callable[..., Lanes]:
    """A NumPy function of one floating operand: narrow numbers are computed in float32."""

    def compute(self: Namespace, x: Lanes) -> Lanes:
        x = _floating(*_together(x))
        if x.dtype in NP_HALF:
            return function(x.astype(F32).strict()).loose().astype(x.dtype)
        out = function(x.strict())
        return out if x.exact else out.loose()

    return compute


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Lanes]:
    """A NumPy function of two floating operands."""

    def compute(self: Namespace, x: Any, y: Any) -> Lanes:
        x, y = map(_floating, _together(x, y))
        if x.dtype in NP_HALF:
            return function(x.astype(F32).strict(), y.astype(F32).strict()).loose().astype(x.dtype)
        out = function(x.strict(), y.strict())
        return out if x.exact else out.loose()

    return compute


def _operator(name: str) -> Callable[..., Lanes]:
    def compute(self: Namespace, x: Any, y: Any) -> Lanes:
        x, y = _together(x, y)
        return getattr(x, name)(y)

    return compute


def _comparison(op: str) -> Callable[..., Lanes]:
    def compute(self: Namespace, x: Any, y: Any) -> Lanes:
        return compare(op, *_together(x, y))

    return compute


def _logical(name: str) -> Callable[..., Lanes]:
    def compute(self: Namespace, *operands: Any) -> Lanes:
        lanes = (a.astype(BOOL) for a in _together(*operands))
        first = next(lanes)
        return getattr(first, name)(*lanes)

    return compute


def _rounding(intrinsic: str) -> Callable[..., Lanes]:
    def compute(self: Namespace, x: Lanes) -> Lanes:
        (x,) = _together(x)
        if not is_float(x.dtype):
            return x if x.dtype != BOOL or intrinsic != "rint" else x.astype(F32)
        return x.emitter.elementary(intrinsic, x)

    return compute


def _extreme(op: str, *, ignore_nan: bool) -> Callable[..., Lanes]:
    """The greater or smaller; with a NaN NaN, or with `ignore_nan` the other one.

    Written so that x86 needs one instruction where y is a number: `max` there gives its second operand for NaN.
    """

    def compute(self: Namespace, x: Any, y: Any) -> Lanes:
        known = isinstance(y, (int, float)) and y == y
        x, y = _together(x, y)
        b = x.emitter.builder
        if x.dtype == BOOL:
            return x | y if op == ">" else x & y
        if not is_float(x.dtype):
            return x.emitter.select(compare(op, x, y), x, y)
        if ignore_nan:
            best = x.emitter.select(compare(op, x, y), x, y)
            return best if known else x.emitter.select(compare("!=", y, y), x, best)
        best = x.emitter.select(x.like(b.fcmp_unordered(op + "=", x.value, y.value), BOOL), x, y)
        return best if known else x.emitter.select(compare("!=", y, y), y, best)

    return compute


class Namespace:
    """NumPy's functions on lanes, under NumPy's names."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter

    add, subtract, multiply, true_divide = map(_operator, ("__add__", "__sub__", "__mul__", "__truediv__"))
    floor_divide, remainder = _operator("__floordiv__"), _operator("__mod__")
    bitwise_and, bitwise_or, bitwise_xor = map(_operator, ("__and__", "__or__", "__xor__"))
    left_shift, right_shift = _operator("__lshift__"), _operator("__rshift__")
    equal, not_equal, less, less_equal, greater, greater_equal = map(_comparison, ("==", "!=", "<", "<=", ">", ">="))
    logical_and, logical_or, logical_xor, logical_not = map(_logical, ("__and__", "__or__", "__xor__", "__invert__"))
    maximum, minimum = _extreme(">", ignore_nan=False), _extreme("<", ignore_nan=False)
    fmax, fmin = _extreme(">", ignore_nan=True), _extreme("<", ignore_nan=True)
    floor, ceil, trunc, rint = map(_rounding, ("floor", "ceil", "trunc", "rint"))

    exp, exp2, expm1 = _unary(vmath.exp), _unary(vmath.exp2), _unary(vmath.expm1)
    log, log2, log10, log1p = map(_unary, (vmath.log, vmath.log2, vmath.log10, vmath.log1p))
    sin, cos, tan = _unary(vmath.sin), _unary(vmath.cos), _unary(vmath.tan)
    arcsin, arccos, arctan = _unary(vmath.asin), _unary(vmath.acos), _unary(vmath.atan)
    sinh, cosh, tanh = _unary(vmath.sinh), _unary(vmath.cosh), _unary(vmath.tanh)
    arcsinh, arccosh, arctanh = _unary(vmath.asinh), _unary(vmath.acosh), _unary(vmath.atanh)
    erf, erfc, erfinv = _unary(vmath.erf), _unary(vmath.erfc), _unary(vmath.erfinv)
    lgamma, digamma = _unary(vmath.lgamma), _unary(vmath.digamma)
    sqrt = _unary(vmath.sqrt)
    arctan2, hypot = _binary(vmath.atan2), _binary(vmath.hypot)
    logaddexp, logaddexp2 = _binary(vmath.logaddexp), _binary(vmath.logaddexp2)
    nextafter = _binary(vmath.nextafter)

    def fmod(self, x: Any, y: Any) -> Lanes:
        """The remainder with the sign of x."""
        return fmod(*_together(x, y))

    def power(self, x: Any, y: Any) -> Lanes:
        """x ** y; of integers only for a Python number y."""
        if isinstance(y, int) and isinstance(x, Lanes) and not is_float(x.dtype) and x.dtype != BOOL and y >= 0:
            return power_by(x, y)
        x, y = _together(x, y)
        if x.dtype in NP_HALF:
            return power(x.astype(F32).strict(), y.astype(F32).strict()).loose().astype(x.dtype)
        out = power(x.strict(), y.strict())
        return out if x.exact else out.loose()

    def negative(self, x: Lanes) -> Lanes:
        """-x."""
        return -x

    def positive(self, x: Lanes) -> Lanes:
        """x."""
        return x

    def conjugate(self, x: Lanes) -> Lanes:
        """x: lanes are real."""
        return x

    def invert(self, x: Lanes) -> Lanes:
        """~x."""
        return ~x

    def absolute(self, x: Lanes) -> Lanes:
        """|x|."""
        return abs(x)

    abs = absolute

    def square(self, x: Lanes) -> Lanes:
        """x * x."""
        return x * x

    def reciprocal(self, x: Lanes) -> Lanes:
        """1 / x."""
        if not is_float(x.dtype):
            raise NotImplementedError("reciprocals of integer lanes")
        return 1 / x

    def sign(self, x: Lanes) -> Lanes:
        """-1, 0 or 1; NaN of NaN."""
        zero, one = x.constant(0), x.constant(1)
        if x.dtype == BOOL:
            raise NotImplementedError("signs of bool lanes")
        out = x.emitter.select(compare(">", x, zero), one, zero)
        if x.dtype.kind == "u":
            return out
        out = x.emitter.select(compare("<", x, zero), x.constant(-1), out)
        return x.emitter.select(compare("!=", x, x), x, out) if is_float(x.dtype) else out

    def copysign(self, x: Any, y: Any) -> Lanes:
        """|x| with the sign of y."""
        x, y = map(_floating, _together(x, y))
        return x.emitter.elementary("copysign", x, y)

    def signbit(self, x: Lanes) -> Lanes:
        """Whether the sign bit is set."""
        x = _floating(x)
        bits = np.dtype("i8" if x.dtype == F64 else "i4")
        return compare("<", x.view(bits), x.constant(0, bits))

    def isnan(self, x: Lanes) -> Lanes:
        """Whether x is NaN."""
        return compare("!=", x, x)

    def isinf(self, x: Lanes) -> Lanes:
        """Whether x is infinite."""
        if not is_float(x.dtype):
            return x.constant(False, BOOL)
        return compare("==", abs(x), x.constant(math.inf))

    def isfinite(self, x: Lanes) -> Lanes:
        """Whether x is neither infinite nor NaN."""
        if not is_float(x.dtype):
            return x.constant(True, BOOL)
        return compare("<", abs(x), x.constant(math.inf))

    def where(self, c: Any, x: Any, y: Any) -> Lanes:
        """x where c, else y."""
        if not isinstance(c, Lanes):
            x, y = _together(x, y)
            return x if c else y
        if not isinstance(x, Lanes) and not isinstance(y, Lanes):
            dtype = np.result_type(x, y)
            x, y = c.constant(x, dtype), c.constant(y, dtype)
        c = c.astype(BOOL)
        x, y = _together(x, y)
        count = max(c.count, x.count)
        c, x, y = (a if a.count == count else a.emitter.splat(a, count) for a in (c, x, y))
        return x.emitter.select(c, x, y)

    def clip(self, x: Any, low: Any, high: Any) -> Lanes:
        """x limited to low..high."""
        if low is not None:
            x = self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    def deg2rad(self, x: Lanes) -> Lanes:
        """Degrees to radians."""
        x = _floating(x)
        return x * x.constant(math.pi / 180)

    def rad2deg(self, x: Lanes) -> Lanes:
        """Radians to degrees."""
        x = _floating(x)
        return x * x.constant(180 / math.pi)

    def gcd(self, x: Any, y: Any) -> Lanes:
        """Greatest common divisor."""
        return vmath.gcd(*_together(x, y))

    def lcm(self, x: Any, y: Any) -> Lanes:
        """Least common multiple."""
        x, y = map(abs, _together(x, y))
        return quotient(x, vmath.gcd(x, y))[0] * y

    def asarray(self, x: Any) -> Any:
        """x itself."""
        return x

    def astype(self, x: Lanes, dtype: Any) -> Lanes:
        """x converted."""
        return x.astype(dtype)


def _cast(x: Lanes, dtype: Any) -> Lanes:
    return x.astype(dtype)


def _zeros_as(x: Lanes) -> Lanes:
    return x.constant(0)


OTHERS: dict[str, Callable[..., Lanes]] = {"cast": _cast, "zeros_as": _zeros_as}
"""Ops that are not declared elementwise though they are, and what they write."""


def _nan_to_num(xp: Namespace, x: Lanes, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Lanes:
    if not is_float(x.dtype):
        return x
    limits = np.finfo(x.dtype)
    high, low = (float(limits.max) if posinf is None else posinf), (float(limits.min) if neginf is None else neginf)
    out = xp.where(x == math.inf, high, xp.where(x == -math.inf, low, x))
    return xp.where(x != x, nan or 0.0, out)


def _gelu(xp: Namespace, x: Lanes, approximate: str = "none") -> Lanes:
    if approximate != "none" or x.dtype != F32:
        return OPS["gelu"].body(xp, x, approximate)
    below, _ = vmath.normal(x.strict())
    return x * below.loose()


def _gelu_slope(xp: Namespace, x: Lanes) -> Lanes:
    if x.dtype != F32:
        return OPS["gelu_slope"].body(xp, x)
    below, power = vmath.normal(x.strict())
    return (x.strict() * INV_SQRT_2PI).fma(power, below).loose()


BODIES: dict[str, Callable[..., Lanes]] = {"nan_to_num": _nan_to_num, "gelu": _gelu, "gelu_slope": _gelu_slope}
"""Bodies for elementwise ops whose own calls a NumPy function, or takes longer than it must."""


def apply(op: Op, emitter: Emitter, operands: Sequence[Lanes | Number | None], params: dict[str, Any]) -> Lanes:
    """Write an elementwise op.

    Parameters
    ----------
    op : an op that `supports` approves
    operands : lanes, Python or NumPy numbers, None for an absent one; lanes of count 1 spread over the others
    params : static parameters

    Returns
    -------
    Lanes of the dtype of `op.spec`, equal to the eager result: narrow numbers computed in float32 and rounded once
    """
    lanes = [a for a in operands if isinstance(a, Lanes)]
    if not lanes:
        raise NotImplementedError(f"{op.name} of numbers alone")
    count = max(a.count for a in lanes)
    if op.name in OTHERS:
        return OTHERS[op.name](*operands, **params)
    if not isinstance(op, Elementwise):
        raise NotImplementedError(f"lanes of op {op.name!r}")
    narrow = next((a.dtype for a in lanes if a.dtype in NP_HALF), None)
    wide = [a.astype(F32) if isinstance(a, Lanes) and a.dtype in NP_HALF else a for a in operands]
    body: Any = BODIES.get(op.name, op.body)
    out = _as_lanes(body(Namespace(emitter), *wide, **params), emitter, count)
    if narrow is not None and out.dtype == F32 and op.result != "bool":
        out = out.astype(narrow)
    wanted = op.spec(tuple(map(_spec_of, operands)), dict(params)).dtype
    return out.astype(wanted)


def _as_lanes(out: Any, emitter: Emitter, count: int) -> Lanes:
    if isinstance(out, Lanes):
        return out if out.count == count else emitter.splat(out, count)
    if isinstance(out, (np.ndarray, np.generic)) and out.ndim == 0 and out.dtype.kind in "biuf":
        return emitter.constant(out, out.dtype, count)
    raise NotImplementedError(f"a body that gives {type(out).__name__}")


def _spec_of(a: Any) -> Spec | None:
    if a is None:
        return None
    return Spec((), getattr(a, "dtype", None))


_SUPPORTED: dict[Any, bool] = {}
_PROBE = 4


def supports(op: Op, dtypes: Sequence[Any], params: dict[str, Any]) -> bool:
    """Whether `apply` can write an op.

    Parameters
    ----------
    dtypes : for each operand its dtype; None for an absent one; a Python or NumPy number stands for itself
    """
    if not is_available() or not (isinstance(op, Elementwise) or op.name in OTHERS):
        return False
    key = (op.name, tuple(map(repr, dtypes)), tuple((k, repr(v)) for k, v in sorted(params.items())))
    found = _SUPPORTED.get(key)
    if found is None:
        if len(_SUPPORTED) > 10_000:
            _SUPPORTED.clear()
        found = _SUPPORTED[key] = _can_emit(op, dtypes, params)
    return found


def _can_emit(op: Op, dtypes: Sequence[Any], params: dict[str, Any]) -> bool:
    module = ir.Module("probe")
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType()]), "probe")
    emitter = Emitter(ir.IRBuilder(fn.append_basic_block("entry")), module)
    try:
        operands = [emitter.load(fn.args[0], d, _PROBE) if isinstance(d, (np.dtype, type)) else d for d in dtypes]
        apply(op, emitter, operands, params)
    except Exception:  # whatever a body does that lanes cannot: it was written for arrays
        return False
    return True
