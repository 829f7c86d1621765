"""Look-up of rows, of bags of rows, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends.sparse import SparseArray
from rushlight.errors import ShapeError, explain
from rushlight.ops.index import check_indices
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

# A product with a 0/1 matrix adds rows faster than scattering them while that matrix is small.
FEW_ROWS = 160


def check_rows(index: Any, rows: int) -> None:
    """Raise PyTorch's error for a row that is not there; the view as unsigned makes negatives large."""
    if index.size and index.view(f"u{index.itemsize}").max() >= rows:
        bad = index[(index < 0) | (index >= rows)].reshape(-1)
        raise explain(
            IndexError("index out of range in self"),
            expected=f"indices from 0 to {rows - 1}",
            received=f"{bad.size} of {index.size} outside, the first {bad[0]}",
            fix=f"Embedding(num_embeddings={int(bad.max()) + 1}, ...)" if bad[0] >= rows else None,
        )


def add_rows(index: Any, values: Any, rows: int) -> Any:
    """Zeros [rows, n] with `values[i]` added to row `index[i]`."""
    n = values.shape[1]
    wide = values.astype(np.float32) if values.dtype.itemsize == 2 else values
    if rows <= FEW_ROWS < index.size:
        hot = np.zeros((index.size, rows), wide.dtype)
        hot.reshape(-1)[index + np.arange(0, hot.size, rows)] = 1
        out = np.dot(hot.T, wide)
    else:
        out = np.zeros(rows * n, wide.dtype)
        # np.add.at is fast on flat arrays only
        np.add.at(out, (index.astype(np.intp)[:, None] * n + np.arange(n)).reshape(-1), wide.reshape(-1))
        out = out.reshape(rows, n)
    return out if out.dtype == values.dtype else out.astype(values.dtype)


def _embedding_spec(weight: Spec, index: Spec, padding_idx: int = -1, scale_by_count: bool = False) -> Spec:
    if len(weight.shape) != 2:
        raise ShapeError("'weight' must be 2-D")
    return Spec((*index.shape, weight.shape[1]), weight.dtype)


def _rows_grad_spec(g: Spec, index: Spec, rows: int, padding_idx: int, scale_by_count: bool) -> Spec:
    if g.shape[:-1] != index.shape:
        raise ShapeError(f"gradient of embedding: expected {[*index.shape, g.shape[-1]]}, received {list(g.shape)}")
    return Spec((rows, g.shape[-1]), g.dtype)


@opaque(
    spec=_rows_grad_spec,
    grad=(
        lambda g, index, padding_idx, scale_by_count: embedding_pick(g, index, padding_idx, scale_by_count),
        None,
    ),
)
def embedding_grad(xp: Any, g: Array, index: Array, rows: int, padding_idx: int, scale_by_count: bool) -> Array:
    """Rows of `g` added up by index, without the padding row; divided by each index's count if asked."""
    values = g.reshape(-1, g.shape[-1])
    flat = index.reshape(-1)
    if scale_by_count:
        values = values / np.bincount(flat, minlength=rows)[flat][:, None].astype(values.dtype)
    out = add_rows(flat, values, rows)
    if padding_idx >= 0:
        out[padding_idx] = 0
    return out


@opaque(
    spec=lambda weight, index, padding_idx, scale_by_count: Spec((*index.shape, weight.shape[1]), weight.dtype),
    grad=(
        lambda g, weight_spec, index, padding_idx, scale_by_count: embedding_grad(
            g, index, weight_spec.shape[0], padding_idx, scale_by_count
        ),
        None,
    ),
)
def embedding_pick(xp: Any, weight: Array, index: Array, padding_idx: int, scale_by_count: bool) -> Array:
    """The transpose of embedding_grad: rows of `weight` at `index`, scaled, zeros at the padding row."""
    out = np.take(weight, index, 0)
    if scale_by_count:
        flat = index.reshape(-1)
        counts = np.bincount(flat, minlength=weight.shape[0])[index][..., None]
        out /= counts.astype(out.dtype)
    if padding_idx >= 0:
        out[index == padding_idx] = 0
    return out


def _embedding_grad(g: Any, weight_spec: Spec, index: Any, padding_idx: int, scale_by_count: bool) -> Any:
    return embedding_grad(g, index, weight_spec.shape[0], padding_idx, scale_by_count)


@opaque(spec=_embedding_spec, grad=(_embedding_grad, None))
def embedding(xp: Any, weight: Array, index: Array, padding_idx: int = -1, scale_by_count: bool = False) -> Array:
    """`weight[index]` for integers of any shape."""
    check_rows(index, weight.shape[0])
    return np.take(weight, index, 0)


