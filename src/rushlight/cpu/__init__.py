"""The processor as a device: `torch.cpu`."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from types import ModuleType
from typing import Any


def is_available() -> bool:
    """Whether the CPU can be used: yes."""
    return True


def is_initialized() -> bool:
    """Whether the CPU is ready: yes."""
    return True


def device_count() -> int:
    """Number of CPU devices: one."""
    return 1


def current_device() -> str:
    """The current device: "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Accepted: there is one CPU."""


def synchronize(device: Any = None) -> None:
    """Nothing to wait for: work is done when a call returns."""


class Stream:
    """The one queue of the CPU."""

    def wait_stream(self, stream: Any) -> None:
        """Nothing to wait for."""


def current_stream(device: Any = None) -> Stream:
    """The one queue of the CPU."""
    return Stream()


def stream(stream: Any) -> Any:
    """A block on `stream`."""
    return nullcontext()


def __getattr__(name: str) -> ModuleType:
    """Import `cpu.amp` when first asked for."""
    if name == "amp":
        return importlib.import_module(f"{__name__}.amp")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
