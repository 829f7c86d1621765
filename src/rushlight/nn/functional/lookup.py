"""Look-up of rows of a table."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.nn.functional.arguments import require_tensor
from rushlight.ops import embedding as ops
from rushlight.tape import bump, record, wrap

INDEX_DTYPES = (np.dtype(np.int64), np.dtype(np.int32))


def _check_indices(function: str, position: int, index: Any) -> None:
    require_tensor(function, "indices", position, index)
    if index._data.dtype not in INDEX_DTYPES:
        raise explain(
            DTypeError(
                "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but "
                f"got torch.{KERNEL_NAMES[index._data.dtype.name]}Tensor instead (while checking arguments for "
                f"{function})"
            ),
            received=index.dtype,
            fix="indices.long()",
        )


def _padding_row(padding_idx: int | None, rows: int) -> int:
    """`padding_idx` counted from the front, -1 for none."""
    if padding_idx is None:
        return -1
    if padding_idx >= rows or padding_idx < -rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def _renormalise(weight: Any, index: Any, max_norm: float, norm_type: float) -> None:
    """Scale down, in place, the rows in use whose norm exceeds `max_norm`."""
    w = weight._data
    rows = np.unique(index._data)
    ops.check_rows(rows, w.shape[0])
    chosen = w[rows]
    norms = np.linalg.norm(chosen, norm_type, axis=1)
    too_long = norms > max_norm
    if too_long.any():
        scale = (max_norm / (norms[too_long] + 1e-7)).astype(w.dtype)
        w[rows[too_long]] = chosen[too_long] * scale[:, None]
        bump(weight)


def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """weight[input] for integers of any shape.

    Parameters
    ----------
    input : Tensor[*], int64 or int32
    weight : Tensor[num_embeddings, embedding_dim]
    padding_idx : int, optional
        Row that receives no gradient.
    max_norm : float, optional
        Rows in use that are longer are scaled to this length first, in place.
    norm_type : float
        Which norm `max_norm` means.
    scale_grad_by_freq : bool
        Divide each row's gradient by how often it was used.
    sparse : bool
        Give `weight` a sparse gradient, of the rows in use; not with `scale_grad_by_freq`.

    Examples
    --------
    >>> torch.nn.functional.embedding(torch.tensor([1, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    require_tensor("embedding", "weight", 1, weight)
    _check_indices("embedding", 2, input)
    rows = weight._data.shape[0] if weight._data.shape else 0
    padding = -1 if padding_idx is None else _padding_row(padding_idx, rows)
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    if sparse:
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        return record(ops.embedding_with_sparse_gradient, (weight, input), {"padding_idx": padding})
    return record(ops.embedding, (weight, input), {"padding_idx": padding, "scale_by_count": bool(scale_grad_by_freq)})


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """Sum, mean or maximum of bags of rows of a table, without the rows themselves.

    Parameters
    ----------
    input : Tensor[N] or Tensor[B, N], integer
        Rows; each row of a 2-D input is one bag.
    weight : Tensor[num_embeddings, embedding_dim]
    offsets : Tensor[B], integer
        Where each bag of a 1-D input starts; the first is 0.
    mode : {"mean", "sum", "max"}
    per_sample_weights : Tensor like `input`, optional
        Factors of the rows, for "sum".
    include_last_offset : bool
        Whether `offsets` ends with the length of `input`.
    padding_idx : int, optional
        Row that counts in no bag.
    sparse : bool
        Give `weight` a sparse gradient, of the rows in use; not with "max".
    """
    require_tensor("embedding_bag", "weight", 1, weight)
    input, weight, offsets = _swapped(input, weight, offsets)
    kind = (mode, scale_grad_by_freq, sparse)
    offsets = _checked_bags(input, weight, offsets, kind, per_sample_weights, include_last_offset)
    padding = -1 if padding_idx is None else _padding_row(padding_idx, weight._data.shape[0])
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    flat = wrap(input._data.reshape(-1).astype(np.int64, copy=False))
    _check_bag_rows(flat._data, weight._data.shape[0])
    if mode == "max":
        out: Any = record(ops.embedding_bag_max, (weight, flat, offsets), {"padding_idx": padding})
        return out[0]
    scale = per_sample_weights
    if scale is not None and scale._data.ndim != 1:
        scale = scale.reshape(-1)
    params = {"mean": mode == "mean", "padding_idx": padding}
    if sparse:
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        return record(ops.embedding_bag_with_sparse_gradient, (weight, flat, offsets, scale), params)
    params["scale_by_count"] = bool(scale_grad_by_freq)
    return record(ops.embedding_bag, (weight, flat, offsets, scale), params)


def _swapped(input: Any, weight: Any, offsets: Any) -> tuple[Any, Any, Any]:
    """The old order of arguments, weight first, is still understood."""
    if weight._data.dtype == np.int64 and input._data.dtype.kind in "fV":
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=3,
        )
        return weight, input, offsets
    return input, weight, offsets


def _checked_bags(
    input: Any, weight: Any, offsets: Any, kind: tuple[str, bool, bool], scale: Any, include_last: bool
) -> Any:
    """Where each bag starts, after the checks."""
    mode, by_frequency, sparse = kind
    if scale is not None and tuple(input._data.shape) != tuple(scale._data.shape):
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({scale.shape}) is not None, then it must have the same shape as "
            f"the input ({input.shape})"
        )
    if len(weight._data.shape) != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    ndim = len(input._data.shape)
    if ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    if ndim == 1 and offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if ndim == 1 and offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {ndim}")
    if mode == "max" and (by_frequency or sparse):
        what = "scaling the gradient by the frequency" if by_frequency else "sparse weights"
        raise ValueError(f"max mode does not support {what}")
    if scale is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). Please open a feature request on GitHub."
        )
    if ndim == 2:
        rows, columns = input._data.shape
        _check_indices("embedding_bag", 2, input)
        return wrap(np.arange(0, rows * columns, columns) if columns else np.zeros(rows, np.int64))
    for tensor in (offsets, input):
        _check_indices("embedding_bag", 2, tensor)
    return _checked_offsets(offsets, input._data.shape[0], include_last)


