"""Elementwise functions with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight import dtypes
from rushlight.errors import explain
from rushlight.functions.fast import NUMBERS, binary, operand, store, unary
from rushlight.ops import elementwise as ops
from rushlight.ops import linear
from rushlight.ops.kinds import Elementwise, result_dtype
from rushlight.ops.refusals import MINUS
from rushlight.tape import Variable, record, wrap

exp, exp2, expm1, log, log2, log10, log1p, sqrt, rsqrt = map(
    unary, (ops.exp, ops.exp2, ops.expm1, ops.log, ops.log2, ops.log10, ops.log1p, ops.sqrt, ops.rsqrt)
)
sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh = map(
    unary,
    (
        ops.sin,
        ops.cos,
        ops.tan,
        ops.asin,
        ops.acos,
        ops.atan,
        ops.sinh,
        ops.cosh,
        ops.tanh,
        ops.asinh,
        ops.acosh,
        ops.atanh,
    ),
)
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
erf, erfc, erfinv, lgamma, digamma, sigmoid, relu = map(
    unary, (ops.erf, ops.erfc, ops.erfinv, ops.lgamma, ops.digamma, ops.sigmoid, ops.relu)
)
floor, ceil, trunc, frac, sign, sgn, reciprocal, _square, deg2rad, rad2deg = map(
    unary,
    (ops.floor, ops.ceil, ops.trunc, ops.frac, ops.sign, ops.sgn, ops.reciprocal, ops.square, ops.deg2rad, ops.rad2deg),
)
fix = trunc
_neg, abs, conj_physical = map(unary, (ops.neg, ops.abs, linear.conj))
absolute = abs
isnan, isinf, isfinite, isposinf, isneginf, signbit, logical_not, bitwise_not, angle = map(
    unary,
    (
        ops.isnan, ops.isinf, ops.isfinite, ops.isposinf, ops.isneginf, ops.signbit, ops.logical_not, ops.bitwise_not,
        ops.angle,
    ),
)  # fmt: skip
_add, _mul, _div, _rdiv = map(binary, (ops.add, ops.mul, ops.div, ops.rdiv))
_floor_divide, _div_trunc, _remainder, _fmod, _pow = map(
    binary, (ops.floor_divide, ops.div_trunc, ops.remainder, ops.fmod, ops.pow)
)
_eq, _ne, _lt, _le, _gt, _ge = map(binary, (ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge))


def _minus(op: Elementwise) -> Any:
    def slow(input: Any, other: Any) -> Any:
        refuse_bool_minus(input, other)
        return record(op, (operand(input, op.name), operand(other, op.name, 2)), {})

    return binary(op, slow)


def refuse_bool_minus(x: Any, y: Any) -> None:
    """Raise PyTorch's error where a bool is an operand of a subtraction."""
    both = [a for a in (x, y) if isinstance(a, Variable) and a._data.dtype == np.bool_ or isinstance(a, bool)]
    if len(both) == 2:
        raise RuntimeError(MINUS)
    if both:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )


_sub, _rsub = map(_minus, (ops.sub, ops.rsub))


def _with_out(call: Any) -> Any:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        result = call(input, other)
        return result if out is None else store(result, out)

    function.__name__ = function.__qualname__ = call.__name__
    function.__doc__ = call.__doc__
    return function


eq, ne, lt, le, gt, ge = map(_with_out, (_eq, _ne, _lt, _le, _gt, _ge))
less, less_equal, greater, greater_equal, not_equal = lt, le, gt, ge, ne
maximum, minimum, fmax, fmin, atan2, hypot, logaddexp, logaddexp2, copysign, nextafter, heaviside, xlogy = (
    _with_out(binary(o))
    for o in (
        ops.maximum, ops.minimum, ops.fmax, ops.fmin, ops.atan2, ops.hypot, ops.logaddexp, ops.logaddexp2, ops.copysign,
        ops.nextafter, ops.heaviside, ops.xlogy,
    )
)  # fmt: skip
arctan2 = atan2
logical_and, logical_or, logical_xor, bitwise_and, bitwise_or, bitwise_xor, bitwise_left_shift, bitwise_right_shift = (
    _with_out(binary(o))
    for o in (
        ops.logical_and, ops.logical_or, ops.logical_xor, ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor,
        ops.bitwise_left_shift, ops.bitwise_right_shift,
    )
)  # fmt: skip
gcd, lcm, floor_divide, remainder, fmod = map(
    _with_out, (binary(ops.gcd), binary(ops.lcm), _floor_divide, _remainder, _fmod)
)


def _finish(result: Any, out: Any) -> Any:
    return result if out is None else store(result, out)


