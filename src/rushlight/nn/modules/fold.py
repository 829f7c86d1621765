"""PyTorch's path of `Fold` and `Unfold`."""

from rushlight.nn.fold import Fold, Unfold

__all__ = ["Fold", "Unfold"]
