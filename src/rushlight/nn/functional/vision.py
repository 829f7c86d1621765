"""Resizing, sampling and rearranging images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from rushlight.backends.numpy_resample import Resampling
from rushlight.errors import DTypeError, ShapeError
from rushlight.modes import autocasts
from rushlight.nn.functional.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from rushlight.nn.functional.arguments import Ints, int_tuple, require_tensor
from rushlight.ops import grid as G
from rushlight.ops import rearrange as R
from rushlight.ops.conv import scalar_name
from rushlight.ops.interpolate import RESIZES
from rushlight.tensor import Tensor

LISTED = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"
# mode: (rank of the spatial dims or None for any, filter, title of the op)
MODES = {
    "nearest": (None, "nearest", "nearest{}d"),
    "nearest-exact": (None, "nearest-exact", "nearest_exact{}d"),
    "linear": (1, "linear", "linear1d"),
    "bilinear": (2, "linear", "bilinear2d"),
    "bicubic": (2, "cubic", "bicubic2d"),
    "trilinear": (3, "linear", "trilinear3d"),
}
ANTIALIAS = {
    "bilinear": ("antialias-linear", "bilinear2d_aa"),
    "bicubic": ("antialias-cubic", "bicubic2d_aa"),
    "lanczos": ("antialias-lanczos", "lanczos2d_aa"),
}
AREAS = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)


def _wanted_size(x: Tensor, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[Ints, Any]:
    """Output size, and the scale factor of each dim where the user's decides the positions."""
    n = x.dim() - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute is not None and recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return _explicit_size(x, size), (None,) * n
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors = scale_factor
    if isinstance(factors, (list, tuple)):
        if len(factors) != n:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(x.shape[2:])} and scale_factor of shape {factors}. Please "
                "provide input tensor in "
                "(N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) format."
            )
        factors = tuple(float(f) for f in factors)
    else:
        factors = (float(factors),) * n
    made = tuple(math.floor(m * f) for m, f in zip(x.shape[2:], factors, strict=True))
    return made, (None,) * n if recompute else factors


def _explicit_size(x: Tensor, size: Any) -> Ints:
    n = x.dim() - 2
    if not isinstance(size, (list, tuple)):
        if not isinstance(size, int):
            raise TypeError(f"interpolate(): argument 'size' must be int or tuple of ints, not {type(size).__name__}")
        return (size,) * n
    if len(size) != n:
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with "
            "spatial dimensions of "
            f"{list(x.shape[2:])} and output size of {size}. Please provide input tensor in (N, C, "
            "d1, d2, ...,dK) format "
            "and output size in (o1, o2, ...,oK) format."
        )
    if not all(isinstance(m, int) for m in size):
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], "
            f"but got size with types {[type(m) for m in size]}"
        )
    return tuple(size)


