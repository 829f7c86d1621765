"""Linear maps of one array: each is the gradient of another one here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.backends import numpy as xp_numpy
from rushlight.errors import ShapeError, explain
from rushlight.layout import infer_size, view_strides, wrap_dim
from rushlight.ops.kinds import Array, Arrays, composite, elementwise, opaque, reduction, sum_to_shape, view
from rushlight.spec import Spec, spec_of

Ints = tuple[int, ...]
Index = tuple[Any, ...]


def conj_of(x: Any) -> Any:
    """The conjugate where `x` is complex, else `x` itself: what gradients of products multiply by."""
    if type(x) is np.ndarray:
        return x if x.dtype.kind != "c" else np.conjugate(x)
    if isinstance(x, (int, float)):
        return x
    if isinstance(x, complex):
        return x.conjugate()
    return conj(x) if spec_of(x).dtype.kind == "c" else x


# up to this many elements a filled array costs less than what NumPy loses on strides of 0 in the ops that follow
_FILLED = 8192


def restore(g: Any, spec: Spec, dim: Any, keepdim: bool) -> Any:
    """Undo the shape change of a reduction: bring `g` back to the shape of the operand, by expanding."""
    if dim is None and isinstance(g, (np.ndarray, np.generic)):
        g = np.asarray(g)
        if len(spec.shape) < 4 and math.prod(spec.shape) <= _FILLED:
            filled = np.empty(spec.shape, g.dtype)
            filled[...] = g if g.ndim == 0 else g.reshape(())
            return filled
        return xp_numpy.expand(g if g.ndim == 0 else g.reshape(()), spec.shape)
    if not keepdim and dim is not None:
        dims = (dim,) if isinstance(dim, int) else dim
        shape = tuple(1 if i in dims or i - len(spec.shape) in dims else n for i, n in enumerate(spec.shape))
        g = reshape(g, shape)
    elif not keepdim:
        g = reshape(g, (1,) * len(spec.shape))
    return expand(g, spec.shape)


def _half_sum(xp: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    return xp.add.reduce(x, axis=dim, keepdims=keepdim, dtype=np.float32).astype(x.dtype)


@reduction(
    by_dim=True,
    result="total",
    identity=0,
    combine=lambda xp, a, b: a + b,
    grad=lambda g, x_spec, dim, keepdim: restore(g, x_spec, dim, keepdim),
)
def sum(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Sum of the elements along `dim`. Half precision is summed in float32; bool and integers give int64."""
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return _half_sum(xp, x, dim, keepdim)
    if x.dtype.kind in "biu":
        return xp.add.reduce(x, axis=dim, keepdims=keepdim, dtype=np.int64)
    return xp.add.reduce(x, axis=dim, keepdims=keepdim)


@view(grad=lambda g, x_spec: sum_to_shape(g, x_spec.shape))
def expand(xp: Any, x: Array, shape: Ints = ()) -> Array:
    """`x` with size-1 dims stretched to `shape`, sharing memory."""
    if x.shape == shape:
        return x[...]
    return xp_numpy.expand(x, expanded_shape(x.shape, shape))


def expanded_shape(old: Ints, new: Ints) -> Ints:
    """The sizes that `expand(new)` means for a tensor of sizes `old` (-1 keeps a size)."""
    lead = len(new) - len(old)
    if lead < 0:
        raise explain(
            ShapeError(
                f"expand(torch.FloatTensor{{{list(old)}}}, size={list(new)}): the number of sizes provided "
                f"({len(new)}) "
                f"must be greater or equal to the number of dimensions in the tensor ({len(old)})"
            ),
            received=new,
        )
    out = list(new)
    for i in range(len(new) - 1, -1, -1):
        n = new[i]
        have = old[i - lead] if i >= lead else None
        if n == -1:
            if have is None:
                raise explain(
                    ShapeError(
                        f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                    ),
                    received=new,
                )
            out[i] = have
        elif have is not None and have not in (1, n):
            raise explain(
                ShapeError(
                    f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton "
                    f"dimension {i}.  Target sizes: {list(new)}.  Tensor sizes: {list(old)}"
                ),
                expected=f"{have}, or a tensor of size 1 there",
                received=new,
            )
    return tuple(out)


