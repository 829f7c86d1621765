"""Functions that rearrange: views, and copies where a view cannot be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES, dtype
from rushlight.errors import ShapeError, explain
from rushlight.functions.fast import store
from rushlight.layout import broadcast_shapes, infer_size, view_strides, wrap_dim, wrap_dims
from rushlight.modes import ACTIVE, state
from rushlight.ops import linear
from rushlight.ops.kinds import OPS, result_dtype
from rushlight.size import Size
from rushlight.tape import Variable, make_node, make_view, record, sync, wrap

ndarray = np.ndarray


def ints(args: Any, name: str = "size") -> tuple[int, ...]:
    """Sizes or dims given as several ints, one sequence of ints, or 0-d tensors, as a tuple."""
    if len(args) == 1 and not isinstance(args[0], int):
        one = args[0]
        if isinstance(one, (tuple, list)):
            args = one
        elif isinstance(one, np.ndarray):
            args = one.tolist()
    for a in args:
        if type(a) is not int:
            break
    else:
        return tuple(args)
    try:
        return tuple(a.__index__() for a in args)
    except (AttributeError, TypeError):
        bad = next((a for a in args if not hasattr(a, "__index__")), args)
        raise TypeError(
            f"{name}: expected ints or a sequence of ints, received {type(bad).__name__} ({bad!r})"
        ) from None


def one_view(op: Any, x: Any, params: dict[str, Any]) -> Any:
    """Run a view op on a tensor: `record` without its general bookkeeping."""
    data = x._data
    if ACTIVE or type(data) is not ndarray:
        return record(op, (x,), params)
    return wrap_view(x, op, params, data, op.body(None, data, **params))


def wrap_view(x: Any, op: Any, params: dict[str, Any], data: Any, out: Any) -> Any:
    """`out`, what a view op made of a tensor's array, as a tensor."""
    if x._view is not None:
        sync(x)
    node = None
    if x._node is not None and state.grad and op.differentiable:
        node = make_node(op, (x,), (data,), params, out)
    return make_view(x, op, params, out, None, node)


def view(input: Any, *shape: Any) -> Any:
    """The same memory with another shape, or read as another dtype."""
    data = input._data
    if type(data) is ndarray and data.flags.c_contiguous and not ACTIVE:
        for n in shape:
            if type(n) is not int or n < -1:
                break
        else:
            try:
                out = data.reshape(shape)
            except ValueError:
                infer_size(shape, data.size)
                raise
            return wrap_view(input, linear.view_as, {"shape": shape}, data, out)
    if len(shape) == 1 and isinstance(shape[0], dtype):
        return _view_dtype(input, shape[0])
    sizes = ints(shape)
    for i, n in enumerate(sizes):
        if n < -1:
            raise ShapeError(f"invalid shape dimension {n} at index {i} of shape {list(sizes)}")
    return one_view(linear.view_as, input, {"shape": sizes})


def _view_dtype(input: Any, wanted: dtype) -> Any:
    x = input._data
    if x.dtype.itemsize != wanted.itemsize and (not x.ndim or x.strides[-1] != x.itemsize):
        raise RuntimeError(
            "self.stride(-1) must be 1 to view "
            f"{KERNEL_NAMES[x.dtype.name]} as {KERNEL_NAMES[wanted.name]} (different element sizes), but got "
            f"{x.strides[-1] // x.itemsize if x.ndim else 0}"
        )
    if x.dtype.itemsize < wanted.itemsize and x.shape[-1] * x.itemsize % wanted.itemsize:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {wanted.itemsize // x.itemsize} to view "
            f"{KERNEL_NAMES[x.dtype.name]} as {KERNEL_NAMES[wanted.name]} (different element sizes), but got "
            f"{x.shape[-1]}"
        )
    return make_view(input, None, {}, x.view(wanted.np), None, None)


def view_as(input: Any, other: Any) -> Any:
    """A view with the shape of `other`."""
    return view(input, other._data.shape)


