"""How values of several processes are combined, and the errors of communication."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np


class DistError(RuntimeError):
    """Something went wrong between processes."""


class DistBackendError(DistError):
    """Processes do not call the same operations with the same sizes."""


class DistNetworkError(DistError):
    """A connection broke, or nothing came in time."""


class DistStoreError(DistError):
    """The store of the rendezvous did not answer in time."""


class RedOpType(Enum):
    """Operations of `all_reduce` and its relatives: `ReduceOp.SUM` ..."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class ReduceOp:
    """Names of reductions, `ReduceOp.SUM` ..."""

    RedOpType = RedOpType
    SUM = RedOpType.SUM
    AVG = RedOpType.AVG
    PRODUCT = RedOpType.PRODUCT
    MIN = RedOpType.MIN
    MAX = RedOpType.MAX
    BAND = RedOpType.BAND
    BOR = RedOpType.BOR
    BXOR = RedOpType.BXOR


_COMBINE: dict[RedOpType, Callable[..., Any]] = {
    RedOpType.SUM: np.add,
    RedOpType.AVG: np.add,
    RedOpType.PRODUCT: np.multiply,
    RedOpType.MIN: np.minimum,
    RedOpType.MAX: np.maximum,
    RedOpType.BAND: np.bitwise_and,
    RedOpType.BOR: np.bitwise_or,
    RedOpType.BXOR: np.bitwise_xor,
}


def combine(op: RedOpType, mine: Any, other: Any) -> None:
    """Bring `other` into `mine`."""
    try:
        _COMBINE[op](mine, other, out=mine)
    except TypeError as error:
        raise TypeError(f"{op} does not take values of dtype {mine.dtype}") from error


def finish(op: RedOpType, values: Any, count: int) -> None:
    """What is left to do when the values of all `count` processes are in."""
    if op is RedOpType.AVG:
        if values.dtype.kind in "iub":
            raise TypeError("ReduceOp.AVG takes floating point values")
        np.divide(values, values.dtype.type(count), out=values)