@view(name="ViewBackward0", grad=lambda g, x_spec: reshape(g, x_spec.shape))
def view_as(xp: Any, x: Array, shape: Ints = ()) -> Array:
    """`x` with another shape over the same memory; an error where only a copy could have that shape."""
    try:
        return x.reshape(shape) if x.flags.c_contiguous else x.reshape(shape, copy=False)
    except ValueError:
        infer_size(shape, x.size)
        raise explain(
            ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
                "two contiguous subspaces). Use .reshape(...) instead."
            ),
            expected=f"a shape that strides {tuple(s // x.itemsize for s in x.strides)} of {list(x.shape)} allow",
            received=shape,
            fix=f".reshape({', '.join(map(str, shape))}) copies, .contiguous().view(...) too",
        ) from None


@composite()
def reshape(x: Array, shape: Ints = ()) -> Array:
    """`x` with another shape: a view where strides allow it, else a copy."""
    if type(x) is np.ndarray:
        return x.reshape(shape)
    spec = spec_of(x)
    shape = infer_size(shape, int(np.prod(spec.shape)))
    data: Any = getattr(x, "_data", x)
    if not hasattr(data, "strides"):
        return unsafe_view(x, shape)
    if view_strides(spec.shape, tuple(s // data.itemsize for s in data.strides), shape) is None:
        return unsafe_view(copy(x), shape)
    return view_as(x, shape)


@view(name="UnsafeViewBackward0", grad=lambda g, x_spec: reshape(g, x_spec.shape))
def unsafe_view(xp: Any, x: Array, shape: Ints = ()) -> Array:
    """`view_as` of a fresh copy."""
    return x.reshape(shape)


@opaque(name="CloneBackward0", spec=lambda x: x, grad=lambda g: g)
def copy(xp: Any, x: Array) -> Array:
    """A row-major copy."""
    return np.array(x, order="C", copy=True)


@opaque(spec=lambda x: x, grad=lambda g: g)
def clone(xp: Any, x: Array) -> Array:
    """A copy with the order of dims in memory kept."""
    return np.array(x, order="C" if 0 in x.strides else "K", copy=True)


@view(grad=lambda g, dims: permute(g, tuple(np.argsort(dims).tolist())))
def permute(xp: Any, x: Array, dims: Ints = ()) -> Array:
    """Dims in another order: dim i of the result is dim `dims[i]` of `x`."""
    return x.transpose(dims)


@view(grad=lambda g, dim0, dim1: transpose(g, dim0, dim1))
def transpose(xp: Any, x: Array, dim0: int = 0, dim1: int = 1) -> Array:
    """Two dims exchanged."""
    return x.swapaxes(dim0, dim1)


@view(name="TBackward0", grad=lambda g: t(g))
def t(xp: Any, x: Array) -> Array:
    """The transpose of a matrix; vectors and scalars stay."""
    return x.T


@view(grad=lambda g, x_spec: reshape(g, x_spec.shape))
def unsqueeze(xp: Any, x: Array, dim: int = 0) -> Array:
    """A new dim of size 1 before `dim`."""
    dim = wrap_dim(dim, x.ndim + 1)
    return x[(slice(None),) * dim + (None, ...)]


@view(grad=lambda g, x_spec: reshape(g, x_spec.shape))
def squeeze(xp: Any, x: Array) -> Array:
    """All dims of size 1 removed."""
    return x[(*(0 if n == 1 else slice(None) for n in x.shape), ...)]


@view(name="SqueezeBackward1", grad=lambda g, x_spec: reshape(g, x_spec.shape))
def squeeze_dim(xp: Any, x: Array, dim: Ints = ()) -> Array:
    """Those of the dims `dim` that have size 1 removed."""
    return x[(*(0 if n == 1 and i in dim else slice(None) for i, n in enumerate(x.shape)), ...)]


def _placed_spec(x: Spec, shape: Ints, index: Index) -> Spec:
    return Spec(shape, x.dtype)


@opaque(spec=_placed_spec, grad=lambda g, index: getitem_slice(g, index))
def place_slice(xp: Any, x: Array, shape: Ints, index: Index) -> Array:
    """Zeros of `shape` with `x` at the basic index `index`: the gradient of taking that part."""
    out = np.zeros(shape, x.dtype)
    out[index] = x
    return out


@view(name="SelectBackward0", grad=lambda g, x_spec, index: place_slice(g, x_spec.shape, index))
def getitem_select(xp: Any, x: Array, index: Index) -> Array:
    """`x[index]` whose last step takes one position of a dim."""
    return x[index]


@view(name="SliceBackward0", grad=lambda g, x_spec, index: place_slice(g, x_spec.shape, index))
def getitem_slice(xp: Any, x: Array, index: Index) -> Array:
    """`x[index]` whose last step takes a range of a dim."""
    return x[index]


@view(name="UnsqueezeBackward0", grad=lambda g, x_spec: reshape(g, x_spec.shape))
def getitem_unsqueeze(xp: Any, x: Array, index: Index) -> Array:
    """`x[index]` that only adds dims of size 1."""
    return x[index]


@view(name="UnsqueezeBackward0", grad=lambda g, x_spec, index: place_slice(g, x_spec.shape, index))
def getitem_mixed(xp: Any, x: Array, index: Index) -> Array:
    """`x[index]` that takes a part and whose last step adds a dim of size 1."""
    return x[index]


@view(name="AliasBackward0", grad=lambda g: g)
def alias(xp: Any, x: Array) -> Array:
    """The same memory again."""
    return x[...]


@view(name="UnbindBackward0", grad=lambda g, dim: stack(list(g), dim))
def unbind(xp: Any, x: Array, dim: int = 0) -> Array:
    """The slices along `dim`, as a tuple of views."""
    lead = (slice(None),) * dim
    return tuple(x[(*lead, i, ...)] for i in range(x.shape[dim]))


@view(name="SplitBackward0", grad=lambda g, dim: cat(list(g), dim))
def split(xp: Any, x: Array, sizes: Ints = (), dim: int = 0) -> Array:
    """Consecutive pieces of `sizes` along `dim`, as a tuple of views."""
    lead = (slice(None),) * dim
    pieces = []
    at = 0
    for n in sizes:
        pieces.append(x[(*lead, slice(at, at + n))])
        at += n
    return tuple(pieces)


def _cat_spec(xs: tuple[Spec, ...], dim: int = 0) -> Spec:
    if not xs:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    parts = [s for s in xs if s.shape != (0,)] or [xs[0]]
    first = parts[0].shape
    if not first:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    d = wrap_dim(dim, len(first))
    for k, s in enumerate(parts):
        if len(s.shape) != len(first):
            raise ShapeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(s.shape)}")
        for i, (n, m) in enumerate(zip(first, s.shape, strict=True)):
            if i != d and n != m:
                raise explain(
                    ShapeError(
                        f"Sizes of tensors must match except in dimension {d}. Expected size {n} but got size {m} "
                        f"for tensor number {k} in the list."
                    ),
                    expected=tuple("any" if j == d else q for j, q in enumerate(first)),
                    received=s.shape,
                )
    length = _total(s.shape[d] for s in parts)
    dtype = np.result_type(*(s.dtype for s in xs))
    return Spec((*first[:d], length, *first[d + 1 :]), dtype)


def _total(values: Any) -> int:
    total = 0
    for v in values:
        total += v
    return total


def _cat_grad(g: Any, xs_spec: tuple[Spec, ...], dim: int) -> list[Any]:
    grads = []
    at = 0
    for s in xs_spec:
        if s.shape == (0,):
            grads.append(reshape(getitem_slice(g, (slice(0, 0),) * len(spec_of(g).shape)), (0,)))
            continue
        d = dim % len(s.shape)
        grads.append(getitem_slice(g, (*(slice(None),) * d, slice(at, at + s.shape[d]))))
        at += s.shape[d]
    return grads


@opaque(spec=_cat_spec, grad=_cat_grad)
def cat(xp: Any, xs: Arrays, dim: int = 0) -> Array:
    """The arrays one after another along `dim`."""
    parts = [x for x in xs if x.shape != (0,)] or [xs[0]]
    return np.concatenate(parts, axis=dim)


def _stack_spec(xs: tuple[Spec, ...], dim: int = 0) -> Spec:
    if not xs:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = xs[0].shape
    d = wrap_dim(dim, len(first) + 1)
    for k, s in enumerate(xs):
        if s.shape != first:
            raise explain(
                ShapeError(
                    f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                    f"{list(s.shape)} at entry {k}"
                ),
                fix="torch.cat joins along an existing dim",
            )
    return Spec((*first[:d], len(xs), *first[d:]), np.result_type(*(s.dtype for s in xs)))


@opaque(spec=_stack_spec, grad=lambda g, dim: list(unbind(g, dim)))
def stack(xp: Any, xs: Arrays, dim: int = 0) -> Array:
    """The arrays side by side along a new dim `dim`."""
    return np.stack(xs, axis=dim)


@opaque(
    name="ToCopyBackward0",
    spec=lambda x, dtype: Spec(x.shape, dtype),
    grad=lambda g, x_spec: cast(g, x_spec.dtype),
)
def cast(xp: Any, x: Array, dtype: Any) -> Array:
    """`x` with another dtype."""
    return xp_numpy.astype(x, dtype)


@opaque(spec=lambda x: x, grad=(None,))
def zeros_as(xp: Any, x: Array) -> Array:
    """Zeros of the shape and dtype of `x`: the gradient of what does not change, also where `x` is infinite."""
    return np.zeros(x.shape, x.dtype)


@elementwise(grad=lambda g: conj(g))
def conj(xp: Any, x: Array) -> Array:
    """Complex conjugate."""
    return xp.conjugate(x) if x.dtype.kind == "c" else x.copy()


@opaque(spec=lambda x, dims: x, grad=lambda g, dims: flip(g, dims))
def flip(xp: Any, x: Array, dims: Ints = ()) -> Array:
    """Order reversed along each of `dims`."""
    return np.flip(x, dims).copy("C" if 0 in x.strides else "K") if dims else x.copy()


@opaque(spec=lambda x, shifts, dims: x, grad=lambda g, shifts, dims: roll(g, tuple(-s for s in shifts), dims))
def roll(xp: Any, x: Array, shifts: Ints, dims: Any = None) -> Array:
    """Elements moved by `shifts` along `dims`, those pushed out re-entering at the other end."""
    return np.roll(np.ascontiguousarray(x), shifts if dims else shifts[0], dims or None).reshape(x.shape)


def _tril_spec(x: Spec, diagonal: int = 0) -> Spec:
    if len(x.shape) < 2:
        raise ShapeError("tril: input tensor must have at least 2 dimensions")
    return x


@opaque(spec=_tril_spec, grad=lambda g, diagonal: tril(g, diagonal))
def tril(xp: Any, x: Array, diagonal: int = 0) -> Array:
    """The lower triangle of each matrix, zeros elsewhere."""
    return np.ascontiguousarray(np.where(np.tri(x.shape[-2], x.shape[-1], diagonal, bool), x, np.zeros((), x.dtype)))


@opaque(spec=_tril_spec, grad=lambda g, diagonal: triu(g, diagonal))
def triu(xp: Any, x: Array, diagonal: int = 0) -> Array:
    """The upper triangle of each matrix, zeros elsewhere."""
    return np.ascontiguousarray(
        np.where(np.tri(x.shape[-2], x.shape[-1], diagonal - 1, bool), np.zeros((), x.dtype), x)
    )


def _diagonal_index(shape: Ints, offset: int, dim1: int, dim2: int) -> Index:
    n, m = shape[dim1], shape[dim2]
    length = max(0, min(n + min(offset, 0), m - max(offset, 0)))
    step = np.arange(length)
    index: list[Any] = [slice(None)] * len(shape)
    index[dim1], index[dim2] = step - min(offset, 0), step + max(offset, 0)
    return tuple(index)


@opaque(
    spec=lambda x, shape, offset, dim1, dim2: Spec(shape, x.dtype),
    grad=lambda g, offset, dim1, dim2: diagonal(g, offset, dim1, dim2),
)
def place_diagonal(xp: Any, x: Array, shape: Ints, offset: int, dim1: int, dim2: int) -> Array:
    """Zeros of `shape` with `x` on a diagonal: the gradient of `diagonal`."""
    out = np.zeros(shape, x.dtype)
    moved = np.moveaxis(out, (dim1, dim2), (-2, -1))
    rows, columns = _diagonal_index(moved.shape, offset, moved.ndim - 2, moved.ndim - 1)[-2:]
    moved[..., rows, columns] = x
    return out


@view(grad=lambda g, x_spec, offset, dim1, dim2: place_diagonal(g, x_spec.shape, offset, dim1, dim2))
def diagonal(xp: Any, x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """The diagonal of dims `dim1`, `dim2` as the last dim of a view."""
    n, m = x.shape[dim1], x.shape[dim2]
    length = max(0, min(n + min(offset, 0), m - max(offset, 0)))
    start: list[Any] = [slice(None)] * x.ndim
    start[dim1], start[dim2] = slice(max(-offset, 0), None), slice(max(offset, 0), None)
    part = np.moveaxis(x[tuple(start)], (dim1, dim2), (-2, -1))
    strides = (*part.strides[:-2], part.strides[-2] + part.strides[-1])
    return np.lib.stride_tricks.as_strided(part, (*part.shape[:-2], length), strides)


@opaque(
    spec=lambda x, shape, dim, size, step: Spec(shape, x.dtype),
    grad=lambda g, dim, size, step: unfold(g, dim, size, step),
)
def fold_windows(xp: Any, x: Array, shape: Ints, dim: int, size: int, step: int) -> Array:
    """Windows added up where they overlap: the gradient of `unfold`."""
    out = np.zeros(shape, x.dtype)
    lead = (slice(None),) * dim
    for k in range(size):
        out[(*lead, slice(k, k + step * (x.shape[dim] - 1) + 1, step))] += x[..., k]
    return out


@view(grad=lambda g, x_spec, dim, size, step: fold_windows(g, x_spec.shape, dim, size, step))
def unfold(xp: Any, x: Array, dim: int, size: int, step: int) -> Array:
    """All windows of `size` along `dim`, `step` apart, as a view with the window as last dim."""
    count = (x.shape[dim] - size) // step + 1
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :], size)
    strides = (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :], x.strides[dim])
    return np.lib.stride_tricks.as_strided(x, shape, strides)


