"""Profiling under PyTorch's newer path `torch.profiler`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from rushlight.autograd import profiler
from rushlight.autograd.profiler import record_function


class ProfilerActivity(enum.Enum):
    """What can be profiled; only the CPU here."""

    CPU = 0
    CUDA = 2
    XPU = 1


class profile(profiler.profile):
    """Within the block, every operation of this thread and every node of its backward walks is timed.

    Parameters
    ----------
    activities : iterable of ProfilerActivity, optional
        The CPU is always profiled, and nothing else.
    on_trace_ready : callable, optional
        Called with the profile at the end.
    record_shapes : bool

    Examples
    --------
    >>> with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
    ...     y = torch.ones(2).exp()
    >>> print(prof.key_averages().table(sort_by="self_cpu_time_total"))  # doctest: +ELLIPSIS
    Name ...
    aten::exp ...
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(record_shapes=record_shapes, **options)
        self.activities = set(activities or (ProfilerActivity.CPU,))
        self.on_trace_ready = on_trace_ready

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def start(self) -> None:
        """As entering the block."""
        self.__enter__()

    def stop(self) -> None:
        """As leaving the block."""
        self.__exit__(None, None, None)

    def step(self) -> None:
        """Mark the end of a step; without a schedule nothing else happens."""


__all__ = ["ProfilerActivity", "profile", "record_function"]