def scaled(input: Any, other: Any, alpha: Any) -> Any:
    """alpha * other, for `input + alpha * other`."""
    if alpha == 1 and alpha is not True:
        return other
    wanted = ops_result(input, other)
    if isinstance(alpha, bool) and wanted.category:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if wanted.category < 2 and isinstance(alpha, (float, complex)):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if wanted.category < 3 and isinstance(alpha, complex):
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    return _mul(other, alpha if wanted.category else bool(alpha)) if isinstance(other, Variable) else other * alpha


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """input + alpha * other."""
    result = _add(input, other if type(alpha) is int and alpha == 1 else scaled(input, other, alpha))
    return result if out is None else store(result, out)


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """input - alpha * other."""
    if type(alpha) is not int or alpha != 1:
        refuse_bool_minus(input, other)
        other = scaled(input, other, alpha)
    result = _sub(input, other)
    return result if out is None else store(result, out)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha * input."""
    refuse_bool_minus(input, other)
    return _rsub(scaled(other, input, alpha), other)


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * other."""
    result = _mul(input, other)
    return result if out is None else store(result, out)


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input / other; rounded to minus infinity ("floor") or to zero ("trunc") if asked."""
    if rounding_mode is None:
        return _finish(_div(input, other), out)
    if rounding_mode == "floor":
        return _finish(_floor_divide(input, other), out)
    if rounding_mode == "trunc":
        return _finish(_div_trunc(input, other), out)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


subtract, multiply, divide, true_divide = sub, mul, div, div


def neg(input: Any, *, out: Any = None) -> Any:
    """-input."""
    if input._data.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a "
            "mask, use the "
            "`~` or `logical_not()` operator instead."
        )
    return _neg(input, out=out)


negative = neg


def square(input: Any, *, out: Any = None) -> Any:
    """input * input."""
    return _square(input, out=out) if input._data.dtype.kind != "b" else pow(input, 2, out=out)


def positive(input: Any) -> Any:
    """The input itself."""
    if input._data.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent."""
    if isinstance(exponent, Variable):
        if isinstance(input, Variable):
            return _finish(
                _pow(input, exponent) if not _has_negative_ints(exponent) else _reciprocal_powers(input, exponent), out
            )
        if isinstance(input, bool) and exponent._data.dtype.kind == "b":
            raise ops.pow.refused(dtypes.bool_)
        return _finish(record(ops.rpow_scalar, (_at_least(exponent, input),), {"base": input}), out)
    if isinstance(exponent, np.generic):
        exponent = exponent.item()
    if not isinstance(exponent, NUMBERS):
        raise TypeError(
            f"pow(): argument 'exponent' (position 2) must be Tensor or Number, not {type(exponent).__name__}"
        )
    if input._data.dtype.kind in "biu" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if input._data.dtype.kind == "b" and isinstance(exponent, bool):
        return _finish(
            record(ops.pow_scalar, (linear.cast(input, np.dtype(np.uint8)),), {"exponent": int(exponent)}).bool(), out
        )
    return _finish(record(ops.pow_scalar, (_at_least(input, exponent),), {"exponent": exponent}), out)


def _has_negative_ints(y: Any) -> bool:
    return y._data.dtype.kind == "i" and y._data.size > 0 and bool(y._data.min() < 0)


def _reciprocal_powers(x: Any, y: Any) -> Any:
    """x ** y with negative exponents: integers give 0 there, but for a base of 1 or -1."""
    if x._data.dtype.kind not in "iu":
        return _pow(x, y)
    return _mul(_pow(x, abs(y)), logical_or(_ge(y, 0), _eq(abs(x), 1)))


def _at_least(x: Any, number: Any) -> Any:
    """`x` in the dtype that it and a Python number promote to."""
    wanted = ops_result(x, number)
    return x if x._data.dtype == wanted.np else linear.cast(x, wanted.np)


def ops_result(*operands: Any) -> Any:
    """The dtype that operands promote to."""
    return result_dtype(operands)


def float_power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent in double precision."""
    wide = np.dtype(np.complex128 if ops_result(input, exponent).category == 3 else np.float64)
    x, y = (linear.cast(a, wide) if isinstance(a, Variable) else wide.type(a).item() for a in (input, exponent))
    return pow(x, y, out=out)


def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """The nearest integer (or multiple of 10**-decimals), ties to even."""
    return _finish(record(ops.round, (input,), {"decimals": decimals}), out)


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """input limited to min..max; each a number, a tensor or None."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Variable) or isinstance(max, Variable):
        result = input if min is None else maximum(input, _like(min, input))
        return _finish(result if max is None else minimum(result, _like(max, input)), out)
    for bound in (min, max):
        if bound is not None:
            input = _at_least(input, bound)
    return _finish(record(ops.clamp, (input,), {"min": min, "max": max}), out)