@view(grad=None)
def view_as_dtype(xp: Any, x: Array, dtype: Any) -> Array:
    """The same bytes read as another dtype."""
    return x.view(dtype)


@view(name="ViewAsRealBackward0", grad=lambda g: view_as_complex(copy(g)))
def view_as_real(xp: Any, x: Array) -> Array:
    """A complex array as pairs (real, imaginary) in a new last dim."""
    return x[..., None].view(x.real.dtype)


@view(name="ViewAsComplexBackward0", grad=lambda g: view_as_real(g))
def view_as_complex(xp: Any, x: Array) -> Array:
    """Pairs in the last dim as complex numbers."""
    return x.view(np.complex64 if x.dtype.itemsize == 4 else np.complex128)[..., 0]


@view(name="RealBackward0", grad=lambda g, x_spec: cast(g, x_spec.dtype))
def real(xp: Any, x: Array) -> Array:
    """The real parts, as a view."""
    return x.real


@view(name="ImagBackward0", grad=lambda g, x_spec: cast(g, x_spec.dtype) * 1j)
def imag(xp: Any, x: Array) -> Array:
    """The imaginary parts, as a view."""
    return x.imag


def _strided_spec(x: Spec, geometry: Any, size: Ints, stride: Ints, offset: int) -> Spec:
    return Spec(size, x.dtype)


