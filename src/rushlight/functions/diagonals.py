"""Triangles and diagonals of matrices, and reversed, rolled and rotated order."""

from __future__ import annotations

from typing import Any

from rushlight.errors import ShapeError
from rushlight.functions.shape import clone, copy, ints, one_view, reshape, transpose, without_base
from rushlight.layout import wrap_dim, wrap_dims
from rushlight.ops import linear
from rushlight.tape import record


def flip(input: Any, *dims: Any) -> Any:
    """Order reversed along each of `dims`."""
    along = wrap_dims(ints(dims), input._data.ndim)
    return record(linear.flip, (input,), {"dims": along if input._data.ndim else ()})


def fliplr(input: Any) -> Any:
    """Columns in reverse order."""
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """Rows in reverse order."""
    return flip(input, 0)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements moved along `dims`, those pushed out re-entering at the other end."""
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (
        None
        if dims is None or dims == ()
        else wrap_dims((dims,) if isinstance(dims, int) else tuple(dims), input._data.ndim)
    )
    if along is not None and len(along) != len(by) or along is None and len(by) != 1:
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along or ())}")
    return record(linear.roll, (input,), {"shifts": by, "dims": along})


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Rotated by k quarter turns in the plane of `dims`."""
    a, b = (wrap_dim(d, input._data.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    turns = k % 4
    if turns in (0, 2):
        return flip(input, (a, b)) if turns else clone(input)
    return without_base(transpose(flip(input, (b,) if turns == 1 else (a,)), a, b))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle, zeros elsewhere."""
    return record(linear.tril, (input,), {"diagonal": diagonal})


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle, zeros elsewhere."""
    return record(linear.triu, (input,), {"diagonal": diagonal})


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dims as the last dim of a view."""
    n = input._data.ndim
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return one_view(linear.diagonal, input, {"offset": offset, "dim1": a, "dim2": b})


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    if input._data.ndim == 1:
        return diag_embed(input, diagonal)
    if input._data.ndim != 2:
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input._data.ndim}D")
    return copy(one_view(linear.diagonal, input, {"offset": diagonal, "dim1": 0, "dim2": 1}))


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Vectors in the last dim put on the diagonals of matrices."""
    n = input._data.ndim + 1
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    side = input._data.shape[-1] + abs(offset)
    shape = list(input._data.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, side)
    return record(linear.place_diagonal, (input,), {"shape": tuple(shape), "offset": offset, "dim1": a, "dim2": b})


def diagflat(input: Any, offset: int = 0) -> Any:
    """All elements on the diagonal of a matrix."""
    return diag_embed(reshape(input, -1), offset)