def reshape(input: Any, *shape: Any) -> Any:
    """Another shape: a view where strides allow it, else a copy."""
    sizes = ints(shape)
    data = input._data
    if type(data) is ndarray and data.flags.c_contiguous:
        if not data.size or min(sizes, default=0) < -1:
            infer_size(sizes, data.size)
        return one_view(linear.view_as, input, {"shape": sizes})
    if type(data) is ndarray:
        item = max(data.itemsize, 1)
        sizes = infer_size(sizes, data.size)
        if view_strides(data.shape, tuple(s // item for s in data.strides), sizes) is not None:
            return one_view(linear.view_as, input, {"shape": sizes})
        return without_base(record(linear.unsafe_view, (linear.copy(input),), {"shape": sizes}))
    return linear.reshape(input, sizes)


def without_base(t: Any) -> Any:
    """`t`, a view of a copy that nobody else has, as a tensor that is no view."""
    t._view = None
    return t


def reshape_as(input: Any, other: Any) -> Any:
    """`reshape` to the shape of `other`."""
    return reshape(input, other._data.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dims start_dim..end_dim joined into one."""
    shape = tuple(input._data.shape)
    if not shape:
        return reshape(input, 1)
    first, last = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def ravel(input: Any) -> Any:
    """One dim holding all elements."""
    return reshape(contiguous(input), -1)


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Dim `dim` split into `sizes`."""
    shape = tuple(input._data.shape)
    d = wrap_dim(dim, len(shape))
    parts = ints((sizes,))
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        parts = infer_size(parts, shape[d])
    except ShapeError:
        raise ShapeError(
            f"unflatten: Provided sizes {list(parts)} don't multiply up to the size of dim {d} ({shape[d]}) in "
            "the input tensor"
        ) from None
    return view(input, (*shape[:d], *parts, *shape[d + 1 :]))


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Dims dim0 and dim1 exchanged, as a view."""
    n = input._data.ndim
    a, b = wrap_dim(dim0, n), wrap_dim(dim1, n)
    return one_view(linear.transpose, input, {"dim0": a, "dim1": b}) if n else one_view(linear.alias, input, {})


swapaxes = swapdims = transpose


def t(input: Any) -> Any:
    """The transpose of a matrix; vectors stay."""
    if input._data.ndim > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._data.ndim}D")
    return one_view(linear.t, input, {})


def reversed_dims(input: Any) -> Any:
    """`x.T`: dims in reverse order."""
    n = input._data.ndim
    if n == 2:
        return one_view(linear.permute, input, {"dims": (1, 0)})
    warnings.warn(
        "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it "
        "will throw an "
        "error in a future release. Consider `x.mT` to transpose batches of matrices or "
        "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor.",
        stacklevel=2,
    )
    return one_view(linear.permute, input, {"dims": tuple(range(n))[::-1]})


def permute(input: Any, *dims: Any) -> Any:
    """Dims in the order `dims`, as a view."""
    order = ints(dims)
    n = len(input._data.shape)
    if len(order) != n:
        raise ShapeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(order)}"
        )
    wrapped = tuple(wrap_dim(d, n) for d in order)
    if len(set(wrapped)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return one_view(linear.permute, input, {"dims": wrapped})


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dims `source` moved to the positions `destination`."""
    n = input._data.ndim
    src, dst = (tuple(wrap_dim(d, n) for d in ints((dims,))) for dims in (source, destination))
    if len(src) != len(dst):
        raise ShapeError(
            f"movedim: Invalid source or destination dims: source ({list(src)} dims) should contain the same number of "
            f"dims as destination ({list(dst)} dims)"
        )
    for name, dims in (("source", src), ("destination", dst)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    if not n:
        return one_view(linear.alias, input, {})
    order = [d for d in range(n) if d not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return permute(input, order)


moveaxis = movedim


def adjoint(input: Any) -> Any:
    """The last two dims exchanged, and conjugated."""
    out = transpose(input, -2, -1)
    return linear.conj(out) if out._data.dtype.kind == "c" else out


def hermitian(input: Any) -> Any:
    """`x.H`: the transpose of a matrix, conjugated."""
    n = input._data.ndim
    if n not in (0, 2):
        raise ShapeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if n > 2 else "")
        )
    return adjoint(input) if n else input


def squeeze(input: Any, dim: Any = None) -> Any:
    """Dims of size 1 removed: all, or those of `dim`."""
    if dim is None:
        return one_view(linear.squeeze, input, {})
    dims = wrap_dims((dim,) if isinstance(dim, int) else ints((dim,)), input._data.ndim)
    if not input._data.ndim:
        return one_view(linear.alias, input, {})
    return one_view(linear.squeeze_dim, input, {"dim": dims})


def unsqueeze(input: Any, dim: int) -> Any:
    """A dim of size 1 inserted before `dim`."""
    return one_view(linear.unsqueeze, input, {"dim": wrap_dim(dim, input._data.ndim + 1)})


def expand(input: Any, *sizes: Any) -> Any:
    """Dims of size 1 stretched to `sizes` without copying; -1 keeps a size."""
    shape = tuple(input._data.shape)
    return one_view(linear.expand, input, {"shape": linear.expanded_shape(shape, ints(sizes))})


def expand_as(input: Any, other: Any) -> Any:
    """`expand` to the shape of `other`."""
    return expand(input, other._data.shape)


def broadcast_to(input: Any, size: Any) -> Any:
    """`input` broadcast to `size`, as a view."""
    return expand(input, size)


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """The tensors broadcast to one shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    shape = broadcast_shapes(*(tuple(x._data.shape) for x in given))
    return tuple(expand(x, shape) for x in given)


def broadcast_shapes_(*shapes: Any) -> Size:
    """The shape that `shapes` broadcast to.

    Examples
    --------
    >>> torch.broadcast_shapes((2, 1), (3,))
    torch.Size([2, 3])
    """
    return Size(broadcast_shapes(*((s,) if isinstance(s, int) else tuple(s) for s in shapes)))


def repeat(input: Any, *sizes: Any) -> Any:
    """Copies side by side: `sizes[i]` of them along dim i."""
    times = ints(sizes, "repeat")
    x = input
    lead = len(times) - input._data.ndim
    if min(times, default=0) < 0:
        result = [a * b for a, b in zip(times, (1,) * lead + tuple(input._data.shape), strict=False)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(result)}: {result}")
    if lead < 0:
        raise ShapeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * lead + tuple(input._data.shape)
    return record(linear.repeat_tiles, (x,), {"times": times, "shape": shape})


def tile(input: Any, *dims: Any) -> Any:
    """As `repeat`, with missing leading counts taken as 1."""
    times = ints(dims, "tile")
    return repeat(input, (1,) * (input._data.ndim - len(times)) + times)


def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element (or slice along `dim`) repeated in place; with one argument, positions repeated that often."""
    if repeats is None:
        return wrap(np.repeat(np.arange(input._data.size), input._data))
    if dim is None:
        input, dim = reshape(input, -1), 0
    d = wrap_dim(dim, input._data.ndim)
    counts = repeats._data if isinstance(repeats, Variable) else np.asarray(repeats)
    n = input._data.shape[d]
    if counts.size not in (1, n):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got "
            f"repeats.size(0) = {counts.size} and input.size({d}) = {n}"
        )
    index = np.repeat(np.arange(n), counts if counts.size > 1 else int(counts.reshape(-1)[0]))
    return linear_index_select(input, d, wrap(index))


def linear_index_select(input: Any, dim: int, index: Any) -> Any:
    """Slices of `input` along `dim` at `index`."""
    return record(OPS["index_select"], (input, index), {"dim": dim})


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """`length` slices along `dim` from `start`, as a view."""
    if not input._data.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input._data.ndim)
    n = input._data.shape[d]
    begin = int(start) + (n if int(start) < 0 else 0)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not 0 <= begin <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {int(start)})")
    if begin + length > n:
        raise RuntimeError(f"start ({begin}) + length ({length}) exceeds dimension size ({n}).")
    return one_view(linear.getitem_slice, input, {"index": (slice(None),) * d + (slice(begin, begin + length), ...)})


