"""Runs an optimizer's update rule over a parameter group.

Three ways, chosen per parameter:

- arrays of float32 or float64: the in-place program made from the rule (`program.py`), in cache-sized pieces;
- other arrays (half precision, complex, first step of a lazy state): the rule as it stands, results written back;
- anything else (a differentiable step, a traced step): the rule on Tensors, with `copy_` as the write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rushlight import dtypes
from rushlight.modes import ACTIVE, set_grad_enabled
from rushlight.modes import state as modes
from rushlight.optim.kernel import Kernel
from rushlight.optim.program import NotRecordable, record, structure
from rushlight.optim.together import FLOOR, FLOOR_STATELESS, Together, is_small
from rushlight.tape import bump, caller, wrap
from rushlight.tensor import Tensor

EMPTY: dict[str, Any] = {}
ndarray = np.ndarray
NATIVE = frozenset((np.dtype(np.float32), np.dtype(np.float64)))


def scalar_dtype(group: dict[str, Any]) -> dtypes.dtype:
    """dtype of step counts and other scalar state."""
    is_double = dtypes.get_default_dtype() is dtypes.float64 and not group.get("fused")
    return dtypes.float64 if is_double else dtypes.float32


def scalar_tensor(value: float, group: dict[str, Any]) -> Tensor:
    """A scalar state entry."""
    made: Tensor = wrap(np.array(value, scalar_dtype(group).np))
    return made


def numbers(group: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The hyper-parameters `names` of `group`, with Tensors and NumPy scalars read as Python numbers."""
    return {name: _number(group[name]) for name in names if name in group}


def _number(value: Any) -> Any:
    kind = value.__class__
    if kind is float or kind is bool or value is None:
        return value
    if kind is tuple or kind is list:
        return tuple(map(_number, value))
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


