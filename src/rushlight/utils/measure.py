"""Sums over the batches of an epoch, and times: what a training loop written by hand keeps."""

from __future__ import annotations

import time
from typing import Any


class RunningSums:
    """Several sums that grow together.

    Parameters
    ----------
    count : int
        How many.

    Examples
    --------
    >>> sums = RunningSums(3)
    >>> for loss, correct, batch in [(0.5, 3, 4), (0.25, 2, 2)]:
    ...     sums.add(loss * batch, correct, batch)
    >>> sums[0] / sums[2], sums.mean(1, over=2)
    (0.4166666666666667, 0.8333333333333334)
    """

    def __init__(self, count: int) -> None:
        self.values = [0.0] * count

    def add(self, *amounts: Any) -> None:
        """Add to each sum its amount: a number or a Tensor of one element."""
        if len(amounts) != len(self.values):
            raise ValueError(f"RunningSums({len(self.values)}).add: received {len(amounts)} amounts")
        self.values = [value + float(amount) for value, amount in zip(self.values, amounts, strict=True)]

    def mean(self, index: int, over: int) -> float:
        """Sum `index` divided by sum `over`; 0 while the latter is 0."""
        return self.values[index] / self.values[over] if self.values[over] else 0.0

    def reset(self) -> None:
        """All sums to 0."""
        self.values = [0.0] * len(self.values)

    def __getitem__(self, index: int) -> float:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"RunningSums({', '.join(f'{value:g}' for value in self.values)})"


class Stopwatch:
    """Measures stretches of time; running from the start.

    Attributes
    ----------
    laps : list of float
        Seconds of each stretch.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> seconds = watch.stop()
    >>> with watch:
    ...     total = sum(range(1000))
    >>> len(watch.laps), watch.total() >= seconds
    (2, True)
    """

    def __init__(self) -> None:
        self.laps: list[float] = []
        self._started: float | None = time.perf_counter()

    def start(self) -> None:
        """Begin a stretch."""
        self._started = time.perf_counter()

    def stop(self) -> float:
        """End the stretch and return its seconds."""
        if self._started is None:
            raise RuntimeError("Stopwatch.stop: call start() first")
        self.laps.append(time.perf_counter() - self._started)
        self._started = None
        return self.laps[-1]

    def total(self) -> float:
        """Seconds of all stretches."""
        return sum(self.laps)

    def mean(self) -> float:
        """Seconds of a stretch on average; 0 without any."""
        return self.total() / max(1, len(self.laps))

    def __enter__(self) -> Stopwatch:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
