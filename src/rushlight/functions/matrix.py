"""Matrix products with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import ShapeError, explain
from rushlight.functions.fast import store
from rushlight.functions.shape import movedim, permute, reshape
from rushlight.modes import ACTIVE, autocasts, state
from rushlight.ops import linear
from rushlight.ops import matmul as ops
from rushlight.ops.kinds import OPS
from rushlight.ops.native import FLOORS
from rushlight.tape import Variable, record, wrap

FAST = frozenset((np.dtype(np.float32), np.dtype(np.float64)))
LARGE = FLOORS["mm"]
ndarray = np.ndarray


def _finish(result: Any, out: Any) -> Any:
    return result if out is None else store(result, out)


def matmul_operator(input: Any, other: Any) -> Any:
    """input @ other."""
    if not isinstance(other, Variable) or not isinstance(input, Variable):
        bad = other if isinstance(input, Variable) else input
        raise TypeError(f"unsupported operand type(s) for @: 'Tensor' and '{type(bad).__name__}'")
    x, y = input._data, other._data
    if not ACTIVE and type(x) is ndarray and x.ndim == 2 == y.ndim and x.dtype is y.dtype and x.dtype in FAST:
        if not state.grad or (
            input._node is None and other._node is None and input._view is None and other._view is None
        ):
            if x.shape[1] == y.shape[0] and x.size < LARGE > y.size:
                return wrap(x.dot(y))
        return record(ops.mm, (input, other), {})
    if getattr(input, "is_sparse", False):
        return input.sparse_product(other)  # type: ignore[attr-defined]
    return _autocast_matmul(input, other)


@autocasts("lower")
def _autocast_matmul(input: Any, other: Any) -> Any:
    return ops.matmul(input, other)


def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The product of vectors, matrices or batches of matrices."""
    for k, x in enumerate((input, other)):
        if not isinstance(x, Variable):
            which = ("input", "other")[k]
            raise TypeError(f"matmul(): argument '{which}' (position {k + 1}) must be Tensor, not {type(x).__name__}")
    return _finish(matmul_operator(input, other), out)


@autocasts("lower")
def mm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """Product of two matrices."""
    if getattr(input, "is_sparse", False):
        return _finish(input.sparse_product(mat2), out)
    return _finish(record(ops.mm, (input, mat2), {}), out)


@autocasts("lower")
def bmm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """Products of pairs of matrices."""
    return _finish(record(ops.bmm, (input, mat2), {}), out)


def mv(input: Any, vec: Any, *, out: Any = None) -> Any:
    """Product of a matrix and a vector."""
    if getattr(input, "is_sparse", False):
        return _finish(input.sparse_product(vec), out)
    return _finish(record(ops.mv, (input, vec), {}), out)


def dot(input: Any, tensor: Any, *, out: Any = None) -> Any:
    """Sum of the products of two vectors' elements."""
    return _finish(record(ops.dot, (input, tensor), {}), out)


def vdot(input: Any, other: Any) -> Any:
    """`dot` with the first vector conjugated."""
    return record(ops.dot, (linear.conj(input) if input._data.dtype.kind == "c" else input, other), {})


@autocasts("lower")
def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dims."""
    if not input._data.ndim or not other._data.ndim:
        return input * other
    if input._data.shape[-1] != other._data.shape[-1]:
        raise ShapeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input._data.shape)} and "
            f"{list(other._data.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


def outer(input: Any, vec2: Any, *, out: Any = None) -> Any:
    """All products of an element of one vector and one of the other."""
    for name, x in (("self", input), ("vec2", vec2)):
        if x._data.ndim != 1:
            raise ShapeError(f"outer: Expected 1-D argument {name}, but got {x._data.ndim}-D")
    return _finish(reshape(input, -1, 1) * vec2, out)


ger = outer


def _same(c: Any, *others: Any) -> None:
    for x in others:
        ops.check_same_dtype(c._data.dtype, x._data.dtype, "self and mat2 must have the same dtype, but got {} and {}")


@autocasts("lower")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    _same(mat1, mat2)
    return _finish(record(ops.addmm, (input, mat1, mat2), {"beta": beta, "alpha": alpha}), out)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat @ vec)."""
    return input * beta + mv(mat, vec) * alpha


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * outer(vec1, vec2)."""
    return input * beta + outer(vec1, vec2) * alpha


@autocasts("lower")
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """beta * input + alpha * (batch1 @ batch2)."""
    return _finish(record(ops.baddbmm, (input, batch1, batch2), {"beta": beta, "alpha": alpha}), out)


@autocasts("lower")
def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * the sum of batch1[i] @ batch2[i]."""
    return input * beta + bmm(batch1, batch2).sum(0) * alpha


