"""OpenMP: `torch.backends.openmp`."""

from __future__ import annotations


def is_available() -> bool:
    """Whether this build uses OpenMP: no, it has threads of its own."""
    return False