def select(input: Any, dim: int, index: Any) -> Any:
    """The slice at `index` of dim `dim`, as a view."""
    if not input._data.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input._data.ndim)
    n, i = input._data.shape[d], int(index)
    if not -n <= i < n:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(input._data.shape)} at dimension {d}"
        )
    return one_view(linear.getitem_select, input, {"index": (slice(None),) * d + (i, ...)})


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The slices along `dim`, as a tuple of views."""
    if not input._data.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return record(linear.unbind, (input,), {"dim": wrap_dim(dim, input._data.ndim)})  # type: ignore[no-any-return]


def split(input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of a size (the last may be smaller), or of given sizes, along `dim`, as views."""
    d = wrap_dim(dim, input._data.ndim)
    if not input._data.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    n = input._data.shape[d]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0 and n:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        full, rest = divmod(n, size) if size else (1, 0)
        sizes = (size,) * full + ((rest,) if rest else ()) or (n,)
    else:
        sizes = ints((split_size_or_sections,))
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), "
                f"but got split_sizes={list(sizes)}"
            )
    return record(linear.split, (input,), {"sizes": sizes, "dim": d})  # type: ignore[no-any-return]


def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of given sizes along `dim`, as views."""
    return split(input, list(split_sizes), dim)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most `chunks` equal pieces along `dim` (the last may be smaller), as views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if not input._data.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = input._data.shape[wrap_dim(dim, input._data.ndim)]
    size = -(-n // chunks)
    return split(input, size, dim) if size else split(input, [0] * chunks, dim)


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of nearly equal size, or between given positions, along `dim`, as views."""
    d = wrap_dim(dim, input._data.ndim)
    n = input._data.shape[d]
    at = indices_or_sections
    if isinstance(at, Variable):
        at = at._data.tolist()
    if isinstance(at, int):
        if at <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {at}")
        size, extra = divmod(n, at)
        return split(input, [size + 1] * extra + [size] * (at - extra), d)
    edges = [0, *(min(max(k + n if k < 0 else k, 0), n) for k in at), n]
    return tuple(narrow(input, d, a, max(b - a, 0)) for a, b in pairwise(edges))


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dim 1 (dim 0 of a vector)."""
    return tensor_split(input, indices_or_sections, 0 if input._data.ndim == 1 else 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dim 0."""
    return tensor_split(input, indices_or_sections, 0)


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dim 2."""
    return tensor_split(input, indices_or_sections, 2)


def _aligned(tensors: Sequence[Any], name: str) -> list[Any]:
    """The tensors in the dtype they promote to."""
    if isinstance(tensors, Variable):
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    given = list(tensors)
    for k, x in enumerate(given):
        if not isinstance(x, Variable):
            raise TypeError(f"expected Tensor as element {k} in argument 0, but got {type(x).__name__}")
    if len({x._data.dtype for x in given}) > 1:
        wanted = result_dtype(given).np
        given = [x if x._data.dtype == wanted else linear.cast(x, wanted) for x in given]
    return given


def cat(tensors: Any, dim: Any = 0, *, out: Any = None) -> Any:
    """Tensors one after another along `dim`."""
    given = _aligned(tensors, "cat")
    if given:
        ndim = max(x._data.ndim for x in given)
        dim = wrap_dim(dim, ndim)
    result = record(linear.cat, (given,), {"dim": dim})
    return result if out is None else store(result, out)


concat = concatenate = cat


def stack(tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Tensors side by side along a new dim."""
    given = _aligned(tensors, "stack")
    if given:
        dim = wrap_dim(dim, given[0]._data.ndim + 1)
    result = record(linear.stack, (given,), {"dim": dim})
    return result if out is None else store(result, out)


