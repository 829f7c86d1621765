"""Shapes and strides: the pure algebra behind view ops and broadcasting.

Broadcasting and stride rules follow PyTorch's documentation of `Tensor.view` and of broadcasting semantics.
"""

from __future__ import annotations

from rushlight.errors import ShapeError, explain

Ints = tuple[int, ...]


def contiguous_strides(shape: Ints) -> Ints:
    """Strides of a row-major array; sizes of 0 count as 1, as PyTorch counts them."""
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def wrap_dim(dim: int, ndim: int) -> int:
    """`dim` counted from the front; `IndexError` when out of range. A 0-d tensor counts as having one dim."""
    n = ndim or 1
    if -n <= dim < n:
        return dim % n
    raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")


def wrap_dims(dims: Ints, ndim: int) -> Ints:
    """Several dims counted from the front, each at most once."""
    wrapped = tuple(wrap_dim(d, ndim) for d in dims)
    if len(set(wrapped)) != len(wrapped):
        twice = next(d for d in wrapped if wrapped.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return wrapped


def infer_size(shape: Ints, numel: int) -> Ints:
    """`shape` with its one -1 replaced so that it holds `numel` elements."""
    known = 1
    unknown = -1
    for i, n in enumerate(shape):
        if n == -1:
            if unknown >= 0:
                raise ShapeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise ShapeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
        else:
            known *= n
    if unknown >= 0 and known and numel % known == 0:
        return (*shape[:unknown], numel // known, *shape[unknown + 1 :])
    if unknown >= 0 and known == 0 and numel == 0:
        raise ShapeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
            "can be any value and is ambiguous"
        )
    if unknown >= 0 or known != numel:
        raise explain(
            ShapeError(f"shape '{list(shape)}' is invalid for input of size {numel}"),
            expected=f"sizes whose product is {numel}",
            received=tuple(shape),
        )
    return tuple(shape)


def broadcast_shapes(*shapes: Ints) -> Ints:
    """The shape that all `shapes` broadcast to.

    Examples
    --------
    >>> broadcast_shapes((5, 1, 4), (3, 1))
    (5, 3, 4)
    """
    ndim = max(map(len, shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for i in range(ndim - 1, ndim - len(shape) - 1, -1):
            n = shape[i - ndim]
            if n == 1 or n == out[i]:
                continue
            if out[i] != 1:
                raise explain(
                    ShapeError(
                        f"The size of tensor a ({out[i]}) must match the size of tensor b ({n}) "
                        f"at non-singleton dimension {i}"
                    ),
                    expected="sizes that are equal or 1, aligned from the last dimension",
                    received=" and ".join(str(list(s)) for s in shapes),
                )
            out[i] = n
    return tuple(out)


def view_strides(shape: Ints, strides: Ints, new: Ints) -> Ints | None:
    """Strides that show the same memory with shape `new`, or None where only a copy can.

    The old dims are cut into chunks inside which memory is evenly spaced; each run of new dims must fill one
    chunk (the rule PyTorch documents for `Tensor.view`).
    """
    if 0 in shape:
        return contiguous_strides(new)
    out: list[int] = []
    j = len(new) - 1
    chunk, base = 1, strides[-1] if shape else 1
    for i in range(len(shape) - 1, -1, -1):
        chunk *= shape[i]
        if i and (shape[i - 1] == 1 or strides[i - 1] == chunk * base):
            continue
        filled = 1
        while j >= 0 and (filled < chunk or new[j] == 1):
            out.append(filled * base)
            filled *= new[j]
            j -= 1
        if filled != chunk:
            return None
        if i:
            chunk, base = 1, strides[i - 1]
    while j >= 0:
        if new[j] != 1:
            return None
        out.append(1)
        j -= 1
    return tuple(reversed(out))
