"""Copies in place of views (`permute_copy`, ...), and out-of-place forms of in-place functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.functions import shape as S
from rushlight.functions.diagonals import diagonal
from rushlight.functions.indexing import put_
from rushlight.functions.inplace import fill_, resize_
from rushlight.functions.shape import clone


def _copied(view: Callable[..., Any]) -> Callable[..., Any]:
    """The form of a view function that returns copies."""

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        result = view(input, *args, **kwargs)
        return tuple(map(clone, result)) if isinstance(result, tuple) else clone(result)

    function.__name__ = function.__qualname__ = f"{view.__name__}_copy"
    function.__doc__ = f"A copy of what `{view.__name__}` shows."
    return function


(
    as_strided_copy, diagonal_copy, expand_copy, permute_copy, select_copy, split_copy,
    split_with_sizes_copy, squeeze_copy,
    t_copy, transpose_copy, unbind_copy, unfold_copy, unsqueeze_copy, view_copy, view_as_real_copy,
    view_as_complex_copy,
) = (
    _copied(function)
    for function in (
        S.as_strided, diagonal, S.expand, S.permute, S.select, S.split, S.split_with_sizes, S.squeeze, S.t, S.transpose,
        S.unbind, S.unfold, S.unsqueeze, S.view, S.view_as_real, S.view_as_complex,
    )
)  # fmt: skip


def detach_copy(input: Any) -> Any:
    """A copy without history."""
    return clone(input.detach())


alias_copy = clone


def fill(input: Any, value: Any) -> Any:
    """A copy with all elements set to one number."""
    return fill_(clone(input), value)


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy with `source` written at positions counted in row-major order."""
    return put_(clone(input), index, source, accumulate)


def resize(input: Any, *sizes: Any) -> Any:
    """A copy with another shape; new elements are undefined."""
    return resize_(clone(input), *sizes)


def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A copy with the elements of an `as_strided` view replaced by `src`."""
    out = S.copy(input)
    S.as_strided(out, size, stride, storage_offset).copy_(src)
    return out
