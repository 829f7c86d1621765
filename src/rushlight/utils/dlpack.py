"""Tensors over the memory of other libraries' arrays, and the reverse."""

from __future__ import annotations

from typing import Any

from rushlight.creation import from_dlpack as from_dlpack


def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule over a tensor's memory."""
    return tensor.__dlpack__()