def _sparse_rows(g: Any, weight_spec: Spec, index: Any, padding_idx: int) -> Any:
    """The gradient of each row in use, at its place."""
    if type(g) is not np.ndarray:
        raise NotImplementedError("embedding(sparse=True): the gradient of a sparse gradient is not implemented")
    rows, values = index.reshape(1, -1).astype(np.int64), g.reshape(-1, g.shape[-1])
    if padding_idx >= 0:
        kept = rows[0] != padding_idx
        rows, values = rows[:, kept], values[kept]
    return SparseArray(rows, np.array(values), weight_spec.shape)


@opaque(
    spec=lambda weight, index, padding_idx: _embedding_spec(weight, index),
    grad=(_sparse_rows, None),
    name="EmbeddingBackward0",
)
def embedding_with_sparse_gradient(xp: Any, weight: Array, index: Array, padding_idx: int = -1) -> Array:
    """`weight[index]`, whose gradient names only the rows in use."""
    check_rows(index, weight.shape[0])
    return np.take(weight, index, 0)


@opaque(spec=lambda index, classes: Spec((*index.shape, classes), np.dtype(np.int64)))
def one_hot(xp: Any, index: Array, classes: int) -> Array:
    """1 at each index in a new last dim of size `classes`, 0 elsewhere."""
    out = np.zeros((*index.shape, classes), np.int64)
    if index.size:
        check_indices(index, classes, -1, "class")
        out.reshape(-1)[index.reshape(-1) + np.arange(0, out.size, classes)] = 1
    return out


def bag_of_each(offsets: Any, length: int) -> Any:
    """The number of the bag each of `length` positions lies in."""
    return np.repeat(np.arange(offsets.size), np.diff(np.append(offsets, length)))


def _bag_spec(weight: Spec, index: Spec, offsets: Spec, scale: Spec | None, **_: Any) -> Spec:
    if len(weight.shape) != 2:
        raise ShapeError("'weight' must be 2-D")
    return Spec((offsets.shape[0], weight.shape[1]), weight.dtype)


def _bag_counts(index: Any, offsets: Any, padding_idx: int) -> Any:
    """Number of entries that count in each bag."""
    bags = bag_of_each(offsets, index.size)
    return np.bincount(bags[index != padding_idx] if padding_idx >= 0 else bags, minlength=offsets.size)


def _bag_scale(index: Any, offsets: Any, scale: Any, mean: bool, padding_idx: int, dtype: Any) -> Any:
    """What each entry is multiplied by before its bag is summed."""
    factor = np.ones(index.size, dtype) if scale is None else scale.astype(dtype, copy=False).reshape(-1)
    if mean:
        counts = np.maximum(_bag_counts(index, offsets, padding_idx), 1)
        factor = factor / counts[bag_of_each(offsets, index.size)].astype(dtype)
    return np.where(index == padding_idx, dtype.type(0), factor) if padding_idx >= 0 else factor


