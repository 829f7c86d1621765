"""`torch.multiprocessing`: Python's multiprocessing, with `spawn`.

Tensors sent to another process arrive as copies.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from rushlight.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

_STRATEGIES = ("file_descriptor", "file_system")
_strategy = ["file_descriptor"]


def get_all_sharing_strategies() -> set[str]:
    """Names that `set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What `set_sharing_strategy` was given last."""
    return _strategy[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted: tensors are copied between processes in any case."""
    assert new_strategy in _STRATEGIES, f"expected one of {_STRATEGIES}, received {new_strategy!r}"
    _strategy[0] = new_strategy


def __getattr__(name: str) -> Any:
    """Everything else is Python's."""
    return getattr(multiprocessing, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(multiprocessing)})
