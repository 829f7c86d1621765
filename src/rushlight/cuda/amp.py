"""The old names `torch.cuda.amp.autocast` and `GradScaler`, which warn as PyTorch's do."""

from __future__ import annotations

from rushlight.amp import autocast_mode, custom_bwd, custom_fwd
from rushlight.amp.old_names import OldGradScaler, warn_of_old_name
from rushlight.dtypes import dtype as _dtype
from rushlight.dtypes import float16

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast(autocast_mode.autocast):
    """`amp.autocast("cuda", ...)`."""

    def __init__(self, enabled: bool = True, dtype: _dtype = float16, cache_enabled: bool = True) -> None:
        warn_of_old_name("cuda", "autocast")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(OldGradScaler):
    """`amp.GradScaler("cuda", ...)`."""

    old_device = "cuda"
