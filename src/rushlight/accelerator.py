"""The machine's accelerator, whatever its kind: `torch.accelerator`. There is none here."""

from __future__ import annotations

from typing import Any

from rushlight.device import device
from rushlight.errors import DeviceError


def is_available() -> bool:
    """Whether there is an accelerator: no."""
    return False


def device_count() -> int:
    """Number of accelerators: none."""
    return 0


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of accelerator: None."""
    return None


def _absent(*args: Any, **options: Any) -> Any:
    """Refuse: there is no accelerator."""
    raise DeviceError("Cannot access accelerator device when none is available.")


def empty_cache() -> None:
    """Nothing to give back without an accelerator."""


current_device_index = current_device_idx = set_device_index = set_device_idx = synchronize = _absent
current_stream = set_stream = memory_allocated = max_memory_allocated = memory_stats = _absent
