"""Specialised callers of elementwise ops: the same result as `tape.record`, without its general bookkeeping."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.dtypes import NP_COMPLEX, NP_FLOATING, NP_HALF, NP_INTEGER
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import Elementwise
from rushlight.spec import Spec
from rushlight.tape import (
    Node,
    Variable,
    caller,
    check_castable,
    inference_error,
    node_class,
    record,
    sync,
    wrap,
    write,
)
from rushlight.tape import plain_tensor as tape_plain_tensor

ndarray = np.ndarray
asarray = np.asarray
_new = object.__new__
_INEXACT = frozenset(NP_FLOATING | NP_COMPLEX) - NP_HALF
_ANY = _INEXACT | NP_INTEGER | {np.dtype(np.bool_)}
NUMBERS = (int, float, bool, complex)
_FLOAT_OR_INT = frozenset((float, int))


def operand(x: Any, name: str, position: int = 1) -> Any:
    """`x` as an operand: a tensor, a Python number, or PyTorch's TypeError."""
    if isinstance(x, Variable) or type(x) in NUMBERS or hasattr(x, "op_rank"):
        return x
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, NUMBERS):
        return x + 0
    which = "input" if position == 1 else "other"
    raise TypeError(f"{name}(): argument '{which}' (position {position}) must be Tensor, not {type(x).__name__}")


def needs_tensor(x: Any, name: str) -> Any:
    """`x`, which must be a tensor."""
    if isinstance(x, Variable):
        return x
    raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")


_plain: type[Variable] = Variable


def plain_tensor(cls: type[Variable]) -> type[Variable]:
    """Class decorator: results of the specialised callers, and of all ops, are instances of `cls`."""
    global _plain
    _plain = cls
    return tape_plain_tensor(cls)


def _taken(op: Elementwise) -> frozenset[Any]:
    """NumPy dtypes that the specialised callers of an op handle."""
    return frozenset(d for d in (_INEXACT if op.result == "float" else _ANY) if d.kind in op.kinds)


def unary(op: Elementwise) -> Callable[..., Any]:
    """`f(input, *, out=None)` of an op on one tensor."""
    ufunc = op.ufunc
    allowed = _taken(op)
    node_type = node_class(op)
    simple = op.saved_plan in ((), (("input", 0),), (("out", 0),))
    keeps = op.saved_plan[0][0] if op.saved_plan else ""
    fast = ufunc is not None and simple and op.result != "bool"
    most = sys.maxsize if op.floor is None else op.floor - 1

    def call(input: Any, *, out: Any = None) -> Any:
        if out is not None:
            return store(record(op, (needs_tensor(input, op.name),), {**op.defaults}), out)
        if not fast or ACTIVE or not isinstance(input, Variable):
            return record(op, (needs_tensor(input, op.name),), {**op.defaults})
        x = input._data
        if type(x) is not ndarray or x.dtype not in allowed or x.size > most:
            return record(op, (input,), {})
        r = ufunc(x)
        t = _new(_plain)
        t._data = r if type(r) is ndarray else asarray(r)
        t._counter = [0]
        t._view = t._node = None
        edge = input._node if input._view is None else synced(input)
        if edge is not None and state.grad and op.differentiable and x.dtype.kind in "fc":
            node = _new(node_type)
            node.edges = (edge,)
            node.hooks = node.where = node.out_specs = node.specs = None
            if keeps == "input":
                node.saved = (x,)
                if input._counter is None:
                    raise inference_error()
                node.versions = ((0, input._counter, input._counter[0]),)
                node.where = caller()
            elif keeps == "out":
                node.saved = (t._data,)
                node.versions = ((0, t._counter, 0),)
                node.where = caller()
            else:
                node.saved = node.versions = ()
            t._node = node
        return t

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.__doc__
    return call


