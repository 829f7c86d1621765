"""Rows of the case table for convolutions, pooling, padding, normalisation, resizing and rearranging."""

from __future__ import annotations

from typing import Any

import numpy as np

import rushlight.nn.functional  # noqa: F401  declares the ops
from rushlight.backends.numpy_resample import Resampling
from rushlight.ops.pool import pool_windows
from tests.ops.table import KINDS, case, s

KINDS["fraction"] = lambda rng, shape: rng.random(shape)


def functional(torch: Any) -> Any:
    """The namespace of functionals."""
    return torch.nn.functional


# Convolution

_PLAIN = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 1}
_GROUPED = {"stride": (1, 2), "padding": (0, 1), "dilation": (1, 1), "groups": 2}


def _conv(torch: Any, x: Any, w: Any, b: Any = None, **options: Any) -> Any:
    options.pop("output_size", None)
    return getattr(functional(torch), f"conv{x.dim() - 2}d")(x, w, b, **options)


def _input_grad(torch: Any, g: Any, w: Any, b: Any, output_size: Any, **options: Any) -> Any:
    x = torch.zeros(g.shape[0], w.shape[1] * options["groups"], *output_size, dtype=g.dtype, requires_grad=True)
    (out,) = torch.autograd.grad(_conv(torch, x, w, **options), x, g, create_graph=True)
    return out if b is None else out + b.view(-1, *(1,) * len(output_size))


def _weight_grad(torch: Any, x: Any, g: Any, kernel_size: Any, **options: Any) -> Any:
    w = torch.zeros(g.shape[1], x.shape[1] // options["groups"], *kernel_size, dtype=x.dtype, requires_grad=True)
    return torch.autograd.grad(_conv(torch, x, w, **options), w, g, create_graph=True)[0]


_LINE = {"stride": (3,), "padding": (2,), "dilation": (2,), "groups": 1}
_CUBE = {"stride": (1, 2, 1), "padding": (0, 1, 0), "dilation": (1, 1, 1), "groups": 1}
case("convolution", _conv,
     s((2, 2, 5, 6), (3, 2, 3, 2), (3,), **_PLAIN), s((2, 4, 4, 5), (4, 2, 2, 3), None, **_GROUPED),
     s((1, 2, 9), (2, 2, 3), (2,), **_LINE), s((1, 1, 3, 4, 3), (2, 1, 2, 3, 2), None, **_CUBE))  # fmt: skip
case("convolution_transposed", _input_grad,
     s((2, 3, 3, 4), (3, 2, 3, 2), (2,), output_size=(5, 6), **_PLAIN),
     s((2, 4, 3, 3), (4, 2, 2, 3), None, output_size=(4, 5), **_GROUPED),
     s((1, 2, 3), (2, 2, 3), None, output_size=(9,), **_LINE))  # fmt: skip
case("convolution_weight_grad", _weight_grad,
     s((2, 2, 5, 6), (2, 3, 3, 4), kernel_size=(3, 2), **_PLAIN),
     s((2, 4, 4, 5), (2, 4, 3, 3), kernel_size=(2, 3), **_GROUPED))  # fmt: skip

# Pooling

_POOL = {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 0), "ceil_mode": True}
_POOL3 = {"kernel": (2, 2, 1), "stride": (1, 2, 1), "padding": (1, 0, 0), "ceil_mode": False}


def _windows(
    size: tuple[int, ...], dilation: tuple[int, ...], kernel: Any, stride: Any, padding: Any, ceil_mode: bool
) -> Any:
    return pool_windows(size, kernel, stride, padding, dilation, ceil_mode)


_WINDOWS = _windows((5, 6), (1, 1), **_POOL)
_CODES = np.random.default_rng(0).integers(0, 2, (2, 3, 3, 3)).astype(np.uint8) + np.uint8(2)


