"""Distances and similarities, and the losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import ShapeError
from rushlight.functions import arithmetic as A
from rushlight.functions import reduce as R
from rushlight.functions.fast import needs_tensor
from rushlight.functions.indexing import index_select
from rushlight.functions.shape import broadcast_tensors
from rushlight.modes import autocasts
from rushlight.nn.functional.reduction import checked_reduction, reduced
from rushlight.ops.reduce import vector_norm
from rushlight.tape import record, wrap


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps over the last dim."""
    difference = A.add(A.sub(x1, x2), eps)
    last = len(difference._data.shape) - 1
    return record(vector_norm, (difference,), {"p": p, "dim": (last,), "keepdim": keepdim})


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (|x1| * |x2|) along `dim`, lengths at least `eps`.

    Examples
    --------
    >>> torch.nn.functional.cosine_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([0.7071])
    """
    needs_tensor(x1, "cosine_similarity")
    for x in (x1, x2):
        if x._data.dtype.kind in "iub":
            raise RuntimeError(
                f"expected common dtype to be floating point, yet common dtype is {KERNEL_NAMES[x._data.dtype.name]}"
            )
    x1, x2 = broadcast_tensors(x1, x2)
    lengths = [A.clamp_min(R.norm(x, 2, dim, True), eps) for x in (x1, x2)]
    return R.sum((x1 / lengths[0]) * (x2 / lengths[1]), dim)


@autocasts("float32")
def pdist(input: Any, p: float = 2) -> Any:
    """The p-norm distances of all pairs of rows, as one vector: (0, 1), (0, 2), ... (N-2, N-1)."""
    if needs_tensor(input, "pdist").dim() != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = np.triu_indices(input._data.shape[0], 1)
    difference = A.sub(index_select(input, 0, wrap(first)), index_select(input, 0, wrap(second)))
    return record(vector_norm, (difference,), {"p": p, "dim": (1,), "keepdim": False})


@autocasts("float32")
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1."""
    reduction = checked_reduction(reduction, size_average, reduce)
    if target.dim() > 1:
        raise ShapeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dim() == 1 and (input1.dim() != 2 or input2.dim() != 2):
        raise ShapeError(
            f"1D target tensor expects 2D input tensors, but found inputs with sizes {list(input1.shape)} and "
            f"{list(input2.shape)}."
        )
    if target.dim() == 0 and (input1.dim() != 1 or input2.dim() != 1):
        raise ShapeError(
            f"0D target tensor expects 1D input tensors, but found inputs with sizes {list(input1.shape)} and "
            f"{list(input2.shape)}."
        )
    dim = target.dim()
    product = R.sum(input1 * input2, dim)
    squares = [R.sum(x * x, dim) + 1e-12 for x in (input1, input2)]
    cos = product / A.sqrt(squares[0] * squares[1])
    alike = A.where(A.eq(target, 1), 1 - cos, 0.0)
    apart = A.where(A.eq(target, -1), A.clamp_min(cos - margin, 0), 0.0)
    return reduced(alike + apart, reduction)


def _check_margin(margin: float) -> None:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")


def _check_triplet(anchor: Any, positive: Any, negative: Any) -> None:
    a, p, n = (x.dim() for x in (anchor, positive, negative))
    if not a == p == n:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {a}D, positive {p}D, and negative {n}D inputs"
        )


@autocasts("float32")
def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """max(0, margin + |anchor - positive| - |anchor - negative|).

    `swap` takes the distance of positive and negative where that is smaller.
    """
    reduction = checked_reduction(reduction, size_average, reduce)
    _check_margin(margin)
    _check_triplet(anchor, positive, negative)
    return _triplet(lambda x, y: pairwise_distance(x, y, p, eps), anchor, positive, negative, margin, swap, reduction)


def _triplet(
    distance: Callable[[Any, Any], Any],
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float,
    swap: bool,
    reduction: str,
) -> Any:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = A.minimum(far, distance(positive, negative))
    return reduced(A.clamp_min(margin + near - far, 0), reduction)


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> Any:  # fmt: skip
    """triplet_margin_loss for any distance; the Euclidean one by default."""
    reduction = checked_reduction(reduction)
    _check_margin(margin)
    _check_triplet(anchor, positive, negative)
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(distance, anchor, positive, negative, margin, swap, reduction)
