"""Checks and normal forms of the arguments that functionals share, with PyTorch's error texts."""

from __future__ import annotations

from typing import Any

from rushlight.tensor import Tensor

Ints = tuple[int, ...]


def require_tensor(function: str, name: str, position: int, value: Any) -> None:
    """Raise PyTorch's TypeError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{function}(): argument '{name}' (position {position}) must be Tensor, not {type(value).__name__}"
        )


def is_int(value: Any) -> bool:
    """Whether `value` counts as an integer argument: ints and 0-d integer tensors, not bools or floats."""
    return isinstance(value, int) or (hasattr(value, "__index__") and not isinstance(value, (list, tuple)))


def int_tuple(function: str, name: str, value: Any, position: int | None = None) -> Ints:
    """`value`, an int or a sequence of ints, as a tuple."""
    if is_int(value):
        return (int(value),)
    place = f" (position {position})" if position is not None else ""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{function}(): argument '{name}'{place} must be tuple of ints, not {type(value).__name__}")
    for i, n in enumerate(value):
        if not is_int(n):
            raise TypeError(
                f"{function}(): argument '{name}'{place} must be tuple of ints, "
                f"but found element of type {type(n).__name__} at pos {i}"
            )
    return tuple(int(n) for n in value)


def repeated(value: Any, n: int) -> Ints:
    """An int n times; a sequence of one int likewise; longer sequences as they are."""
    if is_int(value):
        return (int(value),) * n
    sizes: Ints = tuple(value)
    return sizes * n if len(sizes) == 1 else sizes
