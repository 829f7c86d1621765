"""Dual numbers: PyTorch's `torch.autograd.forward_ad`, computed by walking backward twice.

The derivative of a vector-Jacobian product by its vector, where it is linear, is the Jacobian times a tangent [1]_. So
a dual tensor is one whose operations are recorded, and `unpack_dual` walks.

References
----------
.. [1] J. Townsend, "A new trick for calculating Jacobian vector products", 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ContextDecorator
from typing import Any, NamedTuple

import numpy as np

from rushlight.errors import ShapeError
from rushlight.functions.backward import grad
from rushlight.modes import enable_grad
from rushlight.tape import AccumulateGrad, Variable, wrap

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A tensor and its derivative in the direction of the tangents; None where it depends on no dual tensor."""

    primal: Any
    tangent: Any


class _Level:
    """The dual tensors of the level that is open, each with its tangent."""

    duals: list[tuple[Any, Any]] | None = None


def enter_dual_level() -> int:
    """Open a level, in which `make_dual` works; levels cannot be nested."""
    if _Level.duals is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _Level.duals = []
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level and forget its tangents."""
    if _Level.duals is None:
        raise RuntimeError("Dual level must be a positive number.")
    _Level.duals = None


class dual_level(ContextDecorator):
    """A block in which dual tensors exist.

    Notes
    -----
    PyTorch: computes tangents alongside of the values. Here tensors in the block are recorded, and the tangents are
    computed by `unpack_dual`, from everything that can be differentiated twice. Under `no_grad` nothing is recorded, so
    nothing has a tangent; a dual tensor is shown with `requires_grad`, not with its tangent.

    Examples
    --------
    >>> from rushlight.autograd import forward_ad
    >>> with forward_ad.dual_level():
    ...     x = forward_ad.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0]))
    ...     forward_ad.unpack_dual(x * x).tangent
    tensor([ 2., 40.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *raised: object) -> None:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """`tensor` with a direction in which to differentiate by it.

    Raises
    ------
    RuntimeError
        Outside of a level, or if the shapes differ.
    """
    if _Level.duals is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, t in (("primal", tensor), ("tangent", tangent)):
        if t._data.dtype.kind not in "fcV":
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {t.dtype}")
    if tensor._data.shape != tangent._data.shape:
        raise ShapeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor._data.shape)} while the given forward gradient is of size "
            f"{list(tangent._data.shape)}."
        )
    with enable_grad():
        dual = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
    _Level.duals.append((dual, tangent))
    return dual


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The value of a tensor and its tangent."""
    duals = _Level.duals or []
    for dual, tangent in duals:
        if dual is tensor:
            return UnpackedDualTensor(tensor.detach() if _is_fresh(dual) else dual, tangent)
    if not duals or not isinstance(tensor, Variable) or not tensor.requires_grad:  # type: ignore[attr-defined]
        return UnpackedDualTensor(tensor, None)
    own = {dual._node for dual, _ in duals}
    reached = set(_nodes(tensor))
    if not own & reached:
        return UnpackedDualTensor(tensor, None)
    fresh = {dual._node for dual, _ in duals if _is_fresh(dual)}
    is_nested = any(type(node) is AccumulateGrad and node not in fresh for node in reached) or any(
        tangent.requires_grad for _, tangent in duals
    )
    pushed = _pushed(tensor, duals)
    if is_nested:  # somebody may want to differentiate the derivative
        return UnpackedDualTensor(tensor, pushed)
    return UnpackedDualTensor(tensor.detach(), pushed.detach())  # type: ignore[attr-defined]


def _is_fresh(dual: Any) -> bool:
    return type(dual._node) is AccumulateGrad


def _nodes(tensor: Any) -> Iterator[Any]:
    """All nodes behind a tensor."""
    todo = [tensor.grad_fn if tensor.grad_fn is not None else tensor._node]
    todo.append(tensor._node)
    seen = set(todo)
    while todo:
        node = todo.pop()
        yield node
        for edge in node.edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                todo.append(edge)


def _pushed(tensor: Any, duals: list[tuple[Any, Any]]) -> Any:
    """Jacobian times tangents."""
    with enable_grad():
        vector = _zeros(tensor).requires_grad_()
        pulled = grad(tensor, [dual for dual, _ in duals], vector, True, True, True, True)
        pairs = [
            (g, tangent.to(g.dtype))
            for g, (_, tangent) in zip(pulled, duals, strict=True)
            if g is not None and g.requires_grad
        ]
        if not pairs:
            return _zeros(tensor)
        (found,) = grad([g for g, _ in pairs], vector, [t for _, t in pairs], True, True, True, True)
    return _zeros(tensor) if found is None else found


def _zeros(t: Any) -> Any:
    return wrap(np.zeros(t._data.shape, t._data.dtype))
