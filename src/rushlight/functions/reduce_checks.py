"""What reductions by comparison refuse, in PyTorch's words."""

from __future__ import annotations

from typing import Any

from rushlight.dtypes import KERNEL_NAMES
from rushlight.layout import wrap_dim

BY_SENTENCE = {
    "argmax": ("bc", "argmax(): does not support {} input"),
    "argmin": ("bc", "argmin(): does not support {} input"),
    "topk": ("bc", "topk does not support {} dtypes on CPU"),
    "sort": ("c", " Sort does not support {} dtypes on CPU"),
    "max_dim": ("c", "max(): does not support {} input"),
    "min_dim": ("c", "min(): does not support {} input"),
}
BY_KERNEL = {
    "max_all": ("c", "max_all"), "min_all": ("c", "min_all"), "amax": ("c", "max_values_cpu"),
    "amin": ("c", "min_values_cpu"),
    "aminmax": ("c", "aminmax_cpu"), "median": ("bc", "median_cpu"),
    "median_dim": ("bc", "median_out"), "kthvalue": ("bc", "kthvalue_cpu"),
    "mode": ("c", "mode_cpu"), "cummax": ("c", "cummax_cpu"), "cummin": ("c", "cummin_cpu"), "unique": ("c", "unique"),
    "logcumsumexp": ("biu", "logcumsumexp_out_cpu"),
}  # fmt: skip


def refuse_dtype(name: str, input: Any, dim: Any = None) -> None:
    """Raise where a reduction does not take the operand's dtype, or `dim` is out of range."""
    kind = input._data.dtype.kind
    if dim is not None:
        for d in (dim,) if isinstance(dim, int) else dim:
            wrap_dim(d, input._data.ndim)
    if name in BY_SENTENCE and kind in BY_SENTENCE[name][0]:
        raise RuntimeError(BY_SENTENCE[name][1].format("bool" if kind == "b" else "complex"))
    if name in BY_KERNEL and kind in BY_KERNEL[name][0]:
        raise NotImplementedError(
            f"\"{BY_KERNEL[name][1]}\" not implemented for '{KERNEL_NAMES[input._data.dtype.name]}'"
        )


def not_empty(name: str, input: Any, dim: int) -> int:
    """`dim` counted from the front; `IndexError` where it has no elements to choose from."""
    shape = input._data.shape
    d = wrap_dim(dim, len(shape))
    if shape and shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return d