@opaque(
    spec=lambda x, geometry, size, stride, offset: Spec(geometry[0], x.dtype),
    grad=lambda g, geometry, size, stride, offset: take_strided(g, geometry, size, stride, offset),
)
def place_strided(xp: Any, x: Array, geometry: Any, size: Ints, stride: Ints, offset: int) -> Array:
    """Elements of a strided view added up into the base's positions: the gradient of `as_strided`."""
    shape, positions = geometry[0], strided_positions(geometry, size, stride, offset)
    flat = np.bincount(positions.ravel(), weights=x.ravel(), minlength=int(np.prod(shape)))
    return flat.reshape(shape).astype(x.dtype)


@opaque(
    spec=_strided_spec, grad=lambda g, geometry, size, stride, offset: place_strided(g, geometry, size, stride, offset)
)
def take_strided(xp: Any, x: Array, geometry: Any, size: Ints, stride: Ints, offset: int) -> Array:
    """The elements a strided view of a base with that geometry shows, as a copy."""
    return x.reshape(-1)[strided_positions(geometry, size, stride, offset)]


def strided_positions(geometry: Any, size: Ints, stride: Ints, offset: int) -> Any:
    """Flat position in the base of each element of a strided view; `geometry` is the base's (shape, strides, "
    "offset)."""
    shape, base_stride, base_offset = geometry
    memory = _addresses(size, stride, offset)
    home = _addresses(shape, base_stride, base_offset).ravel()
    order = np.argsort(home, kind="stable")
    found = np.minimum(np.searchsorted(home[order], memory.ravel()), max(len(home) - 1, 0))
    return order[found].reshape(size)


