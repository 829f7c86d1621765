"""oneDNN: `torch.backends.mkldnn`. The switches are kept, and nothing here uses oneDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

enabled = True
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether this build uses oneDNN: no."""
    return False


def set_flags(_enabled: bool = True, _deterministic: bool | None = None, _allow_tf32: bool | None = None) -> None:
    """Set the switches that are given."""
    global enabled, deterministic, allow_tf32
    enabled = _enabled
    deterministic = deterministic if _deterministic is None else _deterministic
    allow_tf32 = allow_tf32 if _allow_tf32 is None else _allow_tf32


@contextmanager
def flags(enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True) -> Iterator[None]:
    """Switches for the length of a block."""
    before = globals()["enabled"], globals()["deterministic"], globals()["allow_tf32"]
    set_flags(enabled, deterministic, allow_tf32)
    try:
        yield
    finally:
        set_flags(*before)
