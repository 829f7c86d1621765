"""What the old names of autocast and the gradient scaler, one pair for each kind of device, have in common."""

from __future__ import annotations

import warnings

from rushlight.amp import grad_scaler


def warn_of_old_name(device: str, name: str) -> None:
    """PyTorch's warning, at the line that makes an object of the old name."""
    warnings.warn(
        f"`torch.{device}.amp.{name}(args...)` is deprecated. "
        f"Please use `torch.amp.{name}('{device}', args...)` instead.",
        FutureWarning,
        stacklevel=3,
    )


class OldGradScaler(grad_scaler.GradScaler):
    """A gradient scaler that is named after its device."""

    old_device: str

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        warn_of_old_name(self.old_device, "GradScaler")
        super().__init__(self.old_device, init_scale, growth_factor, backoff_factor, growth_interval, enabled)
