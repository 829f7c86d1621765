"""`torch.multiprocessing`: Python's multiprocessing, with `spawn`, and with tensors in shared memory.

Once this module is imported, a tensor that goes to another process through a queue, a pipe, a pool or the arguments of
a process is moved to shared memory, and both sides see what either writes into it. The memory has no name and is gone
with the last process that maps it. The sender must be alive until the receiver has got the tensor.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from rushlight import shared
from rushlight.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)
from rushlight.nn.parameter import Buffer, Parameter
from rushlight.tensor import Tensor

_STRATEGIES = ("file_descriptor", "file_system")
_strategy = ["file_descriptor"]


for _kind in (Tensor, Parameter, Buffer):
    shared.register(_kind)


def get_all_sharing_strategies() -> set[str]:
    """Names that `set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What `set_sharing_strategy` was given last."""
    return _strategy[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted: memory is shared through descriptors of anonymous files in any case."""
    assert new_strategy in _STRATEGIES, f"expected one of {_STRATEGIES}, received {new_strategy!r}"
    _strategy[0] = new_strategy


def __getattr__(name: str) -> Any:
    """Everything else is Python's."""
    return getattr(multiprocessing, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(multiprocessing)})