def _checked_offsets(offsets: Any, length: int, include_last: bool) -> Any:
    starts = offsets._data.astype(np.int64, copy=False)
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, "
            f"got {starts[0]}"
        )
    if starts.size and starts[-1] > length:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of {starts[-1]}"
        )
    if include_last:
        if not starts.size:
            raise RuntimeError("include_last_offset: number of offset should be at least 1")
        starts = starts[:-1]
    return wrap(starts)


def _check_bag_rows(index: Any, rows: int) -> None:
    outside = np.flatnonzero((index < 0) | (index >= rows))
    if outside.size:
        at = int(outside[0])
        raise explain(
            ShapeError(f"Index {at} of input takes value {index[at]} which is not in the valid range [0, {rows})"),
            received=f"{outside.size} of {index.size} indices outside",
        )


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """1 at each index in a new last dim, 0 elsewhere.

    Parameters
    ----------
    tensor : Tensor[*], int64
    num_classes : int
        Size of the new dim; -1 for the largest index plus 1.

    Examples
    --------
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    require_tensor("one_hot", "input", 1, tensor)
    index = tensor._data
    if index.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if type(index) is not np.ndarray and num_classes > 0:
        return record(ops.one_hot, (tensor,), {"classes": num_classes})
    if not index.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    elif index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    elif num_classes == -1:
        num_classes = int(index.max()) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif index.max() >= num_classes:
        raise explain(
            RuntimeError("Class values must be smaller than num_classes."),
            expected=f"indices from 0 to {num_classes - 1}",
            received=int(index.max()),
        )
    return record(ops.one_hot, (tensor,), {"classes": num_classes})
