"""Pooling by fixed windows: maxima, averages, Lp norms, and the partial inverse of maxima."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import ShapeError
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import Ints, int_tuple, require_tensor
from rushlight.ops import pool as P
from rushlight.ops.conv import scalar_name
from rushlight.ops.pool_index import max_unpool2d as unpool2d
from rushlight.ops.pool_index import max_unpool3d as unpool3d
from rushlight.tape import wrap
from rushlight.tensor import Tensor

Size = int | tuple[int, ...]
COUNTS = {1: "one int", 2: "two ints", 3: "three ints"}
MAX_POOLS = {2: P.max_pool2d_with_codes, 3: P.max_pool3d_with_codes}
AVG_POOLS = {2: P.avg_pool2d, 3: P.avg_pool3d}


def _window_sizes(function: str, name: str, value: Any, n: int, text: str) -> Ints:
    sizes = int_tuple(function, name, value, 2 if name == "kernel_size" and "max" in function else None)
    if len(sizes) == 1:
        return sizes * n
    if len(sizes) != n:
        raise ShapeError(f"{function}: {text.format(COUNTS[n])}")
    return sizes


def _is_omitted(stride: Any) -> bool:
    return stride is None or (isinstance(stride, (list, tuple)) and not stride)


def _check_kind(x: Tensor, kernel: str, refused: str) -> None:
    if x._data.dtype.kind in refused:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{scalar_name(x._data.dtype)}'")


def _check_planes(function: str, x: Tensor, n: int) -> None:
    """PyTorch's check of rank and of empty dims for pooling."""
    shape = tuple(x.shape)
    if len(shape) not in (n + 1, n + 2):
        raise ShapeError(f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input")
    inner = shape[1:] if len(shape) == n + 2 else shape
    if 0 not in inner:
        return
    if n == 3:
        dim = inner.index(0)
        raise ShapeError(
            f"{function}_with_indices_out_cpu_template(): Expected input's non-batch dimensions to "
            "have positive length, "
            f"but input has a shape of {list(shape)} and non-batch dimension {dim} has length zero!"
        )
    raise ShapeError(
        f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, "
        f"but got:{list(shape)}"
    )


def _max_pool(
    n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    function = f"max_pool{n}d"
    require_tensor(function, "input", 1, x)
    kernel = _window_sizes(
        function, "kernel_size", kernel_size, n, "kernel_size must either be a single int, or a tuple of {}"
    )
    text = "stride must either be omitted, a single int, or a tuple of {}"
    step = kernel if _is_omitted(stride) else _window_sizes(function, "stride", stride, n, text)
    pads = _window_sizes(function, "padding", padding, n, "padding must either be a single int, or a tuple of {}")
    spread = _window_sizes(function, "dilation", dilation, n, "dilation must be either a single int, or a tuple of {}")
    _check_planes(function, x, n)
    _check_kind(x, function, "bc")
    values, codes = MAX_POOLS[n](x, kernel, step, pads, spread, bool(ceil_mode))
    if not return_indices:
        return values
    windows = P.pool_windows(tuple(x.shape[-n:]), kernel, step, pads, spread, bool(ceil_mode))
    return values, wrap(P.max_pool_indices(codes._data, windows))


def max_pool2d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Largest element of each window of input [N, C, H, W] or [C, H, W].

    Parameters
    ----------
    stride : int or tuple of ints, optional
        Distance of windows; the kernel size if omitted.
    padding : int or tuple of ints
        Places of minus infinity on both sides, at most half of the window.
    dilation : int or tuple of ints
        Distance of the places of a window.
    ceil_mode : bool
        Whether a last window may hang over the end.
    return_indices : bool
        Also return where each maximum was, as a flat position in its H x W plane.

    Examples
    --------
    >>> torch.nn.functional.max_pool2d(torch.tensor([[[1.0, 3, 2], [0, 5, 4]]]), (2, 1))
    tensor([[[1., 5., 4.]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Largest element of each window of input [N, C, D, H, W] or [C, D, H, W]; see `max_pool2d`."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _single(function: str, name: str, value: Any, text: str) -> int:
    sizes = int_tuple(function, name, value, 2 if name == "kernel_size" and "max" in function else None)
    if len(sizes) != 1:
        raise ShapeError(text.format(len(sizes)))
    return sizes[0]


def _check_line_pool(x: Tensor, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> None:
    """PyTorch's own wording for 1-d max pooling."""
    shape = tuple(x.shape)
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise ShapeError(
            "max_pool1d: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for "
            f"input, but got:{list(shape)}"
        )
    for name, value in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if value <= 0:
            raise ShapeError(f"max_pool1d() {name} must be greater than zero, but got {value}")
    if padding < 0:
        raise ShapeError(f"max_pool1d() padding must be non-negative, but got {padding}")
    if padding > kernel // 2:
        raise ShapeError(
            "max_pool1d() padding should be at most half of kernel size, "
            f"but got padding={padding} and kernel_size={kernel}"
        )
    (made,) = P.pooled_size(shape[-1:], (kernel,), (stride,), (padding,), (dilation,), ceil_mode)
    if made < 1:
        raise ShapeError(f"max_pool1d() Invalid computed output size: {made}")
    _check_kind(x, "max_pool1d_impl", "biuc")


def max_pool1d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Largest element of each window of input [N, C, L] or [C, L]; see `max_pool2d`."""
    function = "max_pool1d"
    require_tensor(function, "input", 1, input)
    one = "max_pool1d() {} must be an int, list of ints{} tuple of ints of size 1 but got size {{}}"
    kernel = _single(function, "kernel_size", kernel_size, one.format("kernel_size", " or"))
    omitted = _is_omitted(stride)
    text = "max_pool1d() stride must be None, an int, list of ints, or tuple of ints of size 1 but got size {}"
    step = kernel if omitted else _single(function, "stride", stride, text)
    pads = _single(function, "padding", padding, one.format("padding", ", or"))
    spread = _single(function, "dilation", dilation, one.format("dilation", " or"))
    _check_line_pool(input, kernel, step, pads, spread, bool(ceil_mode))
    line = input.unsqueeze(-2)
    sizes = ((1, kernel), (1, step), (0, pads), (1, spread))
    values, codes = P.max_pool2d_with_codes(line, *sizes, bool(ceil_mode))
    values = values.squeeze(-2)
    if not return_indices:
        return values
    windows = P.pool_windows(tuple(line.shape[-2:]), *sizes, bool(ceil_mode))
    return values, wrap(P.max_pool_indices(codes._data, windows)[..., 0, :])


def _avg_pool(
    n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:  # fmt: skip
    function = f"avg_pool{n}d"
    require_tensor(function, "input", 1, x)
    either = "" if n == 3 else "either "
    kernel = _window_sizes(
        function, "kernel_size", kernel_size, n, f"kernel_size must {either}be a single int, or a tuple of {{}}"
    )
    text = f"stride must {either}be omitted, a single int, or a tuple of {{}}"
    omitted = _is_omitted(stride)
    step = kernel if omitted else _window_sizes(function, "stride", stride, n, text)
    pads = _window_sizes(function, "padding", padding, n, f"padding must {either}be a single int, or a tuple of {{}}")
    if n == 2 and x.dim() < 3:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [-{max(1, x.dim())}, "
            f"{max(1, x.dim()) - 1}], but got -3)"
        )
    if x.dim() not in (n + 1, n + 2):
        raise ShapeError(f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input")
    _check_kind(x, "avg_pool2d" if n == 2 else "avg_pool3d_out_frame", "bc" if x._data.dtype == np.int64 else "biuc")
    if n == 3 and not ceil_mode:
        _check_image_size(x, kernel, pads)
    return AVG_POOLS[n](  # type: ignore[no-any-return]
        x, kernel, step, pads, bool(ceil_mode), bool(count_include_pad), divisor_override
    )


def _check_image_size(x: Tensor, kernel: Ints, pads: Ints) -> None:
    size = tuple(x.shape[-3:])
    if any(n + 2 * p < k for n, k, p in zip(size, kernel, pads, strict=True)):
        now = " ".join(f"{letter}: {n}" for letter, n in zip("THW", size, strict=True))
        wanted = " ".join(f"k{letter}: {k}" for letter, k in zip("THW", kernel, strict=True))
        raise ShapeError(f"input image ({now}) smaller than kernel size ({wanted})")


def avg_pool2d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Average of each window of input [N, C, H, W] or [C, H, W].

    Parameters
    ----------
    stride : int or tuple of ints, optional
        Distance of windows; the kernel size if omitted.
    padding : int or tuple of ints
        Zeros on both sides, at most half of the window.
    ceil_mode : bool
        Whether a last window may hang over the end.
    count_include_pad : bool
        Whether padding counts as elements of the average.
    divisor_override : int, optional
        Divide each sum by this number instead of the window's count.

    Examples
    --------
    >>> torch.nn.functional.avg_pool2d(torch.tensor([[[1.0, 3, 2, 4]]]), (1, 2))
    tensor([[[2., 3.]]])
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@autocasts("float32")
def avg_pool3d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Average of each window of input [N, C, D, H, W] or [C, D, H, W]; see `avg_pool2d`."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def check_line(function: str, x: Tensor) -> None:
    """PyTorch's check of the rank of 1-d pooling."""
    if x.dim() not in (2, 3):
        raise ShapeError(
            f"Expected 2 to 3 dimensions, but got {x.dim()}-dimensional tensor for argument #1 'self' "
            f"(while checking arguments for {function})"
        )


def avg_pool1d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Average of each window of input [N, C, L] or [C, L]; see `avg_pool2d`."""
    function = "avg_pool1d"
    require_tensor(function, "input", 1, input)
    check_line(function, input)
    text = "avg_pool1d() argument '{}' should contain one int (got {{}})"
    kernel = _single(function, "kernel_size", kernel_size, text.format("kernel_size"))
    omitted = _is_omitted(stride)
    step = kernel if omitted else _single(function, "stride", stride, text.format("stride"))
    pads = _single(function, "padding", padding, text.format("padding"))
    line = input.unsqueeze(-2)
    out: Tensor = avg_pool2d(line, (1, kernel), (1, step), (0, pads), ceil_mode, count_include_pad).squeeze(-2)
    return out


def _lp_pool(n: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    sizes = (kernel_size,) * n if isinstance(kernel_size, int) else tuple(kernel_size)
    count = 1
    for k in sizes:
        count *= k
    pool = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}[n]
    means: Any = pool(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return (means.sign() * means.abs().relu()).mul(count).pow(1.0 / norm_type)  # type: ignore[no-any-return]


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of input [N, C, L] or [C, L]."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of input [N, C, H, W] or [C, H, W].

    Examples
    --------
    >>> torch.nn.functional.lp_pool2d(torch.tensor([[[3.0, 4.0]]]), 2, (1, 2))
    tensor([[[5.]]])
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of input [N, C, D, H, W] or [C, D, H, W]."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _unpool_size(input: Tensor, kernel: Ints, stride: Ints, padding: Ints, output_size: Any) -> Ints:
    n = len(kernel)
    sizes = zip(input.shape[-n:], kernel, stride, padding, strict=True)
    default = tuple((m - 1) * s + k - 2 * p for m, k, s, p in sizes)
    if output_size is None:
        return default
    wanted = tuple(int(m) for m in output_size)
    if len(wanted) == n + 2:
        wanted = wanted[2:]
    if len(wanted) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a "
            f"length of '{len(wanted)}'"
        )
    for d in range(n):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < wanted[d] < high:
            raise ValueError(f'invalid output_size "{wanted}" (dim {d} must be between {low} and {high})')
    return wanted


def _max_unpool(
    n: int, x: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    require_tensor(f"max_unpool{n}d", "input", 1, x)
    require_tensor(f"max_unpool{n}d", "indices", 2, indices)
    if x.dim() not in (n + 1, n + 2):
        raise ShapeError(
            f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got {x.dim()} dimensions"
        )
    kernel = _repeat(kernel_size, n)
    step = kernel if stride is None else _repeat(stride, n)
    size = _unpool_size(x, kernel, step, _repeat(padding, n), output_size)
    if n == 1:
        return unpool2d(x.unsqueeze(-1), indices.unsqueeze(-1), (*size, 1)).squeeze(-1)  # type: ignore[no-any-return]
    return {2: unpool2d, 3: unpool3d}[n](x, indices, size)  # type: ignore[no-any-return]


def _repeat(value: Any, n: int) -> Ints:
    sizes = (value,) * n if isinstance(value, int) else tuple(value)
    return sizes * n if len(sizes) == 1 else sizes


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Put maxima back where `max_pool1d` found them, zeros elsewhere; see `max_unpool2d`."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Put maxima back where `max_pool2d` found them, zeros elsewhere.

    Parameters
    ----------
    indices : Tensor, int64
        What `max_pool2d(..., return_indices=True)` returned.
    output_size : sequence of ints, optional
        Size of the result where the pooling made several sizes the same.

    Examples
    --------
    >>> values, where = torch.nn.functional.max_pool2d(torch.tensor([[[1.0, 3], [2, 0]]]), 2, return_indices=True)
    >>> torch.nn.functional.max_unpool2d(values, where, 2)
    tensor([[[0., 3.],
             [0., 0.]]])
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Put maxima back where `max_pool3d` found them, zeros elsewhere; see `max_unpool2d`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def with_indices(pool: Any, name: str) -> Any:
    """`pool` that always returns indices too, as PyTorch names it."""

    def pool_with_indices(*args: Any, **kwargs: Any) -> Any:
        kwargs["return_indices"] = True
        return pool(*args, **kwargs)

    pool_with_indices.__name__ = name
    pool_with_indices.__qualname__ = name
    pool_with_indices.__doc__ = f"`{pool.__name__}(..., return_indices=True)`."
    return pool_with_indices


max_pool1d_with_indices = with_indices(max_pool1d, "max_pool1d_with_indices")
max_pool2d_with_indices = with_indices(max_pool2d, "max_pool2d_with_indices")
max_pool3d_with_indices = with_indices(max_pool3d, "max_pool3d_with_indices")