def _bag_grads(
    g: Any, weight: Any, weight_spec: Spec, index: Any, offsets: Any, scale: Any,
    mean: bool, padding_idx: int, scale_by_count: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    weight_grad = scale_grad = None
    if needs[0]:
        weight_grad = bag_weight_grad(g, index, offsets, scale, weight_spec.shape[0], mean, padding_idx, scale_by_count)
    if scale is not None and needs[3]:
        scale_grad = bag_scale_grad(g, weight, index, offsets, padding_idx)
    return weight_grad, None, None, scale_grad


@opaque(spec=_bag_spec, joint=_bag_grads, name="EmbeddingBagBackward0")
def embedding_bag(
    xp: Any, weight: Array, index: Array, offsets: Array, scale: Array | None = None,
    mean: bool = False, padding_idx: int = -1, scale_by_count: bool = False,
) -> Array:  # fmt: skip
    """Sum or mean of the rows `weight[index[i]]` of each bag, bag b starting at offsets[b]."""
    rows = np.take(weight, index, 0)
    if rows.dtype.itemsize == 2:
        rows = rows.astype(np.float32)
    if mean or scale is not None or padding_idx >= 0:
        rows = rows * _bag_scale(index, offsets, scale, mean, padding_idx, rows.dtype)[:, None]
    return _sum_bags(rows, offsets).astype(weight.dtype, copy=False)


def _sparse_bag_rows(g: Any, weight_spec: Spec, index: Any, factor: Any, offsets: Any, padding_idx: int) -> Any:
    """The gradient of each row in use, at its place."""
    if type(g) is not np.ndarray:
        raise NotImplementedError("embedding_bag(sparse=True): the gradient of a sparse gradient is not implemented")
    values = g[bag_of_each(offsets, index.size)] * factor[:, None]
    if padding_idx >= 0:
        index, values = index[index != padding_idx], values[index != padding_idx]
    return SparseArray(index.reshape(1, -1).astype(np.int64), values.astype(g.dtype, copy=False), weight_spec.shape)


def _sparse_bag_grads(
    g: Any, weight: Any, weight_spec: Spec, index: Any, offsets: Any, scale: Any,
    mean: bool, padding_idx: int, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    weight_grad = scale_grad = None
    if needs[0]:
        factor = _bag_scale(index, offsets, scale, mean, padding_idx, g.dtype if g.dtype.itemsize > 2 else np.float32)
        weight_grad = _sparse_bag_rows(g, weight_spec, index, factor, offsets, padding_idx)
    if scale is not None and needs[3]:
        scale_grad = bag_scale_grad(g, weight, index, offsets, padding_idx)
    return weight_grad, None, None, scale_grad


@opaque(spec=_bag_spec, joint=_sparse_bag_grads, name="EmbeddingBagBackward0")
def embedding_bag_with_sparse_gradient(
    xp: Any, weight: Array, index: Array, offsets: Array, scale: Array | None = None,
    mean: bool = False, padding_idx: int = -1,
) -> Array:  # fmt: skip
    """`embedding_bag`, whose gradient names only the rows in use."""
    return embedding_bag.apply((weight, index, offsets, scale), {"mean": mean, "padding_idx": padding_idx})


def _sum_bags(rows: Any, offsets: Any) -> Any:
    """Sums of consecutive rows, zeros for empty bags."""
    ends = np.append(offsets[1:], len(rows))
    full = np.flatnonzero(ends > offsets)
    out = np.zeros((offsets.size, rows.shape[1]), rows.dtype)
    if full.size:
        out[full] = np.add.reduceat(rows, offsets[full], axis=0)
    return out


@opaque(
    spec=lambda g, index, offsets, scale, rows, mean, padding_idx, scale_by_count: Spec((rows, g.shape[1]), g.dtype)
)
def bag_weight_grad(
    xp: Any, g: Array, index: Array, offsets: Array, scale: Array | None,
    rows: int, mean: bool, padding_idx: int, scale_by_count: bool,
) -> Array:  # fmt: skip
    """Gradient of embedding_bag for the weight."""
    wide = g.astype(np.float32) if g.dtype.itemsize == 2 else g
    factor = _bag_scale(index, offsets, scale, mean, padding_idx, wide.dtype)
    if scale_by_count:
        factor = factor / np.bincount(index, minlength=rows)[index].astype(wide.dtype)
    values = wide[bag_of_each(offsets, index.size)] * factor[:, None]
    return add_rows(index, values, rows).astype(g.dtype, copy=False)


@opaque(spec=lambda g, weight, index, offsets, padding_idx: Spec(index.shape, g.dtype))
def bag_scale_grad(xp: Any, g: Array, weight: Array, index: Array, offsets: Array, padding_idx: int) -> Array:
    """Gradient of embedding_bag for the weights of single entries."""
    out = np.einsum("ij,ij->i", g[bag_of_each(offsets, index.size)], np.take(weight, index, 0))
    return np.where(index == padding_idx, g.dtype.type(0), out) if padding_idx >= 0 else out


def _bag_max_grad(g: Any, weight_spec: Spec, index: Any, out: Any) -> Any:
    return bag_max_place(g[0], out[1], weight_spec.shape[0])


@opaque(
    spec=lambda weight, index, offsets, padding_idx: (
        Spec((offsets.shape[0], weight.shape[1]), weight.dtype),
        Spec((offsets.shape[0], weight.shape[1]), np.dtype(np.int64)),
    ),
    grad=(_bag_max_grad, None, None),
    name="EmbeddingBagBackward0",
)
def embedding_bag_max(
    xp: Any, weight: Array, index: Array, offsets: Array, padding_idx: int = -1
) -> tuple[Array, Array]:
    """Largest value in each bag and column, and the row it came from (-1: an empty bag, which gives 0)."""
    shape = (offsets.size, weight.shape[1])
    out, source = np.zeros(shape, weight.dtype), np.full(shape, -1, np.int64)
    ends = np.append(offsets[1:], index.size)
    for bag, (start, end) in enumerate(zip(offsets.tolist(), ends.tolist(), strict=True)):
        members = index[start:end]
        members = members[members != padding_idx]
        if members.size:
            rows = weight[members]
            best = rows.argmax(0)
            source[bag] = members[best]
            out[bag] = rows[best, np.arange(shape[1])]
    return out, source


@opaque(
    spec=lambda g, source, rows: Spec((rows, g.shape[1]), g.dtype),
    grad=(lambda g, source: bag_max_pick(g, source), None),
)
def bag_max_place(xp: Any, g: Array, source: Array, rows: int) -> Array:
    """Gradient of embedding_bag_max: each value goes to the row it came from."""
    out = np.zeros((rows, g.shape[1]), g.dtype)
    bag, column = np.nonzero(source >= 0)
    np.add.at(out, (source[bag, column], column), g[bag, column])
    return out


@opaque(spec=lambda weight, source: Spec(source.shape, weight.dtype), grad=None)
def bag_max_pick(xp: Any, weight: Array, source: Array) -> Array:
    """The transpose of bag_max_place."""
    return np.where(source >= 0, np.take_along_axis(weight, np.maximum(source, 0), 0), weight.dtype.type(0))