def _max_pool(torch: Any, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    n = len(kernel)
    pool = getattr(functional(torch), f"max_pool{n}d")
    out, index = pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    code = torch.zeros_like(index)
    rest = index
    places = []
    for d in range(n - 1, -1, -1):
        at = torch.arange(out.shape[d - n]).view(-1, *(1,) * (n - 1 - d))
        places.append((rest % x.shape[d - n] + padding[d] - at * stride[d]) // dilation[d])
        rest = rest // x.shape[d - n]
    for d, place in enumerate(reversed(places)):
        code = code * kernel[d] + place
    return out, code.to(torch.uint8)


def _positions(torch: Any, codes: Any) -> Any:
    rows = torch.arange(3).view(-1, 1) * 2 - 1 + codes // 2
    return rows * 6 + torch.arange(3) * 2 + codes % 2


def _max_grad(torch: Any, g: Any, codes: Any, windows: Any) -> Any:
    at = _positions(torch, torch.as_tensor(codes).long()).flatten(2)
    return torch.zeros(2, 3, 30, dtype=g.dtype).scatter_add(2, at, g.flatten(2)).view(2, 3, 5, 6)


case("max_pool2d_with_codes", _max_pool, s(((2, 3, 5, 6), "apart"), **_POOL, dilation=(1, 1)),
     s(((2, 7, 8), "apart"), kernel=(2, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1), ceil_mode=False))  # fmt: skip
case("max_pool3d_with_codes", _max_pool, s(((1, 2, 3, 4, 3), "apart"), **_POOL3, dilation=(1, 1, 1)))
case("max_pool_grad", _max_grad, s((2, 3, 3, 3), _CODES, windows=_WINDOWS))
case("max_pool_pick",
     lambda torch, x, codes, windows: x.flatten(2).gather(2, _positions(torch, torch.as_tensor(codes).long()).flatten(2)).view(2, 3, 3, 3),
     s((2, 3, 5, 6), _CODES, windows=_WINDOWS))  # fmt: skip


def _avg_pool(
    torch: Any, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool, divisor: Any
) -> Any:
    pool = getattr(functional(torch), f"avg_pool{len(kernel)}d")
    return pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)


def _avg_windows(torch: Any, x: Any, windows: Any, count_include_pad: bool, divisor: Any) -> Any:
    return _avg_pool(torch, x, **_POOL, count_include_pad=count_include_pad, divisor=divisor)


def _avg_grad(torch: Any, g: Any, windows: Any, count_include_pad: bool, divisor: Any) -> Any:
    x = torch.zeros(2, 3, 5, 6, dtype=g.dtype, requires_grad=True)
    return torch.autograd.grad(_avg_windows(torch, x, windows, count_include_pad, divisor), x, g, create_graph=True)[0]


_COUNTS = (
    {"count_include_pad": True, "divisor": None},
    {"count_include_pad": False, "divisor": None},
    {"count_include_pad": True, "divisor": 3},
)
case("avg_pool2d", _avg_pool, *(s((2, 3, 5, 6), **_POOL, **how) for how in _COUNTS))
case("avg_pool3d", _avg_pool, *(s((1, 2, 3, 4, 3), **_POOL3, **how) for how in _COUNTS))
case("avg_pool_windows", _avg_windows, *(s((2, 3, 5, 6), windows=_WINDOWS, **how) for how in _COUNTS))
case("avg_pool_grad", _avg_grad, *(s((2, 3, 3, 3), windows=_WINDOWS, **how) for how in _COUNTS))


def _adaptive_grad(torch: Any, g: Any, size: Any) -> Any:
    # a linear map, applied to a basis: PyTorch has no second derivative of the 3-d form
    n = len(size)
    pool = getattr(functional(torch), f"adaptive_avg_pool{n}d")
    count = int(np.prod(size))
    basis = torch.eye(count, dtype=g.dtype).view(count, 1, *size)
    matrix = pool(basis, tuple(g.shape[-n:])).reshape(count, -1)
    return (g.flatten(-n) @ matrix.T).view(*g.shape[:-n], *size)


for _n, _size in ((2, (5, 6)), (3, (3, 4, 5))):
    _parts = ((3, 4), (5, 2)) if _n == 2 else ((2, 3, 1), (3, 2, 5))
    case(f"adaptive_avg_pool{_n}d", lambda torch, x, output_size, n=_n: getattr(functional(torch), f"adaptive_avg_pool{n}d")(x, output_size),
         *(s((2, *_size), output_size=p) for p in _parts), second=_n == 2)  # fmt: skip
    case(f"adaptive_max_pool{_n}d",
         lambda torch, x, output_size, n=_n: getattr(functional(torch), f"adaptive_max_pool{n}d")(x, output_size, True),
         *(s(((2, *_size), "apart"), output_size=p) for p in _parts))  # fmt: skip
    case(f"fractional_max_pool{_n}d",
         lambda torch, x, samples, kernel, output_size, n=_n: getattr(functional(torch), f"fractional_max_pool{n}d")(
             x, kernel, output_size, None, True, samples),
         s(((1, 2, *_size), "apart"), ((1, 2, _n), "fraction"), kernel=(2,) * _n, output_size=(3, 2) if _n == 2 else (1, 2, 3)), grad=False)  # fmt: skip
case("adaptive_avg_pool_grad", _adaptive_grad, s((2, 3, 4), size=(5, 6)), s((2, 2, 3, 1), size=(3, 4, 5)))

_INDEX = np.array([[[[3, 0], [7, 19]], [[1, 2], [4, 6]]]])
case("plane_gather", lambda torch, x, index, n: x.flatten(2).gather(2, torch.as_tensor(index).flatten(2)).view(index.shape),
     s((1, 2, 4, 5), _INDEX, n=2))  # fmt: skip
case("plane_scatter",
     lambda torch, x, index, size: torch.zeros(1, 2, 20, dtype=x.dtype).scatter_add(2, torch.as_tensor(index).flatten(2), x.flatten(2)).view(1, 2, *size),
     s((1, 2, 2, 2), _INDEX, size=(4, 5)))  # fmt: skip
case("max_unpool2d", lambda torch, x, index, size: torch.ops.aten.max_unpool2d(x, torch.as_tensor(index), size),
     s((1, 2, 2, 2), _INDEX, size=(4, 5)))  # fmt: skip
case("max_unpool3d", lambda torch, x, index, size: torch.ops.aten.max_unpool3d(x, torch.as_tensor(index), size, (1, 1, 1), (0, 0, 0)),
     s((1, 2, 2, 2, 1), _INDEX[..., None], size=(4, 5, 1)))  # fmt: skip

# Padding


def _pad(torch: Any, x: Any, pads: Any, value: Any = 0, mode: str = "constant") -> Any:
    amounts = [amount for pair in reversed(pads) for amount in pair]
    return functional(torch).pad(x, amounts, mode, value if mode == "constant" else None)


def _pad_grad(torch: Any, g: Any, shape: Any, pads: Any, mode: str) -> Any:
    x = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
    return torch.autograd.grad(_pad(torch, x, pads, mode=mode), x, g, create_graph=True)[0]


_PADS = ((2, 1), (0, 3), (1, 2))
case(
    "constant_pad",
    _pad,
    s((2, 3, 4), pads=_PADS, value=1.5),
    s((2, 3, 4), pads=((-1, 2), (1, -2)), value=0),
    s((), pads=(), value=0),
)
for _title, _mode in (("reflection", "reflect"), ("replication", "replicate"), ("circular", "circular")):
    for _n in (1, 2, 3):
        case(f"{_title}_pad{_n}d", lambda torch, x, pads, mode=_mode: _pad(torch, x, pads, mode=mode),
             s((1, 2, *(4, 5, 3)[:_n]), pads=_PADS[3 - _n :]))  # fmt: skip
case(
    "pad_grad",
    _pad_grad,
    *(s((1, 2, 7, 8), shape=(1, 2, 4, 5), pads=((2, 1), (0, 3)), mode=m) for m in ("reflect", "replicate", "circular")),
)

# Normalisation. The gradients are ops too: here they are written out over given statistics.


def _channel(v: Any, x: Any) -> Any:
    return v.view(1, -1, *(1,) * (x.dim() - 2))


def _batch_norm(torch: Any, x: Any, w: Any, b: Any, eps: float) -> Any:
    dims = (0, *range(2, x.dim()))
    return functional(torch).batch_norm(x, None, None, w, b, True, 0.1, eps), x.mean(dims), x.var(dims, unbiased=False)


def _batch_norm_grad(
    torch: Any, g: Any, g_mean: Any, g_var: Any, x: Any, w: Any, mean: Any, var: Any, eps: float
) -> Any:
    dims = (0, *range(2, x.dim()))
    n = x.numel() // x.shape[1]
    r = (var + eps).rsqrt()
    normal = (x - _channel(mean, x)) * _channel(r, x)
    g_bias, g_weight = g.sum(dims), (g * normal).sum(dims)
    scale = r if w is None else r * w
    out = _channel(scale, x) * (g - _channel(g_bias, x) / n - normal * _channel(g_weight, x) / n)
    return out + _channel(g_mean, x) / n + 2 * _channel(g_var, x) * (x - _channel(mean, x)) / n, g_weight, g_bias


def _frozen_grad(torch: Any, g: Any, x: Any, w: Any, mean: Any, var: Any, eps: float) -> Any:
    dims = (0, *range(2, x.dim()))
    r = (var + eps).rsqrt()
    normal = (x - _channel(mean, x)) * _channel(r, x)
    return g * _channel(r if w is None else r * w, x), (g * normal).sum(dims), g.sum(dims)


_C = (3,)
_VAR = (_C, "positive")
case(
    "batch_norm",
    _batch_norm,
    *(s(x, _C, _C, eps=0.1) for x in ((2, 3, 4), (5, 3), (2, 3, 2, 2))),
    s((2, 3, 4), None, None, eps=0.1),
)
case(
    "batch_norm_grad",
    _batch_norm_grad,
    *(s(x, _C, _C, x, w, _C, _VAR, eps=0.1) for x, w in (((2, 3, 4), _C), ((5, 3), None))),
)
case("batch_norm_frozen", lambda torch, x, w, b, mean, var, eps: functional(torch).batch_norm(x, mean, var, w, b, False, 0.1, eps),
     s((2, 3, 4), _C, None, _C, _VAR, eps=0.1), s((4, 3), None, None, _C, _VAR, eps=0.1), grad=False)  # fmt: skip
case(
    "batch_norm_frozen_grad",
    _frozen_grad,
    *(s(x, x, w, _C, _VAR, eps=0.1) for x, w in (((2, 3, 4), _C), ((5, 3), None))),
)


def _layer_norm(torch: Any, x: Any, w: Any, b: Any, dims: int, eps: float) -> Any:
    inner = tuple(range(-dims, 0))
    out = functional(torch).layer_norm(x, x.shape[-dims:], w, b, eps)
    return out, x.mean(inner, keepdim=True), (x.var(inner, unbiased=False, keepdim=True) + eps).rsqrt()


def _layer_norm_grad(
    torch: Any, g: Any, g_mean: Any, g_rstd: Any, x: Any, w: Any, mean: Any, rstd: Any, dims: int
) -> Any:
    inner, outer = tuple(range(-dims, 0)), tuple(range(x.dim() - dims))
    n = int(np.prod(x.shape[-dims:]))
    normal = (x - mean) * rstd
    scaled = g if w is None else g * w
    out = rstd * (scaled - scaled.mean(inner, keepdim=True) - normal * (scaled * normal).mean(inner, keepdim=True))
    out = out + g_mean / n - g_rstd * rstd**3 * (x - mean) / n
    return out, (g * normal).sum(outer), g.sum(outer)


_STAT = ((2, 1, 1), "positive")
case("layer_norm", _layer_norm, s((2, 3, 4), (3, 4), (3, 4), dims=2, eps=0.1), s((2, 3, 4), (4,), None, dims=1, eps=0.1),
     s((2, 3, 4), None, None, dims=2, eps=0.1), second=True)  # fmt: skip
case("layer_norm_grad", _layer_norm_grad,
     *(s((2, 3, 4), _STAT, _STAT, (2, 3, 4), w, _STAT, _STAT, dims=2) for w in ((3, 4), None)))  # fmt: skip


def _group_norm(torch: Any, x: Any, w: Any, b: Any, groups: int, eps: float) -> Any:
    rows = x.reshape(x.shape[0], groups, -1)
    return functional(torch).group_norm(x, groups, w, b, eps), rows.mean(2), (rows.var(2, unbiased=False) + eps).rsqrt()


def _group_norm_grad(
    torch: Any, g: Any, g_mean: Any, g_rstd: Any, x: Any, w: Any, mean: Any, rstd: Any, groups: int
) -> Any:
    n, c = x.shape[:2]
    shape = (n, groups, c // groups, -1)
    scaled = (g if w is None else g * _channel(w, x)).reshape(shape)
    rows, m, r = x.reshape(shape), mean[..., None, None], rstd[..., None, None]
    normal, count = (rows - m) * r, x[0].numel() // groups
    out = r * (scaled - scaled.mean((2, 3), keepdim=True) - normal * (scaled * normal).mean((2, 3), keepdim=True))
    out = out + g_mean[..., None, None] / count - g_rstd[..., None, None] * r**3 * (rows - m) / count
    g_weight = (g.reshape(shape) * normal).sum((0, 3)).reshape(c)
    return out.reshape(x.shape), g_weight, g.reshape(n, c, -1).sum((0, 2))


_GROUP = ((2, 2), "positive")
case("group_norm", _group_norm, s((2, 4, 3), (4,), (4,), groups=2, eps=0.1), s((3, 4), None, None, groups=2, eps=0.1))
case("group_norm_grad", _group_norm_grad,
     *(s((2, 4, 3), _GROUP, _GROUP, (2, 4, 3), w, _GROUP, _GROUP, groups=2) for w in ((4,), None)))  # fmt: skip
case("rms_norm", lambda torch, x, w, dims, eps: functional(torch).rms_norm(x, x.shape[-dims:], w, eps),
     s((2, 3, 4), (3, 4), dims=2, eps=0.1), s((2, 3, 4), None, dims=1, eps=0.1), s((4,), (4,), dims=1, eps=0.1))  # fmt: skip

# Resizing

_TITLES = {
    "nearest1d": ("nearest", "nearest"), "nearest2d": ("nearest", "nearest"), "nearest3d": ("nearest", "nearest"),
    "nearest_exact1d": ("nearest-exact", "nearest-exact"), "nearest_exact2d": ("nearest-exact", "nearest-exact"),
    "nearest_exact3d": ("nearest-exact", "nearest-exact"), "linear1d": ("linear", "linear"), "bilinear2d": ("linear", "bilinear"),
    "bicubic2d": ("cubic", "bicubic"), "trilinear3d": ("linear", "trilinear"),
    "bilinear2d_aa": ("antialias-linear", "bilinear"), "bicubic2d_aa": ("antialias-cubic", "bicubic"),
    "lanczos2d_aa": ("antialias-lanczos", "lanczos"),
}  # fmt: skip


def _resize(torch: Any, x: Any, plans: Any, title: str) -> Any:
    options: dict[str, Any] = {} if "nearest" in title else {"align_corners": plans[0].align_corners}
    if title.endswith("_aa"):
        options["antialias"] = True
    return functional(torch).interpolate(x, tuple(p.output_size for p in plans), mode=_TITLES[title][1], **options)


def _resize_grad(torch: Any, g: Any, plans: Any, title: str) -> Any:
    x = torch.zeros(*g.shape[:2], *(p.input_size for p in plans), dtype=g.dtype, requires_grad=True)
    return torch.autograd.grad(_resize(torch, x, plans, title), x, g, create_graph=True)[0]


for _title, (_filter, _mode) in _TITLES.items():
    _n = int(_title[_title.index("d") - 1]) if "aa" not in _title else 2
    _corners = (False,) if "nearest" in _title or "lanczos" in _title else (False, True)
    _choices = [
        tuple(Resampling(_filter, have, want, c) for have, want in zip((4, 5, 3)[:_n], (7, 3, 2)[:_n], strict=True))
        for c in _corners
    ]
    case(f"upsample_{_title}", lambda torch, x, plans, title=_title: _resize(torch, x, plans, title),
         *(s((1, 2, *(4, 5, 3)[:_n]), plans=plans) for plans in _choices), second=not _title.endswith("_aa"))  # fmt: skip
_BILINEAR = tuple(Resampling("linear", have, want) for have, want in ((4, 7), (5, 3)))
case("resize_grad", _resize_grad, s((1, 2, 7, 3), plans=_BILINEAR, title="bilinear2d"))

# Rearranging and sampling

_BLOCKS = {"kernel": (2, 3), "dilation": (1, 2), "padding": (1, 2), "stride": (2, 1)}


def _unfold(torch: Any, x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return functional(torch).unfold(x, kernel, dilation, padding, stride)


case("im2col", _unfold, s((2, 2, 5, 6), **_BLOCKS), s((2, 5, 6), **_BLOCKS))
case("col2im", lambda torch, x, size, kernel, dilation, padding, stride: functional(torch).fold(x, size, kernel, dilation, padding, stride),
     s((2, 12, 18), size=(5, 6), **_BLOCKS))  # fmt: skip
case(
    "pixel_shuffle",
    lambda torch, x, factor: functional(torch).pixel_shuffle(x, factor),
    s((2, 8, 2, 3), factor=2),
    s((9, 1, 2), factor=3),
)
case(
    "pixel_unshuffle", lambda torch, x, factor: functional(torch).pixel_unshuffle(x, factor), s((2, 2, 4, 6), factor=2)
)
case(
    "channel_shuffle",
    lambda torch, x, groups: functional(torch).channel_shuffle(x, groups),
    s((2, 6, 3), groups=2),
    s((1, 6, 2, 2), groups=3),
)
case("sum_of_corners2d", lambda torch, xs: sum(xs), s([(2, 3), (2, 3), (2, 3)]))
case("sum_of_corners3d", lambda torch, xs: sum(xs), s([(2, 3), (2, 3)]))


def _grid_sample(torch: Any, x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    return functional(torch).grid_sample(x, grid, mode, padding_mode, align_corners)


case("grid_sample", _grid_sample,
     *(s((1, 2, 4, 5), ((1, 2, 2, 2), "unit"), mode=mode, padding_mode=padding, align_corners=corners)
       for mode in ("bilinear", "bicubic") for padding in ("zeros", "border", "reflection") for corners in (False, True)),
     s((1, 2, 3, 4, 2), ((1, 2, 1, 2, 3), "unit"), mode="bilinear", padding_mode="zeros", align_corners=False))  # fmt: skip
case("affine_grid",
     lambda torch, theta, size, align_corners: functional(torch).affine_grid(theta, (theta.shape[0], 1, *size), align_corners),
     s((2, 2, 3), size=(3, 4), align_corners=False), s((2, 2, 3), size=(3, 4), align_corners=True),
     s((1, 3, 4), size=(2, 3, 2), align_corners=False))  # fmt: skip
