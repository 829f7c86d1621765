"""Arrays that stand for one example of a batch: how an operation on single examples runs on all of them at once.

Inside `vmap` the data of a tensor is such an array. It shows the shape of one example; its memory holds all of them,
with one leading dim for each `vmap` around. An operation runs by the rule of its kind:

- elementwise: leading dims broadcast, the dims of the examples are aligned behind them;
- reduction: its dims move behind the leading ones;
- view: what the view does to the first example is done, by strides, to all;
- composite: its body, whose operations come here again;
- opaque: a rule of its own (products, sorting, joining), or else one example after another, inside the operation.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF
from rushlight.modes import ACTIVE
from rushlight.ops.kinds import OPS, Composite, Elementwise, Op, Reduction, View, normal_dims
from rushlight.ops.linear import storage_array
from rushlight.ops.matmul import product

ndarray = np.ndarray
as_strided = np.lib.stride_tricks.as_strided
_ARRAY_NAMES = frozenset(n for n in dir(np.ndarray) if not n.startswith("__"))


_LIKE = (np.zeros_like, np.ones_like, np.empty_like, np.full_like)


class Unbatchable(BaseException):
    """The function asks for something that needs examples one by one; no `except Exception` of its own may hide it."""


class _Flags:
    """The flags of one example's memory."""

    def __init__(self, example: Any) -> None:
        self.c_contiguous = example.flags.c_contiguous
        self.f_contiguous = example.flags.f_contiguous
        self.writeable = True


