"""Softmax and its relatives with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

from rushlight.dtypes import get_default_dtype
from rushlight.functions.fast import needs_tensor
from rushlight.layout import wrap_dim
from rushlight.ops import softmax as ops
from rushlight.ops.kinds import normal_dims
from rushlight.ops.linear import cast
from rushlight.tape import record


def _prepared(input: Any, dim: Any, dtype: Any, name: str) -> tuple[Any, int]:
    """The operand in `dtype` and the dim counted from the front."""
    needs_tensor(input, name)
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' (position 2) must be int, not {type(dim).__name__}")
    if dtype is not None and input._data.dtype != dtype.np:
        input = cast(input, dtype.np)
    return input, wrap_dim(dim, len(input._data.shape))


def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """exp(input) / sum(exp(input)) along `dim`."""
    input, dim = _prepared(input, dim, dtype, "softmax")
    return record(ops.softmax, (input,), {"dim": dim})


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """log(softmax(input)) along `dim`, exact where softmax underflows."""
    input, dim = _prepared(input, dim, dtype, "log_softmax")
    return record(ops.log_softmax, (input,), {"dim": dim})


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(input))) over one or several dims."""
    needs_tensor(input, "logsumexp")
    if input._data.dtype.kind in "biu":
        input = cast(input, get_default_dtype().np)
    dims = normal_dims(dim, len(input._data.shape))
    return record(ops.logsumexp, (input,), {"dim": dims, "keepdim": keepdim})
