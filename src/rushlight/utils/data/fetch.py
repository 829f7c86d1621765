"""Fetching: from an index, or a list of them, to a collated batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.tape import wrap
from rushlight.tensor import Tensor
from rushlight.utils.data.collate import default_collate
from rushlight.utils.data.dataset import Subset, TensorDataset

Fetch = Callable[[Any], Any]


def map_fetcher(dataset: Any, is_batched: bool, collate_fn: Callable[[Any], Any]) -> Fetch:
    """Fetch from a dataset with `__getitem__`."""
    if not is_batched:
        return lambda index: collate_fn(dataset[index])
    whole = getattr(dataset, "__getitems__", None)
    can_gather = collate_fn is default_collate and _gatherable(dataset)

    def fetch(indices: Any) -> Any:
        if can_gather:
            batch = _gather(dataset, indices)
            if batch is not None:
                return batch
        return collate_fn(whole(indices) if whole else [dataset[i] for i in indices])

    return fetch


def iterable_fetcher(dataset: Any, is_batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> Fetch:
    """Fetch from a stream; an index says only how many samples a batch has. Raises StopIteration at the end."""
    stream = iter(dataset)
    has_ended = False

    def fetch(places: Any) -> Any:
        nonlocal has_ended
        if has_ended:
            raise StopIteration
        if not is_batched:
            return collate_fn(next(stream))
        samples = []
        for _ in places:
            try:
                samples.append(next(stream))
            except StopIteration:
                has_ended = True
                break
        if not samples or (drop_last and len(samples) < len(places)):
            raise StopIteration
        return collate_fn(samples)

    return fetch


def _gatherable(dataset: Any) -> bool:
    """Whether a batch of `dataset` is rows of tensors: then one indexing per tensor replaces one per sample."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset and bool(dataset.tensors)


def _gather(dataset: Any, indices: Any) -> list[Tensor] | None:
    """What collating the samples one by one would give; None to do just that (gradients, bad indices)."""
    try:
        while type(dataset) is Subset:
            indices = [dataset.indices[i] for i in indices]
            dataset = dataset.dataset
        rows = np.asarray(indices)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            return None
        arrays = [tensor._data for tensor in dataset.tensors]
        if any(t.requires_grad or type(a) is not np.ndarray for t, a in zip(dataset.tensors, arrays, strict=True)):
            return None
        return [wrap(array[rows]) for array in arrays]
    except IndexError:
        return None
