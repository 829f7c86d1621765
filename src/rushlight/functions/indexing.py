"""`x[...]`, `x[...] = y` and the functions that read and write at positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import ShapeError, explain
from rushlight.functions.arithmetic import masked_fill
from rushlight.functions.shape import one_view, wrap_view
from rushlight.layout import wrap_dim
from rushlight.modes import ACTIVE, state
from rushlight.ops import index as ops
from rushlight.ops import linear
from rushlight.ops.kinds import OPS
from rushlight.tape import Variable, apply_inplace, bump, check_no_overlap, check_writable, record, wrap

ndarray = np.ndarray


class Taken(ops.Where):
    """An index into an array of a known shape; the result's shape is worked out when somebody asks."""

    __slots__ = ("source",)

    def __init__(self, index: tuple[Any, ...], source: tuple[int, ...]) -> None:
        self.index = index
        self.source = source

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Shape of what the index picks."""
        phantom = np.lib.stride_tricks.as_strided(np.zeros(1, np.bool_), self.source, (0,) * len(self.source))
        picked: tuple[int, ...] = phantom[self.index].shape
        return picked


def _array_index(item: Any) -> Any:
    """An index item that is or holds an array, as an array of ints or bools; None for other items."""
    if isinstance(item, Variable):
        return item._data
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, (list, tuple, range)):
        _refuse_text(item)
        got = np.asarray([x._data if isinstance(x, Variable) else x for x in item])
        return got.astype(np.int64) if not got.size or got.dtype.kind == "f" else got
    return None


def _is_array(item: Any) -> bool:
    """Whether an index item is an array, or a value of a traced program."""
    return isinstance(item, np.ndarray) or hasattr(item, "buffer")


def _refuse_text(item: Any) -> None:
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(item, (list, tuple)):
        for x in item:
            _refuse_text(x)


def _is_several(key: Any) -> bool:
    """Whether an index given as a list stands for several indices: it holds sequences, tensors, slices or None."""
    if type(key) is not list or len(key) >= 32:
        return isinstance(key, tuple)
    return any(i is None or i is Ellipsis or isinstance(i, (list, tuple, slice, Variable, np.ndarray)) for i in key)


def _split_index(key: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """`key` as a basic index, then an advanced one on its result (None where there is none)."""
    items = list(key) if _is_several(key) else [key]
    items = [_plain(i) for i in items]
    ndim = len(shape)
    used = sum(_consumed(i) for i in items)
    if used > ndim:
        if not ndim and any(isinstance(i, slice) for i in items):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        if not ndim and any(isinstance(i, int) and not isinstance(i, bool) for i in items):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ "
                "to convert "
                "a 0-dim tensor to a number"
            )
        raise explain(
            IndexError(f"too many indices for tensor of dimension {ndim}"), expected=f"at most {ndim}", received=used
        )
    at = next((k for k, i in enumerate(items) if i is Ellipsis), None)
    fill = [slice(None)] * (ndim - used)
    items = items + fill if at is None else items[:at] + fill + items[at + 1 :]
    basic: list[Any] = []
    advanced: list[Any] = []
    dim = 0
    for item in items:
        if _is_array(item):
            _check_array(item, shape, dim, sum(_consumed(a) for a in advanced if _is_array(a)))
            taken = item.ndim if item.dtype == np.bool_ else 1
            basic.extend([slice(None)] * taken)
            advanced.append(item)
            dim += taken
            continue
        basic.append(_checked(item, shape, dim, len(basic)))
        dim += item is not None
        if not isinstance(item, int):
            advanced.append(slice(None))
    if any(map(_is_array, advanced)):
        while advanced and isinstance(advanced[-1], slice):
            advanced.pop()
        return tuple(basic), tuple(advanced)
    return tuple(basic), None


def _plain(item: Any) -> Any:
    if item is None or item is Ellipsis or type(item) in (int, slice):
        return item
    if isinstance(item, bool):
        return np.asarray(item)
    _refuse_text(item)
    array = _array_index(item)
    if array is None:
        if hasattr(item, "__index__"):
            return item.__index__()
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
            f"{type(item).__name__})"
        )
    if array.dtype == np.uint8:
        array = array.astype(np.bool_)
    if array.dtype.kind not in "iub":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if not array.ndim and array.dtype != np.bool_ and type(array) is ndarray:
        return int(array)
    return array


def _consumed(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if _is_array(item) and item.dtype == np.bool_ else 1


def _checked(item: Any, shape: tuple[int, ...], dim: int, place: int) -> Any:
    if isinstance(item, int):
        if not -shape[dim] <= item < shape[dim]:
            raise explain(
                IndexError(f"index {item} is out of bounds for dimension {place} with size {shape[dim]}"),
                expected=f"{-shape[dim]} <= index < {shape[dim]}",
                received=item,
            )
        return item
    if isinstance(item, slice):
        if item.step is not None and int(item.step) <= 0:
            raise ValueError("step must be greater than zero" if int(item.step) else "slice step cannot be zero")
        if any(isinstance(p, Variable) for p in (item.start, item.stop, item.step)):
            return slice(*(p if p is None else int(p) for p in (item.start, item.stop, item.step)))
    return item


def _check_array(array: Any, shape: tuple[int, ...], dim: int, number: int) -> None:
    if array.dtype == np.bool_:
        if array.shape != shape[dim : dim + array.ndim]:
            bad = next(j for j, n in enumerate(array.shape) if n != shape[dim + j])
            raise explain(
                IndexError(
                    f"The shape of the mask {list(array.shape)} at index {bad} does not match the shape of the "
                    "indexed tensor "
                    f"{list(shape)} at index {dim + bad}"
                ),
                expected=shape[dim : dim + array.ndim],
                received=array.shape,
            )
        return
    n = shape[dim]
    if array.size and not n:
        raise IndexError("index is out of bounds for dimension with size 0")
    if array.size and type(array) is ndarray:
        low, high = int(array.min()), int(array.max())
        if low < -n or high >= n:
            bad = low if low < -n else high
            raise explain(
                IndexError(f"index {bad} is out of bounds for dimension {number} with size {n}"),
                expected=f"{-n} <= index < {n}",
                received=bad,
            )


def _basic_op(key: Any) -> Any:
    last = next((i for i in reversed(key) if i is not Ellipsis and i != slice(None)), Ellipsis)
    if last is None:
        only_adds = all(i is None or i is Ellipsis or i == slice(None) for i in key)
        return linear.getitem_unsqueeze if only_adds else linear.getitem_mixed
    if isinstance(last, int):
        return linear.getitem_select
    return linear.alias if last is Ellipsis else linear.getitem_slice


def getitem(input: Any, key: Any) -> Any:
    """`input[key]`."""
    data = input._data
    if type(key) is int and type(data) is ndarray and not ACTIVE:
        try:
            out = data[key, ...]
        except IndexError:
            pass  # explained below
        else:
            return wrap_view(input, linear.getitem_select, {"index": (key, ...)}, data, out)
    basic, advanced = _split_index(key, tuple(data.shape))
    if any(i != slice(None) for i in basic) or advanced is None:
        op = _basic_op(basic)
        input = one_view(op, input, {} if op is linear.alias else {"index": (*basic, ...)})
    if advanced is None:
        return input
    if ACTIVE and state.trace is not None:
        arrays, pattern = _traced(advanced)
        return record(ops.index_at, (input, arrays), {"pattern": pattern})
    try:
        return record(ops.index, (input,), {"at": Taken(advanced, tuple(input._data.shape))})
    except (IndexError, RuntimeError):
        _check_broadcast(advanced)
        raise


def _traced(advanced: tuple[Any, ...]) -> tuple[list[Any], tuple[Any, ...]]:
    """The arrays of an index, and the index with None in their places; masks are positions that must be known."""
    arrays: list[Any] = []
    pattern: list[Any] = []
    for a in advanced:
        found = [] if not _is_array(a) else [a] if a.dtype != np.bool_ else list(a.nonzero())
        arrays += found
        pattern += [None] * len(found) or [a]
    return arrays, tuple(pattern)


def _put_traced(view: Any, source: Any, advanced: tuple[Any, ...]) -> None:
    """`view[advanced] = source` in a traced program."""
    mask = advanced[0]
    if len(advanced) == 1 and mask.dtype == np.bool_ and not source._data.ndim and hasattr(mask, "buffer"):
        shape = (*mask.shape, *(1,) * (view._data.ndim - mask.ndim))
        copy_(view, record(OPS["where"], (wrap(mask).reshape(shape), source, view), {}))
        return
    arrays, pattern = _traced(advanced)
    apply_inplace(ops.index_at_put, (view, source, arrays), {"pattern": pattern, "accumulate": False})


def _check_broadcast(advanced: tuple[Any, ...]) -> None:
    arrays = [a if a.dtype != np.bool_ else np.nonzero(a)[0] for a in advanced if isinstance(a, np.ndarray)]
    try:
        np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None


def setitem(input: Any, key: Any, value: Any) -> None:
    """`input[key] = value`."""
    data = input._data
    basic, advanced = _split_index(key, tuple(data.shape))
    if advanced is not None and isinstance(value, Variable) and value._data.dtype != data.dtype:
        _check_put(value, data, advanced)
    if type(data) is ndarray and not ACTIVE and _no_history(input, value):
        check_no_overlap(data)
        _write_plain(input, basic, advanced, value)
        return
    view = (
        one_view(_basic_op(basic), input, {"index": (*basic, ...)}) if _basic_op(basic) is not linear.alias else input
    )
    source = value if isinstance(value, Variable) else wrap(_value_array(value, data.dtype))
    if source._data.dtype != data.dtype:
        source = linear.cast(source, data.dtype)
    if advanced is None:
        copy_(view, _squeezed(source, view._data.ndim))
        return
    if ACTIVE and state.trace is not None:
        _put_traced(view, source, advanced)
        return
    at = Taken(advanced, tuple(view._data.shape))
    _check_fits(tuple(source._data.shape), at.shape, False)
    apply_inplace(ops.index_put, (view, source), {"at": at, "accumulate": False})


LEGACY_NAMES = {**KERNEL_NAMES, "complex64": "ComplexFloat", "complex128": "ComplexDouble"}
C_NAMES = {
    "float32": "float",
    "float64": "double",
    "int64": "int64_t",
    "int32": "int",
    "uint8": "uint8_t",
    "bool": "bool",
}


def _no_history(input: Any, value: Any) -> bool:
    if not state.grad:
        return input._counter is not None
    own = input
    while own is not None:
        if own._node is not None:
            return False
        own = own._view[0] if own._view is not None else None
    return not (isinstance(value, Variable) and (value._node is not None or value._view is not None))


def _value_array(value: Any, dtype: Any) -> Any:
    if not isinstance(value, (int, float, bool, complex, np.integer, np.bool_)):
        kind = LEGACY_NAMES.get(dtype.name, "Float")
        shown = f"numpy.{type(value).__name__}" if isinstance(value, (np.generic, np.ndarray)) else type(value).__name__
        raise explain(TypeError(f"can't assign a {shown} to a torch.{kind}Tensor"), fix="torch.tensor(value)")
    if isinstance(value, complex) and dtype.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {C_NAMES.get(dtype.name, dtype.name)} without overflow")
    return np.asarray(value).astype(dtype)


def _write_plain(input: Any, basic: Any, advanced: Any, value: Any) -> None:
    source = value._data if isinstance(value, Variable) else _value_array(value, input._data.dtype)
    target = input._data[(*basic, ...)]
    shape = target.shape if advanced is None else Taken(advanced, target.shape).shape
    if source.shape != shape:
        source = _fit(source, shape, advanced is None)
    if source.dtype.kind == "c" and target.dtype.kind != "c":
        source = source.real
    if advanced is None:
        target[...] = source
    else:
        target[advanced] = source
    bump(input)


def _check_put(value: Any, data: Any, advanced: tuple[Any, ...]) -> None:
    one_mask = [a for a in advanced if _is_array(a)]
    if value._data.ndim == 0 and len(one_mask) == 1 and one_mask[0].dtype == np.bool_:
        return
    names = [KERNEL_NAMES[d.name] for d in (data.dtype, value._data.dtype)]
    raise explain(
        RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{names[0]} for the destination and {names[1]} for the source."
        ),
        fix="value.to(tensor.dtype)",
    )


def _fit(source: Any, shape: tuple[int, ...], basic: bool) -> Any:
    while source.ndim > len(shape) and source.shape[0] == 1:
        source = source[0]
    _check_fits(source.shape, shape, basic)
    return source


def _squeezed(source: Any, ndim: int) -> Any:
    while source._data.ndim > ndim and source._data.shape[0] == 1:
        source = getitem(source, 0)
    return source


def _check_fits(source: tuple[int, ...], shape: tuple[int, ...], basic: bool) -> None:
    lead = len(shape) - len(source)
    if lead >= 0 and all(n in (1, m) for n, m in zip(source, shape[lead:], strict=True)):
        return
    if basic:
        linear.expanded_shape(source, shape)
    raise explain(
        ShapeError(
            f"shape mismatch: value tensor of shape {list(source)} cannot be broadcast to indexing result of "
            f"shape {list(shape)}"
        ),
        expected=shape,
        received=source,
    )


def copy_(input: Any, src: Any, non_blocking: bool = False) -> Any:
    """Overwrite with the elements of `src`, broadcast and converted."""
    if not isinstance(src, Variable):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    if src._data.dtype != input._data.dtype:
        src = record(linear.cast, (src,), {"dtype": input._data.dtype})
    if src._data.shape != input._data.shape:
        linear.expanded_shape(tuple(src._data.shape), tuple(input._data.shape))
    return apply_inplace(linear.copy_into, (input, src), {})


# Functions


def _dim(input: Any, dim: int) -> int:
    return wrap_dim(dim, input._data.ndim)


def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False, out: Any = None) -> Any:
    """out[i][j] = input[index[i][j]][j] for dim 0, and alike for other dims."""
    return record(ops.gather, (input, index), {"dim": _dim(input, dim)})


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """A copy with `src` written at `index` along `dim`."""
    return _scatter(record, input, dim, index, src if value is None else value, reduce)


def scatter_(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """Write `src` at `index` along `dim`."""
    return _scatter(apply_inplace, input, dim, index, src if value is None else value, reduce)


def _scatter(run: Any, input: Any, dim: int, index: Any, src: Any, reduce: str | None) -> Any:
    d = _dim(input, dim)
    if reduce is not None:
        name = {"add": "sum", "multiply": "prod"}[reduce]
        source = src if isinstance(src, Variable) else wrap(np.full(index._data.shape, src, input._data.dtype))
        if name == "sum":
            return run(ops.scatter_add, (input, index, source), {"dim": d})
        return run(ops.scatter_reduce, (input, index, source), {"dim": d, "reduce": name, "include_self": True})
    if isinstance(src, Variable):
        if src._data.ndim or not index._data.ndim:
            return run(ops.scatter, (input, index, src), {"dim": d})
        src = src._data.item()
    return run(ops.scatter_fill, (input, index), {"dim": d, "value": src})


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """A copy with `src` added at `index` along `dim`."""
    return record(ops.scatter_add, (input, index, src), {"dim": _dim(input, dim)})


def scatter_add_(input: Any, dim: int, index: Any, src: Any) -> Any:
    """Add `src` at `index` along `dim`."""
    return apply_inplace(ops.scatter_add, (input, index, src), {"dim": _dim(input, dim)})


def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """A copy with `src` combined at `index` by sum, prod, mean, amax or amin."""
    params = {"dim": _dim(input, dim), "reduce": reduce, "include_self": include_self}
    return record(ops.scatter_reduce, (input, index, src), params)


def scatter_reduce_(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine `src` at `index` by sum, prod, mean, amax or amin."""
    params = {"dim": _dim(input, dim), "reduce": reduce, "include_self": include_self}
    return apply_inplace(ops.scatter_reduce, (input, index, src), params)


