"""Channels exchanged between groups."""

from __future__ import annotations

from typing import ClassVar

from rushlight.nn.functional.vision import channel_shuffle
from rushlight.nn.module import Module
from rushlight.tensor import Tensor


class ChannelShuffle(Module):
    """Channels of [N, C, *], seen as [groups, C/groups], transposed.

    Examples
    --------
    >>> torch.nn.ChannelShuffle(2)(torch.arange(4.0).view(1, 4, 1)).flatten()
    tensor([0., 2., 1., 3.])
    """

    __constants__: ClassVar[list[str]] = ["groups"]

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
