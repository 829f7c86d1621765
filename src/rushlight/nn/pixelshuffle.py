"""Channels to pixels and back."""

from __future__ import annotations

from typing import ClassVar

from rushlight.nn.functional.vision import pixel_shuffle, pixel_unshuffle
from rushlight.nn.module import Module
from rushlight.tensor import Tensor


class PixelShuffle(Module):
    """[*, C*r*r, H, W] as [*, C, H*r, W*r].

    Examples
    --------
    >>> torch.nn.PixelShuffle(2)(torch.ones(1, 8, 3, 3)).shape
    torch.Size([1, 2, 6, 6])
    """

    __constants__: ClassVar[list[str]] = ["upscale_factor"]

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[*, C, H*r, W*r] as [*, C*r*r, H, W], the inverse of `PixelShuffle`."""

    __constants__: ClassVar[list[str]] = ["downscale_factor"]

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"
