"""Convolutions."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.errors import ShapeError, explain
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import int_tuple, require_tensor
from rushlight.nn.functional.padding import pad
from rushlight.ops.conv import convolution, convolution_transposed, transposed_size
from rushlight.tensor import Tensor

Size = int | tuple[int, ...]


def _sizes(function: str, name: str, value: Any, n: int) -> tuple[int, ...]:
    sizes = int_tuple(function, name, value)
    if len(sizes) == 1:
        return sizes * n
    if len(sizes) != n:
        raise ShapeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the "
            "convolution dimensions, "
            f"but got {name}={list(sizes)}"
        )
    return sizes


def _check_input(function: str, x: Any, weight: Any, n: int) -> bool:
    """Whether the input is a batch; raises for other ranks."""
    require_tensor(function, "input", 1, x)
    require_tensor(function, "weight", 2, weight)
    rank = x.dim()
    if rank not in (n + 1, n + 2):
        raise explain(
            ShapeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {function}, "
                f"but got input of size: {list(x.shape)}"
            ),
            expected=f"[N, C, {', '.join('DHW'[-n:])}] or [C, {', '.join('DHW'[-n:])}]",
            received=list(x.shape),
            fix="x.unsqueeze(0) adds a dim of size 1" if rank == n else None,
        )
    if weight.dim() != n + 2:
        raise ShapeError(
            f"expected stride to be a single integer value or a list of {weight.dim() - 2} values to match the "
            f"convolution dimensions, but got stride={[1] * n}"
        )
    return bool(rank == n + 2)


def _check_values(stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")


def _named_padding(
    x: Tensor, padding: str, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """The input and the symmetric padding that padding="same" or "valid" mean."""
    if padding == "valid":
        return x, (0,) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(total % 2 for total in totals):
        warnings.warn(
            "Using padding='same' with even kernel lengths and odd dilation may require a zero-padded copy of the "
            "input be created",
            UserWarning,
            stacklevel=4,
        )
        x = pad(x, [n for total in reversed(totals) for n in (0, total % 2)])
    return x, tuple(total // 2 for total in totals)


def _convolve(n: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Tensor:
    function = f"conv{n}d"
    batched = _check_input(function, x, weight, n)
    stride = _sizes(function, "stride", stride, n)
    dilation = _sizes(function, "dilation", dilation, n)
    if not batched:
        x = x.unsqueeze(0)
    if isinstance(padding, str):
        x, padding = _named_padding(x, padding, tuple(weight.shape[2:]), stride, dilation)
    else:
        padding = _sizes(function, "padding", padding, n)
    _check_values(stride, padding, dilation)
    out: Tensor = convolution(x, weight, bias, stride, padding, dilation, groups)
    return out if batched else out.squeeze(0)


@autocasts("lower")
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0,
    dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of input [N, C, L] or [C, L] with weight [O, C/groups, K].

    Parameters
    ----------
    bias : Tensor[O], optional
    stride, dilation : int or tuple of ints
    padding : int, tuple of ints, "same" or "valid"
        Zeros put on both sides of each dimension.
    groups : int
        Input and output channels are split into this many groups that do not meet.

    Examples
    --------
    >>> torch.nn.functional.conv1d(torch.tensor([[[1.0, 2, 3]]]), torch.tensor([[[1.0, 1]]]))
    tensor([[[3., 5.]]])
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@autocasts("lower")
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0,
    dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of input [N, C, H, W] or [C, H, W] with weight [O, C/groups, KH, KW]; see `conv1d`."""
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@autocasts("lower")
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0,
    dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of input [N, C, D, H, W] with weight [O, C/groups, KD, KH, KW]; see `conv1d`."""
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


def _check_output_padding(output_padding: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    if min(output_padding) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if all(e < s or e < d for e, s, d in zip(output_padding, stride, dilation, strict=True)):
        return
    names = ("depth", "height", "width")[-len(stride) :]
    named = {"output_padding": output_padding, "stride": stride, "dilation": dilation}
    values = " ".join(
        f"{what}_{name}: {v}" for what, given in named.items() for name, v in zip(names, given, strict=True)
    )
    raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {values}")


def _convolve_transposed(
    n: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Tensor:
    function = f"conv_transpose{n}d"
    batched = _check_input(function, x, weight, n)
    stride = _sizes(function, "stride", stride, n)
    padding = _sizes(function, "padding", padding, n)
    output_padding = _sizes(function, "output_padding", output_padding, n)
    dilation = _sizes(function, "dilation", dilation, n)
    _check_values(stride, padding, dilation)
    _check_output_padding(output_padding, stride, dilation)
    if not batched:
        x = x.unsqueeze(0)
    size = transposed_size(tuple(x.shape[2:]), tuple(weight.shape[2:]), stride, padding, output_padding, dilation)
    out: Tensor = convolution_transposed(x, weight, bias, size, stride, padding, dilation, groups)
    return out if batched else out.squeeze(0)


@autocasts("lower")
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of input [N, C, L] or [C, L] with weight [C, O/groups, K]: the input gradient of `conv1d`.

    Parameters
    ----------
    output_padding : int or tuple of ints
        Positions added at the end of the output, to choose among the sizes that a strided convolution maps to one.

    Examples
    --------
    >>> torch.nn.functional.conv_transpose1d(torch.tensor([[[1.0, 2]]]), torch.tensor([[[1.0, 1]]]), stride=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts("lower")
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of input [N, C, H, W] with weight [C, O/groups, KH, KW]; see `conv_transpose1d`."""
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts("lower")
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of input [N, C, D, H, W] with weight [C, O/groups, KD, KH, KW]; see `conv_transpose1d`."""
    return _convolve_transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts("lower")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """`conv1d` of input [T, B, C] with weight [K, C, O], the layout of time first; result [T', B, O]."""
    out: Any = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    last: Tensor = out.permute(2, 0, 1).contiguous()
    return last
