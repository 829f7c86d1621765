"""All parameters of a model as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from rushlight.errors import ShapeError, explain
from rushlight.functions.shape import cat
from rushlight.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_devices(parameters: list[Tensor]) -> None:
    if len({str(p.device) for p in parameters}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Join all parameters into one vector; gradients flow back to them.

    Examples
    --------
    >>> torch.nn.utils.parameters_to_vector([torch.ones(1, 2), torch.zeros(1)])
    tensor([1., 1., 0.])
    """
    members = list(parameters)
    if not members:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    _check_devices(members)
    out: Tensor = cat([p.reshape(-1) for p in members], 0)
    return out


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make every parameter a view of its part of `vec`, in order."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    members = list(parameters)
    _check_devices(members)
    start = 0
    for parameter in members:
        count = parameter.numel()
        part = vec[start : start + count]
        if part.numel() != count:
            raise explain(
                ShapeError(f"shape '{list(parameter.shape)}' is invalid for input of size {part.numel()}"),
                expected=f"a vector of {sum(p.numel() for p in members)} elements",
                received=f"{vec.numel()} elements",
            )
        parameter.data = part.view_as(parameter).data
        start += count
