"""Where the time goes: `profile` notes every operation and backward node of a thread with its time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rushlight.modes import ACTIVE, state

_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"))


class FunctionEvent:
    """One timed operation.

    Attributes
    ----------
    name : str
    start, cpu_time_total, self_cpu_time_total : float
        In microseconds; the last without the operations inside it.
    input_shapes : list of list of int
        Empty unless shapes are recorded.
    """

    def __init__(self, name: str, start: float, input_shapes: list[list[int]]) -> None:
        self.name = self.key = name
        self.start = start
        self.cpu_time_total = 0.0
        self.self_cpu_time_total = 0.0
        self.input_shapes = input_shapes

    def __repr__(self) -> str:
        return f"<FunctionEvent {self.name} {_shown(self.cpu_time_total)}>"


class FunctionEventAvg:
    """All events of one name together."""

    def __init__(self, key: str, events: list[FunctionEvent]) -> None:
        self.key = key
        self.count = len(events)
        self.cpu_time_total = sum(e.cpu_time_total for e in events)
        self.self_cpu_time_total = sum(e.self_cpu_time_total for e in events)
        self.cpu_time = self.cpu_time_total / self.count


class EventList(list[Any]):
    """Events, or their averages, with a table."""

    def key_averages(self) -> EventList:
        """The events grouped by name."""
        groups: dict[str, list[FunctionEvent]] = {}
        for event in self:
            groups.setdefault(event.name, []).append(event)
        return EventList(FunctionEventAvg(key, events) for key, events in groups.items())

    def total_average(self) -> FunctionEventAvg:
        """All events together."""
        return FunctionEventAvg("Total", list(self))

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The averages, one a line, sorted by one of their attributes."""
        rows = self if self and isinstance(self[0], FunctionEventAvg) else self.key_averages()
        if sort_by is not None:
            rows = EventList(sorted(rows, key=lambda r: getattr(r, sort_by), reverse=True))
        total = sum(r.self_cpu_time_total for r in rows)
        width = max((len(r.key) for r in rows), default=4)
        titles = ("Self CPU %", "Self CPU", "CPU total", "CPU avg", "# of Calls")
        lines = [f"{'Name':<{width}}  " + "  ".join(f"{title:>10}" for title in titles)]
        for r in rows[:row_limit]:
            share = f"{100 * r.self_cpu_time_total / total if total else 0:.2f}%"
            times = "  ".join(f"{_shown(t):>10}" for t in (r.self_cpu_time_total, r.cpu_time_total, r.cpu_time))
            lines.append(f"{r.key:<{width}}  {share:>10}  {times}  {r.count:>10}")
        return "\n".join([*lines, f"Self CPU time total: {_shown(total)}"]) + "\n"


def _shown(microseconds: float) -> str:
    for unit, name in _UNITS[:2]:
        if microseconds * 1e3 >= unit:
            return f"{microseconds * 1e3 / unit:.3f}{name}"
    return f"{microseconds:.3f}us"


class profile:
    """Within the block, every operation of this thread and every node of its backward walks is timed.

    Parameters
    ----------
    enabled : bool
    record_shapes : bool
        Note the sizes of the operands too.

    Notes
    -----
    PyTorch: profiles all threads, memory, stacks and devices. Here: times of this thread, of operations as Rushlight
    runs them (named as PyTorch's where both have the operation). Timing makes small operations slower, since they
    leave their short paths.

    Examples
    --------
    >>> with torch.autograd.profiler.profile() as prof:
    ...     y = torch.ones(2) * 3
    >>> [e.key for e in prof.key_averages()]
    ['aten::mul']
    """

    def __init__(self, enabled: bool = True, *, record_shapes: bool = False, **options: Any) -> None:
        unknown = [name for name, value in options.items() if value]
        if unknown:
            raise NotImplementedError(f"profile({', '.join(f'{name}=...' for name in unknown)})")
        self.enabled = enabled
        self.record_shapes = record_shapes
        self.function_events = EventList()
        self._open: list[FunctionEvent] = []
        self._before: Any = None

    def __enter__(self) -> profile:
        if self.enabled:
            self._before = state.profiler
            state.profiler = self
            ACTIVE.append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.enabled:
            ACTIVE.remove(self)
            state.profiler = self._before

    def timed(self, name: str, run: Callable[..., Any], args: tuple[Any, ...], operands: tuple[Any, ...] = ()) -> Any:
        """`run(*args)`, noted under `name`."""
        shapes = [list(getattr(a, "shape", ())) for a in operands] if self.record_shapes else []
        event = FunctionEvent(name, time.perf_counter() * 1e6, shapes)
        self.function_events.append(event)
        self._open.append(event)
        try:
            return run(*args)
        finally:
            self._open.pop()
            event.cpu_time_total = time.perf_counter() * 1e6 - event.start
            event.self_cpu_time_total += event.cpu_time_total
            if self._open:
                self._open[-1].self_cpu_time_total -= event.cpu_time_total

    def events(self) -> EventList:
        """All events in the order in which they began."""
        return self.function_events

    def key_averages(self, group_by_input_shape: bool = False, **options: Any) -> EventList:
        """The events grouped by name."""
        if group_by_input_shape:
            raise NotImplementedError("key_averages(group_by_input_shape=True)")
        return self.function_events.key_averages()

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The averages as a table."""
        return self.function_events.table(sort_by, row_limit)

    def total_average(self) -> FunctionEventAvg:
        """All events together."""
        return self.function_events.total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds inside of operations."""
        return float(sum(e.self_cpu_time_total for e in self.function_events))

    def export_chrome_trace(self, path: str) -> None:
        """Write the events in the format that `chrome://tracing` and Perfetto show."""
        events = [
            {"name": e.name, "ph": "X", "ts": e.start, "dur": e.cpu_time_total, "pid": 0, "tid": 0, "cat": "cpu_op"}
            for e in self.function_events
        ]
        Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


class record_function:
    """A block (or, as decorator, a function) of the user's own that a profile shows under `name`."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self._event: Any = None

    def __enter__(self) -> record_function:
        if state.profiler is not None:
            self._event = FunctionEvent(self.name, time.perf_counter() * 1e6, [])
            state.profiler.function_events.append(self._event)
            state.profiler._open.append(self._event)
        return self

    def __exit__(self, *exc: Any) -> None:
        event, profiler = self._event, state.profiler
        if event is not None and profiler is not None:
            profiler._open.remove(event)
            event.cpu_time_total = time.perf_counter() * 1e6 - event.start
            event.self_cpu_time_total += event.cpu_time_total
            if profiler._open:
                profiler._open[-1].self_cpu_time_total -= event.cpu_time_total
            self._event = None

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return fn(*args, **kwargs)

        return timed


__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "profile", "record_function"]