def binary(op: Elementwise, slow: Callable[[Any, Any], Any] | None = None) -> Callable[..., Any]:
    """`f(input, other)` of an op on two operands, each a tensor or a number.

    The body is one straight line because it is the price of every small operation. `slow` takes over whenever
    something is unusual; by default that is `record`.
    """
    ufunc = op.ufunc
    fast = ufunc is not None and "out" not in op.saved_names
    allowed = _taken(op)
    inexact = allowed & _INEXACT
    differentiable = op.differentiable
    node_type = node_class(op)
    # (which operand, used by the gradient of which operand) of each kept value
    plan = tuple((key, op.slot_users[s]) for s, (_, key) in enumerate(op.saved_plan)) if fast else ()

    product = plan == (
        (1, frozenset({0})),
        (0, frozenset({1})),
    )  # each gradient wants the other operand, as in a product

    def general(input: Any, other: Any) -> Any:
        return record(op, (operand(input, op.name), operand(other, op.name, 2)), {**op.defaults})

    otherwise = slow or general

    def call(input: Any, other: Any) -> Any:
        if ACTIVE or not fast:
            return otherwise(input, other)
        try:
            x = input._data
            if isinstance(other, Variable):
                y = other._data
                if x.dtype is not y.dtype or x.dtype not in allowed:
                    return otherwise(input, other)
                edge = other._node if other._view is None else synced(other)
            elif type(other) in _FLOAT_OR_INT and x.dtype in inexact:
                y = other
                edge = None
            else:
                return otherwise(input, other)
            r = ufunc(x, y)
        except (ValueError, AttributeError, TypeError):
            return otherwise(input, other)
        t = _new(_plain)
        t._data = r = r if type(r) is ndarray else asarray(r)
        t._counter = [0]
        t._view = t._node = None
        first = input._node if input._view is None else synced(input)
        if (first is not None or edge is not None) and differentiable and state.grad and x.dtype in _INEXACT:
            node = _new(node_type)
            node.edges = (first, edge)
            node.hooks = node.where = node.out_specs = node.specs = None
            if x.shape != r.shape or edge is not None and y.shape != r.shape:
                node.specs = (Spec(x.shape, x.dtype), None if edge is None else Spec(y.shape, y.dtype))
            if plan:
                if first is not None and edge is not None and product:
                    a, b = input._counter, other._counter
                    node.saved = (y, x)
                    node.versions = ((0, b, b[0]), (1, a, a[0]))
                    node.where = caller()
                else:
                    _keep_operands(node, plan, input, other)
            else:
                node.saved = node.versions = ()
            t._node = node
        return t

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.__doc__
    return call


def operator(op: Elementwise, reflected: bool = False) -> Callable[..., Any]:
    """The method behind a Python operator: `binary`, but foreign operands get their say."""

    def foreign(input: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = wrap(other)
        elif not isinstance(other, (Variable, *NUMBERS, np.generic)) and not hasattr(other, "op_rank"):
            return NotImplemented
        operands = (operand(input, op.name), operand(other, op.name, 2))
        return record(op, operands[::-1] if reflected else operands, {**op.defaults})

    if reflected:
        return foreign
    return binary(op, foreign)


def synced(t: Any) -> Any:
    """The node of a view, made anew if its storage changed."""
    if state.grad:
        sync(t)
    return t._node


def _keep_operands(node: Node, plan: Any, input: Any, other: Any) -> None:
    edges = node.edges
    saved: list[Any] = []
    versions = []
    for slot, (which, users) in enumerate(plan):
        if edges[0] is None and 1 not in users or edges[1] is None and 0 not in users:
            saved.append(None)
            continue
        source = other if which else input
        if isinstance(source, Variable):
            saved.append(source._data)
            version = source._counter
            if version is None:
                raise inference_error()
            versions.append((slot, version, version[0]))
        else:
            saved.append(source)
    node.saved = tuple(saved)
    node.versions = tuple(versions)
    if versions:
        node.where = caller()


def store(result: Any, out: Any) -> Any:
    """Write `result` into the tensor given as `out=`, resized where shapes differ as PyTorch does."""
    if not isinstance(out, Variable):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    check_castable(result._data.dtype, out._data.dtype)
    if state.grad and (result.requires_grad or out.requires_grad):  # type: ignore[attr-defined]
        name = "" if result.grad_fn is None else f"{result.grad_fn.op.name}(): "
        raise RuntimeError(
            f"{name}functions with out=... arguments don't support automatic differentiation, but one of the arguments "
            "requires grad."
        )
    if out._data.shape != result._data.shape:
        out._data = np.empty(result._data.shape, out._data.dtype)
    write(out, result._data)
    return out


def with_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function PyTorch's `out=`: the result is written into that tensor (or tuple of tensors)."""

    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if out is None:
            return result
        if isinstance(out, (tuple, list)):
            for r, o in zip(result, out, strict=True):
                store(r, o)
            return type(result)(out) if not hasattr(result, "_fields") else type(result)(*out)
        return store(result, out)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call