@autocasts("lower")
def einsum(equation: str, *operands: Any) -> Any:
    """Einstein summation: `einsum("bij,bjk->bik", x, y)`."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    if not isinstance(equation, str):
        raise NotImplementedError("einsum with operands and sublists; write the equation as a string")
    return ops.contract(equation, list(given))


@autocasts("lower")
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sums of products over `dims`: a number of last and first dims, or a pair of lists."""
    na, nb = a._data.ndim, b._data.ndim
    if isinstance(dims, Variable):
        dims = dims._data.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        left, right = list(range(na - dims, na)), list(range(dims))
    else:
        left, right = (
            [d % n for d in ([ds] if isinstance(ds, int) else ds)] for ds, n in zip(dims, (na, nb), strict=True)
        )
    for i, j in zip(left, right, strict=True):
        if a._data.shape[i] != b._data.shape[j]:
            raise explain(
                ShapeError(
                    "contracted dimensions need to match, but first has size "
                    f"{a._data.shape[i]} in dim {i} and second has size {b._data.shape[j]} in dim {j}"
                )
            )
    rows = [d for d in range(na) if d not in left]
    columns = [d for d in range(nb) if d not in right]
    sizes = [a._data.shape[d] for d in rows] + [b._data.shape[d] for d in columns]
    k = int(np.prod([a._data.shape[d] for d in left], dtype=np.int64))
    m = int(np.prod([a._data.shape[d] for d in rows], dtype=np.int64))
    n = int(np.prod([b._data.shape[d] for d in columns], dtype=np.int64))
    x = reshape(permute(a, rows + left), (m, k))
    y = reshape(permute(b, right + columns), (k, n))
    return reshape(mm(x, y), sizes)


def kron(input: Any, other: Any) -> Any:
    """Kronecker product."""
    n = max(input._data.ndim, other._data.ndim)
    a = reshape(input, (1,) * (n - input._data.ndim) + input._data.shape)
    b = reshape(other, (1,) * (n - other._data.ndim) + other._data.shape)
    wide = [k for m in a._data.shape for k in (m, 1)], [k for m in b._data.shape for k in (1, m)]
    product = reshape(a, wide[0]) * reshape(b, wide[1])
    return reshape(product, [p * q for p, q in zip(a._data.shape, b._data.shape, strict=True)])


@autocasts("lower")
def chain_matmul(*matrices: Any) -> Any:
    """The product of several matrices, left to right."""
    out = matrices[0]
    for m in matrices[1:]:
        out = mm(out, m)
    return out


def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """Cross product of vectors of three along `dim` (the first dim of size 3 if None)."""
    shape = input._data.shape
    d = next(i for i, n in enumerate(shape) if n == 3) if dim is None else dim
    a, b = movedim(input, d, -1), movedim(other, d, -1)
    if a._data.shape[-1] != 3 or b._data.shape[-1] != 3:
        raise ShapeError(
            f"linalg.cross: inputs dimension {d} must have length 3. Got {a._data.shape[-1]} and {b._data.shape[-1]}"
        )
    x, y, z = (a[..., (i + 1) % 3] * b[..., (i + 2) % 3] - a[..., (i + 2) % 3] * b[..., (i + 1) % 3] for i in range(3))
    return linear.stack([x, y, z], d if d >= 0 else d % len(shape))


@autocasts("float32")
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Any:
    """p-norm distances between all pairs of rows."""
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return OPS["vector_norm"](difference, float(p), -1)