def hstack(tensors: Any) -> Any:
    """Tensors joined along dim 1 (dim 0 of vectors)."""
    given = [atleast_1d(x) for x in tensors]
    return cat(given, 0 if given[0]._data.ndim == 1 else 1)


def vstack(tensors: Any) -> Any:
    """Tensors joined along dim 0, vectors as rows."""
    return cat([atleast_2d(x) for x in tensors], 0)


row_stack = vstack


def dstack(tensors: Any) -> Any:
    """Tensors joined along dim 2."""
    return cat([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Any) -> Any:
    """Vectors as columns, and matrices, joined along dim 1."""
    return hstack([reshape(x, -1, 1) if x._data.ndim <= 1 else x for x in tensors])


def _each(function: Any, tensors: Any) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
        return function(tensors[0])
    return tuple(map(function, tensors[0] if len(tensors) == 1 else tensors))


def atleast_1d(*tensors: Any) -> Any:
    """Tensors with at least one dim."""
    return _each(lambda x: x if x._data.ndim >= 1 else reshape(x, 1), tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Tensors with at least two dims."""
    return _each(lambda x: x if x._data.ndim >= 2 else unsqueeze(atleast_1d(x), 0), tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Tensors with at least three dims."""
    return _each(lambda x: x if x._data.ndim >= 3 else unsqueeze(atleast_2d(x), -1), tensors)


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """All windows of `size` along a dim, `step` apart, as a view with the window as last dim."""
    d = wrap_dim(dimension, input._data.ndim)
    n = input._data.shape[d]
    if size < 0 or size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return one_view(linear.unfold, input, {"dim": d, "size": size, "step": step})


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy with gradient history."""
    form = getattr(memory_format, "name", "preserve_format")
    if form == "preserve_format":
        return record(linear.clone, (input,), {})
    if form == "contiguous_format":
        return record(linear.copy, (input,), {})
    result = _channels_last(input, form)
    return record(linear.clone, (input,), {}) if result is input else result


def copy(input: Any) -> Any:
    """A row-major copy with gradient history."""
    return record(linear.copy, (input,), {})


def contiguous(input: Any, memory_format: Any = None) -> Any:
    """The tensor itself where it is row-major, else a row-major copy."""
    form = getattr(memory_format, "name", "")
    if form.startswith("channels_last"):
        return _channels_last(input, form)
    data = input._data
    known = type(data) is ndarray or ACTIVE and state.trace is not None
    if not known or data.flags.c_contiguous:
        return input
    return record(linear.copy, (input,), {})


def _channels_last(input: Any, form: str) -> Any:
    rank = 5 if form == "channels_last_3d" else 4
    if input._data.ndim != rank:
        raise RuntimeError(f"required rank {rank} tensor to use {form} format")
    order = (0, *range(2, input._data.ndim), 1)
    back = (0, input._data.ndim - 1, *range(1, input._data.ndim - 1))
    moved = permute(input, order)
    return input if moved._data.flags.c_contiguous else permute(copy(moved), back)


def cast(input: Any, wanted: dtype) -> Any:
    """The tensor itself where it has that dtype, else a copy with it."""
    return input if input._data.dtype == wanted.np else record(linear.cast, (input,), {"dtype": wanted.np})


def view_as_real(input: Any) -> Any:
    """A complex tensor as pairs (real, imaginary) in a new last dim."""
    if input._data.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return one_view(linear.view_as_real, input, {})


def view_as_complex(input: Any) -> Any:
    """Pairs in the last dim as complex numbers, as a view."""
    if input._data.dtype.kind != "f":
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{KERNEL_NAMES[input._data.dtype.name]}"
        )
    if input._data.shape[-1:] != (2,):
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return one_view(linear.view_as_complex, input, {})


def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A view of the storage with the given sizes, strides and offset, in elements."""
    x = input._data
    root = linear.storage_array(x)
    item = x.itemsize
    here = (x.__array_interface__["data"][0] - root.__array_interface__["data"][0]) // item
    offset = here if storage_offset is None else storage_offset
    sizes, strides = ints((size,)), ints((stride,))
    if len(sizes) != len(strides):
        raise explain(
            RuntimeError("mismatch in length of strides and shape"), received=f"{list(sizes)} and {list(strides)}"
        )
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1 if 0 not in sizes else 0
    if last > root.nbytes // item:
        raise RuntimeError(
            f"setStorage: sizes {list(sizes)}, strides {list(strides)}, storage offset {offset}, and itemsize {item} "
            f"requiring a storage size of {last * item} are out of bounds for storage of size {root.nbytes}"
        )
    geometry = (tuple(x.shape), tuple(s // item for s in x.strides), here)
    return one_view(
        linear.as_strided, input, {"geometry": geometry, "size": sizes, "stride": strides, "offset": offset}
    )


def is_contiguous(input: Any, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order (or channels last) without gaps."""
    data = input._data
    form = getattr(memory_format, "name", "")
    if form.startswith("channels_last"):
        rank = 5 if form == "channels_last_3d" else 4
        return data.ndim == rank and bool(np.moveaxis(data, 1, -1).flags.c_contiguous)
    return bool(data.flags.c_contiguous)
