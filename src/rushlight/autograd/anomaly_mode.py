"""Anomaly detection: NaN in a backward walk is an error that names the forward line."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.modes import ACTIVE, is_anomaly_check_nan_enabled, is_anomaly_enabled, state

_TOKEN = "anomaly detection"


def _switch(enabled: bool, check_nan: bool) -> None:
    """While on, ops take the general path, which notes the line of every node."""
    if enabled and not state.anomaly:
        ACTIVE.append(_TOKEN)
    elif state.anomaly and not enabled:
        ACTIVE.remove(_TOKEN)
    state.anomaly, state.check_nan = enabled, check_nan


class set_detect_anomaly:
    """Switch anomaly detection on or off: as a function, or for a block.

    Parameters
    ----------
    mode : bool
    check_nan : bool
        Whether a NaN that a node makes in the backward walk is an error.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = (state.anomaly, state.check_nan)
        _switch(bool(mode), check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _switch(*self.before)


class detect_anomaly:
    """Within the block, a node that makes a NaN gradient raises, naming the line that recorded it.

    Examples
    --------
    >>> x = torch.zeros(1, requires_grad=True)
    >>> with torch.autograd.set_detect_anomaly(True):
    ...     try:
    ...         (x / x).backward()
    ...     except RuntimeError as error:
    ...         print(error)
    Function 'DivBackward0' returned nan values in its 1th output.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self.before = (state.anomaly, state.check_nan)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.before = (state.anomaly, state.check_nan)
        _switch(True, self.check_nan)

    def __exit__(self, *exc: Any) -> None:
        _switch(*self.before)


__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]
