"""`Spec`: what is known of an array without its data."""

from __future__ import annotations

from typing import Any, NamedTuple


class Spec(NamedTuple):
    """Shape (a tuple of ints) and NumPy dtype of an array."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


def spec_of(x: Any) -> Spec:
    """The spec of an array, a tensor, a traced value or a Python number."""
    data = getattr(x, "_data", x)
    own = getattr(data, "spec", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    if hasattr(data, "shape"):
        return Spec(tuple(data.shape), data.dtype)
    return Spec((), None)
