"""Memory format of convolution weights."""

from __future__ import annotations

from typing import Any, TypeVar

from rushlight.nn.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]

M = TypeVar("M", bound=Module)


def _convert(module: Module, memory_format: Any, dims: int) -> None:
    for layer in module.modules():
        # Convolutions of this rank, plain and transposed.
        if hasattr(layer, "kernel_size") and hasattr(layer, "transposed") and layer.weight.dim() == dims:
            layer.weight.data = layer.weight.detach().clone(memory_format=memory_format)


def convert_conv2d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Store the weights of all 2-d convolutions in `memory_format`; return the module."""
    _convert(module, memory_format, 4)
    return module


def convert_conv3d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Store the weights of all 3-d convolutions in `memory_format`; return the module."""
    _convert(module, memory_format, 5)
    return module
