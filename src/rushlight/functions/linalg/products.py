"""Powers, chains and other products of matrices and vectors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from rushlight.dtypes import from_np
from rushlight.errors import explain
from rushlight.functions import diagonals, matrix, shape
from rushlight.functions.linalg.arguments import constant, legacy_name, spec, takes_out, tensor_argument
from rushlight.functions.linalg.solving import inv
from rushlight.functions.reduce import sum as sum_over
from rushlight.ops import spectral
from rushlight.ops.decomp import check_square
from rushlight.ops.linear import conj_of
from rushlight.ops.vector import cross as cross_op


@takes_out
def matmul(input: Any, other: Any) -> Any:
    """`torch.matmul`."""
    return matrix.matmul(input, other)


@takes_out
def matrix_exp(A: Any) -> Any:
    """Exponential of each square matrix: the sum of A ** k / k!.

    References
    ----------
    .. [1] P. Bader, S. Blanes, F. Casas, "Computing the matrix exponential with an optimized Taylor polynomial
           approximation", 2019.

    Examples
    --------
    >>> torch.linalg.matrix_exp(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return spectral.matrix_exp(tensor_argument(A, "linalg_matrix_exp"))


@takes_out
def matrix_power(A: Any, n: int) -> Any:
    """The n-th power of each square matrix, by squaring; negative powers are those of the inverse.

    Examples
    --------
    >>> torch.linalg.matrix_power(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    A = tensor_argument(A, "linalg_matrix_power")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}")
    if A._data.ndim < 2 or A._data.shape[-1] != A._data.shape[-2]:
        check_square(spec(A), "linalg.matrix_power")
    if n == 0:
        eye = np.eye(A._data.shape[-1], dtype=A._data.dtype)
        return constant(np.broadcast_to(eye, A._data.shape).copy())
    base = inv(A) if n < 0 else A
    n = abs(int(n))
    result = None
    while True:
        if n & 1:
            result = base if result is None else result @ base
        n >>= 1
        if not n:
            return result.clone() if result is A else result
        base = base @ base


def _multi_dot_checks(tensors: list[Any]) -> None:
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    for i, x in enumerate(tensors):
        ndim = x._data.ndim
        if i in (0, n - 1) and ndim not in (1, 2):
            which = "first" if i == 0 else "last"
            raise RuntimeError(f"multi_dot(): the {which} tensor must be 1D or 2D but got {ndim}D")
        if 0 < i < n - 1 and ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {ndim}D")
    for i, (x, y) in enumerate(pairwise(tensors)):
        if x._data.shape[-1] != y._data.shape[0]:
            raise explain(
                RuntimeError(
                    f"multi_dot(): tensors {i} and {i + 1} with shapes {list(x._data.shape)} and {list(y._data.shape)} "
                    "cannot be multiplied"
                )
            )


def _cheapest_splits(sizes: list[int]) -> list[list[int]]:
    """Where to split each run of matrices so that the fewest multiplications are done (dynamic programming)."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    return split


@takes_out
def multi_dot(tensors: Any) -> Any:
    """The product of two or more matrices in the cheapest order; the first and last may be vectors.

    Examples
    --------
    >>> torch.linalg.multi_dot([torch.ones(2, 3), torch.ones(3, 4), torch.ones(4)])
    tensor([12., 12.])
    """
    chain = list(tensors)
    _multi_dot_checks(chain)
    first, last = chain[0]._data.ndim == 1, chain[-1]._data.ndim == 1
    if first:
        chain[0] = shape.unsqueeze(chain[0], 0)
    if last:
        chain[-1] = shape.unsqueeze(chain[-1], 1)
    split = _cheapest_splits([chain[0]._data.shape[0], *(x._data.shape[1] for x in chain)])

    def product(i: int, j: int) -> Any:
        if i == j:
            return chain[i]
        k = split[i][j]
        return matrix.mm(product(i, k), product(k + 1, j))

    result = product(0, len(chain) - 1)
    kept = [n for n, dropped in zip(result._data.shape, (first, last), strict=True) if not dropped]
    return shape.reshape(result, kept) if first or last else result


@takes_out
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Sum of conj(x) * y along `dim`.

    Examples
    --------
    >>> torch.linalg.vecdot(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    x, y = tensor_argument(x, "linalg_vecdot", "x"), tensor_argument(y, "linalg_vecdot", "y", 2)
    return sum_over(conj_of(x) * y, dim)


@takes_out
def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """Cross product of vectors of three along `dim`; other dims broadcast.

    Examples
    --------
    >>> torch.linalg.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    x, y = tensor_argument(input, "linalg_cross", "input"), tensor_argument(other, "linalg_cross", "other", 2)
    return cross_op(x, y, dim)


def vander(x: Any, *, N: int | None = None) -> Any:
    """Powers 0 to N - 1 of each element of `x` along a new last dim; N is the last size of x by default.

    Examples
    --------
    >>> torch.linalg.vander(torch.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [1, 2, 4],
            [1, 3, 9]])
    """
    x = tensor_argument(x, "linalg_vander", "x")
    if from_np(x._data.dtype).name in ("float16", "bfloat16", "bool"):
        raise RuntimeError(
            f"linalg.vander supports floating point, complex, and integer tensors, but got {legacy_name(x)}"
        )
    if x._data.ndim == 0:
        raise RuntimeError("x must have at least one dimension.")
    count = x._data.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    column = shape.unsqueeze(x, -1)
    ones = constant(np.ones(column._data.shape, x._data.dtype))
    repeated = shape.expand(column, *x._data.shape, count - 1)
    return shape.cat([ones, repeated.cumprod(-1)], -1)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """A diagonal of each matrix, as a view."""
    return diagonals.diagonal(A, offset, dim1, dim2)
