"""What programs ask of a kind of device that is not there, before they use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.device import check_available


def questions(kind: str) -> dict[str, Callable[..., Any]]:
    """`is_available`, `device_count`, `manual_seed` ... of the absent device `kind`."""

    def is_available() -> bool:
        """Whether such a device can be used: no."""
        return False

    def device_count() -> int:
        """Number of such devices: none."""
        return 0

    def synchronize(device: Any = None) -> None:
        """Wait for the device; an error where there is none."""
        check_available(kind)

    def nothing(*args: Any, **options: Any) -> None:
        """Nothing to do without such a device."""

    return {
        "is_available": is_available, "is_initialized": is_available, "device_count": device_count,
        "synchronize": synchronize, "current_device": synchronize, "empty_cache": nothing, "manual_seed": nothing,
        "manual_seed_all": nothing, "seed": nothing,
    }  # fmt: skip
