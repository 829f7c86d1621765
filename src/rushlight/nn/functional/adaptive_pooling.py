"""Pooling to a given output size: adaptive averages and maxima, and fractional maxima."""

from __future__ import annotations

from typing import Any

from rushlight.errors import ShapeError
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import Ints, int_tuple, require_tensor
from rushlight.nn.functional.pooling import check_line, with_indices
from rushlight.ops import pool as P
from rushlight.ops import pool_index as I
from rushlight.sampling import rand
from rushlight.tensor import Tensor

AVERAGES = {2: P.adaptive_avg_pool2d, 3: P.adaptive_avg_pool3d}
MAXIMA = {2: I.adaptive_max_pool2d, 3: I.adaptive_max_pool3d}
FRACTIONAL = {2: I.fractional_max_pool2d, 3: I.fractional_max_pool3d}


def _output_size(function: str, x: Tensor, output_size: Any, n: int) -> Ints:
    """`output_size` with None replaced by the size that the input has there."""
    if isinstance(output_size, int):
        return (output_size,) * n
    wanted = tuple(output_size)
    if len(wanted) == 1:
        wanted = wanted * n
    if n == 2 and x.dim() <= len(wanted):
        raise ValueError(f"Input dimension should be at least {len(wanted) + 1}")
    if len(wanted) != n:
        text = "internal error: output_size.size() must be" if "max" in function else "output_size must be"
        raise ShapeError(f"{function}{'():' if 'max' in function else ':'} {text} {n}")
    return tuple(int(have if m is None else m) for m, have in zip(wanted, x.shape[-n:], strict=True))


def _check(function: str, x: Tensor, n: int, colon: str) -> None:
    shape = list(x.shape)
    if len(shape) not in (n + 1, n + 2):
        raise ShapeError(f"{function}(): Expected {n + 1}D or {n + 2}D tensor, but got{colon} {shape}")
    for d in range(1, len(shape)):
        if shape[d] == 0:
            raise ShapeError(
                f"{function}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
                f"{shape} with dimension {d} being empty"
            )


def _adaptive_avg(n: int, x: Any, output_size: Any) -> Tensor:
    function = f"adaptive_avg_pool{n}d"
    require_tensor(function, "input", 1, x)
    size = _output_size(function, x, output_size, n)
    if min(size) < 0:
        sizes = ("{}, {}" if n == 2 else "{}, {},{}").format(*size)
        raise ShapeError(
            f"{function}: elements of output_size must be greater than or equal to 0 but received {{{sizes}}}"
        )
    _check(function, x, n, "")
    if x._data.dtype.kind in "biu":
        kernel = function if n == 2 else f"{function}_cpu"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{_scalar_name(x)}'")
    if all(m == 1 for m in size):
        return x.mean(tuple(range(-n, 0)), keepdim=True)  # type: ignore[no-any-return]
    return AVERAGES[n](x, size)  # type: ignore[no-any-return]


def _scalar_name(x: Tensor) -> str:
    names = {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}
    return names[x._data.dtype.name]


def _one_size(function: str, output_size: Any) -> int:
    sizes = int_tuple(function, "output_size", output_size, 2)
    if len(sizes) != 1:
        raise ShapeError(f"{function}() argument 'output_size' should contain one int (got {len(sizes)})")
    return sizes[0]


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of `output_size` parts of input [N, C, L] or [C, L]; see `adaptive_avg_pool2d`."""
    function = "adaptive_avg_pool1d"
    require_tensor(function, "input", 1, input)
    check_line(function, input)
    size = _one_size(function, output_size)
    out: Tensor = _adaptive_avg(2, input.unsqueeze(-2), (1, size)).squeeze(-2)
    return out


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of parts of input [N, C, H, W] or [C, H, W], so many that the result has size `output_size`.

    Part i of a dim of size n covers positions floor(i*n/m) to ceil((i+1)*n/m), exclusive.

    Parameters
    ----------
    output_size : int or tuple of ints or None
        m of each dim; None keeps the dim's size.

    Examples
    --------
    >>> torch.nn.functional.adaptive_avg_pool2d(torch.tensor([[[1.0, 2, 3]]]), (1, 2))
    tensor([[[1.5000, 2.5000]]])
    """
    return _adaptive_avg(2, input, output_size)


