"""Clipping of gradients by their norm or their value."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, cast

from rushlight.creation import tensor
from rushlight.errors import explain
from rushlight.functions.shape import stack
from rushlight.linalg import vector_norm
from rushlight.modes import no_grad
from rushlight.tensor import Tensor

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]

Tensors = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Tensor]:
    members = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in members if p.grad is not None]


@no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of all tensors, as if they were one vector.

    Parameters
    ----------
    norm_type : float
        The order of the norm; `inf` gives the largest magnitude.
    error_if_nonfinite : bool
        Raise if the norm is infinite or NaN.
    foreach : bool, optional
        Accepted; there is one implementation.
    """
    members = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not members:
        return cast(Tensor, tensor(0.0))
    order = float(norm_type)
    place = members[0].device
    total = vector_norm(stack([vector_norm(t, order).to(place) for t in members], 0), order)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise explain(
            RuntimeError(
                f"The total norm of order {order} for gradients from `parameters` is non-finite, so it cannot be "
                "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
                "`error_if_nonfinite=False`"
            ),
            received=f"{sum(not bool(t.isfinite().all()) for t in members)} of {len(members)} gradients not finite",
        )
    return cast(Tensor, total)


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients of `parameters` in place by `max_norm / total_norm`, if that is below 1."""
    gradients = _gradients(parameters)
    if not gradients:
        return
    scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient.device))


@no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients in place so that together they have at most the norm `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
        The largest norm allowed.
    norm_type : float
        The order of the norm.
    error_if_nonfinite : bool
        Raise if the norm is infinite or NaN.
    foreach : bool, optional
        Accepted; there is one implementation.

    Returns
    -------
    Tensor[]
        The norm before clipping.

    Examples
    --------
    >>> w = torch.zeros(2, requires_grad=True)
    >>> (w * torch.tensor([3.0, 4.0])).sum().backward()
    >>> torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    members = _as_list(parameters)
    total = get_total_norm(_gradients(members), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(members, max_norm, total, foreach)
    return total


def _as_list(parameters: Tensors) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        return [parameters]
    members = list(parameters)
    if not members:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=4)
    return members


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The older name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: Any, foreach: bool | None = None) -> None:
    """Clip every element of all gradients in place to `[-clip_value, clip_value]`."""
    limit = float(clip_value)
    for gradient in _gradients(parameters):
        gradient.clamp_(-limit, limit)
