"""Handles of hooks: `torch.utils.hooks`."""

from rushlight.nn.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