@autocasts("float32")
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of parts of input [N, C, D, H, W] or [C, D, H, W]; see `adaptive_avg_pool2d`."""
    return _adaptive_avg(3, input, output_size)


def _adaptive_max(n: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    function = f"adaptive_max_pool{n}d"
    require_tensor(function, "input", 1, x)
    size = _output_size(function, x, output_size, n)
    _check(function, x, n, ":")
    values, indices = MAXIMA[n](x, size)
    return (values, indices) if return_indices else values


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of `output_size` parts of input [N, C, L] or [C, L]; see `adaptive_avg_pool2d` for the parts."""
    function = "adaptive_max_pool1d"
    require_tensor(function, "input", 1, input)
    check_line(function, input)
    size = _one_size(function, output_size)
    if 0 in input.shape[1:]:
        _check(function, input, 1, ":")
    values, indices = _adaptive_max(2, input.unsqueeze(-2), (1, size), True)
    return (values.squeeze(-2), indices.squeeze(-2)) if return_indices else values.squeeze(-2)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of parts of input [N, C, H, W] or [C, H, W]; see `adaptive_avg_pool2d` for the parts.

    With `return_indices` also where each was, as a flat position in its H x W plane.
    """
    return _adaptive_max(2, input, output_size, return_indices)


@autocasts("float32")
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of parts of input [N, C, D, H, W] or [C, D, H, W]; see `adaptive_max_pool2d`."""
    return _adaptive_max(3, input, output_size, return_indices)


def _fractional_sizes(n: int, x: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any) -> tuple[Ints, Ints]:
    function = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{function} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios = (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        output_size = tuple(int(m * ratio) for m, ratio in zip(x.shape[-n:], ratios, strict=True))
    kernel = int_tuple(function, "kernel_size", kernel_size)
    kernel = kernel * n if len(kernel) == 1 else kernel
    if len(kernel) != n:
        what = "tuple of Ints" if n == 2 else "tuple of three Ints"
        raise ShapeError(f"{function}: kernel_size must either be a single Int or {what}")
    size = int_tuple(function, "output_size", output_size)
    size = size * n if len(size) == 1 else size
    title = f"{function}()" if n == 2 else f"{function}_out()"
    names = ("time", "height", "width")[-n:]
    for name, m, k, have in zip(names, size, kernel, x.shape[-n:], strict=True):
        if m + k - 1 > have - (n == 3):
            raise ShapeError(f"{title}: pool {name} {k} too large relative to input {name} {have}")
    return kernel, size


def _fractional(
    n: int, x: Any, kernel_size: Any, output_size: Any, output_ratio: Any, return_indices: bool, samples: Any
) -> Any:
    function = f"fractional_max_pool{n}d"
    require_tensor(function, "input", 1, x)
    if x.dim() not in (n + 1, n + 2):
        raise ShapeError(f"{function}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(x.shape)}")
    kernel, size = _fractional_sizes(n, x, kernel_size, output_size, output_ratio)
    if samples is None:
        batch = 1 if x.dim() == n + 1 else x.shape[0]
        samples = rand(batch, x.shape[-n - 1], n, dtype=x.dtype)
    values, indices = FRACTIONAL[n](x, samples, kernel, size)
    return (values, indices) if return_indices else values


@autocasts("float32")
def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random distances, so many that the result has size `output_size`.

    Parameters
    ----------
    input : Tensor[N, C, H, W] or Tensor[C, H, W]
    output_size : int or tuple of ints, optional
    output_ratio : float or tuple of floats, optional
        Output size as a share of the input size, where `output_size` is not given.
    return_indices : bool
        Also return where each maximum was, as a flat position in its plane.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@autocasts("float32")
def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random distances of input [N, C, D, H, W]; see `fractional_max_pool2d`."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


adaptive_max_pool1d_with_indices = with_indices(adaptive_max_pool1d, "adaptive_max_pool1d_with_indices")
adaptive_max_pool2d_with_indices = with_indices(adaptive_max_pool2d, "adaptive_max_pool2d_with_indices")
adaptive_max_pool3d_with_indices = with_indices(adaptive_max_pool3d, "adaptive_max_pool3d_with_indices")
fractional_max_pool2d_with_indices = with_indices(fractional_max_pool2d, "fractional_max_pool2d_with_indices")
fractional_max_pool3d_with_indices = with_indices(fractional_max_pool3d, "fractional_max_pool3d_with_indices")
