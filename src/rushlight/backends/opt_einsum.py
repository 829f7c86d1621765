"""The order of products in `einsum`: `torch.backends.opt_einsum`."""

from __future__ import annotations

from typing import Any

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """Whether the opt_einsum package is used: no."""
    return False


def get_opt_einsum() -> Any:
    """The opt_einsum package: None, it is not used."""
    return None