def _addresses(size: Ints, stride: Ints, offset: int) -> Any:
    out = np.full((), offset, np.int64)
    for n, s in zip(size, stride, strict=True):
        out = out[..., None] + np.arange(n) * s
    return out


@view(grad=lambda g, geometry, size, stride, offset: place_strided(g, geometry, size, stride, offset))
def as_strided(xp: Any, x: Array, geometry: Any, size: Ints, stride: Ints, offset: int) -> Array:
    """A view of `x`'s storage with the given sizes, strides and offset (in elements); bounds are checked by "
    "the caller."""
    root = storage_array(x)
    item = x.itemsize
    buffer = np.ndarray((root.nbytes // item,), x.dtype, _raw_buffer(root))
    return np.lib.stride_tricks.as_strided(buffer[offset:], size, tuple(s * item for s in stride))


def _raw_buffer(root: Any) -> Any:
    return np.lib.stride_tricks.as_strided(root, (root.size,), (root.itemsize,)).view(np.uint8).data


def storage_array(x: Any) -> Any:
    """The array that owns the memory `x` shows."""
    while x.base is not None:
        owner = x.base.obj if type(x.base) is memoryview else x.base
        if not isinstance(owner, np.ndarray):  # what `stride_tricks` puts between a view and its array
            owner = getattr(owner, "base", None)
        if not isinstance(owner, np.ndarray):
            break
        x = owner
    return x


def _repeat_grad(g: Any, x_spec: Any, times: Any, shape: Any) -> Any:
    pairs = tuple(k for pair in zip(times, shape, strict=True) for k in pair)
    summed = sum(reshape(g, pairs), tuple(range(0, len(pairs), 2)), False)
    return reshape(summed, x_spec.shape)


@opaque(
    spec=lambda x, times, shape: Spec(tuple(a * b for a, b in zip(times, shape, strict=True)), x.dtype),
    grad=_repeat_grad,
    name="RepeatBackward0",
)
def repeat_tiles(xp: Any, x: Array, times: Any, shape: Any) -> Array:
    """Copies of `x`, seen with `shape`, side by side."""
    return np.tile(x.reshape(shape), times)


@elementwise(
    name="CopyBackwards",
    result="promote",
    grad=(lambda g: zeros_as(g), lambda g: g),
)
def copy_into(xp: Any, x: Array, src: Array) -> Array:
    """`src` broadcast to the shape of `x`: what `copy_` writes."""
    return xp.where(True, src, x)
