"""Norms, condition numbers and ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.dtypes import dtype as dtype_class
from rushlight.dtypes import from_np
from rushlight.errors import explain
from rushlight.functions.linalg.arguments import constant, legacy_name, spec, takes_out, tensor_argument
from rushlight.functions.reduce import amax, amin
from rushlight.functions.reduce import sum as sum_over
from rushlight.functions.shape import cast, movedim
from rushlight.layout import wrap_dim
from rushlight.ops import decomp, reduce, spectral
from rushlight.ops.decomp import type_name
from rushlight.ops.linear import unsqueeze
from rushlight.spec import Spec

Dims = tuple[int, ...]


def _dims(dim: Any) -> Dims | None:
    if dim is None:
        return None
    return (int(dim),) if isinstance(dim, int) else tuple(int(d) for d in dim)


def _checked_dtype(x: Any, wanted: dtype_class | None, what: str) -> Any:
    s = spec(x)
    if from_np(s.dtype).category < 2:
        raise explain(
            RuntimeError(f"{what}: Expected a floating point or complex tensor as input. Got {legacy_name(x)}"),
            fix="x.float()",
        )
    if wanted is None:
        return x
    name = type_name(Spec((), wanted.np))
    if wanted.category < 2:
        raise RuntimeError(f"{what}: dtype should be floating point or complex, but got {name}")
    if wanted.category < from_np(s.dtype).category:
        raise RuntimeError(f"{what}: dtype should be complex for complex inputs, but got {name}")
    if np.promote_types(s.dtype, wanted.np) != wanted.np:
        raise RuntimeError(
            f"{what}: the dtype of the input ({legacy_name(x)}) should be convertible without narrowing to the "
            f"specified dtype ({name})"
        )
    return cast(x, wanted)


def _check_not_empty(shape: Dims, dims: Dims | None, p: float) -> None:
    """Norms of nothing exist where the sum does: not for infinite and negative orders."""
    if 0 <= p < math.inf or 0 not in shape:
        return
    text = "inf" if p == math.inf else f"{p:g}"
    if dims is None:
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {text} norm on an empty tensor because the operation does not have "
            "an identity"
        )
    for d in dims:
        if shape[d] == 0:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {text} norm on the dimension {d}because this dimension is "
                "empty and the operation does not have an identity"
            )


@takes_out
def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: dtype_class | None = None
) -> Any:
    """(sum |x| ** ord) ** (1 / ord) of the elements along `dim`, or of all.

    Parameters
    ----------
    x : Tensor, floating or complex
    ord : float
        0 counts the elements that are not 0; infinite orders give the largest or smallest size.
    dim : int or tuple of int, optional
    keepdim : bool
    dtype : dtype, optional
        Convert first.

    Examples
    --------
    >>> torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = _checked_dtype(tensor_argument(x, "linalg_vector_norm", "x"), dtype, "linalg.vector_norm")
    if isinstance(ord, str):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}")
    order = float(getattr(ord, "_data", ord))
    dims = _dims(dim)
    dims = None if dims == () else dims
    shape = x._data.shape
    if dims is not None:
        dims = tuple(wrap_dim(d, len(shape)) for d in dims)
    _check_not_empty(shape, dims, order)
    return reduce.vector_norm(x, order, dims, keepdim)


def _matrix_dims(dim: Any, ndim: int) -> tuple[int, int]:
    dims = _dims(dim) or ()
    if len(dims) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {', '.join(map(str, dims))}")
    first, second = (wrap_dim(d, ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})")
    return first, second


def _restored(result: Any, dims: tuple[int, int], keepdim: bool) -> Any:
    if not keepdim:
        return result
    for d in sorted(dims):
        result = unsqueeze(result, d)
    return result