class Examples:
    """One example, and all others behind it.

    Attributes
    ----------
    data : array [one dim for each level, *shape]
    levels : numbers of the `vmap`s around, ascending
    """

    __slots__ = ("data", "levels", "__weakref__")
    op_rank = 1
    __array_ufunc__ = None
    base = None

    def __init__(self, data: Any, levels: tuple[int, ...]) -> None:
        self.data = data
        self.levels = levels

    shape = property(lambda self: self.data.shape[len(self.levels) :])
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim - len(self.levels))
    size = property(lambda self: math.prod(self.shape))
    itemsize = property(lambda self: self.data.itemsize)
    nbytes = property(lambda self: self.size * self.data.itemsize)
    strides = property(lambda self: self.data.strides[len(self.levels) :])
    flags = property(lambda self: _Flags(self.first))

    @property
    def first(self) -> Any:
        """The first example."""
        return self.data[(0,) * len(self.levels) + (...,)]

    @property
    def batch(self) -> tuple[int, ...]:
        """Sizes of the leading dims."""
        found: tuple[int, ...] = self.data.shape[: len(self.levels)]
        return found

    def interpret(self, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Run an operation on all examples."""
        if "geometry" in params:
            raise Unbatchable("as_strided reaches beyond its example")
        if isinstance(op, View):
            return _view(op, operands[0], params)
        if isinstance(op, Composite):
            return _composite(op, operands, params)
        levels = _levels(op.flat(operands))
        if isinstance(op, Elementwise):
            return Examples(op.eager(_aligned(operands, levels), params), levels)
        if isinstance(op, Reduction):
            return _reduction(op, operands[0], params)
        rule = RULES.get(op.name)
        if rule is not None:
            out = rule(op, operands, params, levels)
            if out is not None:
                return out
        return _one_by_one(op, operands, params, levels)

    @staticmethod
    def overwrite(target: Any, value: Any) -> None:
        """Write into the memory of all examples."""
        if not isinstance(target, Examples):
            raise Unbatchable("writes into a tensor from outside")
        levels = target.levels
        if not set(_levels((value,))) <= set(levels) or 0 in target.data.strides:
            raise Unbatchable("writes what differs between examples into what they share")
        if id(storage_array(target.data)) in _levels_here.outside:
            raise Unbatchable("writes into an argument")
        target.data[...] = _placed(value, levels, target.ndim)

    # What formulas and functions ask of an array

    def copy(self, order: str = "C") -> Examples:
        """Memory of its own."""
        return Examples(self.data.copy(), self.levels)

    def astype(self, dtype: Any, copy: bool = True) -> Examples:
        """Another dtype."""
        return Examples(self.data.astype(dtype, copy=copy), self.levels)

    def view(self, dtype: Any = None) -> Any:
        """The same memory, read as another dtype if one is given."""
        return self if dtype is None else OPS["view_as_dtype"].apply((self,), {"dtype": np.dtype(dtype)})

    def reshape(self, *shape: Any) -> Any:
        """Another shape."""
        return OPS["reshape"](self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *dims: Any) -> Any:
        """Dims in another order."""
        order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
        return OPS["permute"].apply((self,), {"dims": tuple(order or reversed(range(self.ndim)))})

    def swapaxes(self, dim0: int, dim1: int) -> Any:
        """Two dims exchanged."""
        return OPS["transpose"].apply((self,), {"dim0": dim0, "dim1": dim1})

    T = property(lambda self: self.transpose())

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, (ndarray, Examples, list)) for i in parts):
            raise Unbatchable("indexes an array by values")
        return OPS["getitem_slice"].apply((self,), {"index": index})

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return int(self.shape[0])

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _LIKE or not isinstance(args[0], Examples):
            raise Unbatchable(f"reads values with NumPy ({function.__name__})")
        first = args[0].first
        return function(first, *args[1:], **kwargs)  # the same for all examples

    def __getattr__(self, name: str) -> Any:
        if name in _ARRAY_NAMES or name.startswith("__array"):
            raise Unbatchable(f"reads values with NumPy (.{name})")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<example {self.dtype}{list(self.shape)} of {list(self.batch)}>"

    __hash__ = object.__hash__


def _refuses(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise Unbatchable(f"reads or writes values ({name})")

    return method


for _name in ("bool", "int", "float", "complex", "index", "iter", "array", "setitem"):
    setattr(Examples, f"__{_name}__", _refuses(_name))


def _operator(name: str, swap: bool = False) -> Callable[..., Any]:
    def method(a: Any, b: Any) -> Any:
        if not isinstance(b, (Examples, ndarray, np.generic, int, float, complex)):
            return NotImplemented
        return OPS[name].apply((b, a) if swap else (a, b), {})

    return method


_COMPARISONS = {"gt": "gt", "lt": "lt", "ge": "ge", "le": "le", "eq": "eq", "ne": "ne"}
_ARITHMETIC = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
    "or": "bitwise_or", "and": "bitwise_and", "xor": "bitwise_xor", "pow": "pow",
}  # fmt: skip
for _dunder, _op in {**_COMPARISONS, **_ARITHMETIC}.items():
    setattr(Examples, f"__{_dunder}__", _operator(_op))
    if _dunder in _ARITHMETIC:
        setattr(Examples, f"__r{_dunder}__", _operator(_op, swap=True))
for _dunder, _op in {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}.items():
    setattr(Examples, f"__{_dunder}__", lambda a, op=_op: OPS[op].apply((a,), {}))
setattr(Examples, "__matmul__", lambda a, b: OPS["matmul"](a, b))  # noqa: B010


class _Levels(threading.local):
    """How many levels of examples this thread is in, and the memory of what entered them from outside, by id."""

    def __init__(self) -> None:
        self.count = 0
        self.outside: dict[int, Any] = {}


_levels_here = _Levels()


@contextmanager
def new_level() -> Iterator[int]:
    """A block in which there is one more level of examples; its number."""
    _levels_here.count += 1
    before = dict(_levels_here.outside)
    ACTIVE.append(_levels_here)  # ops leave their short paths, which know NumPy's arrays only
    try:
        yield _levels_here.count
    finally:
        ACTIVE.remove(_levels_here)
        _levels_here.count -= 1
        _levels_here.outside = before


def entered(array: Any, dim: int, level: int) -> Examples:
    """The examples along `dim` of an array (or of each example of an outer `vmap`)."""
    outer: tuple[int, ...] = array.levels if isinstance(array, Examples) else ()
    data = array.data if isinstance(array, Examples) else array
    owner = storage_array(data)
    _levels_here.outside[id(owner)] = owner
    return Examples(np.moveaxis(data, dim % array.ndim + len(outer), len(outer)), (*outer, level))


def left(array: Any, dim: int, level: int, count: int) -> Any:
    """All examples of a level as one array with a new dim; a value without that level is the same for all."""
    if not isinstance(array, Examples) or level not in array.levels:
        levels = (*array.levels, level) if isinstance(array, Examples) else (level,)
        data = array.data if isinstance(array, Examples) else array
        k = len(levels) - 1
        data = np.broadcast_to(np.expand_dims(data, k), (*data.shape[:k], count, *data.shape[k:])).copy()
        array = Examples(data, levels)
    assert array.levels[-1] == level
    outer = array.levels[:-1]
    data = np.moveaxis(array.data, len(outer), len(outer) + dim % (array.ndim + 1))
    return Examples(data, outer) if outer else data


# Rules by kind


def _levels(operands: Any) -> tuple[int, ...]:
    return tuple(sorted({level for a in operands if isinstance(a, Examples) for level in a.levels}))


def _placed(a: Any, levels: tuple[int, ...], ndim: int) -> Any:
    """An operand with leading dims for all `levels` (1 where it has none) and `ndim` dims behind them."""
    if not isinstance(a, Examples):
        return a
    batch = iter(a.batch)
    lead = tuple(next(batch) if level in a.levels else 1 for level in levels)
    return a.data.reshape(*lead, *(1,) * (ndim - a.ndim), *a.shape)


def _aligned(operands: tuple[Any, ...], levels: tuple[int, ...]) -> tuple[Any, ...]:
    """Operands whose examples broadcast with each other, behind leading dims that broadcast too."""
    ndim = max(len(a.shape) for a in operands if hasattr(a, "shape"))
    return tuple(_placed(a, levels, ndim) for a in operands)


def _whole(a: Any, levels: tuple[int, ...], batch: tuple[int, ...]) -> Any:
    """An operand repeated so that it has every leading dim in full."""
    data = _placed(a, levels, a.ndim) if isinstance(a, Examples) else np.asarray(a)
    return np.broadcast_to(data, (*batch, *a.shape))


def _batch_of(operands: Any, levels: tuple[int, ...]) -> tuple[int, ...]:
    sizes = {level: n for a in operands if isinstance(a, Examples) for level, n in zip(a.levels, a.batch, strict=True)}
    return tuple(sizes[level] for level in levels)


def _reduction(op: Reduction, x: Examples, params: dict[str, Any]) -> Examples:
    dims = normal_dims(params.get("dim"), x.ndim)
    dims = tuple(range(x.ndim)) if dims is None else dims
    k = len(x.levels)
    shifted = tuple(d + k for d in dims)
    if op.name in ("max_all", "min_all"):
        out = (np.max if op.name == "max_all" else np.min)(x.data, axis=shifted)
    else:
        out = op.eager((x.data,), {**params, "dim": shifted})
    return Examples(np.asarray(out), x.levels)


def _view(op: Op, x: Examples, params: dict[str, Any]) -> Any:
    example = x.first
    out = op.eager((example,), params)
    if isinstance(out, tuple):
        return tuple(_like_first(x, example, o) for o in out)
    return _like_first(x, example, out)


def _like_first(x: Examples, example: Any, shown: Any) -> Examples:
    """All examples as `shown` shows the first one."""
    if x.size and shown.size and not np.may_share_memory(example, shown):
        raise Unbatchable("a view that copies")
    strides = (*x.data.strides[: len(x.levels)], *shown.strides)
    return Examples(as_strided(shown, (*x.batch, *shown.shape), strides), x.levels)


def _composite(op: Composite, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    arrays = [a for a in op.flat(operands) if isinstance(a, (ndarray, Examples))] if op.narrow else []
    half = next((a.dtype for a in arrays if a.dtype in NP_HALF), None)
    if half is None:
        return op.body(*operands, **params)
    wide = (
        a.astype(np.float32) if isinstance(a, (ndarray, Examples)) and a.dtype in NP_HALF else a for a in operands
    )  # fmt: skip
    out = op.body(*wide, **params)
    return out.astype(half) if getattr(out, "dtype", None) == np.float32 else out


def _one_by_one(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """One example after another."""
    if "generator" in params:
        raise Unbatchable("draws random numbers")
    batch = _batch_of(op.flat(operands), levels)
    if not math.prod(batch):
        raise Unbatchable("no examples")
    results = [
        op.eager(tuple(_example(a, levels, place) for a in operands), params)
        for place in itertools.product(*map(range, batch))
    ]
    if isinstance(results[0], tuple):
        return tuple(_together(list(column), batch, levels) for column in zip(*results, strict=True))
    return _together(results, batch, levels)


def _example(a: Any, levels: tuple[int, ...], place: tuple[int, ...]) -> Any:
    if isinstance(a, (list, tuple)):
        return [_example(e, levels, place) for e in a]
    if not isinstance(a, Examples):
        return a
    return a.data[(*(i for level, i in zip(levels, place, strict=True) if level in a.levels), ...)]


def _together(results: list[Any], batch: tuple[int, ...], levels: tuple[int, ...]) -> Examples:
    if not all(isinstance(r, (ndarray, np.generic)) for r in results) or len({r.shape for r in results}) > 1:
        raise Unbatchable("results of several shapes")
    stacked = np.stack(results)
    return Examples(stacked.reshape(*batch, *stacked.shape[1:]), levels)


# Rules of single operations: (op, operands, params, levels) -> result, or None for one by one


def _plainly(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """The operation does not look at dims."""
    return Examples(op.eager(_aligned(operands, levels), params), levels)


def _along(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """The operation works along one dim."""
    (x,) = operands
    dim = params.get("dim")
    if dim is None or not x.ndim:
        return None
    out = op.eager((x.data,), {**params, "dim": dim % x.ndim + len(levels)})
    return tuple(Examples(o, levels) for o in out) if isinstance(out, tuple) else Examples(out, levels)


def _along_several(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    (x,) = operands
    if params["dims"] is None:
        return None
    dims = tuple(d % x.ndim + len(levels) for d in params["dims"])
    return Examples(op.eager((x.data,), {**params, "dims": dims}), levels)


def _at_indices(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """The operation takes or puts elements along one dim, at places that an operand states."""
    ndim = operands[0].ndim
    if not ndim or any(a.ndim != ndim for a in operands):
        return None
    batch = _batch_of(operands, levels)
    moved = {**params, "dim": params["dim"] % ndim + len(levels)}
    if "shape" in moved:
        moved["shape"] = (*batch, *moved["shape"])
    out = op.eager(tuple(_whole(a, levels, batch) for a in operands), moved)
    return Examples(out, levels)


def _place_slice(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    (x,) = operands
    index = params["index"] if isinstance(params["index"], tuple) else (params["index"],)
    shape = (*x.batch, *params["shape"])
    return Examples(op.eager((x.data,), {"shape": shape, "index": (slice(None),) * len(levels) + index}), levels)


def _join(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """cat and stack."""
    parts = operands[0]
    ndim = max(a.ndim for a in parts) + (op.name == "stack")
    if any(a.shape == (0,) for a in parts):
        return None
    batch = _batch_of(parts, levels)
    whole = [_whole(a, levels, batch) for a in parts]
    return Examples(op.eager((whole,), {"dim": params["dim"] % ndim + len(levels)}), levels)


def _product(x: Any, y: Any, levels: tuple[int, ...], ndim: int = 2) -> Any:
    a, b = (_placed(v, levels, ndim) if isinstance(v, Examples) else v for v in (x, y))
    if b.ndim == 2 and a.ndim > 2:  # one matrix for all examples: one product
        return product(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    return product(a, b)


def _matrix_product(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    x, y = operands
    return Examples(_product(x, y, levels, max(x.ndim, y.ndim)), levels)


def _matrix_vector(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    x, y = operands
    return Examples(_product(x, _with_dim(y, -1), levels)[..., 0], levels)


def _dot(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    x, y = operands
    return Examples(_product(_with_dim(x, -2), _with_dim(y, -1), levels)[..., 0, 0], levels)


def _with_dim(a: Any, dim: int) -> Any:
    return Examples(np.expand_dims(a.data, dim), a.levels) if isinstance(a, Examples) else np.expand_dims(a, dim)


def _added_product(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    c, x, y = operands
    out = _product(x, y, levels)
    out = out if params["alpha"] == 1 else out * params["alpha"]
    if params["beta"] != 0:
        added = _placed(c, levels, 2) if isinstance(c, Examples) else c
        out = out + (added if params["beta"] == 1 else added * params["beta"])
    return Examples(out, levels)


def _embedding(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    weight, index = operands
    if isinstance(weight, Examples):
        return None
    return Examples(op.eager((weight, index.data), params), levels)


def _convolution(op: Op, operands: tuple[Any, ...], params: dict[str, Any], levels: tuple[int, ...]) -> Any:
    """With the same weights for all examples: one convolution of all their images."""
    x, weight, bias = operands
    if isinstance(weight, Examples) or isinstance(bias, Examples):
        return None
    out = op.eager((x.data.reshape(-1, *x.shape[1:]), weight, bias), params)
    return Examples(out.reshape(*x.batch, x.shape[0], *out.shape[1:]), levels)


Rule = Callable[[Op, tuple[Any, ...], dict[str, Any], tuple[int, ...]], Any]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("cast", "copy", "clone", "zeros_as", "tril", "triu"), _plainly),
    **dict.fromkeys(
        ("max_dim", "min_dim", "argmax", "argmin", "sort_dim", "topk_dim", "median_dim", "kth_dim", "cumsum", "cumprod",
         "cummax", "cummin", "logcumsumexp"),
        _along,
    ),
    **dict.fromkeys(("flip", "roll"), _along_several),
    **dict.fromkeys(("gather", "take_along", "place_along", "scatter_add_zeros"), _at_indices),
    "place_slice": _place_slice,
    "cat": _join,
    "stack": _join,
    **dict.fromkeys(("mm", "bmm", "batched_matmul"), _matrix_product),
    "mv": _matrix_vector,
    "dot": _dot,
    "addmm": _added_product,
    "embedding": _embedding,
    **dict.fromkeys(("convolution", "convolution_transposed"), _convolution),
}  # fmt: skip
