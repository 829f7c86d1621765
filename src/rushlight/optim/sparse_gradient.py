"""What optimizers need of a sparse gradient."""

from __future__ import annotations

from typing import Any


def elements(grad: Any) -> tuple[tuple[Any, ...], Any]:
    """Index arrays and values of a sparse gradient, each place once: `dense[index]` lines up with the values."""
    merged = grad.coalesce()
    return tuple(merged.indices()._data), merged.values()._data


def dense(grad: Any) -> Any:
    """A sparse gradient as an array."""
    return grad.to_dense()._data
