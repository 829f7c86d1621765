"""How losses are reduced: PyTorch's names, old and new."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.functions import reduce as R

REDUCTIONS = ("none", "mean", "sum")


def legacy_reduction(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> str:
    """The reduction that the deprecated flags mean."""
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    found = "none" if not reduce else "mean" if size_average else "sum"
    if emit_warning:
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{found}' instead.", stacklevel=3
        )
    return found


def checked_reduction(reduction: Any, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction asked for; `ValueError` for an unknown one."""
    if size_average is not None or reduce is not None:
        return legacy_reduction(size_average, reduce)
    if reduction in REDUCTIONS:
        return str(reduction)
    raise ValueError(f"{reduction} is not a valid value for reduction")


def reduced(losses: Any, reduction: str) -> Any:
    """Losses averaged, summed, or as they are."""
    if reduction == "none":
        return losses
    return R.mean(losses) if reduction == "mean" else R.sum(losses)
