"""Comparison, logic and bits: elementwise ops without gradients."""

from __future__ import annotations

from typing import Any

from rushlight.ops.kinds import Array, elementwise


@elementwise(result="bool", grad=(None, None))
def eq(xp: Any, x: Array, y: Array) -> Array:
    """x == y."""
    return xp.equal(x, y)


@elementwise(result="bool", grad=(None, None))
def ne(xp: Any, x: Array, y: Array) -> Array:
    """x != y."""
    return xp.not_equal(x, y)


@elementwise(kinds="biuf", result="bool", grad=(None, None))
def lt(xp: Any, x: Array, y: Array) -> Array:
    """x < y."""
    return xp.less(x, y)


@elementwise(kinds="biuf", result="bool", grad=(None, None))
def le(xp: Any, x: Array, y: Array) -> Array:
    """x <= y."""
    return xp.less_equal(x, y)


@elementwise(kinds="biuf", result="bool", grad=(None, None))
def gt(xp: Any, x: Array, y: Array) -> Array:
    """x > y."""
    return xp.greater(x, y)


@elementwise(kinds="biuf", result="bool", grad=(None, None))
def ge(xp: Any, x: Array, y: Array) -> Array:
    """x >= y."""
    return xp.greater_equal(x, y)


@elementwise(result="bool", grad=(None,))
def isnan(xp: Any, x: Array) -> Array:
    """Whether x is NaN."""
    return xp.not_equal(x, x)


@elementwise(result="bool", grad=(None,))
def isinf(xp: Any, x: Array) -> Array:
    """Whether x is infinite."""
    return xp.isinf(x)


@elementwise(result="bool", grad=(None,))
def isfinite(xp: Any, x: Array) -> Array:
    """Whether x is neither infinite nor NaN."""
    return xp.isfinite(x)


@elementwise(kinds="biuf", refusal="isposinf does not support complex inputs.", result="bool", grad=(None,))
def isposinf(xp: Any, x: Array) -> Array:
    """Whether x is +inf."""
    return xp.isinf(x) & xp.greater(x, 0)


@elementwise(kinds="biuf", refusal="isneginf does not support complex inputs.", result="bool", grad=(None,))
def isneginf(xp: Any, x: Array) -> Array:
    """Whether x is -inf."""
    return xp.isinf(x) & xp.less(x, 0)


@elementwise(kinds="biuf", refusal="signbit is not implemented for complex tensors.", result="bool", grad=(None,))
def signbit(xp: Any, x: Array) -> Array:
    """Whether the sign bit is set."""
    return xp.signbit(x) if x.dtype.kind in "fV" else xp.less(x, 0)


@elementwise(result="bool", grad=(None, None))
def logical_and(xp: Any, x: Array, y: Array) -> Array:
    """Both non-zero."""
    return xp.logical_and(x, y)


@elementwise(result="bool", grad=(None, None))
def logical_or(xp: Any, x: Array, y: Array) -> Array:
    """Either non-zero."""
    return xp.logical_or(x, y)


@elementwise(result="bool", grad=(None, None))
def logical_xor(xp: Any, x: Array, y: Array) -> Array:
    """One of the two non-zero."""
    return xp.logical_xor(x, y)


@elementwise(result="bool", grad=(None,))
def logical_not(xp: Any, x: Array) -> Array:
    """Zero."""
    return xp.logical_not(x)


@elementwise(kinds="biu", grad=(None, None))
def bitwise_and(xp: Any, x: Array, y: Array) -> Array:
    """x & y of integers or bools."""
    return xp.bitwise_and(x, y)


@elementwise(kinds="biu", grad=(None, None))
def bitwise_or(xp: Any, x: Array, y: Array) -> Array:
    """x | y of integers or bools."""
    return xp.bitwise_or(x, y)


@elementwise(kinds="biu", grad=(None, None))
def bitwise_xor(xp: Any, x: Array, y: Array) -> Array:
    """x ^ y of integers or bools."""
    return xp.bitwise_xor(x, y)


@elementwise(kinds="biu", grad=(None,))
def bitwise_not(xp: Any, x: Array) -> Array:
    """~x of integers or bools."""
    return xp.invert(x)


@elementwise(kinds="iu", refusal="lshift_cpu", grad=(None, None))
def bitwise_left_shift(xp: Any, x: Array, y: Array) -> Array:
    """x << y."""
    return xp.left_shift(x, y)


@elementwise(kinds="iu", refusal="rshift_cpu", grad=(None, None))
def bitwise_right_shift(xp: Any, x: Array, y: Array) -> Array:
    """x >> y."""
    return xp.right_shift(x, y)


@elementwise(kinds="iu", grad=(None, None))
def gcd(xp: Any, x: Array, y: Array) -> Array:
    """Greatest common divisor."""
    return xp.gcd(x, y)


@elementwise(kinds="iu", grad=(None, None))
def lcm(xp: Any, x: Array, y: Array) -> Array:
    """Least common multiple."""
    return xp.lcm(x, y)
