"""Rewrite rules of arithmetic and of choice. The tests of the passes run each on arrays."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.passes.patterns import ANY, rule
from rushlight.ops.elementwise import (
    abs,
    add,
    bitwise_not,
    div,
    exp,
    log,
    logical_not,
    maximum,
    minimum,
    mul,
    neg,
    pow_scalar,
    relu,
    rsub,
    sqrt,
    square,
    sub,
    where,
)
from rushlight.ops.linear import copy_into, zeros_as

Pair = tuple[Any, Any]


@rule(kinds=ANY)
def double_negation(x: Any) -> Pair:
    """-(-x) is x."""
    return neg(neg(x)), x


@rule
def times_one(x: Any) -> Pair:
    """x * 1 is x."""
    return mul(x, 1), x


@rule
def times_minus_one(x: Any) -> Pair:
    """x * -1 is -x."""
    return mul(x, -1), neg(x)


@rule
def over_one(x: Any) -> Pair:
    """x / 1 is x."""
    return div(x, 1), x


@rule
def minus_zero(x: Any) -> Pair:
    """x - 0 is x, also for -0.0."""
    return sub(x, 0), x


@rule(kinds="iu")
def plus_zero_integer(x: Any) -> Pair:
    """x + 0 is x for integers; of floating point -0.0 becomes 0.0."""
    return add(x, 0), x


@rule(exact=False, zeros=True)
def plus_zero(x: Any) -> Pair:
    """x + 0 is x but for -0.0, which a user may have meant to lose."""
    return add(x, 0), x


@rule(zeros=True)
def plus_zeros_as(x: Any, y: Any) -> Pair:
    """Adding `zeros_as`, which only gradients make: the sign of a zero gradient carries nothing."""
    return add(zeros_as(y), x), x


@rule(kinds=ANY)
def plus_negated(x: Any, y: Any) -> Pair:
    """x + (-y) is x - y."""
    return add(x, neg(y)), sub(x, y)


@rule(kinds=ANY)
def minus_negated(x: Any, y: Any) -> Pair:
    """x - (-y) is x + y."""
    return sub(x, neg(y)), add(x, y)


@rule
def reversed_difference(x: Any, y: Any) -> Pair:
    """rsub is a difference the other way round."""
    return rsub(x, y), sub(y, x)


@rule
def reversed_difference_of_number(x: Any, n: float) -> Pair:
    """The same from a number."""
    return rsub(x, n), sub(n, x)


@rule
def product_of_negated(x: Any, y: Any) -> Pair:
    """(-x) * (-y) is x * y."""
    return mul(neg(x), neg(y)), mul(x, y)


@rule
def negated_times_number(x: Any, n: float) -> Pair:
    """(-x) * n is x * -n."""
    return mul(neg(x), n), mul(x, -n)


@rule(zeros=True, exact=False)
def negated_difference(x: Any, y: Any) -> Pair:
    """-(x - y) is y - x, but for the sign of zero."""
    return neg(sub(x, y)), sub(y, x)


@rule
def squared(x: Any) -> Pair:
    """`square` is the product it stands for."""
    return square(x), mul(x, x)


@rule
def power_two(x: Any) -> Pair:
    """x ** 2 is x * x."""
    return pow_scalar(x, 2), mul(x, x)


@rule
def power_one(x: Any) -> Pair:
    """x ** 1 is x."""
    return pow_scalar(x, 1), x


@rule(kinds="fV")
def power_half(x: Any) -> Pair:
    """x ** 0.5 is computed as a root already."""
    return pow_scalar(x, 0.5), sqrt(x)


@rule(kinds=ANY)
def same_either_way(x: Any, c: Any) -> Pair:
    """where(c, x, x) is x."""
    return where(c, x, x), x


@rule
def maximum_with_itself(x: Any) -> Pair:
    """max(x, x) is x."""
    return maximum(x, x), x


@rule
def minimum_with_itself(x: Any) -> Pair:
    """min(x, x) is x."""
    return minimum(x, x), x


@rule
def relu_of_relu(x: Any) -> Pair:
    """relu(relu(x)) is relu(x)."""
    return relu(relu(x)), relu(x)


@rule
def abs_of_abs(x: Any) -> Pair:
    """| |x| | is |x|."""
    return abs(abs(x)), abs(x)


@rule
def abs_of_negated(x: Any) -> Pair:
    """|-x| is |x|."""
    return abs(neg(x)), abs(x)


@rule(kinds="b")
def double_logical_not(x: Any) -> Pair:
    """not not x is x for booleans."""
    return logical_not(logical_not(x)), x


@rule(kinds="biu")
def double_bitwise_not(x: Any) -> Pair:
    """~~x is x."""
    return bitwise_not(bitwise_not(x)), x


@rule(kinds=ANY)
def copied_into(x: Any, y: Any) -> Pair:
    """What `copy_` writes is its source."""
    return copy_into(x, y), y


@rule(exact=False)
def product_of_exponentials(x: Any, y: Any) -> Pair:
    """exp(800) * exp(-800) is nan, exp(0) is 1."""
    return mul(exp(x), exp(y)), exp(add(x, y))


@rule(exact=False)
def log_of_exponential(x: Any) -> Pair:
    """log(exp(800)) is inf."""
    return log(exp(x)), x


@rule(exact=False)
def product_of_roots(x: Any) -> Pair:
    """sqrt(-1) * sqrt(-1) is nan."""
    return mul(sqrt(x), sqrt(x)), x


@rule(exact=False)
def two_factors(x: Any, m: float, n: float) -> Pair:
    """(x * m) * n overflows where x * (m * n) need not."""
    return mul(mul(x, m), n), mul(x, m * n)
