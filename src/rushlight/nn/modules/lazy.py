"""PyTorch's path of delayed initialisation."""

from rushlight.nn.lazy import LazyModuleMixin

__all__ = ["LazyModuleMixin"]
