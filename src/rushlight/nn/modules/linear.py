"""PyTorch's path of linear layers."""

from rushlight.nn.linear import Bilinear, Identity, LazyLinear, Linear, NonDynamicallyQuantizableLinear

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear", "NonDynamicallyQuantizableLinear"]
