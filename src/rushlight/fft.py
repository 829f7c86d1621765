"""Discrete Fourier transforms with gradients: PyTorch's `torch.fft`.

Arguments that recur: `n` or `s` cuts or pads (with zeros) to that many points before the transform, -1 in `s` keeps
the size; `dim` says along what; `norm` is "backward" (the inverse divides by n), "ortho" (both divide by its root) or
"forward" (the forward transform divides by n). Integers become the default floating dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.creation import arange
from rushlight.dtypes import dtype as dtype_class
from rushlight.dtypes import from_np, get_default_dtype
from rushlight.errors import explain
from rushlight.functions.diagonals import roll
from rushlight.functions.fast import store
from rushlight.functions.shape import cast
from rushlight.layout import wrap_dim
from rushlight.ops import fft as ops
from rushlight.ops.decomp import type_name
from rushlight.ops.linear import conj, getitem_slice, place_slice
from rushlight.spec import Spec, spec_of
from rushlight.tape import Variable

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

Dims = tuple[int, ...]
_FORWARD = {"backward": "none", "ortho": "sqrt", "forward": "n"}
_INVERSE = {"backward": "n", "ortho": "sqrt", "forward": "none"}


def _scaling(norm: str | None, forward: bool) -> str:
    norm = "backward" if norm is None else norm
    if norm not in _FORWARD:
        raise explain(
            RuntimeError(f'Invalid normalization mode: "{norm}"'), expected='"backward", "ortho" or "forward"'
        )
    return (_FORWARD if forward else _INVERSE)[norm]


def _name(x: Any) -> str:
    return type_name(Spec((), x._data.dtype))


def _floating(x: Any, function: str) -> Any:
    """`x` with a dtype that can be transformed."""
    if not isinstance(x, Variable):
        raise TypeError(f"fft_{function}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")
    d = from_np(spec_of(x).dtype)
    if d.category < 2:
        return cast(x, get_default_dtype())
    if d.itemsize == 2:
        raise explain(RuntimeError(f"Unsupported dtype {_name(x)}"), fix="x.float()")
    return x


def _complex(x: Any) -> Any:
    return x if x._data.dtype.kind == "c" else cast(x, from_np(x._data.dtype).to_complex())


def _real(x: Any, function: str) -> Any:
    x = _floating(x, function)
    if x._data.dtype.kind == "c":
        raise RuntimeError(f"{function} expects a real input tensor, but got {_name(x)}")
    return x


def _check_points(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _one_dim(x: Any, dim: int) -> int:
    if not x._data.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x._data.ndim)


def _resized(x: Any, dim: int, n: int) -> Any:
    """`x` cut or padded with zeros to n points along `dim`."""
    shape = x._data.shape
    if n == shape[dim]:
        return x
    index = (slice(None),) * dim + (slice(0, min(n, shape[dim])),)
    if n < shape[dim]:
        return getitem_slice(x, index)
    return place_slice(x, (*shape[:dim], n, *shape[dim + 1 :]), index)


def _finish(result: Any, out: Any) -> Any:
    return result if out is None else store(result, out)


def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """Transform along one dim: X[k] = sum of x[j] * exp(-2 pi i j k / n).

    Parameters
    ----------
    input : Tensor
    n, dim, norm
        See the module.

    Examples
    --------
    >>> torch.fft.fft(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _finish(_along_one(input, n, dim, norm, True, "fft"), out)


def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `fft`."""
    return _finish(_along_one(input, n, dim, norm, False, "ifft"), out)


def _along_one(input: Any, n: int | None, dim: int, norm: str | None, forward: bool, function: str) -> Any:
    x = _floating(input, function)
    d = _one_dim(x, dim)
    x = _resized(x, d, _check_points(x._data.shape[d] if n is None else n))
    scaling = _scaling(norm, forward)
    if x._data.dtype.kind == "c":
        return ops.fft_c2c(x, (d,), scaling, forward)
    whole = ops.fft_r2c(x, (d,), scaling, False)
    return whole if forward else conj(whole)


def rfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """`fft` of real numbers: the first n // 2 + 1 points, as the others are their mirror image.

    Examples
    --------
    >>> torch.fft.rfft(torch.arange(4.0))
    tensor([ 6.+0.j, -2.+2.j, -2.+0.j])
    """
    x = _real(input, "rfft")
    d = _one_dim(x, dim)
    x = _resized(x, d, _check_points(x._data.shape[d] if n is None else n))
    return _finish(ops.fft_r2c(x, (d,), _scaling(norm, True), True), out)


def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `rfft`: n real numbers, 2 * (points - 1) by default."""
    x = _complex(_floating(input, "irfft"))
    return _finish(_half_to_real(x, n, dim, _scaling(norm, False)), out)


def _half_to_real(x: Any, n: int | None, dim: int, scaling: str) -> Any:
    d = _one_dim(x, dim)
    n = _check_points(2 * (x._data.shape[d] - 1) if n is None else n)
    return ops.fft_c2r(_resized(x, d, n // 2 + 1), (d,), scaling, n)


def hfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """`fft` of a signal whose second half is the mirrored conjugate of its first: n real numbers."""
    x = _complex(_floating(input, "hfft"))
    return _finish(_half_to_real(conj(x), n, dim, _scaling(norm, True)), out)


def ihfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `hfft`."""
    x = _real(input, "ihfft")
    d = _one_dim(x, dim)
    x = _resized(x, d, _check_points(x._data.shape[d] if n is None else n))
    return _finish(conj(ops.fft_r2c(x, (d,), _scaling(norm, False), True)), out)


def _dims_and_sizes(x: Any, s: Sequence[int] | None, dim: Any) -> tuple[Dims, list[int]]:
    """The dims to transform and their sizes, by PyTorch's rules on which of both may be left out."""
    ndim = x._data.ndim
    if dim is not None:
        given = (dim,) if isinstance(dim, int) else tuple(dim)
        dims = tuple(wrap_dim(d, ndim) for d in given)
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions.")
        dims = tuple(range(ndim - len(s), ndim))
    else:
        dims = tuple(range(ndim))
    own = [x._data.shape[d] for d in dims]
    sizes = own if s is None else [m if n == -1 else int(n) for n, m in zip(s, own, strict=True)]
    return dims, sizes


def _fit(x: Any, dims: Dims, sizes: list[int]) -> Any:
    for d, n in zip(dims, sizes, strict=True):
        x = _resized(x, d, _check_points(n))
    return x


def _along_many(input: Any, s: Any, dim: Any, norm: str | None, forward: bool, function: str) -> Any:
    x = _complex(_floating(input, function))
    dims, sizes = _dims_and_sizes(x, s, dim)
    return ops.fft_c2c(_fit(x, dims, sizes), dims, _scaling(norm, forward), forward)


def _real_many(input: Any, s: Any, dim: Any, norm: str | None, function: str, forward: bool) -> Any:
    x = _real(input, function)
    dims, sizes = _dims_and_sizes(x, s, dim)
    if not dims:
        raise RuntimeError(f"{function} must transform at least one axis")
    return ops.fft_r2c(_fit(x, dims, sizes), dims, _scaling(norm, forward), True)


def _half_many(x: Any, s: Any, dim: Any, scaling: str, function: str) -> Any:
    dims, sizes = _dims_and_sizes(x, s, dim)
    if not dims:
        raise RuntimeError(f"{function} must transform at least one axis")
    whole = s is None or s[-1] == -1
    last = _check_points(2 * (x._data.shape[dims[-1]] - 1) if whole else sizes[-1])
    return ops.fft_c2r(_fit(x, dims, [*sizes[:-1], last // 2 + 1]), dims, scaling, last)


def fftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """`fft` along several dims, all by default."""
    return _finish(_along_many(input, s, dim, norm, True, "fftn"), out)


def ifftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `fftn`."""
    return _finish(_along_many(input, s, dim, norm, False, "ifftn"), out)


def rfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """`fftn` of real numbers; the last dim keeps its first half."""
    return _finish(_real_many(input, s, dim, norm, "rfftn", True), out)


def irfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `rfftn`."""
    x = _complex(_floating(input, "irfftn"))
    return _finish(_half_many(x, s, dim, _scaling(norm, False), "irfftn"), out)


def hfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """`hfft` along the last dim after `fft` along the others."""
    x = _complex(_floating(input, "hfftn"))
    return _finish(_half_many(conj(x), s, dim, _scaling(norm, True), "hfftn"), out)


def ihfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Any = None) -> Any:
    """The inverse of `hfftn`."""
    return _finish(conj(_real_many(input, s, dim, norm, "ihfftn", False)), out)


def _two_dims(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def transform(input: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *, out: Any = None) -> Any:
        return function(input, s, dim, norm, out=out)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"`{name[:-1]}n` along two dims, the last two by default."
    return transform


fft2, ifft2 = _two_dims(fftn, "fft2"), _two_dims(ifftn, "ifft2")
rfft2, irfft2 = _two_dims(rfftn, "rfft2"), _two_dims(irfftn, "irfft2")
hfft2, ihfft2 = _two_dims(hfftn, "hfft2"), _two_dims(ihfftn, "ihfft2")


def _frequencies(points: Any, n: int, d: float, function: str, given: dict[str, Any]) -> Any:
    wanted = given.pop("dtype", None)
    wanted = get_default_dtype() if wanted is None else wanted
    if wanted.category < 2:
        raise RuntimeError(f"{function} requires a floating point or complex dtype")
    requires_grad, out = given.pop("requires_grad", False), given.pop("out", None)
    result = cast(points * (1.0 / (n * d)) if n else points, wanted)
    return _finish(result, out).requires_grad_(requires_grad)


def fftfreq(
    n: int, d: float = 1.0, *, out: Any = None, dtype: dtype_class | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The frequencies that `fft` of n points, `d` apart, gives: 0, 1, ..., -2, -1 over n * d.

    Examples
    --------
    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    points = arange(n, dtype=get_default_dtype(), device=device)
    points._data[(n + 1) // 2 :] -= n
    return _frequencies(points, n, d, "fftfreq", {"dtype": dtype, "out": out, "requires_grad": requires_grad})


def rfftfreq(
    n: int, d: float = 1.0, *, out: Any = None, dtype: dtype_class | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The frequencies that `rfft` of n points, `d` apart, gives: 0, 1, ..., n // 2 over n * d."""
    points = arange(n // 2 + 1, dtype=get_default_dtype(), device=device)
    return _frequencies(points, n, d, "rfftfreq", {"dtype": dtype, "out": out, "requires_grad": requires_grad})


def _shift(input: Any, dim: Any, sign: int) -> Any:
    shape = input._data.shape
    dims = tuple(range(len(shape))) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    return roll(input, [n // 2 if sign > 0 else (n + 1) // 2 for n in (shape[d] for d in dims)], dims)


def fftshift(input: Any, dim: Any = None) -> Any:
    """Frequencies in rising order, 0 in the middle.

    Examples
    --------
    >>> torch.fft.fftshift(torch.tensor([0, 1, 2, -2, -1]))
    tensor([-2, -1,  0,  1,  2])
    """
    return _shift(input, dim, 1)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _shift(input, dim, -1)
