"""Pooling layers: maxima, averages, Lp norms, adaptive and fractional forms, and unpooling."""

from __future__ import annotations

from typing import Any, ClassVar

from rushlight.nn.functional import adaptive_pooling as A
from rushlight.nn.functional import pooling as F
from rushlight.nn.module import Module
from rushlight.tensor import Tensor

Size = int | tuple[int, ...]


class _MaxPoolNd(Module):
    """Largest element of each window."""

    __constants__: ClassVar[list[str]] = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices


class MaxPool1d(_MaxPoolNd):
    """Largest element of each window of [N, C, L] or [C, L]; see `MaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        return F.max_pool1d(input, *self._options())


class MaxPool2d(_MaxPoolNd):
    """Largest element of each window of [N, C, H, W] or [C, H, W].

    Parameters
    ----------
    kernel_size : int or tuple of ints
    stride : int or tuple of ints, optional
        Distance of windows; the kernel size if omitted.
    padding, dilation : int or tuple of ints
    return_indices : bool
        Whether `forward` also returns where each maximum was.
    ceil_mode : bool
        Whether a last window may hang over the end.

    Examples
    --------
    >>> torch.nn.MaxPool2d(2)(torch.tensor([[[1.0, 3], [2, 0]]]))
    tensor([[[3.]]])
    """

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(input, *self._options())


class MaxPool3d(_MaxPoolNd):
    """Largest element of each window of [N, C, D, H, W] or [C, D, H, W]; see `MaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        return F.max_pool3d(input, *self._options())


def _repeated(value: Any, n: int) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * n


class _MaxUnpoolNd(Module):
    """Maxima put back where a max pooling found them."""

    rank: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = _repeated(kernel_size, self.rank)
        self.stride = _repeated(stride if stride is not None else kernel_size, self.rank)
        self.padding = _repeated(padding, self.rank)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """The partial inverse of `MaxPool1d`: zeros where no maximum was."""

    rank = 1

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpoolNd):
    """The partial inverse of `MaxPool2d`: zeros where no maximum was."""

    rank = 2

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpoolNd):
    """The partial inverse of `MaxPool3d`: zeros where no maximum was."""

    rank = 3

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPoolNd(Module):
    """Average of each window."""

    __constants__: ClassVar[list[str]] = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"]
    kernel_size: Size
    stride: Size
    padding: Size

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPoolNd):
    """Average of each window of [N, C, L] or [C, L]; see `AvgPool2d`."""

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = _repeated(kernel_size, 1)
        self.stride = _repeated(stride if stride is not None else kernel_size, 1)
        self.padding = _repeated(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPoolPlanes(_AvgPoolNd):
    """Average pooling with a divisor of one's own."""

    __constants__: ClassVar[list[str]] = [
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ]

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _options(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool2d(_AvgPoolPlanes):
    """Average of each window of [N, C, H, W] or [C, H, W].

    Parameters
    ----------
    kernel_size : int or tuple of ints
    stride : int or tuple of ints, optional
        Distance of windows; the kernel size if omitted.
    padding : int or tuple of ints
    ceil_mode : bool
        Whether a last window may hang over the end.
    count_include_pad : bool
        Whether padding counts as elements of the average.
    divisor_override : int, optional
        Divide each sum by this number instead.

    Examples
    --------
    >>> torch.nn.AvgPool2d(2)(torch.tensor([[[1.0, 3], [2, 0]]]))
    tensor([[[1.5000]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, *self._options())


class AvgPool3d(_AvgPoolPlanes):
    """Average of each window of [N, C, D, H, W] or [C, D, H, W]; see `AvgPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool3d(input, *self._options())

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding", 0)
        self.__dict__.setdefault("ceil_mode", False)
        self.__dict__.setdefault("count_include_pad", True)


class _FractionalMaxPoolNd(Module):
    """Maxima of windows at random distances."""

    __constants__: ClassVar[list[str]] = ["kernel_size", "return_indices", "output_size", "output_ratio"]
    rank: int

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        n = self.rank
        self.kernel_size = _repeated(kernel_size, n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = _repeated(output_size, n) if output_size is not None else None
        self.output_ratio = _repeated(output_ratio, n) if output_ratio is not None else None
        name = f"FractionalMaxPool{n}d"
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    """Maxima of windows at random distances of [N, C, H, W] or [C, H, W].

    Parameters
    ----------
    kernel_size : int or tuple of ints
    output_size : int or tuple of ints, optional
    output_ratio : float or tuple of floats, optional
        Output size as a share of the input size; exactly one of the two is given.
    return_indices : bool
        Whether `forward` also returns where each maximum was.
    """

    rank = 2

    def forward(self, input: Tensor) -> Any:
        return A.fractional_max_pool2d(input, *self._options())


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    """Maxima of windows at random distances of [N, C, D, H, W] or [C, D, H, W]; see `FractionalMaxPool2d`."""

    rank = 3

    def forward(self, input: Tensor) -> Any:
        return A.fractional_max_pool3d(input, *self._options())


class _LPPoolNd(Module):
    """Lp norm of each window."""

    __constants__: ClassVar[list[str]] = ["norm_type", "kernel_size", "stride", "ceil_mode"]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"norm_type={self.norm_type}, {sizes}, ceil_mode={self.ceil_mode}"


class LPPool1d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of [N, C, L] or [C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of [N, C, H, W] or [C, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _AdaptiveMaxPoolNd(Module):
    """Maxima of so many parts that the result has a given size."""

    __constants__: ClassVar[list[str]] = ["output_size", "return_indices"]
    return_indices: bool

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maxima of `output_size` parts of [N, C, L] or [C, L]."""

    def forward(self, input: Tensor) -> Any:
        return A.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maxima of `output_size` parts of [N, C, H, W] or [C, H, W]; None in `output_size` keeps a dim's size."""

    def forward(self, input: Tensor) -> Any:
        return A.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maxima of `output_size` parts of [N, C, D, H, W] or [C, D, H, W]; None in `output_size` keeps a dim's size."""

    def forward(self, input: Tensor) -> Any:
        return A.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _AdaptiveAvgPoolNd(Module):
    """Averages of so many parts that the result has a given size."""

    __constants__: ClassVar[list[str]] = ["output_size"]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Averages of `output_size` parts of [N, C, L] or [C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        return A.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Averages of `output_size` parts of [N, C, H, W] or [C, H, W]; None in `output_size` keeps a dim's size.

    Examples
    --------
    >>> torch.nn.AdaptiveAvgPool2d((1, None))(torch.tensor([[[1.0, 3], [2, 0]]]))
    tensor([[[1.5000, 1.5000]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return A.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Averages of `output_size` parts of [N, C, D, H, W] or [C, D, H, W]; None in `output_size` keeps a dim's size."""

    def forward(self, input: Tensor) -> Tensor:
        return A.adaptive_avg_pool3d(input, self.output_size)
