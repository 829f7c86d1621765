"""The old names `torch.cpu.amp.autocast` and `GradScaler`, which warn as PyTorch's do."""

from __future__ import annotations

from rushlight.amp import autocast_mode
from rushlight.amp.old_names import OldGradScaler, warn_of_old_name
from rushlight.dtypes import bfloat16
from rushlight.dtypes import dtype as _dtype

__all__ = ["GradScaler", "autocast"]


class autocast(autocast_mode.autocast):
    """`amp.autocast("cpu", ...)`."""

    def __init__(self, enabled: bool = True, dtype: _dtype = bfloat16, cache_enabled: bool = True) -> None:
        warn_of_old_name("cpu", "autocast")
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(OldGradScaler):
    """`amp.GradScaler("cpu", ...)`."""

    old_device = "cpu"