@takes_out
def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: dtype_class | None = None
) -> Any:
    """A norm of each matrix.

    Parameters
    ----------
    A : Tensor[*, m, n, *]
    ord : {"fro", "nuc", 1, -1, 2, -2, inf, -inf}
        Root of the sum of squares; sum of the singular values; largest or smallest column sum, singular value, row
        sum of sizes.
    dim : pair of int
        The dims of the matrices.
    keepdim : bool
    dtype : dtype, optional
    """
    A = tensor_argument(A, "linalg_matrix_norm")
    if A._data.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    A = _checked_dtype(A, dtype, "linalg.matrix_norm")
    if isinstance(ord, str) and ord not in ("fro", "nuc"):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    dims = _matrix_dims(dim, A._data.ndim)
    if ord == "fro":
        return vector_norm(A, 2, dims, keepdim)
    if ord in ("nuc", 2, -2):
        values = spectral.svdvals(movedim(A, dims, (-2, -1)))
        best = sum_over(values, -1) if ord == "nuc" else amax(values, -1) if ord == 2 else amin(values, -1)
        return _restored(best, dims, keepdim)
    if abs(ord) not in (1, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    along, across = dims if abs(ord) == 1 else dims[::-1]
    sums = vector_norm(A, 1, along, True)
    best = (amax if ord > 0 else amin)(sums, across, True)
    return best if keepdim else best.squeeze(dims)


@takes_out
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: dtype_class | None = None) -> Any:
    """`vector_norm` or `matrix_norm`, as the number of dims and the order ask for.

    Examples
    --------
    >>> torch.linalg.norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 2)
    tensor(4.)
    """
    A = tensor_argument(A, "linalg_norm")
    dims, ndim = _dims(dim), A._data.ndim
    if dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if isinstance(ord, str):
        return matrix_norm(A, ord, (-2, -1) if dims is None else dims, keepdim, dtype=dtype)
    if ord is not None and dims is None and ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {ndim}D.")
    if ord is not None and (ndim == 2 if dims is None else len(dims) == 2):
        return matrix_norm(A, ord, (0, 1) if dims is None else dims, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


@takes_out
def cond(A: Any, p: Any = None) -> Any:
    """Condition number: norm(A) * norm(inv(A)) in the norm `p`, 2 by default; infinite for singular matrices."""
    A = tensor_argument(A, "linalg_cond")
    if A._data.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p in (None, 2, -2):
        values = spectral.svdvals(A)
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    decomp.check_square(spec(A), f"linalg.cond(ord={p})")
    if p == "nuc":
        values = spectral.svdvals(A)
        return sum_over(values, -1) * sum_over(1 / values, -1)
    inverse, info = decomp.inv_ex(A)
    singular = info._data != 0
    if not singular.any():
        return matrix_norm(A, p) * matrix_norm(inverse, p)
    filled = inverse.masked_fill(constant(np.broadcast_to(singular[..., None, None], A._data.shape)), 0)
    result = matrix_norm(A, p) * matrix_norm(filled, p)
    return result.masked_fill(constant(singular), math.inf)


def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None
) -> Any:
    """Number of singular values above max(atol, rtol * largest).

    Parameters
    ----------
    A : Tensor[*, m, n]
    tol : float or Tensor, optional
        The old form of `atol` (with `rtol` 0).
    hermitian : bool
        Use the sizes of eigenvalues.
    atol, rtol : float or Tensor, optional
        By default 0 and max(m, n) * eps.

    Examples
    --------
    >>> torch.linalg.matrix_rank(torch.ones(3, 3))
    tensor(1)
    """
    A = tensor_argument(A, "linalg_matrix_rank")
    if A._data.ndim < 2:
        raise RuntimeError("torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions.")
    if from_np(A._data.dtype).category < 2 or A._data.dtype.itemsize == 2:
        raise RuntimeError("This function doesn't handle types other than float and double")
    if hermitian:
        decomp.check_square(spec(A), "linalg.matrix_rank")
    x = A._data
    if tol is not None:
        atol, rtol = tol, 0.0
    sizes = np.abs(np.linalg.eigvalsh(x)) if hermitian else np.linalg.svd(x, compute_uv=False)
    if not sizes.shape[-1]:
        ranks = np.zeros(x.shape[:-2], np.int64)
    else:
        limits = [getattr(v, "_data", v) for v in (atol, rtol)]
        bound = spectral.tolerance(sizes, x.shape[-2:], x.dtype, *limits)
        ranks = np.asarray((sizes > np.asarray(bound)[..., None]).sum(-1), np.int64)
    return takes_out(constant)(ranks, out=out)
