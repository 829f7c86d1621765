"""THE table: one row per op of the core. The generic tests of `test_ops.py` run over it."""

from __future__ import annotations

import numpy as np

from rushlight.functions.indexing import Taken
from tests.ops import cases_dense, cases_linalg, cases_spatial  # noqa: F401  add their rows
from tests.ops.table import CASES, case, s

SHAPE = (3, 4)


def unary(kind: str, *names: str, **rules: object) -> None:
    """Rows of elementwise functions of one operand that PyTorch has under the same name."""
    for name in names:
        case(
            name,
            lambda torch, x, name=name: getattr(torch, name)(x),
            s((SHAPE, kind)),
            s(((), kind)),
            s(((2, 0), kind)),
            **rules,
        )


def binary(kinds: tuple[str, str], *names: str, **rules: object) -> None:
    """Rows of elementwise functions of two operands that PyTorch has under the same name."""
    a, b = kinds
    for name in names:
        case(
            name, lambda torch, x, y, name=name: getattr(torch, name)(x, y),
            s((SHAPE, a), (SHAPE, b)), s((SHAPE, a), ((4,), b)), s(((3, 1), a), ((1, 4), b)), s(((), a), (SHAPE, b)),
            s(((2, 0), a), ((1, 1), b)), **rules,
        )  # fmt: skip


