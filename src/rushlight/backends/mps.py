"""Apple GPUs: `torch.backends.mps`. There is no such backend here."""

from __future__ import annotations


def is_available() -> bool:
    """Whether an Apple GPU can be used: no."""
    return False


def is_built() -> bool:
    """Whether this build can use Apple GPUs: no."""
    return False


def is_macos13_or_newer(minor: int = 0) -> bool:
    """Whether the system is a macOS that PyTorch's backend needs: the question is for that backend only."""
    return False


is_macos_or_newer = is_macos13_or_newer