def index_select(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """The slices along `dim` at the positions in the vector `index`."""
    return record(ops.index_select, (input, index), {"dim": _dim(input, dim)})


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """A copy with `alpha * source` added to the slices at `index`."""
    return record(ops.index_add, (input, index, source), {"dim": _dim(input, dim), "alpha": alpha})


def index_add_(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """Add `alpha * source` to the slices at `index`."""
    return apply_inplace(ops.index_add, (input, index, source), {"dim": _dim(input, dim), "alpha": alpha})


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """A copy with the slices at `index` replaced by those of `source`."""
    return record(ops.index_copy, (input, index, source), {"dim": _dim(input, dim)})


def index_copy_(input: Any, dim: int, index: Any, source: Any) -> Any:
    """Replace the slices at `index` by those of `source`."""
    return apply_inplace(ops.index_copy, (input, index, source), {"dim": _dim(input, dim)})


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """A copy with the slices at `index` filled with a number."""
    number = value._data.item() if isinstance(value, Variable) else value
    return record(ops.index_fill, (input, index), {"dim": _dim(input, dim), "value": number})


def index_fill_(input: Any, dim: int, index: Any, value: Any) -> Any:
    """Fill the slices at `index` with a number."""
    number = value._data.item() if isinstance(value, Variable) else value
    return apply_inplace(ops.index_fill, (input, index), {"dim": _dim(input, dim), "value": number})


def _where_of(input: Any, indices: Any) -> Any:
    arrays = tuple(np.asarray(i._data) for i in indices)
    for d, a in enumerate(arrays):
        _check_array(a, tuple(input._data.shape), d, d)
    return Taken(arrays, tuple(input._data.shape))


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy with `values` written (or added) at positions given by one tensor per dim."""
    return record(ops.index_put, (input, values), {"at": _where_of(input, indices), "accumulate": accumulate})


def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Write (or add) `values` at positions given by one tensor per dim."""
    return apply_inplace(ops.index_put, (input, values), {"at": _where_of(input, indices), "accumulate": accumulate})


def masked_fill_(input: Any, mask: Any, value: Any) -> Any:
    """Fill the elements under the mask with `value`."""
    check_writable(input)
    filled = masked_fill(input, mask, value)
    if filled._data.shape != input._data.shape:
        raise ShapeError(
            f"output with shape {list(input._data.shape)} doesn't match the broadcast shape {list(filled._data.shape)}"
        )
    if isinstance(value, Variable) and value._node is not None:
        return copy_(input, filled)
    number = value._data.item() if isinstance(value, Variable) else value
    return apply_inplace(OPS["masked_fill"], (input, mask), {"value": number})


def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements under the mask, in row-major order."""
    if mask._data.dtype != np.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = np.broadcast_shapes(input._data.shape, mask._data.shape)
    x = input if input._data.shape == shape else one_view(linear.expand, input, {"shape": shape})
    return getitem(x, wrap(np.broadcast_to(mask._data, shape)))


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """A copy with the elements under the mask taken from `source` in order."""
    return record(ops.masked_scatter, (input, mask, source), {})


def masked_scatter_(input: Any, mask: Any, source: Any) -> Any:
    """Take the elements under the mask from `source` in order."""
    return apply_inplace(ops.masked_scatter, (input, mask, source), {})


def take(input: Any, index: Any) -> Any:
    """Elements at row-major positions."""
    return record(ops.take, (input, index), {})


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """Elements at positions along `dim`, other dims broadcast."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    d = _dim(input, dim)
    shape = list(
        np.broadcast_shapes(*(tuple(1 if i == d else n for i, n in enumerate(x._data.shape)) for x in (input, indices)))
    )
    wide = [*shape[:d], indices._data.shape[d], *shape[d + 1 :]]
    tall = [*shape[:d], input._data.shape[d], *shape[d + 1 :]]
    return gather(input.expand(tall), d, indices.expand(wide))


def put_(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """Write (or add) elements at row-major positions."""
    return apply_inplace(ops.put, (input, index, source), {"accumulate": accumulate})


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0: one row each, or a tensor per dim."""
    if as_tuple:
        return tuple(map(wrap, np.stack(np.nonzero(np.atleast_1d(input._data)))))
    return record(ops.nonzero, (input,), {})


argwhere = nonzero
