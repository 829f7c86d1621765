"""`Variable`: what every tensor holds, and how one is made around an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.modes import ACTIVE, state

ndarray = np.ndarray
_new = object.__new__


class Variable:
    """What every tensor holds; `tensor.Tensor` adds the public surface.

    Attributes
    ----------
    _data : array
        Always an array, also for 0-d.
    _node : Node or None
        Not None exactly where a gradient is required.
    _version : list
        [number of in-place changes, where the last one was]; shared by all views of a storage.
    _view : tuple or None
        (parent, op, params, index of the result, version when its node was made) of a view.
    """

    __slots__ = ("_data", "_node", "_counter", "_view", "_grad", "__weakref__")
    op_rank = 2
    _data: Any
    _node: Any
    _counter: Any
    _view: Any
    _grad: Any


_plain: type[Variable] = Variable


def plain_tensor(cls: type[Variable]) -> type[Variable]:
    """Class decorator: results of ops are instances of `cls`."""
    global _plain
    _plain = cls
    return cls


def wrap(data: Any) -> Any:
    """A tensor over `data` that requires no gradient and shares its memory."""
    t = _new(_plain)
    t._data = data
    t._node = None
    t._counter = [0]
    t._view = None
    if ACTIVE and state.inference:
        t._counter = None
    return t


def as_array(out: Any) -> Any:
    """A result as an array; NumPy's scalars become 0-d arrays, tracers and other arrays stay."""
    if type(out) is ndarray or not isinstance(out, np.generic):
        return out
    return np.asarray(out)


def make_view(parent: Any, op: Any, params: dict[str, Any], out: Any, index: int | None, node: Any) -> Any:
    """A tensor over `out`, which shares `parent`'s memory."""
    t = _new(_plain)
    t._data = out
    t._node = node
    t._counter = version = parent._counter
    if version is None:
        t._view = None
        return t
    if node is None and parent._node is not None and op is not None and op.differentiable:
        op = None
    t._view = (parent, op, params, index, version[0])
    return t