class Engine:
    """The kernels of one optimizer."""

    __slots__ = ("kernels", "optimizer", "together")

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.kernels: dict[Any, Kernel | None] = {}
        self.together: dict[Kernel, Together] = {}

    def step(self, group: dict[str, Any]) -> None:
        """Update every parameter of `group` that has a gradient."""
        if ACTIVE and modes.trace is not None:
            modes.trace.optimize(self, group)
            return
        if group.get("differentiable"):
            self._step_tensors(group)
            return
        hyper = numbers(group, self.optimizer.defaults)
        key = structure(hyper)
        optimizer = self.optimizer
        states = optimizer.state
        is_stateless = False
        names: Any = None
        kernel: Kernel | None = None
        fresh: set[int] = set()
        where = (caller(),)
        params = group["params"]
        if not is_small(params, FLOOR if states else FLOOR_STATELESS):
            params = self._step_together(params, group, key, hyper, where)
        for p in params:
            grad = p.grad
            if grad is None:
                continue
            data, g = p._data, grad._data
            if data.__class__ is not ndarray or g.__class__ is not ndarray:
                self._step_other(p, grad, group, hyper)
                continue
            state = states.get(p)
            if not state:
                state = EMPTY if is_stateless else self.initial_state(p, group)
                is_stateless = not state
            found = (data.dtype, *state)
            if found != names:
                kernel = self._kernel(found, key, hyper)
                names = found
                if kernel is not None and id(kernel) not in fresh:
                    kernel.begin()
                    fresh.add(id(kernel))
            if kernel is None:
                self.run_rule(p, g, state, hyper)
            else:
                kernel(data, g, state, hyper)
                counter = p._counter
                if counter is not None:
                    counter[0] += 1
                    counter[1:] = where

    def _step_together(
        self, params: list[Any], group: dict[str, Any], key: Any, hyper: dict[str, Any], where: tuple[Any, ...]
    ) -> list[Any]:
        """Update the parameters that one program can; returns those that it left."""
        left = []
        members: dict[Kernel, list[Any]] = {}
        states = self.optimizer.state
        for p in params:
            grad = p.grad
            if grad is None:
                continue
            data, g = p._data, grad._data
            if data.__class__ is not ndarray or g.__class__ is not ndarray or data.dtype not in NATIVE:
                left.append(p)
                continue
            state = states.get(p) or self.initial_state(p, group)
            kernel = self._kernel((data.dtype, *state), key, hyper)
            if kernel is None or not kernel.cells:
                left.append(p)
            else:
                members.setdefault(kernel, []).append((p, g, state))
        for kernel, those in members.items():
            kernel.begin()
            if kernel not in self.together:
                self.together[kernel] = Together(kernel)
            others = self.together[kernel](those, hyper)
            left += [p for p, _, _ in others]
            missed = {id(p) for p, _, _ in others}
            for p, _, _ in those:
                counter = p._counter
                if id(p) not in missed and counter is not None:
                    counter[0] += 1
                    counter[1:] = where
        return left

    def initial_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Store and return the state that the rule starts from; empty for rules without state."""
        optimizer = self.optimizer
        optimizer.check_parameter(p)
        data = p._data
        made = optimizer.init_state(_real_view(data), numbers(group, optimizer.defaults))
        if not made:
            return {}
        state = optimizer.state[p]
        for name, value in made.items():
            if isinstance(value, (float, int)):
                state[name] = scalar_tensor(value, group)
            else:
                state[name] = wrap(_like(value, data))
        return state  # type: ignore[no-any-return]

    def _kernel(self, names: tuple[Any, ...], key: tuple[Any, ...], hyper: dict[str, Any]) -> Kernel | None:
        """The in-place program for a dtype, state names and structure of hyper-parameters; None: run the rule."""
        full = (names, key)
        if full in self.kernels:
            return self.kernels[full]
        made: Kernel | None = None
        dtype, *state = names
        if dtype in NATIVE:
            scalars = self.optimizer.scalar_state
            try:
                made = Kernel(record(self.optimizer.update, {n: n in scalars for n in state}, hyper), dtype)
            except (NotRecordable, TypeError, AttributeError):
                made = None
        if len(self.kernels) >= 64:
            self.kernels.clear()
            self.together.clear()
        self.kernels[full] = made
        return made

    def run_rule(self, p: Tensor, g: Any, state: dict[str, Any], hyper: dict[str, Any]) -> None:
        """The rule as a pure expression; half precision is computed in float32, complex numbers as pairs."""
        data = p._data
        scalars = self.optimizer.scalar_state
        given = {
            name: float(t._data) if name in scalars else _widen(t._data) if isinstance(t, Tensor) else t
            for name, t in state.items()
        }
        new_p, new_state = self.optimizer.update(_widen(data), _widen(g), given, self.optimizer.settings(p, hyper))
        for name, value in new_state.items():
            if isinstance(state.get(name), Tensor):
                _write(state[name], value)
            else:
                self.optimizer.state[p][name] = wrap(_like(value, data))
        _write(p, new_p)

    def _step_other(self, p: Tensor, grad: Tensor, group: dict[str, Any], hyper: dict[str, Any]) -> None:
        if getattr(grad, "is_sparse", False):
            self.optimizer.check_parameter(p)
            self.optimizer.update_sparse(p, grad, group, hyper)
            return
        with set_grad_enabled(False):
            self.step_tensor(p, grad, group)

    def _step_tensors(self, group: dict[str, Any]) -> None:
        with set_grad_enabled(True):
            for p in group["params"]:
                if p.grad is not None:
                    self.step_tensor(p, p.grad, group)

    def step_tensor(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """The rule on Tensors: recorded when gradients are recorded, traced when their data is traced."""
        state = self.optimizer.state.get(p) or self.initial_state(p, group)
        # Host arithmetic on step counts is in double precision; 0-d operands leave the results' dtype alone.
        scalars = self.optimizer.scalar_state
        given = {name: t.double() if name in scalars else t.clone() for name, t in state.items()}
        new_p, new_state = self.optimizer.update(p.clone(), grad, given, self.optimizer.settings(p, group))
        for name, value in new_state.items():
            if name in state:
                state[name].copy_(value)
            else:
                self.optimizer.state[p][name] = value.clone()
        p.copy_(new_p)


def _real_view(data: Any) -> Any:
    """Complex data as pairs of reals on a new last axis."""
    if data.dtype.kind != "c":
        return data
    real = np.dtype(f"f{data.dtype.itemsize // 2}")
    return np.ascontiguousarray(data).reshape((*data.shape, 1)).view(real)


def _widen(data: Any) -> Any:
    return data.astype(np.float32) if data.dtype in dtypes.NP_HALF else _real_view(data)


def _like(value: Any, data: Any) -> Any:
    """A new array of `data`'s dtype holding `value`, which a rule computed in the wider type."""
    value = np.asarray(value)
    if data.dtype.kind == "c" and value.dtype.kind != "c":
        return np.ascontiguousarray(value).view(data.dtype)[..., 0]
    return np.array(value, dtype=data.dtype, order="K")


def _write(target: Tensor, value: Any) -> None:
    data = target._data
    np.copyto(data, _like(value, data) if data.dtype.kind == "c" else value, casting="unsafe")
    bump(target)
