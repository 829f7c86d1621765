"""L-BFGS: quasi-Newton steps from a short history of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rushlight.modes import enable_grad, no_grad
from rushlight.optim.checks import check_lr
from rushlight.optim.engine import numbers
from rushlight.optim.line_search import strong_wolfe
from rushlight.optim.optimizer import Optimizer, ParamsT
from rushlight.optim.sparse_gradient import dense
from rushlight.tape import bump, wrap
from rushlight.tensor import Tensor


@dataclass
class History:
    """What one iteration hands to the next: differences of gradients (y) and of parameters (s), the last step."""

    gradient_changes: list[Any] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    curvatures: list[Any] = field(default_factory=list)
    scale: Any = 1
    direction: Any = None
    step_size: Any = None
    gradient: Any = None

    def absorb(self, gradient: Any, size: int) -> None:
        """Learn the curvature along the last step, unless it is too small to trust."""
        y = gradient - self.gradient
        s = self.direction * self.step_size
        curvature = np.dot(y, s)
        if curvature > 1e-10:
            if len(self.steps) == size:
                for kept in (self.gradient_changes, self.steps, self.curvatures):
                    del kept[0]
            self.gradient_changes.append(y)
            self.steps.append(s)
            self.curvatures.append(1.0 / curvature)
            self.scale = curvature / np.dot(y, y)

    def newton_direction(self, gradient: Any) -> Any:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        direction = -gradient
        kept = list(zip(self.gradient_changes, self.steps, self.curvatures, strict=True))
        weights = []
        for y, s, rho in reversed(kept):
            weight = np.dot(s, direction) * rho
            direction = direction - weight * y
            weights.append(weight)
        direction = direction * self.scale
        for (y, s, rho), weight in zip(kept, reversed(weights), strict=True):
            direction = direction + (weight - np.dot(y, direction) * rho) * s
        return direction


class LBFGS(Optimizer):
    """L-BFGS; each step runs up to `max_iter` iterations and calls the closure for every evaluation.

    Parameters
    ----------
    params : iterable of Tensor
        One group only.
    lr : float or Tensor, default 1
    max_iter : int, default 20
    max_eval : int, optional
        Most calls of the closure in a step; default 1.25 * max_iter.
    tolerance_grad : float, default 1e-7
        Stop when the largest gradient is at most this.
    tolerance_change : float, default 1e-9
        Stop when the loss or the parameters change by less.
    history_size : int, default 100
    line_search_fn : {"strong_wolfe"}, optional
        Without one every step has length `lr`.

    References
    ----------
    .. [1] J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd ed., algorithms 7.4, 7.5, 3.5 and 3.6.

    Examples
    --------
    >>> x = torch.tensor([3.0, -4.0], requires_grad=True)
    >>> opt = torch.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = ((x - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure)
    tensor(29., grad_fn=<SumBackward0>)
    >>> torch.allclose(x, torch.ones(2), atol=1e-4)
    True
    """

    scalar_state = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, calls `backward` and returns the loss.

        Returns
        -------
        The loss before the step.
        """
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        with no_grad():
            return _Run(self, enable_grad()(closure)).minimise()


class _Run:
    """One call of `LBFGS.step`."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any]) -> None:
        self.params = optimizer.param_groups[0]["params"]
        self.group = numbers(optimizer.param_groups[0], optimizer.defaults)
        self.closure = closure
        self.state = optimizer.state[self.params[0]]
        self.evaluations = 0

    def minimise(self) -> Any:
        """Iterate until something says stop; the loss at the start is the result."""
        state, group = self.state, self.group
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = self.closure()
        loss = float(first_loss)
        self._count(1)
        gradient = self._gradient()
        if _largest(gradient) <= group["tolerance_grad"]:
            return first_loss
        history = _history(state)
        previous_loss = state.get("prev_loss")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                history = History(direction=-gradient)
                history.step_size = min(1.0, 1.0 / np.abs(gradient).sum()) * group["lr"]
            else:
                history.absorb(gradient, group["history_size"])
                history.direction = history.newton_direction(gradient)
                history.step_size = group["lr"]
            history.gradient = gradient
            previous_loss = loss
            slope = np.dot(gradient, history.direction)
            if slope > -group["tolerance_change"]:
                break
            is_last = iteration == group["max_iter"]
            loss, gradient = self._advance(history, loss, gradient, slope, is_last)
            if is_last or self._is_done(history, gradient, abs(loss - previous_loss)):
                break
        _keep(state, history, previous_loss)
        return first_loss

    def _advance(self, history: History, loss: float, gradient: Any, slope: Any, is_last: bool) -> tuple[float, Any]:
        """Move along the direction; the loss and gradient there (the old ones where nothing reads them)."""
        search = self.group["line_search_fn"]
        if search is None:
            self._move(history.step_size, history.direction)
            if is_last:
                return loss, gradient
            loss = float(self.closure())
            self._count(1)
            return loss, self._gradient()
        if search != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        start = [p._data.copy() for p in self.params]

        def evaluate(step_size: Any) -> tuple[float, Any]:
            self._move(step_size, history.direction)
            found = float(self.closure()), self._gradient()
            for p, data in zip(self.params, start, strict=True):
                _store(p, data)
            return found

        budget = self.group["max_eval"] - self.evaluations
        loss, gradient, history.step_size, used = strong_wolfe(
            evaluate, history.direction, history.step_size, loss, gradient, slope, budget
        )
        self._count(used)
        self._move(history.step_size, history.direction)
        return loss, gradient

    def _is_done(self, history: History, gradient: Any, loss_change: float) -> bool:
        group = self.group
        return bool(
            self.evaluations >= group["max_eval"]
            or _largest(gradient) <= group["tolerance_grad"]
            or _largest(history.direction * history.step_size) <= group["tolerance_change"]
            or loss_change < group["tolerance_change"]
        )

    def _count(self, evaluations: int) -> None:
        self.evaluations += evaluations
        self.state["func_evals"] += evaluations

    def _gradient(self) -> Any:
        """All gradients in one vector; parameters without one count as zero."""
        return np.concatenate([_flat(p, p.grad) for p in self.params])

    def _move(self, step_size: Any, direction: Any) -> None:
        """Add `step_size * direction` to the parameters."""
        offset = 0
        for p in self.params:
            data = p._data
            count = data.size * (2 if data.dtype.kind == "c" else 1)
            change = (direction[offset : offset + count] * step_size).astype(_real_dtype(data), copy=False)
            _store(p, data + change.view(data.dtype).reshape(data.shape))
            offset += count


def _real_dtype(data: Any) -> Any:
    return np.dtype(f"f{data.dtype.itemsize // 2}") if data.dtype.kind == "c" else data.dtype


def _flat(p: Tensor, grad: Tensor | None) -> Any:
    if grad is None:
        return np.zeros(p._data.size * (2 if p.is_complex() else 1), _real_dtype(p._data))
    data = dense(grad) if getattr(grad, "is_sparse", False) else grad._data
    return np.ascontiguousarray(data).reshape(-1).view(_real_dtype(data))


def _largest(x: Any) -> Any:
    return np.abs(x).max()


def _store(p: Tensor, data: Any) -> None:
    np.copyto(p._data, data)
    bump(p)


def _history(state: dict[str, Any]) -> History:
    """The history that `_keep` stored, here or in PyTorch."""
    if state.get("d") is None:
        return History()
    return History(
        gradient_changes=[_raw(t) for t in state["old_dirs"]],
        steps=[_raw(t) for t in state["old_stps"]],
        curvatures=[_raw(t) for t in state["ro"]],
        scale=_raw(state["H_diag"]),
        direction=_raw(state["d"]),
        step_size=_raw(state["t"]),
        gradient=_raw(state["prev_flat_grad"]),
    )


def _keep(state: dict[str, Any], history: History, previous_loss: Any) -> None:
    state["d"] = _held(history.direction)
    state["t"] = _held(history.step_size)
    state["old_dirs"] = [_held(y) for y in history.gradient_changes]
    state["old_stps"] = [_held(s) for s in history.steps]
    state["ro"] = [_held(rho) for rho in history.curvatures]
    state["H_diag"] = _held(history.scale)
    state["prev_flat_grad"] = _held(history.gradient)
    state["prev_loss"] = previous_loss


def _held(value: Any) -> Any:
    return wrap(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def _raw(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value._data if value.ndim else value._data[()]
