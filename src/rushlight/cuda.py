"""`torch.cuda` on a machine without a GPU: what programs ask before they use one."""

from __future__ import annotations

from typing import Any

from rushlight.device import check_available


def is_available() -> bool:
    """Whether there is a GPU that can be used."""
    return False


def device_count() -> int:
    """Number of GPUs."""
    return 0


def is_initialized() -> bool:
    """Whether a GPU has been used."""
    return False


def current_device() -> int:
    """The current GPU; an error where there is none."""
    check_available("cuda")
    return 0


def synchronize(device: Any = None) -> None:
    """Wait for the GPU; an error where there is none."""
    check_available("cuda")


def empty_cache() -> None:
    """Give unused GPU memory back: nothing to do without a GPU."""


def manual_seed(seed: int) -> None:
    """Seed the GPU's generator: nothing to do without a GPU."""


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs: nothing to do without a GPU."""


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16."""
    return False
