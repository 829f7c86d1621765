"""Switches of cuDNN: `torch.backends.cudnn`. They are kept, and nothing here uses cuDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True
benchmark_limit: int | None = None
_NAMES = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")


def is_available() -> bool:
    """Whether cuDNN is there: no."""
    return False


def version() -> int | None:
    """The version of cuDNN: None without it."""
    return None


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN can work on `tensor`: no."""
    return False


def set_flags(**switches: Any) -> tuple[Any, ...]:
    """Set switches given by name (with or without a leading `_`) and return the old values of all."""
    before = tuple(globals()[name] for name in _NAMES)
    for name, value in switches.items():
        name = name.lstrip("_")
        if name not in _NAMES and name != "fp32_precision":
            raise TypeError(f"set_flags() got an unexpected keyword argument '{name}'")
        if value is not None:
            globals()[name] = value
    return before


@contextmanager
def flags(**switches: Any) -> Iterator[None]:
    """Switches for the length of a block."""
    before = set_flags(**switches)
    try:
        yield
    finally:
        globals().update(zip(_NAMES, before, strict=True))
