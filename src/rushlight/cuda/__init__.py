"""`torch.cuda` on a machine without a GPU: what programs ask before they use one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

from rushlight.device import check_available
from rushlight.errors import OutOfMemoryError


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


def _of_no_gpu(name: str) -> Callable[..., Any]:
    def question(*args: Any, **options: Any) -> Any:
        check_available("cuda")

    question.__name__ = question.__qualname__ = name
    question.__doc__ = "An error where there is no GPU."
    return question


for _name in """
    can_device_access_peer current_stream default_stream get_device_capability get_device_name get_device_properties
    get_rng_state init initial_seed ipc_collect mem_get_info memory_summary set_device utilization
""".split():
    globals()[_name] = _of_no_gpu(_name)


def _no_bytes(device: Any = None) -> int:
    """Bytes of GPU memory in use: none."""
    return 0


memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = _no_bytes
memory_cached = max_memory_cached = _no_bytes


def _nothing(*args: Any, **options: Any) -> None:
    """Nothing to do without a GPU."""


reset_peak_memory_stats = reset_max_memory_allocated = reset_max_memory_cached = reset_accumulated_memory_stats = (
    _nothing
)
seed = seed_all = set_rng_state = set_rng_state_all = _nothing


def get_rng_state_all() -> list[Any]:
    """The states of all GPUs' generators: none."""
    return []


def get_arch_list() -> list[str]:
    """Kinds of GPU this build is for: none."""
    return []


def memory_stats(device: Any = None) -> dict[str, Any]:
    """Figures of GPU memory: none."""
    return {}


class device(nullcontext[None]):
    """A block on one GPU; without any it changes nothing."""

    def __init__(self, device: Any = None) -> None:
        super().__init__()


def stream(stream: Any) -> Any:
    """A block on a stream; without one it changes nothing."""
    return nullcontext()


class Stream:
    """A queue of GPU work; an error where there is no GPU."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise RuntimeError(f"torch.cuda.{type(self).__name__} requires CUDA support")


class Event(Stream):
    """A mark in a queue of GPU work; an error where there is no GPU."""


def __getattr__(name: str) -> ModuleType:
    """Import `cuda.amp` when first asked for."""
    if name == "amp":
        return importlib.import_module(f"{__name__}.amp")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
