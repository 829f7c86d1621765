"""What is known when the program is made: small calls of constants are computed, single numbers become numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Value
from rushlight.compiler.interpret import run_call
from rushlight.compiler.passes.rewriter import Rewrite, Rewriter
from rushlight.layout import broadcast_shapes
from rushlight.ops.kinds import OPS, Elementwise, View
from rushlight.spec import Spec

SMALL = 256  # results of up to so many elements are computed here
_LOOKED_AT = 1 << 16  # constants of up to so many elements are searched for being one number
# ops whose bodies take a Python number in any place, but not in all
_TAKE_NUMBERS = (
    "add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "where",
)  # fmt: skip


def uniform(value: Value, rewriter: Rewriter) -> Any:
    """The 0-d array that every element of `value` equals, if that is known; else None."""
    if value not in rewriter.facts:
        rewriter.facts[value] = _uniform(value, rewriter)
    return rewriter.facts[value]


def _uniform(value: Value, rewriter: Rewriter) -> Any:
    if value.data is not None:
        return _one_element(value.data)
    if value.call is None:
        return None
    name = value.call.op.name
    if name == "zeros_as":
        return np.zeros((), value.dtype)
    shows_same = isinstance(value.call.op, View) and name not in ("view_as_dtype", "view_as_real", "view_as_complex")
    if not shows_same or value.dtype.kind == "c" or value.call.operands[0].dtype != value.dtype:
        return None
    return uniform(value.call.operands[0], rewriter)


def _one_element(data: Any) -> Any:
    if not 0 < data.size <= _LOOKED_AT or data.dtype.kind not in "biuf":
        return None
    first = data.reshape(-1)[:1]
    if data.size > 1 and not np.array_equal(_bits(data), np.broadcast_to(_bits(first), data.size)):
        return None
    return first.reshape(())


def _bits(data: Any) -> Any:
    return np.ascontiguousarray(data).reshape(-1).view(f"u{data.itemsize}")


def constant(data: Any) -> Value:
    """A constant of an array."""
    return Value(Spec(data.shape, data.dtype), data=data)


def folded(call: Call, rewriter: Rewriter) -> Any:
    """The results of a call of constants, where they are small."""
    if call.op.name in ("zeros_as", "expand") or not all(v.is_constant for v in call.values()):
        return None
    if any(v.spec.dtype.kind == "V" or np.prod(v.shape) > SMALL for v in call.results):
        return None
    found = run_call(call, lambda v: v.data)
    return tuple(constant(np.array(a, order="C")) for a in found)


def folded_uniform(call: Call, rewriter: Rewriter) -> Any:
    """An elementwise call of operands of one number each is the expansion of one number."""
    numbers = [uniform(a, rewriter) if isinstance(a, Value) else a for a in call.operands]
    if any(n is None and a is not None for n, a in zip(numbers, call.operands, strict=True)):
        return None
    result = call.results[0]
    if result.dtype.kind not in "biuf" or 0 in result.shape:
        return None
    data = np.asarray(call.op.eager(tuple(numbers), dict(call.params)), result.dtype)
    return rewriter.make("expand", constant(data.reshape(())), shape=result.shape)


def detached_zeros(call: Call, rewriter: Rewriter) -> Any:
    """`zeros_as` needs a shape and a dtype only: it no longer keeps alive what it was made like."""
    x, result = call.operands[0], call.result
    if not isinstance(x, Value) or result.dtype.kind not in "biuf" or uniform(x, rewriter) is not None:
        return None
    like = rewriter.make("expand", constant(np.zeros((), result.dtype)), shape=result.shape)
    return rewriter.make("zeros_as", like)


def loosened(call: Call, rewriter: Rewriter) -> Any:
    """Operands that are one number become that number, expanded ones what they expand: broadcasting does the rest."""
    operands = tuple(_loose(call, i, a, rewriter) for i, a in enumerate(call.operands))
    if operands == call.operands:
        return None
    # where an expansion decides the shape of the result, expansions stay and only numbers are put in
    mixed = tuple(b if not isinstance(b, Value) else a for a, b in zip(call.operands, operands, strict=True))
    found = next((o for o in (operands, mixed) if o != call.operands and _same_spec(call, o)), None)
    return None if found is None else rewriter.make(call.op.name, *found, **call.params)


def _same_spec(call: Call, operands: tuple[Any, ...]) -> bool:
    """Whether the call has the same shape and computes in the same dtype with other operands."""
    kinds = {a.dtype for i, a in enumerate(operands) if isinstance(a, Value) and i not in call.op.masks}
    before = {a.dtype for i, a in enumerate(call.operands) if isinstance(a, Value) and i not in call.op.masks}
    shapes = [a.shape for a in operands if isinstance(a, Value)]
    return bool(shapes) and kinds == before and broadcast_shapes(*shapes) == call.results[0].shape


def _loose(call: Call, i: int, a: Any, rewriter: Rewriter) -> Any:
    if not isinstance(a, Value):
        return a
    if call.op.name in _TAKE_NUMBERS and i not in call.op.masks and a.dtype.kind in "iuf":
        number = uniform(a, rewriter)
        if number is not None:
            return number.item()
    if a.call is not None and a.call.op.name == "expand" and isinstance(a.call.operands[0], Value):
        return a.call.operands[0]
    return a


def chosen(call: Call, rewriter: Rewriter) -> Any:
    """`where` under a mask that is true or false throughout."""
    mask = call.operands[0]
    known = uniform(mask, rewriter) if isinstance(mask, Value) else np.asarray(mask)
    if known is None:
        return None
    taken, result = call.operands[1 if known else 2], call.result
    if not isinstance(taken, Value) or taken.dtype != result.dtype:
        return None
    return taken if taken.shape == result.shape else rewriter.make("expand", taken, shape=result.shape)


def unused_softmax(call: Call, rewriter: Rewriter) -> Any:
    """Without a gradient for the softmax that cross-entropy also gives, the term that it would add is zero.

    `grad + p * (0 - sum(0 * p))` is `grad`: the numbers of a softmax `p` are finite, or NaN like the row of `grad`.
    """
    for grad, term in (call.operands, call.operands[::-1]):
        if not _is_call(term, "mul") or not isinstance(grad, Value) or grad.spec != call.result.spec:
            continue
        for p, inner in (term.call.operands, term.call.operands[::-1]):
            if _is_softmax(p) and _is_call(inner, "sub") and _is_zero(inner.call.operands[0], rewriter):
                total = inner.call.operands[1]
                if _is_call(total, "sum") and _is_zero_times(total.call.operands[0], p, rewriter):
                    return grad
    return None


def _is_call(value: Any, name: str) -> bool:
    return isinstance(value, Value) and value.call is not None and value.call.op.name == name


def _is_softmax(value: Any) -> bool:
    return (_is_call(value, "cross_entropy") or _is_call(value, "cross_entropy2d")) and value.part == 1


def _is_zero(a: Any, rewriter: Rewriter) -> bool:
    number = uniform(a, rewriter) if isinstance(a, Value) else a
    return number is not None and not np.any(number)


def _is_zero_times(product: Any, p: Value, rewriter: Rewriter) -> bool:
    if not _is_call(product, "mul"):
        return False
    a, b = product.call.operands
    return a is p and _is_zero(b, rewriter) or b is p and _is_zero(a, rewriter)


def divided_by_power_of_two(call: Call, rewriter: Rewriter) -> Any:
    """x / 2**k is x * 2**-k, to the bit, and faster."""
    x, n = call.operands
    if not isinstance(x, Value) or x.dtype != call.result.dtype or x.dtype.kind != "f" or x.dtype.itemsize < 4:
        return None
    if type(n) not in (int, float) or not n or abs(float(np.frexp(n)[0])) != 0.5 or not 2**-100 < abs(n) < 2**100:
        return None
    return rewriter.make("mul", x, 1.0 / n)


def divided_by_number(call: Call, rewriter: Rewriter) -> Any:
    """x / n is nearly x * (1 / n): only with fast_math."""
    x, n = call.operands
    if not isinstance(x, Value) or type(n) not in (int, float) or not n or x.dtype.kind not in "fV":
        return None
    return rewriter.make("mul", x, 1.0 / n)


def elementwise_names() -> tuple[str, ...]:
    """All elementwise ops declared so far."""
    return tuple(name for name, op in OPS.items() if isinstance(op, Elementwise))


def rules(fast_math: bool) -> list[tuple[tuple[str, ...], Rewrite]]:
    """The rules of this file."""
    names = elementwise_names()
    found: list[tuple[tuple[str, ...], Rewrite]] = [
        (tuple(OPS), folded),
        (names, folded_uniform),
        (("zeros_as",), detached_zeros),
        (names, loosened),
        (("where",), chosen),
        (("add",), unused_softmax),
        (("div",), divided_by_power_of_two),
    ]
    return [*found, (("div",), divided_by_number)] if fast_math else found
