"""Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.errors import ShapeError
from rushlight.functions.backward import grad
from rushlight.functions.shape import reshape
from rushlight.modes import enable_grad
from rushlight.ops import linear
from rushlight.tape import Variable, wrap

Func = Callable[..., Any]


def _as_tuple(values: Any, what: str, name: str) -> tuple[bool, tuple[Any, ...]]:
    given = (values,) if isinstance(values, Variable) else tuple(values)
    for i, v in enumerate(given):
        if not isinstance(v, Variable):
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the value at index "
                f"{i} has type {type(v)}."
            )
    return not isinstance(values, Variable), given


def _vectors(v: Any, like: Sequence[Any], name: str) -> tuple[Any, ...]:
    """The vector of a product, checked against the tensors that it must have the sizes of."""
    given = _as_tuple(v, "v", name)[1]
    if len(given) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}.")
    for x, t in zip(given, like, strict=True):
        if x._data.shape != t._data.shape:
            raise ShapeError(
                f"v has invalid size: should be torch.Size({list(t._data.shape)}) but got "
                f"torch.Size({list(x._data.shape)})."
            )
    return given


def _fresh(inputs: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
    return tuple(x.detach().requires_grad_() for x in inputs)


def _zeros(x: Any) -> Any:
    return wrap(np.zeros(x._data.shape, x._data.dtype))


def _grads(outputs: Any, inputs: Any, vectors: Any, create_graph: bool, strict: bool) -> tuple[Any, ...]:
    pairs = [(o, v) for o, v in zip(outputs, vectors, strict=True) if o.requires_grad]
    if not pairs:
        if strict:
            raise RuntimeError("Output 0 of the user-provided function does not require gradients.")
        return tuple(_zeros(x) for x in inputs)
    found = grad([o for o, _ in pairs], inputs, [v for _, v in pairs], True, create_graph, True, True)
    if strict and any(g is None for g in found):
        raise RuntimeError(
            "Output 0 of the user-provided function is independent of input 0. This is not allowed in strict mode."
        )
    return tuple(_zeros(x) if g is None else g for g, x in zip(found, inputs, strict=True))


def vjp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(inputs), vector-Jacobian product with `v`).

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.vjp(lambda x: (x**2).sum(), x)[1]
    tensor([2., 4.])
    """
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "vjp")
        ins = _fresh(ins, create_graph)
        result = func(*ins)
        many_out, outs = _as_tuple(result, "outputs of the user-provided function", "vjp")
        if v is None:
            if len(outs) != 1 or outs[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the user-provided function returns a single Tensor with a "
                    "single element."
                )
            vectors: tuple[Any, ...] = (wrap(np.ones(outs[0]._data.shape, outs[0]._data.dtype)),)
        else:
            vectors = _vectors(v, outs, "vjp")
        found = _grads(outs, ins, vectors, create_graph, strict)
    return _packed(outs, many_out, create_graph), _packed(found, many_in, create_graph)


def jvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(inputs), Jacobian-vector product with `v`), by differentiating the vector-Jacobian product."""
    with enable_grad():
        _, ins = _as_tuple(inputs, "inputs", "jvp")
        ins = _fresh(ins, create_graph)
        if v is None:
            if len(ins) != 1 or ins[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the user-provided function is a single Tensor "
                    "with a single element."
                )
            vectors: tuple[Any, ...] = (wrap(np.ones(ins[0]._data.shape, ins[0]._data.dtype)),)
        else:
            vectors = _vectors(v, ins, "jvp")
        many_out, outs = _as_tuple(func(*ins), "outputs of the user-provided function", "jvp")
        dummies = tuple(_zeros(o).requires_grad_() for o in outs)
        pulled = _grads(outs, ins, dummies, True, strict)
        found = _grads(pulled, dummies, vectors, create_graph, False)
    return _packed(outs, many_out, create_graph), _packed(found, many_out, create_graph)


def _packed(values: Sequence[Any], many: bool, keep: bool) -> Any:
    done = tuple(v if keep else v.detach() for v in values)
    return done if many else done[0]


def jacobian(
    func: Func,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All derivatives of func's outputs by its inputs: sizes of an output, then of an input.

    Examples
    --------
    >>> torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "jacobian")
        ins = _fresh(ins, create_graph)
        many_out, outs = _as_tuple(func(*ins), "outputs of the user-provided function", "jacobian")
        table = [_jacobian_of(o, ins, create_graph, strict) for o in outs]
    rows = [_packed(row, many_in, create_graph) for row in table]
    return tuple(rows) if many_out else rows[0]


def _jacobian_of(output: Any, ins: Sequence[Any], create_graph: bool, strict: bool) -> list[Any]:
    columns: list[list[Any]] = [[] for _ in ins]
    for k in range(output.numel()):
        one = np.zeros(output._data.shape, output._data.dtype)
        one.reshape(-1)[k] = 1
        for column, g in zip(columns, _grads((output,), ins, (wrap(one),), create_graph, strict), strict=True):
            column.append(g)
    return [
        linear.stack(column, 0).reshape((*output._data.shape, *x._data.shape)) if column else _empty_jacobian(output, x)
        for column, x in zip(columns, ins, strict=True)
    ]


def _empty_jacobian(output: Any, x: Any) -> Any:
    return wrap(np.zeros((*output._data.shape, *x._data.shape), x._data.dtype))


def hessian(
    func: Func, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """All second derivatives of a scalar function.

    Examples
    --------
    >>> torch.autograd.functional.hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    many_in, ins = _as_tuple(inputs, "inputs", "hessian")

    def gradient(*given: Any) -> Any:
        out = func(*given)
        if not isinstance(out, Variable) or out._data.size != 1:
            raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")
        return _grads((reshape(out, ()),), given, (wrap(np.ones((), out._data.dtype)),), True, strict)

    table = jacobian(gradient, ins, create_graph, strict)
    return table if many_in else table[0][0]


def hvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(inputs), product of its Hessian with `v`)."""
    return vhp(func, inputs, v, create_graph, strict)


def vhp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(inputs), product of `v` with its Hessian)."""
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "vhp")
        ins = _fresh(ins, create_graph)
        out = func(*ins)
        if v is None:
            vectors: tuple[Any, ...] = tuple(wrap(np.ones(x._data.shape, x._data.dtype)) for x in ins)
        else:
            vectors = _vectors(v, ins, "vhp")
        if not isinstance(out, Variable) or out._data.size != 1:
            raise RuntimeError("The Tensor returned by the function given to vhp should contain a single element")
        first = _grads((out,), ins, (wrap(np.ones(out._data.shape, out._data.dtype)),), True, strict)
        found = _grads(first, ins, vectors, create_graph, strict)
    return (out if create_graph else out.detach()), _packed(found, many_in, create_graph)  # type: ignore[attr-defined]
