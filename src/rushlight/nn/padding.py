"""Padding layers."""

from __future__ import annotations

from typing import Any, ClassVar

from rushlight.nn.functional.padding import pad
from rushlight.nn.module import Module
from rushlight.tensor import Tensor


class _PadNd(Module):
    """Padding of the last `rank` dims by one of the modes."""

    __constants__: ClassVar[list[str]] = ["padding"]
    rank: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, (list, tuple)) else (padding,) * (2 * self.rank)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ModePadNd(_PadNd):
    """Padding without a value."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Hook for layers that check their input's rank."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return pad(input, self.padding, self.mode)


class _ConstantPadNd(_PadNd):
    """Padding with a value."""

    __constants__: ClassVar[list[str]] = ["padding", "value"]
    value: float

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Put `padding` = (left, right) or one number of places of `value` around the last dim.

    Examples
    --------
    >>> torch.nn.ConstantPad1d((1, 0), 9.0)(torch.tensor([[1.0, 2.0]]))
    tensor([[9., 1., 2.]])
    """

    rank = 1


class ConstantPad2d(_ConstantPadNd):
    """Put (left, right, top, bottom) or one number of places of `value` around the last two dims."""

    rank = 2


class ConstantPad3d(_ConstantPadNd):
    """Put (left, right, top, bottom, front, back) or one number of places of `value` around the last three dims."""

    rank = 3


class _ZeroPadNd(_ConstantPadNd):
    """Padding with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPadNd, ConstantPad1d):
    """Put (left, right) or one number of zeros around the last dim."""


class ZeroPad2d(_ZeroPadNd, ConstantPad2d):
    """Put (left, right, top, bottom) or one number of zeros around the last two dims."""


class ZeroPad3d(_ZeroPadNd, ConstantPad3d):
    """Put (left, right, top, bottom, front, back) or one number of zeros around the last three dims."""


class _ReflectionPadNd(_ModePadNd):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Continue the last dim by its mirror image, without repeating the edge.

    Examples
    --------
    >>> torch.nn.ReflectionPad1d(2)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    rank = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Continue the last two dims by their mirror images, without repeating the edges."""

    rank = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Continue the last three dims by their mirror images, without repeating the edges."""

    rank = 3


class _ReplicationPadNd(_ModePadNd):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Continue the last dim by repeating its edges."""

    rank = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Continue the last two dims by repeating their edges."""

    rank = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Continue the last three dims by repeating their edges."""

    rank = 3


class _CircularPadNd(_ModePadNd):
    mode = "circular"

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (self.rank + 1, self.rank + 2):
            raise ValueError(f"expected {self.rank + 1}D or {self.rank + 2}D input (got {input.dim()}D input)")


class CircularPad1d(_CircularPadNd):
    """Continue the last dim by its opposite end."""

    rank = 1


class CircularPad2d(_CircularPadNd):
    """Continue the last two dims by their opposite ends."""

    rank = 2


class CircularPad3d(_CircularPadNd):
    """Continue the last three dims by their opposite ends."""

    rank = 3
