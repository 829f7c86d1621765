"""The processor: `torch.backends.cpu`."""

from __future__ import annotations

from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

_LEVELS = (("AVX512", "AVX512_SKX"), ("AVX2", "AVX2"), ("ASIMD", "ASIMD"))


def get_cpu_capability() -> str:
    """The widest vector instructions that NumPy found: "AVX512", "AVX2", "ASIMD" or "DEFAULT"."""
    found = getattr(_multiarray_umath, "__cpu_features__", {})
    return next((level for level, feature in _LEVELS if found.get(feature)), "DEFAULT")
