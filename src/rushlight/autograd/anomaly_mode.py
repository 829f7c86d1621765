"""Anomaly detection: NaN in a backward walk is an error that names the forward line."""

from __future__ import annotations

from typing import Any

from rushlight.modes import state


class detect_anomaly:
    """Within the block, a node that makes a NaN gradient raises, naming the line that recorded it."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self.before = state.anomaly

    def __enter__(self) -> None:
        self.before = state.anomaly
        state.anomaly = self.check_nan

    def __exit__(self, *exc: Any) -> None:
        state.anomaly = self.before


class set_detect_anomaly:
    """Switch anomaly detection on or off: as a function, or for a block.

    Parameters
    ----------
    mode : bool
    check_nan : bool
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = state.anomaly
        state.anomaly = mode and check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        state.anomaly = self.before


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on in this thread."""
    return state.anomaly
