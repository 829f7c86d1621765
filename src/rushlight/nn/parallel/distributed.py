"""`DistributedDataParallel`: one process per device, gradients averaged over all of them."""

from __future__ import annotations

from typing import Any

from rushlight.nn.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Needs a process group of `rushlight.distributed`, which this version does not have."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        raise NotImplementedError(
            "DistributedDataParallel needs a process group (distributed.init_process_group), and "
            "rushlight.distributed is not there yet; on one machine train the module itself"
        )
