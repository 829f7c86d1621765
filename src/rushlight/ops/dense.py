"""The affine map of a layer, and the bilinear one.

`linear` is one op per form that PyTorch records under a name of its own; all share one kernel and one formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF
from rushlight.ops.kinds import Array, Composite, composite
from rushlight.ops.linear import reshape, sum, t
from rushlight.ops.matmul import addmm, contract, mm
from rushlight.spec import spec_of

ndarray = np.ndarray


def _affine(bias: Any, x: Any, weight: Any) -> Any:
    """x @ weight.T + bias on arrays, the sum in place."""
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    half = x.dtype.itemsize == 2
    if half:
        rows, weight = rows.astype(np.float32), weight.astype(np.float32)
    out = np.dot(rows, weight.T)
    if bias is not None:
        out += bias
    if half:
        out = out.astype(x.dtype)
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0])


def _affine_grads(g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, Any, Any]:
    if type(g) is ndarray and type(x) is ndarray and type(weight) is ndarray and x.dtype.itemsize > 2:
        return _affine_grads_of_arrays(g, x, weight, needs)
    shape = spec_of(x).shape
    rows = g
    if len(shape) != 2:
        rows = reshape(g, (-1, spec_of(g).shape[-1]))
    bias_grad = sum(rows, 0) if needs[0] else None
    x_grad = mm(rows, weight) if needs[1] else None
    weight_grad = None
    if needs[2]:
        weight_grad = mm(t(rows), x if len(shape) == 2 else reshape(x, (-1, shape[-1])))
    if x_grad is not None and len(shape) != 2:
        x_grad = reshape(x_grad, shape)
    return bias_grad, x_grad, weight_grad


def _affine_grads_of_arrays(g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, Any, Any]:
    """The same without the look at operands that each op takes: a third of the time of a small layer's backward."""
    shape = x.shape
    if len(shape) != 2:
        g, x = g.reshape(-1, g.shape[-1]), x.reshape(-1, shape[-1])
    bias_grad = np.add.reduce(g, 0) if needs[0] else None
    x_grad = np.dot(g, weight) if needs[1] else None
    if x_grad is not None and len(shape) != 2:
        x_grad = x_grad.reshape(shape)
    return bias_grad, x_grad, np.dot(g.T, x) if needs[2] else None


def _linear_form(op_name: str, node_name: str) -> Composite:
    """A linear op whose node is called as PyTorch calls that form's."""

    def body(bias: Array | None, x: Array, weight: Array) -> Array:
        shape = spec_of(x).shape
        rows = x if len(shape) == 2 else reshape(x, (-1, shape[-1]))
        half = bias is not None and spec_of(x).dtype in NP_HALF
        # the sum is rounded once
        out = addmm(bias, rows, t(weight)) if half else mm(rows, t(weight))
        if bias is not None and not half:
            out = out + bias
        return out if len(shape) == 2 else reshape(out, (*shape[:-1], spec_of(weight).shape[0]))

    body.__name__ = op_name
    body.__doc__ = (
        """x @ weight.T + bias over the last dim of x; the bias comes first, as its gradient does in PyTorch."""
    )
    made: Composite = composite(joint=_affine_grads, fast=_affine, name=node_name)(body)
    return made


linear_matrix = _linear_form("linear_matrix", "AddmmBackward0")
linear_matrix_plain = _linear_form("linear_matrix_plain", "MmBackward0")
linear_batched = _linear_form("linear_batched", "ViewBackward0")
linear_batched_plain = _linear_form("linear_batched_plain", "UnsafeViewBackward0")
linear_vector_plain = _linear_form("linear_vector_plain", "SqueezeBackward4")


def linear_form(ndim: int, has_bias: bool) -> Composite:
    """The linear op for an input of `ndim` dims."""
    if ndim == 2:
        return linear_matrix if has_bias else linear_matrix_plain
    if has_bias:
        return linear_batched
    return linear_vector_plain if ndim == 1 else linear_batched_plain


@composite()
def bilinear(x: Array, y: Array, weight: Array, bias: Array | None = None) -> Array:
    """x @ weight[k] @ y for each k, for rows x and y, plus bias."""
    out = contract("ni,kij,nj->nk", [x, weight, y])
    return out if bias is None else out + bias
