"""Convolution layers: `Conv1d` to `3d`, `ConvTranspose1d` to `3d`, and their lazy forms."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from rushlight.creation import empty
from rushlight.nn import init
from rushlight.nn.functional import conv as F
from rushlight.nn.functional.padding import pad
from rushlight.nn.lazy import LazyModuleMixin
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter, UninitializedParameter, is_lazy
from rushlight.tensor import Tensor

Size = int | tuple[int, ...]
PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}


def repeated(value: Any, n: int) -> Any:
    """A number n times; sequences and strings as they are."""
    return value if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (value,) * n


class _ConvNd(Module):
    """What all convolutions share: sizes, weight, bias and their initialisation."""

    __constants__: ClassVar[list[str]] = [
        "stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels", "out_channels",
        "kernel_size",
    ]  # fmt: skip
    rank: int
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        transposed: bool, output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_arguments(in_channels, out_channels, groups, stride, padding, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._amounts()
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty((*channels, *kernel_size), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _amounts(self) -> list[int]:
        """The padding as `functional.pad` takes it."""
        if not isinstance(self.padding, str):
            return [p for p in reversed(self.padding) for _ in (0, 1)]
        amounts = [0, 0] * len(self.kernel_size)
        if self.padding == "same":
            for i, (k, d) in enumerate(zip(reversed(self.kernel_size), reversed(self.dilation), strict=False)):
                total = d * (k - 1)
                amounts[2 * i : 2 * i + 2] = [total // 2, total - total // 2]
        return amounts

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        n = len(self.dilation)
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * len(self.padding):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if not hasattr(self, "padding_mode"):
            self.padding_mode = "zeros"


def _check_arguments(
    in_channels: int, out_channels: int, groups: int, stride: Any, padding: Any, padding_mode: str
) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups != 0:
        raise ValueError("out_channels must be divisible by groups")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string '{padding}', should be one of {{'valid', 'same'}}")
        if padding == "same" and any(s != 1 for s in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
    if padding_mode not in PADDING_MODES:
        known = ", ".join(repr(mode) for mode in sorted(PADDING_MODES))
        raise ValueError(f"padding_mode must be one of {{{known}}}, but got padding_mode='{padding_mode}'")


class _Conv(_ConvNd):
    """A convolution of rank `rank`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: str | Size = 0,
        dilation: Size = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        n = self.rank
        kernel, step, pads, spread = (repeated(v, n) for v in (kernel_size, stride, padding, dilation))
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            step,
            pads,
            spread,
            False,
            (0,) * n,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        if self.padding_mode == "zeros":
            return convolve(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[no-any-return]
        padded = pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return convolve(padded, weight, bias, self.stride, 0, self.dilation, self.groups)  # type: ignore[no-any-return]

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Convolution of [N, C, L] or [C, L] with learned kernels.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of ints
    stride, dilation : int or tuple of ints
    padding : int, tuple of ints, "same" or "valid"
    groups : int
        Number of groups that channels are split into; divides both.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}

    Attributes
    ----------
    weight : Parameter[out_channels, in_channels/groups, kernel_size]
    bias : Parameter[out_channels] or None

    Examples
    --------
    >>> torch.nn.Conv1d(2, 3, 5, padding=2)(torch.ones(1, 2, 8)).shape
    torch.Size([1, 3, 8])
    """

    rank = 1


class Conv2d(_Conv):
    """Convolution of [N, C, H, W] or [C, H, W] with learned kernels; see `Conv1d`.

    Examples
    --------
    >>> torch.nn.Conv2d(1, 6, 5)
    Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))
    """

    rank = 2


class Conv3d(_Conv):
    """Convolution of [N, C, D, H, W] or [C, D, H, W] with learned kernels; see `Conv1d`."""

    rank = 3


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution of rank `rank`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0,
        output_padding: Size = 0, groups: int = 1, bias: bool = True, dilation: Size = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        n = self.rank
        kernel, step, pads, spread, extra = (
            repeated(v, n) for v in (kernel_size, stride, padding, dilation, output_padding)
        )
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            step,
            pads,
            spread,
            True,
            extra,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The padding that makes the output of `output_size`."""
        if output_size is None:
            return repeated(self.output_padding, self.rank)  # type: ignore[no-any-return]
        n = self.rank
        batched = input.dim() == n + 2
        lead = 2 if batched else 1
        wanted = tuple(output_size)
        if len(wanted) == lead + n:
            wanted = wanted[lead:]
        if len(wanted) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {lead + n} elements "
                f"(got {len(wanted)})"
            )
        size = input.shape[-n:]
        least = [
            (m - 1) * s - 2 * p + d * (k - 1) + 1
            for m, s, p, d, k in zip(size, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        ]
        most = [a + s - 1 for a, s in zip(least, self.stride, strict=True)]
        if any(not a <= m <= b for a, m, b in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
                f"(for an input of {size})"
            )
        return tuple(m - a for m, a in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        convolve: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        extra = self._output_padding(input, output_size)
        return convolve(  # type: ignore[no-any-return]
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution of [N, C, L] or [C, L]: the input gradient of a `Conv1d` as a layer.

    Parameters
    ----------
    output_padding : int or tuple of ints
        Positions added at the end of the output, to choose among the sizes that a strided convolution maps to one;
        `forward(input, output_size)` computes it.

    Examples
    --------
    >>> torch.nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1)(torch.ones(1, 2, 8)).shape
    torch.Size([1, 3, 16])
    """

    rank = 1


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution of [N, C, H, W] or [C, H, W]; see `ConvTranspose1d`."""

    rank = 2


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of [N, C, D, H, W] or [C, D, H, W]; see `ConvTranspose1d`."""

    rank = 3


class _LazyConvXdMixin(LazyModuleMixin):
    """A convolution that learns its number of input channels from the first input."""

    def __init__(self: Any, out_channels: int, kernel_size: Size, *args: Any, **kwargs: Any) -> None:
        with_bias = kwargs.pop("bias", None)
        place: dict[str, Any] = {name: kwargs.get(name) for name in ("device", "dtype")}
        # bias stands after stride, padding, dilation and groups; one place later in transposed convolutions
        at = 4
        arguments = list(args)
        if with_bias is None:
            with_bias = arguments[at] if len(arguments) > at else True
        if len(arguments) > at:
            arguments[at] = False
        else:
            kwargs["bias"] = False
        # groups are checked against the real number of channels later
        super().__init__(0, 0, kernel_size, *arguments, **kwargs)
        self.out_channels = out_channels
        self.register_parameter("weight", UninitializedParameter(**place))
        if with_bias:
            self.register_parameter("bias", UninitializedParameter(**place))

    def reset_parameters(self: Any) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Materialise weight and bias for the channels of `input`."""
        if not self.has_uninitialized_params():
            return
        self.in_channels = self._get_in_channels(input)
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if self.transposed:
            channels = (self.in_channels, self.out_channels // self.groups)
        else:
            channels = (self.out_channels, self.in_channels // self.groups)
        self.weight.materialize((*channels, *self.kernel_size))
        if self.bias is not None and is_lazy(self.bias):
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()

    def _get_in_channels(self: Any, input: Tensor) -> int:
        n = self.rank
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, "
                f"but got input of size: {input.shape}"
            )
        return int(input.shape[-n - 1])


class LazyConv1d(_LazyConvXdMixin, Conv1d):
    """`Conv1d` that learns `in_channels` from the first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConvXdMixin, Conv2d):
    """`Conv2d` that learns `in_channels` from the first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConvXdMixin, Conv3d):
    """`Conv3d` that learns `in_channels` from the first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvXdMixin, ConvTranspose1d):
    """`ConvTranspose1d` that learns `in_channels` from the first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvXdMixin, ConvTranspose2d):
    """`ConvTranspose2d` that learns `in_channels` from the first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvXdMixin, ConvTranspose3d):
    """`ConvTranspose3d` that learns `in_channels` from the first input."""

    cls_to_become = ConvTranspose3d
