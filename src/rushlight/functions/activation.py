"""Activation functions that tensors have as methods too."""

from __future__ import annotations

from typing import Any

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import ShapeError, explain
from rushlight.functions.fast import needs_tensor
from rushlight.functions.shape import reshape
from rushlight.modes import autocasts
from rushlight.ops import activation as ops
from rushlight.tape import record

FLOATING = "fV"


def no_kernel(kernel: str, input: Any) -> NotImplementedError:
    """PyTorch's error for a dtype that an op does not take."""
    return NotImplementedError(f"\"{kernel}\" not implemented for '{KERNEL_NAMES[input._data.dtype.name]}'")


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """0 within lambd of 0, else input."""
    if needs_tensor(input, "hardshrink")._data.dtype.kind not in FLOATING:
        raise no_kernel("hardshrink_cpu", input)
    return record(ops.hardshrink, (input,), {"lambd": lambd})


@autocasts("lower")
def prelu(input: Any, weight: Any) -> Any:
    """input above 0, weight * input below; one weight, or one for each channel (dim 1)."""
    x, w = needs_tensor(input, "prelu")._data, needs_tensor(weight, "prelu")._data
    if x.dtype != w.dtype:
        names = [KERNEL_NAMES[a.dtype.name] for a in (x, w)]
        raise RuntimeError(f"prelu: Type promoting not supported. Got {names[0]} and {names[1]}")
    if x.dtype.kind not in FLOATING:
        raise no_kernel("prelu_cpu", input)
    if w.size != 1:
        if not x.shape:
            raise ShapeError("Not allow zero-dim input tensor.")
        channels = x.shape[1] if len(x.shape) > 1 else 1
        if channels != w.size:
            raise explain(
                ShapeError(
                    "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                    f"{w.size} and channel size = {channels}."
                ),
                expected=f"1 or {channels} weights for input {list(x.shape)}",
                received=tuple(w.shape),
                fix=f"PReLU(num_parameters={channels})",
            )
    if len(w.shape) > 1:
        raise ShapeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {len(w.shape)}")
    if w.size != 1 or w.shape:
        weight = reshape(weight, (-1,) + (1,) * (len(x.shape) - 2) if len(x.shape) > 1 else w.shape if x.shape else ())
    return record(ops.prelu_kernel, (input, weight), {})