clip = clamp


def _like(bound: Any, input: Any) -> Any:
    return bound if isinstance(bound, Variable) else wrap(np.asarray(bound, input._data.dtype))


def clamp_min(input: Any, min: Any) -> Any:
    """input, at least min."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Any:
    """input, at most max."""
    return clamp(input, max=max)


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """input where the condition is true, else other; positions of true ones with the condition alone."""
    if input is None and other is None:
        return tuple(map(wrap, np.stack(np.nonzero(np.atleast_1d(condition._data)))))
    if condition._data.dtype != np.bool_:
        if condition._data.dtype != np.uint8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype {kernel_name(condition)}"
            )
        condition = linear.cast(condition, np.dtype(np.bool_))
    x, y = operand(input, "where", 2), operand(other, "where", 3)
    if not isinstance(x, Variable) and not isinstance(y, Variable):
        wanted = ops_result(x, y).np
        x = wrap(np.asarray(x, wanted))
    return _finish(record(ops.where, (condition, x, y), {}), out)


def where_method(input: Any, condition: Any, other: Any) -> Any:
    """This tensor where the condition is true, else other."""
    return where(condition, input, other)


def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """input + weight * (end - input)."""
    if isinstance(weight, Variable):
        return _finish(record(ops.lerp, (input, end, weight), {}), out)
    return _finish(record(ops.lerp_scalar, (input, end), {"weight": weight}), out)


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """input + value * tensor1 * tensor2."""
    return _finish(record(ops.addcmul, (input, tensor1, tensor2), {"value": value}), out)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """input + value * tensor1 / tensor2."""
    return _finish(record(ops.addcdiv, (input, tensor1, tensor2), {"value": value}), out)


def nan_to_num(input: Any, nan: Any = None, posinf: Any = None, neginf: Any = None, *, out: Any = None) -> Any:
    """input with NaN and infinities replaced by numbers."""
    return _finish(record(ops.nan_to_num, (input,), {"nan": nan or 0.0, "posinf": posinf, "neginf": neginf}), out)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """input with `value` where the mask is true."""
    if mask._data.dtype != np.bool_:
        shown = {"float32": "float", "float64": "double", "int64": "long int"}.get(
            mask._data.dtype.name, mask._data.dtype.name
        )
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {shown}")
    if isinstance(value, Variable):
        if value._data.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._data.ndim} dimension(s)."
            )
        if value._node is not None:
            return record(ops.where, (mask, linear.cast(value, input._data.dtype), input), {})
        value = value._data.item()
    if not isinstance(value, NUMBERS):
        raise TypeError(
            f"masked_fill() received an invalid combination of arguments - got (Tensor, {type(value).__name__})"
        )
    return record(ops.masked_fill, (input, mask), {"value": value})


def conj(input: Any) -> Any:
    """Complex conjugate; the input itself where it is real."""
    return conj_physical(input) if input._data.dtype.kind == "c" else input


def real(input: Any) -> Any:
    """The real part: a view of a complex tensor, a real tensor itself."""
    return linear.real(input) if input._data.dtype.kind == "c" else input


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, as a view."""
    if input._data.dtype.kind != "c":
        raise explain(
            RuntimeError("imag is not implemented for tensors with non-complex dtypes."), received=input._data.dtype
        )
    return linear.imag(input)


def is_nonzero(input: Any) -> bool:
    """Whether the one element is not 0."""
    return bool(input)


def kernel_name(t: Any) -> str:
    """PyTorch's name of a tensor's dtype in messages."""
    return dtypes.KERNEL_NAMES[t._data.dtype.name]


def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |input - other| <= atol + rtol * |other|, elementwise."""
    if input._data.dtype != other._data.dtype:
        raise RuntimeError(f"{kernel_name(input)} did not match {kernel_name(other)}")
    return wrap(np.asarray(np.isclose(input._data, other._data, rtol, atol, equal_nan)))


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close: |input - other| <= atol + rtol * |other|."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._data.all())


def equal(input: Any, other: Any) -> bool:
    """Whether shape and all elements are equal."""
    return input._data.shape == other._data.shape and bool(np.array_equal(input._data, other._data))


def isreal(input: Any) -> Any:
    """Whether the imaginary part is 0."""
    return wrap(np.isreal(input._data))


def ldexp(input: Any, other: Any) -> Any:
    """input * 2**other."""
    if input._data.dtype.kind not in "iub" and other._data.dtype.kind in "iub":
        other = linear.cast(other, input._data.dtype)
    return _mul(input, pow(2.0, other))