def _check_mode(x: Tensor, mode: str) -> None:
    n = x.dim() - 2
    rank = MODES[mode][0] if mode in MODES else None
    known = mode in MODES or mode in ("area", "lanczos")
    if not known or n not in (1, 2, 3) or (mode in ("bicubic", "lanczos") and n != 2):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {x.dim()}D) for the modes: "
            f"{LISTED} (got {mode})"
        )
    if rank is not None and rank != n:
        raise NotImplementedError(f"Got {n + 2}D input, but {mode} mode needs {rank + 2}D input")


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resize the dims of input [N, C, *] after the first two.

    Parameters
    ----------
    size : int or tuple of ints, optional
        Output size.
    scale_factor : float or tuple of floats, optional
        Output size as a multiple of the input size; exactly one of the two is given.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area", "lanczos"}
        linear needs one such dim, bilinear, bicubic and lanczos two, trilinear three.
    align_corners : bool, optional
        Whether the outer elements' centres stay in place rather than the outer edges.
    recompute_scale_factor : bool, optional
        Compute positions from the sizes even where a scale factor was given.
    antialias : bool
        Average over all the input that an output covers (bilinear, bicubic and lanczos, for shrinking).

    Examples
    --------
    >>> torch.nn.functional.interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    >>> torch.nn.functional.interpolate(torch.tensor([[[1.0, 2.0]]]), size=3, mode="linear", align_corners=True)
    tensor([[[1.0000, 1.5000, 2.0000]]])
    """
    require_tensor("interpolate", "input", 1, input)
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | "
                "bilinear | bicubic | trilinear"
            )
    n = input.dim() - 2
    output, factors = _wanted_size(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ANTIALIAS and n == 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    _check_mode(input, mode)
    if mode == "area":
        return AREAS[n - 1](input, output if n > 1 else output[0])
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")
    kernel, title = ANTIALIAS[mode] if antialias else MODES[mode][1:]
    corners = bool(align_corners)
    plans = tuple(
        Resampling(kernel, int(have), want, corners, None if f is None or f <= 0 else 1 / f)
        for have, want, f in zip(input.shape[2:], output, factors, strict=True)
    )
    title = title.format(n)
    _check_resizable(input, title)
    return RESIZES[title](input, plans)  # type: ignore[no-any-return]


def _check_resizable(x: Tensor, title: str) -> None:
    dtype = x._data.dtype
    if dtype.kind in "bic" or (dtype.kind == "u" and dtype.itemsize > 1):
        name = title.replace("nearest_exact", "nearest_exact").replace("_aa", "")
        raise NotImplementedError(f"\"upsample_{name}_channels_last\" not implemented for '{scalar_name(dtype)}'")


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=3
    )


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """Deprecated name of `interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated form of `interpolate(mode="nearest")`."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated form of `interpolate(mode="bilinear", align_corners=True)`."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _warn_of_corners() -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
        "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
        UserWarning,
        stacklevel=3,
    )


def _check_grid(x: Tensor, grid: Tensor, mode: str) -> None:
    shapes = list(x.shape), list(grid.shape)
    if x.shape[0] != grid.shape[0]:
        raise ShapeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{shapes[0]} and grid with sizes {shapes[1]}"
        )
    if grid.shape[-1] != x.dim() - 2:
        raise ShapeError(
            f"grid_sampler(): expected grid to have size {x.dim() - 2} in last dimension, but got "
            f"grid with sizes {shapes[1]}"
        )
    if x.dim() not in (4, 5) or x.dim() != grid.dim():
        raise ShapeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{shapes[0]} and grid with sizes {shapes[1]}"
        )
    for d in range(2, x.dim()):
        if x.shape[d] == 0:
            raise ShapeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                f"{shapes[0]} with dimension {d} being empty"
            )
    if x.dim() == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if x.dtype != grid.dtype:
        raise DTypeError(f"expected scalar type {scalar_name(x._data.dtype)} but found {scalar_name(grid._data.dtype)}")


@autocasts("float32")
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Values of input [N, C, H, W] or [N, C, D, H, W] at the positions in grid [N, H', W', 2] or [N, D', H', W', 3].

    Parameters
    ----------
    grid : Tensor
        Positions (x, y) or (x, y, z) in [-1, 1], where -1 is left, top or front.
    mode : {"bilinear", "nearest", "bicubic"}
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside.
    align_corners : bool
        Whether -1 and 1 mean the centres of the outer elements rather than their outer edges.

    Examples
    --------
    >>> image = torch.tensor([[[[1.0, 2.0]]]])
    >>> torch.nn.functional.grid_sample(image, torch.tensor([[[[0.0, 0.0]]]]), align_corners=True)
    tensor([[[[1.5000]]]])
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_corners()
    require_tensor("grid_sampler", "input", 1, input)
    require_tensor("grid_sampler", "grid", 2, grid)
    _check_grid(input, grid, mode)
    return G.grid_sample(input, grid, mode, padding_mode, bool(align_corners))  # type: ignore[no-any-return]


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Positions for `grid_sample` that apply the affine maps theta [N, 2, 3] or [N, 3, 4] to images of `size`.

    Parameters
    ----------
    size : sequence of ints
        (N, C, H, W) or (N, C, D, H, W) of the output of `grid_sample`.

    Examples
    --------
    >>> torch.nn.functional.affine_grid(torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]), (1, 1, 2, 2), align_corners=True)
    tensor([[[[-1., -1.],
              [ 1., -1.]],
    <BLANKLINE>
             [[-1.,  1.],
              [ 1.,  1.]]]])
    """
    if align_corners is None:
        _warn_of_corners()
    require_tensor("affine_grid", "theta", 1, theta)
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    shown = tuple(size)
    n = len(shown) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {shown}."
        )
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {shown}. Got {theta.shape}."
        )
    if min(shown) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {shown}")
    if align_corners and min(shown[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when "
            "align_corners=True. This is "
            "not an intended use case of affine_grid. See the documentation of affine_grid for details.",
            UserWarning,
            stacklevel=2,
        )
    if theta.shape[0] != shown[0]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{shown[0]}, {n + 1}] "
            f"but got: [{theta.shape[0]}, {n + 1}]."
        )
    return G.affine_grid(theta, tuple(int(m) for m in shown[2:]), bool(align_corners))  # type: ignore[no-any-return]


def _pair(name: str, value: Any) -> Ints:
    sizes = int_tuple("im2col", name, value)
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    if len(sizes) != 2:
        raise ShapeError(f"It is expected {name} equals to 2, but got size {len(sizes)}")
    return sizes


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Sliding blocks of input [N, C, H, W] or [C, H, W] as columns [N, C*KH*KW, L].

    Examples
    --------
    >>> torch.nn.functional.unfold(torch.tensor([[[[1.0, 2, 3]]]]), (1, 2))
    tensor([[[1., 2.],
             [2., 3.]]])
    """
    require_tensor("im2col", "input", 1, input)
    sizes = [
        _pair(name, value)
        for name, value in (
            ("kernel_size", kernel_size),
            ("dilation", dilation),
            ("padding", padding),
            ("stride", stride),
        )
    ]
    if input.dim() < 3:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [-{max(1, input.dim())}, "
            f"{max(1, input.dim()) - 1}], but got 2)"
        )
    if input._data.dtype.kind in "iu":
        raise NotImplementedError(f"\"im2col_out_cpu\" not implemented for '{scalar_name(input._data.dtype)}'")
    return R.im2col(input, *sizes)  # type: ignore[no-any-return]


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns [N, C*KH*KW, L] or [C*KH*KW, L] added up as blocks sliding over images, `unfold` transposed.

    Examples
    --------
    >>> torch.nn.functional.fold(torch.tensor([[[1.0, 2], [2, 3]]]), (1, 3), (1, 2))
    tensor([[[[1., 4., 3.]]]])
    """
    require_tensor("col2im", "input", 1, input)
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    sizes = [
        _pair(name, value)
        for name, value in zip(names, (output_size, kernel_size, dilation, padding, stride), strict=True)
    ]
    return R.col2im(input, *sizes)  # type: ignore[no-any-return]


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels to pixels: input [*, C*r*r, H, W] as [*, C, H*r, W*r].

    Examples
    --------
    >>> torch.nn.functional.pixel_shuffle(torch.arange(4.0).view(4, 1, 1), 2)
    tensor([[[0., 1.],
             [2., 3.]]])
    """
    require_tensor("pixel_shuffle", "input", 1, input)
    if input.dim() < 3:
        raise ShapeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.dim()} dimension(s)"
        )
    if upscale_factor <= 0:
        raise ShapeError(f"pixel_shuffle expects a positive upscale_factor, but got {upscale_factor}")
    if input.shape[-3] % upscale_factor**2:
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={input.shape[-3]} is not divisible by {upscale_factor**2}"
        )
    return R.pixel_shuffle(input, upscale_factor)  # type: ignore[no-any-return]


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Pixels to channels: input [*, C, H*r, W*r] as [*, C*r*r, H, W], the inverse of `pixel_shuffle`."""
    require_tensor("pixel_unshuffle", "input", 1, input)
    if input.dim() < 3:
        raise ShapeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.dim()} dimension(s)"
        )
    if downscale_factor <= 0:
        raise ShapeError(f"pixel_unshuffle expects a positive downscale_factor, but got {downscale_factor}")
    for name, d in (("height", -2), ("width", -1)):
        if input.shape[d] % downscale_factor:
            raise ShapeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, "
                f"but input.size({d})={input.shape[d]} is not divisible by {downscale_factor}"
            )
    return R.pixel_unshuffle(input, downscale_factor)  # type: ignore[no-any-return]


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of input [N, C, *], seen as [groups, C/groups], transposed.

    Examples
    --------
    >>> torch.nn.functional.channel_shuffle(torch.arange(4.0).view(1, 4, 1), 2).flatten()
    tensor([0., 2., 1., 3.])
    """
    require_tensor("channel_shuffle", "input", 1, input)
    if input.dim() <= 2:
        raise ShapeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise ShapeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if input.shape[1] % groups:
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {input.shape[1]} channels and {groups} groups."
        )
    return R.channel_shuffle(input, groups)  # type: ignore[no-any-return]


def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """`channel_shuffle`."""
    return channel_shuffle(input, groups)
