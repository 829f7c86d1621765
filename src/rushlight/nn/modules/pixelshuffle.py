"""PyTorch's path of pixel shuffling."""

from rushlight.nn.pixelshuffle import PixelShuffle, PixelUnshuffle

__all__ = ["PixelShuffle", "PixelUnshuffle"]
