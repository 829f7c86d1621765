"""Arithmetic of half precision: kernels compute in float32 and round their results once."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF

FLOAT32 = np.dtype(np.float32)


def widen(*arrays: Any) -> Any:
    """The arrays, those of half precision as float32; None stays."""
    return tuple(a.astype(FLOAT32) if a is not None and a.dtype in NP_HALF else a for a in arrays)


def narrow(result: Any, dtype: Any) -> Any:
    """`result` in the dtype that the operands had."""
    return result if result.dtype == dtype else result.astype(dtype)
