"""Argument checks and result types that all of `linalg` shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from rushlight.functions.fast import store
from rushlight.functions.reduce import pair
from rushlight.ops.decomp import type_name
from rushlight.spec import Spec
from rushlight.tape import Variable, wrap


def tensor_argument(x: Any, function: str, name: str = "A", position: int = 1) -> Any:
    """`x`, which must be a tensor."""
    if isinstance(x, Variable):
        return x
    raise TypeError(f"{function}(): argument '{name}' (position {position}) must be Tensor, not {type(x).__name__}")


def spec(x: Any) -> Spec:
    """Shape and NumPy dtype of a tensor."""
    return Spec(x._data.shape, x._data.dtype)


def legacy_name(x: Any) -> str:
    """PyTorch's name of a tensor's dtype in messages, such as `Float`."""
    return type_name(spec(x))


def constant(array: Any) -> Any:
    """A tensor without gradient over `array`."""
    return wrap(np.asarray(array))


def takes_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function PyTorch's `out=`: a tensor, or a tuple of tensors for several results."""

    @wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if out is None:
            return result
        if isinstance(result, tuple):
            written = [store(r, o) for r, o in zip(result, out, strict=True)]
            return type(result)(*written) if hasattr(result, "_fields") else tuple(written)
        return store(result, out)

    return call


__all__ = ["constant", "legacy_name", "pair", "spec", "takes_out", "tensor_argument"]