unary(
    "normal",
    "neg",
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "erf",
    "erfc",
    "sigmoid",
)
unary("normal", "deg2rad", "rad2deg", "angle", second=False)
unary("positive", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "lgamma", "square")
unary("unit", "asin", "acos", "atanh", "erfinv", "tan")
unary("above1", "acosh")
unary("apart", "abs", "relu")
unary("apart", "sign", "sgn", "floor", "ceil", "trunc", "round", "frac", second=False)
unary("apart", "isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "logical_not", grad=False)
unary("positive", "digamma")
unary("complex", "conj")
case("bitwise_not", lambda torch, x: ~x, s((SHAPE, "int")), grad=False)
case("nan_to_num", lambda torch, x, nan: torch.nan_to_num(x, nan), s((SHAPE, "normal"), nan=1.0), second=False)

binary(("normal", "normal"), "add", "sub", "mul")
binary(("normal", "positive"), "div", "atan2")
binary(("positive", "positive"), "pow", "xlogy", "hypot")
binary(("normal", "normal"), "logaddexp", "logaddexp2")
binary(("apart", "positive"), "remainder", "fmod", "copysign", second=False)
binary(("apart", "positive"), "floor_divide", "nextafter", "heaviside", grad=False)
binary(("apart", "normal"), "maximum", "minimum", "fmax", "fmin", second=False)
binary(("int", "index"), "eq", "ne", "lt", "le", "gt", "ge", grad=False)
binary(("index", "index"), "logical_and", "logical_or", "logical_xor", grad=False)
binary(
    ("int", "int"),
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "gcd",
    "lcm",
    grad=False,
)
case("rsub", lambda torch, x, y: y - x, s(SHAPE, (4,)))
case("rdiv", lambda torch, x, y: y / x, s((SHAPE, "positive"), (4,)))
case("div_number", lambda torch, x, number: x / number, s(SHAPE, number=3))
case(
    "div_trunc",
    lambda torch, x, y: torch.div(x, y, rounding_mode="trunc"),
    s((SHAPE, "apart"), ((4,), "positive")),
    grad=False,
)
case(
    "pow_scalar", lambda torch, x, exponent: x**exponent,
    *(s((SHAPE, "positive"), exponent=e) for e in (0, 1, 2, 3, 0.5, -1, 2.5)),
)  # fmt: skip
case("rpow_scalar", lambda torch, x, base: base**x, s(SHAPE, base=2.5))
case("where", lambda torch, c, x, y: torch.where(c, x, y), s((SHAPE, "mask"), SHAPE, (4,)))
case(
    "clamp", lambda torch, x, min, max: torch.clamp(x, min, max),
    s((SHAPE, "apart"), min=-2.0, max=2.0), s((SHAPE, "apart"), min=0.0, max=None), s((SHAPE, "apart"), min=None, max=1.0),
    second=False,
)  # fmt: skip
case("masked_fill", lambda torch, x, mask, value: x.masked_fill(mask, value), s(SHAPE, ((4,), "mask"), value=2.0))
case(
    "lerp_scalar",
    lambda torch, x, y, weight: torch.lerp(x, y, weight),
    s(SHAPE, (4,), weight=0.3),
    s(SHAPE, (4,), weight=0.8),
)
case("lerp", lambda torch, x, y, w: torch.lerp(x, y, w), s(SHAPE, SHAPE, (SHAPE, "unit")))
case("addcmul", lambda torch, a, x, y, value: torch.addcmul(a, x, y, value=value), s(SHAPE, (4,), SHAPE, value=0.5))
case(
    "addcdiv",
    lambda torch, a, x, y, value: torch.addcdiv(a, x, y, value=value),
    s(SHAPE, (4,), (SHAPE, "positive"), value=0.5),
)
case("copy_into", lambda torch, x, y: x.clone().copy_(y), s(SHAPE, (4,)), second=False)

# Reductions


def reduction(kind: str, *names: str, dims: tuple[object, ...] = (None, 0, -1, (0, 1)), **rules: object) -> None:
    """Rows of reductions over no, one and several dims."""
    for name in names:
        rows = [s((SHAPE, kind), dim=d, keepdim=k) for d in dims for k in (False, True) if not (d is None and k)]
        rows += [s(((2, 3, 2), kind), dim=1, keepdim=False), s(((), kind), dim=None, keepdim=False)]

        def reference(torch, x, dim, keepdim, name=name):
            return getattr(torch, name)(x) if dim is None else getattr(torch, name)(x, dim, keepdim)

        case(name, reference, *rows, **rules)


reduction("normal", "sum", "mean")
reduction("positive", "prod", dims=(None, 0, -1))
reduction("apart", "amax", "amin", dims=(0, -1, (0, 1)), second=False)
reduction("mask", "all", "any", grad=False)
CASES["amax"].samples.pop()
CASES["amin"].samples.pop()
case("max_all", lambda torch, x, dim: x.max(), s((SHAPE, "apart"), dim=None), second=False)
case("min_all", lambda torch, x, dim: x.min(), s((SHAPE, "apart"), dim=None), second=False)
for _name in ("var", "std"):
    case(
        _name,
        lambda torch, x, dim, correction, keepdim, name=_name: getattr(torch, name)(x, dim, correction=correction, keepdim=keepdim),
        s(SHAPE, dim=None, correction=1, keepdim=False), s(SHAPE, dim=1, correction=0, keepdim=True), s(SHAPE, dim=(0, 1), correction=1, keepdim=False),
    )  # fmt: skip
for _name, _theirs in (("max_dim", "max"), ("min_dim", "min"), ("mode_dim", "mode")):
    case(
        _name, lambda torch, x, dim, keepdim, name=_theirs: tuple(getattr(torch, name)(x, dim, keepdim)),
        s((SHAPE, "apart"), dim=1, keepdim=False), s((SHAPE, "apart"), dim=0, keepdim=True), second=False,
    )  # fmt: skip
case(
    "median_dim", lambda torch, x, dim, keepdim, skip_nan: tuple(torch.median(x, dim, keepdim)),
    s((SHAPE, "apart"), dim=1, keepdim=False, skip_nan=False), s((SHAPE, "apart"), dim=0, keepdim=True, skip_nan=False), second=False,
)  # fmt: skip
case(
    "kth_dim",
    lambda torch, x, dim, keepdim, k: tuple(torch.kthvalue(x, k, dim, keepdim)),
    s((SHAPE, "apart"), dim=1, keepdim=False, k=2),
    second=False,
)
for _name in ("argmax", "argmin"):
    case(
        _name, lambda torch, x, dim, keepdim, name=_name: getattr(torch, name)(x, dim, keepdim),
        s((SHAPE, "apart"), dim=None, keepdim=False), s((SHAPE, "apart"), dim=1, keepdim=True), grad=False,
    )  # fmt: skip
case("sort_dim", lambda torch, x, dim, descending: tuple(torch.sort(x, dim, descending, stable=True) if False else torch.sort(x, stable=True, dim=dim, descending=descending)),
     s((SHAPE, "apart"), dim=1, descending=False), s((SHAPE, "int"), dim=0, descending=True), second=False)  # fmt: skip
case("topk_dim", lambda torch, x, k, dim, largest: tuple(torch.topk(x, k, dim, largest)),
     s((SHAPE, "apart"), k=2, dim=1, largest=True), s((SHAPE, "apart"), k=1, dim=0, largest=False), second=False)  # fmt: skip
for _name in ("cumsum", "cumprod", "logcumsumexp"):
    case(
        _name,
        lambda torch, x, dim, name=_name: getattr(torch, name)(x, dim),
        s((SHAPE, "positive"), dim=0),
        s((SHAPE, "positive"), dim=1),
    )
for _name in ("cummax", "cummin"):
    case(
        _name,
        lambda torch, x, dim, name=_name: tuple(getattr(torch, name)(x, dim)),
        s((SHAPE, "apart"), dim=1),
        second=False,
    )
case(
    "vector_norm", lambda torch, x, p, dim, keepdim: torch.linalg.vector_norm(x, p, dim, keepdim),
    *(s((SHAPE, "apart"), p=p, dim=d, keepdim=False) for p in (1.0, 2.0, 3.0, float("inf")) for d in (None, 1)), second=False,
)  # fmt: skip
case(
    "bincount",
    lambda torch, x, weights, minlength: torch.bincount(x, minlength=minlength),
    s(((9,), "index"), None, minlength=5),
    grad=False,
)
case("searchsorted", lambda torch, a, x, right: torch.searchsorted(a.sort()[0], x, right=right), grad=False)
CASES["searchsorted"].samples = [s(np.arange(5.0), SHAPE, right=False), s(np.arange(5.0), SHAPE, right=True)]
case("nansum", lambda torch, x, dim, keepdim: torch.nansum(x, dim, keepdim), s(SHAPE, dim=1, keepdim=False))
case("nanmean", lambda torch, x, dim, keepdim: torch.nanmean(x, dim, keepdim), s(SHAPE, dim=1, keepdim=False))
case("count_nonzero", lambda torch, x, dim: torch.count_nonzero(x, dim), s((SHAPE, "mask"), dim=1), grad=False)

# Shape

case(
    "expand",
    lambda torch, x, shape: x.expand(shape),
    s((3, 1), shape=(3, 4)),
    s((4,), shape=(2, 3, 4)),
    s((), shape=(2, 2)),
)
case(
    "view_as",
    lambda torch, x, shape: x.view(shape),
    s((3, 4), shape=(2, 6)),
    s((3, 4), shape=(12,)),
    s((0, 3), shape=(3, 0)),
)
case("reshape", lambda torch, x, shape: x.reshape(shape), s((3, 4), shape=(2, 6)))
case("unsafe_view", lambda torch, x, shape: x.view(shape), s((3, 4), shape=(2, 6)))
case("copy", lambda torch, x: x.clone(), s(SHAPE))
case("zeros_as", lambda torch, x: torch.zeros_like(x), s(SHAPE), grad=False)
case("clone", lambda torch, x: x.clone(), s(SHAPE))
case("permute", lambda torch, x, dims: x.permute(dims), s((2, 3, 4), dims=(2, 0, 1)))
case("transpose", lambda torch, x, dim0, dim1: x.transpose(dim0, dim1), s((2, 3, 4), dim0=0, dim1=2))
case("t", lambda torch, x: x.t(), s(SHAPE), s((4,)))
case("unsqueeze", lambda torch, x, dim: x.unsqueeze(dim), s(SHAPE, dim=1))
case("squeeze", lambda torch, x: x.squeeze(), s((1, 3, 1)))
case("squeeze_dim", lambda torch, x, dim: x.squeeze(dim), s((1, 3, 1), dim=(2,)))
_PART = (slice(None), slice(1, 3))
case("getitem_select", lambda torch, x, index: x[index], s(SHAPE, index=(1, ...)), s((4,), index=(2, ...)))
case(
    "getitem_slice",
    lambda torch, x, index: x[index],
    s(SHAPE, index=_PART),
    s(SHAPE, index=(slice(None, None, 2), slice(1, 4, 2))),
)
case("getitem_unsqueeze", lambda torch, x, index: x[index], s(SHAPE, index=(None, ...)))
case(
    "getitem_mixed",
    lambda torch, x, index: x[index],
    s(SHAPE, index=(1, None, ...)),
    s(SHAPE, index=(slice(0, 2), None, 3)),
)
case("alias", lambda torch, x: x[...], s(SHAPE))
case("unbind", lambda torch, x, dim: x.unbind(dim), s(SHAPE, dim=1))
case("split", lambda torch, x, sizes, dim: x.split(list(sizes), dim), s((2, 5), sizes=(2, 3), dim=1))
case("cat", lambda torch, xs, dim: torch.cat(xs, dim), s([(2, 3), (2, 1)], dim=1), s([(2, 3), (1, 3)], dim=0))
case("stack", lambda torch, xs, dim: torch.stack(xs, dim), s([(2, 3), (2, 3)], dim=1))
case("cast", lambda torch, x, dtype: x.to(torch.float32), s(SHAPE, dtype=np.dtype(np.float32)), grad=False)
case("flip", lambda torch, x, dims: x.flip(dims), s(SHAPE, dims=(0, 1)))
case("roll", lambda torch, x, shifts, dims: torch.roll(x, shifts, dims), s(SHAPE, shifts=(1, -1), dims=(0, 1)))
case("tril", lambda torch, x, diagonal: torch.tril(x, diagonal), s(SHAPE, diagonal=1), s((2, 3, 3), diagonal=-1))
case("triu", lambda torch, x, diagonal: torch.triu(x, diagonal), s(SHAPE, diagonal=1), s((2, 3, 3), diagonal=-1))
case(
    "diagonal", lambda torch, x, offset, dim1, dim2: torch.diagonal(x, offset, dim1, dim2),
    s(SHAPE, offset=1, dim1=0, dim2=1), s((2, 3, 4), offset=-1, dim1=2, dim2=1),
)  # fmt: skip
case(
    "unfold",
    lambda torch, x, dim, size, step: x.unfold(dim, size, step),
    s((2, 7), dim=1, size=3, step=2),
    s((2, 7), dim=1, size=3, step=1),
)
case("view_as_real", lambda torch, x: torch.view_as_real(x), s((SHAPE, "complex")))
case("view_as_complex", lambda torch, x: torch.view_as_complex(x), s((3, 2)))
case("real", lambda torch, x: x.real, s((SHAPE, "complex")))
case("imag", lambda torch, x: x.imag, s((SHAPE, "complex")))
case("repeat_tiles", lambda torch, x, times, shape: x.repeat(times), s((2, 3), times=(2, 1, 2), shape=(1, 2, 3)))
_WHOLE = ((3, 4), (4, 1), 0)
case(
    "as_strided", lambda torch, x, geometry, size, stride, offset: torch.as_strided(x, size, stride, offset),
    s((3, 4), geometry=_WHOLE, size=(2, 2), stride=(1, 2), offset=1),
)  # fmt: skip

# Matrix products

case("mm", lambda torch, x, y: x @ y, s((3, 4), (4, 2)), s((3, 0), (0, 2)))
case("mv", lambda torch, x, y: x @ y, s((3, 4), (4,)))
case("dot", lambda torch, x, y: x @ y, s((4,), (4,)))
case("bmm", lambda torch, x, y: x @ y, s((2, 3, 4), (2, 4, 2)))
case("batched_matmul", lambda torch, x, y: x @ y, s((2, 1, 3, 4), (5, 4, 2)), s((2, 3, 4), (4, 2)))
case(
    "matmul",
    lambda torch, x, y: x @ y,
    s((3, 4), (4,)),
    s((4,), (4, 2)),
    s((2, 3, 4), (4,)),
    s((4,), (2, 4, 3)),
    s((3, 4), (2, 4, 2)),
)
case(
    "addmm",
    lambda torch, c, x, y, beta, alpha: torch.addmm(c, x, y, beta=beta, alpha=alpha),
    s((2,), (3, 4), (4, 2), beta=0.5, alpha=2.0),
    s((3, 2), (3, 4), (4, 2), beta=1, alpha=1),
)
case(
    "baddbmm",
    lambda torch, c, x, y, beta, alpha: torch.baddbmm(c, x, y, beta=beta, alpha=alpha),
    s((3, 2), (2, 3, 4), (2, 4, 2), beta=0.5, alpha=2.0),
)

# Positions

_ROWS = np.array([2, 0, 2])
case("index", lambda torch, x, at: x[tuple(torch.from_numpy(i) if hasattr(i, "shape") else i for i in at.index)],
     s((3, 4), at=Taken((_ROWS,), (3, 4))), s((3, 4), at=Taken((slice(None), _ROWS), (3, 4))),
     s((3, 4), at=Taken((_ROWS, np.array([1, 1, 3])), (3, 4))), s((3, 4), at=Taken((np.eye(3, 4, dtype=bool),), (3, 4))))  # fmt: skip
case("index_put", lambda torch, x, v, at, accumulate: x.index_put(tuple(map(torch.from_numpy, at.index)), v, accumulate),
     s((3, 4), (3, 4), at=Taken((_ROWS,), (3, 4)), accumulate=True), s((3, 4), (4,), at=Taken((np.array([2, 0]),), (3, 4)), accumulate=False))  # fmt: skip
case(
    "gather",
    lambda torch, x, i, dim: x.gather(dim, i),
    s((3, 4), ((2, 4), "index"), dim=0),
    s((3, 4), ((3, 5), "index"), dim=1),
)
case("take_along", lambda torch, x, i, dim: x.gather(dim, i), s((3, 4), ((3, 5), "index"), dim=1))
case(
    "place_along",
    lambda torch, x, i, shape, dim: torch.zeros(shape, dtype=x.dtype).scatter_add(dim, i, x),
    s((3, 5), ((3, 5), "index"), shape=(3, 4), dim=1),
)
case(
    "scatter_add_zeros",
    lambda torch, x, i, shape, dim: torch.zeros(shape, dtype=x.dtype).scatter_add(dim, i, x),
    s((3, 5), ((3, 5), "index"), shape=(3, 4), dim=1),
)
_PERMUTED = np.array([[2, 0, 1, 0], [0, 1, 2, 1]])
case(
    "scatter",
    lambda torch, x, i, src, dim: x.scatter(dim, torch.as_tensor(i), src),
    s((3, 4), _PERMUTED, (2, 4), dim=0),
)
case(
    "scatter_fill",
    lambda torch, x, i, dim, value: x.scatter(dim, torch.as_tensor(i), value),
    s((3, 4), _PERMUTED, dim=0, value=1.5),
)
case(
    "scatter_add", lambda torch, x, i, src, dim: x.scatter_add(dim, i, src), s((3, 4), ((2, 4), "index"), (2, 4), dim=0)
)
case("scatter_reduce", lambda torch, x, i, src, dim, reduce, include_self: x.scatter_reduce(dim, i, src, reduce, include_self=include_self),
     *(s((3, 4), ((2, 4), "index"), (3, 4), dim=0, reduce=r, include_self=k) for r in ("sum", "prod", "mean", "amax", "amin") for k in (True, False)), grad=False)  # fmt: skip
case(
    "index_select",
    lambda torch, x, i, dim: x.index_select(dim, i),
    s((3, 4), ((5,), "index"), dim=0),
    s((4, 3), ((5,), "index"), dim=1),
)
case(
    "rows_place",
    lambda torch, x, i, shape, dim: torch.zeros(shape, dtype=x.dtype).index_add(dim, i, x),
    s((5, 4), ((5,), "index"), shape=(3, 4), dim=0),
)
case(
    "index_add",
    lambda torch, x, i, src, dim, alpha: x.index_add(dim, i, src, alpha=alpha),
    s((3, 4), ((5,), "index"), (5, 4), dim=0, alpha=2.0),
)
case(
    "index_copy",
    lambda torch, x, i, src, dim: x.index_copy(dim, torch.as_tensor(i), src),
    s((3, 4), np.array([2, 0]), (2, 4), dim=0),
)
case(
    "index_fill",
    lambda torch, x, i, dim, value: x.index_fill(dim, i, value),
    s((3, 4), ((2,), "index"), dim=0, value=3.0),
)
case("take", lambda torch, x, i: torch.take(x, i), s((3, 4), ((2, 5), "index")))
case(
    "take_place",
    lambda torch, x, i, shape: torch.zeros(shape, dtype=x.dtype).put(i, x, accumulate=True),
    s((2, 5), ((2, 5), "index"), shape=(3, 4)),
)
case(
    "put",
    lambda torch, x, i, src, accumulate: x.put(i, src, accumulate),
    s((3, 4), ((5,), "index"), (5,), accumulate=True),
    s((3, 4), np.array([3, 1]), (2,), accumulate=False),
)
CASES["put"].reference = lambda torch, x, i, src, accumulate: x.put(torch.as_tensor(i), src, accumulate)
case(
    "masked_scatter",
    lambda torch, x, mask, src: x.masked_scatter(mask, src),
    s((3, 4), ((3, 4), "mask"), (12,)),
    second=False,
)
case("nonzero", lambda torch, x: torch.nonzero(x), s((SHAPE, "mask")), grad=False)
case(
    "place_slice",
    lambda torch, x, shape, index: torch.zeros(shape, dtype=x.dtype).index_put(
        (torch.arange(3)[:, None], torch.tensor([1, 2])), x
    ),
    s((3, 2), shape=(3, 4), index=_PART),
)
case(
    "place_diagonal",
    lambda torch, x, shape, offset, dim1, dim2: torch.diag_embed(x, offset),
    s((2, 3), shape=(2, 4, 4), offset=1, dim1=1, dim2=2),
)
case(
    "take_strided",
    lambda torch, x, geometry, size, stride, offset: torch.as_strided(x, size, stride, offset).clone(),
    s((3, 4), geometry=_WHOLE, size=(2, 2), stride=(1, 2), offset=1),
)
