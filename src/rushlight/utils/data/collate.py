"""Making batches: lists of samples become samples of batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from rushlight.creation import as_tensor, tensor
from rushlight.dtypes import float64
from rushlight.functions.shape import stack
from rushlight.tensor import Tensor

CollateMap = dict[type | tuple[type, ...], Callable[..., Any]]
NOT_COLLATABLE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
_TEXT_KINDS = "SUOa"


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars inside `data` as Tensors, everything else as it is.

    Examples
    --------
    >>> torch.utils.data.default_convert([np.array([0, 1]), "a"])
    [tensor([0, 1]), 'a']
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        is_text = data.dtype.kind in _TEXT_KINDS if isinstance(data, np.ndarray) else isinstance(data, (str, bytes))
        return data if is_text else as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data


def _like_mapping(example: Any, items: dict[Any, Any]) -> Any:
    """`items` in the type of `example` if that type lets itself be rebuilt, else a dict."""
    try:
        if isinstance(example, MutableMapping):
            rebuilt = copy.copy(example)
            rebuilt.update(items)
            return rebuilt
        return type(example)(items)
    except TypeError:
        return items


def _like_sequence(example: Any, items: list[Any]) -> Any:
    try:
        if isinstance(example, MutableSequence):
            rebuilt = copy.copy(example)
            for i, item in enumerate(items):
                rebuilt[i] = item
            return rebuilt
        return type(example)(items)
    except TypeError:
        return items


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Collate by the type of the first sample.

    Parameters
    ----------
    batch : sequence
        The samples.
    collate_fn_map : dict, optional
        Type, or tuple of types, to a function `fn(batch, *, collate_fn_map)`.
    """
    example = batch[0]
    if collate_fn_map is not None:
        exact = collate_fn_map.get(type(example))
        if exact is not None:
            return exact(batch, collate_fn_map=collate_fn_map)
        for kind, function in collate_fn_map.items():
            if isinstance(example, kind):
                return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(example, Mapping):
        columns = {key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map) for key in example}
        return _like_mapping(example, columns)
    if isinstance(example, tuple) and hasattr(example, "_fields"):
        parts = zip(*batch, strict=False)
        return type(example)(*(collate(part, collate_fn_map=collate_fn_map) for part in parts))
    if isinstance(example, Sequence):
        size = len(example)
        if any(len(sample) != size for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        merged = [collate(part, collate_fn_map=collate_fn_map) for part in zip(*batch, strict=True)]
        return merged if isinstance(example, tuple) else _like_sequence(example, merged)
    raise TypeError(NOT_COLLATABLE.format(type(example)))


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Stack tensors."""
    if getattr(batch[0], "is_sparse", False):
        raise RuntimeError(
            "Batches of sparse tensors are not currently supported by the default collate_fn; please provide a custom "
            "collate_fn to handle them appropriately."
        )
    stacked: Tensor = stack(batch, 0)
    return stacked


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Stack arrays as tensors."""
    if batch[0].dtype.kind in _TEXT_KINDS:
        raise TypeError(NOT_COLLATABLE.format(batch[0].dtype))
    return collate([as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """A vector of NumPy scalars."""
    vector: Tensor = as_tensor(batch)
    return vector


def collate_float_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """A vector of Python floats, in double precision."""
    vector: Tensor = tensor(batch, dtype=float64)
    return vector


def collate_int_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """A vector of Python integers."""
    vector: Tensor = tensor(batch)
    return vector


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Texts stay a list."""
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """A batch from a list of samples: tensors are stacked, numbers become tensors, containers are collated inside.

    Examples
    --------
    >>> torch.utils.data.default_collate([{"x": 1, "y": [1.0]}, {"x": 2, "y": [2.0]}])
    {'x': tensor([1, 2]), 'y': [tensor([1., 2.], dtype=torch.float64)]}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
