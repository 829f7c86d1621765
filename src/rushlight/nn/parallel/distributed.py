"""`DistributedDataParallel`: each process trains on its part of the data, gradients are averaged over all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.modes import is_grad_enabled
from rushlight.nn.module import Module
from rushlight.nn.parallel.reducer import MEGABYTE, Reducer

__all__ = ["DistributedDataParallel"]


class DefaultGroup:
    """The group of all processes; `rushlight.distributed` sets it."""

    group: Any = None


class DistributedDataParallel(Module):
    """Runs `module`, and averages its gradients over the processes of a group while backward runs.

    All processes start with the parameters and buffers of the first one. They must call forward and backward in the
    same order, each with its own part of the data (`DistributedSampler`).

    Parameters
    ----------
    module : Module
        Its name in the state dict is `module.`.
    broadcast_buffers : bool, default True
        Give all processes the first one's buffers at each forward.
    process_group : ProcessGroup, optional
        Default: all processes.
    bucket_cap_mb : float, default 25
        How many megabytes of gradients travel together.
    find_unused_parameters : bool, default False
        Whether parameters may get no gradient in some iterations.

    Notes
    -----
    PyTorch: the mean is over processes, of whatever each one's gradient is; so here. Communication hooks, `join` and
    sparse gradients are not there.

    Examples
    --------
    >>> import rushlight.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
    >>> list(model.state_dict())
    ['module.weight', 'module.bias']
    >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        group = process_group if process_group is not None else DefaultGroup.group
        if group is None:
            raise ValueError(
                "Default process group has not been initialized, please make sure to call init_process_group."
            )
        wanted = [name for name, value in options.items() if value not in (None, False)]
        if wanted:
            raise NotImplementedError(f"DistributedDataParallel({', '.join(f'{name}=...' for name in wanted)})")
        if device_ids:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with single-device/"
                f"multiple-device GPU modules or CPU modules, but got device_ids {device_ids}, output_device "
                f"{output_device}, and module parameters {{device(type='cpu')}}."
            )
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad and n not in ignored]
        if not named:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a "
                "gradient."
            )
        self.module = module
        self.device_ids = self.output_device = None
        self.dim, self.process_group = dim, group
        self.broadcast_buffers = True if broadcast_buffers is None else broadcast_buffers
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        if init_sync:
            self._check_same_model(named)
            self._spread([p for _, p in named] + self._buffers_of_module(ignored))
        self._kept_buffers = self._buffers_of_module(ignored)
        limit = (25 if bucket_cap_mb is None else bucket_cap_mb) * MEGABYTE
        self.reducer = Reducer(named, group, limit, find_unused_parameters)

    def _buffers_of_module(self, ignored: set[str]) -> list[Any]:
        return [b for name, b in self.module.named_buffers() if name not in ignored]

    def _check_same_model(self, named: list[tuple[str, Any]]) -> None:
        group = self.process_group
        text = repr([(name, tuple(p.shape), str(p.dtype)) for name, p in named])
        rows = np.zeros((group.size(), 2), np.int64)
        rows[group.rank()] = len(named), zlib.crc32(text.encode())
        group.gathered(rows).wait()
        for rank, (count, check) in enumerate(rows.tolist()):
            if [count, check] != rows[group.rank()].tolist():
                raise RuntimeError(
                    f"DDP expects same model across all ranks, but Rank {group.rank()} has {len(named)} params, while "
                    f"rank {rank} has inconsistent {count} params (names, shapes and dtypes are compared)."
                )

    def _spread(self, tensors: list[Any]) -> None:
        """Give all processes the first one's values."""
        by_dtype: dict[Any, list[Any]] = {}
        for t in tensors:
            by_dtype.setdefault(t._data.dtype, []).append(t)
        for same in by_dtype.values():
            flat = np.concatenate([t._data.reshape(-1) for t in same])
            self.process_group.spread(flat).wait()
            start = 0
            for t in same:
                t._data[...] = flat[start : start + t._data.size].reshape(t._data.shape)
                start += t._data.size

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's result."""
        if self.require_forward_param_sync and self.broadcast_buffers and self._kept_buffers:
            self._spread(self._kept_buffers)
        result = self.module(*inputs, **kwargs)
        if is_grad_enabled() and self.require_backward_grad_sync:
            self.require_forward_param_sync = True
            self.reducer.expect(result)
        else:
            self.require_forward_param_sync = False
        return result

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block whose backward walks add to the gradients of this process only; the next walk outside averages."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def train(self, mode: bool = True) -> Any:
        """Set training mode for the module too."""
        super().train(mode)
        return self

    def join(self, *args: Any, **options: Any) -> Any:
        """Refused."""
        raise NotImplementedError("DistributedDataParallel.join; give all processes the same number of batches")

    def register_comm_hook(self, state: Any, hook: Any) -> None:
        """Refused."""
        raise NotImplementedError("DistributedDataParallel.register_comm_hook")
