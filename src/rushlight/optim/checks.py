"""Argument checks that the optimizers' constructors share."""

from __future__ import annotations

from typing import Any

from rushlight.errors import explain
from rushlight.tensor import Tensor


def check(holds: Any, message: str, *, expected: str, received: object) -> None:
    """Raise `ValueError(message)` unless `holds`; nan never holds."""
    if not holds:
        raise explain(ValueError(message), expected=expected, received=received)


def check_lr(lr: Any, message: str = "Invalid learning rate: {}") -> None:
    """A learning rate is a number or a one-element Tensor, at least 0."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise explain(ValueError("Tensor lr must be 1-element"), expected="one element", received=tuple(lr.shape))
    check(lr >= 0.0, message.format(lr), expected="lr >= 0", received=lr)


def check_at_least_zero(value: Any, message: str) -> None:
    """`value >= 0`; `message` holds a place for the value."""
    check(value >= 0.0, message.format(value), expected="a number >= 0", received=value)


def check_betas(betas: Any) -> None:
    """Decay rates of running averages: each in [0, 1)."""
    for i in (0, 1):
        message = f"Invalid beta parameter at index {i}: {betas[i]}"
        check(0.0 <= betas[i] < 1.0, message, expected="0 <= beta < 1", received=betas[i])


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """`fused` excludes `differentiable` and `foreach`."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def scalar(value: Any) -> Any:
    """A one-element Tensor as a 0-d Tensor; anything else unchanged."""
    return value.squeeze() if isinstance(value, Tensor) and value.dim() != 0 else value
