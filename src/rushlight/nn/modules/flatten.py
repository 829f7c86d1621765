"""PyTorch's path of `Flatten` and `Unflatten`."""

from rushlight.nn.flatten import Flatten, Unflatten

__all__ = ["Flatten", "Unflatten"]
