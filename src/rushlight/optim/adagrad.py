"""Adagrad."""

from __future__ import annotations

import numpy as np

from rushlight.optim.arithmetic import full_like, sqrt
from rushlight.optim.checks import check_at_least_zero, check_fused, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.optim.sparse_gradient import elements
from rushlight.tape import bump
from rushlight.tensor import Tensor


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-2
    lr_decay : float, default 0
        The rate is lr / (1 + (t - 1) * lr_decay).
    weight_decay, initial_accumulator_value : float, default 0
    eps : float, default 1e-10
    foreach, fused : bool, optional
    maximize, differentiable : bool, default False

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", 2011.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(lr_decay, "Invalid lr_decay value: {}")
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        check_at_least_zero(initial_accumulator_value, "Invalid initial_accumulator_value value: {}")
        check_at_least_zero(eps, "Invalid epsilon value: {}")
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self._engine.initial_state(p, group)

    def share_memory(self) -> None:
        """Move the sums to memory that worker processes share."""
        for held in self.state.values():
            held["sum"].share_memory_()

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Sums that start at `initial_accumulator_value`."""
        return {"step": 0.0, "sum": full_like(p, group["initial_accumulator_value"])}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        total = state["sum"] + g * g
        return p - g * rate / (sqrt(total) + group["eps"]), {"step": step, "sum": total}

    def update_sparse(self, p: Tensor, grad: Tensor, group: Group, hyper: Group) -> None:
        """Only the elements that `grad` names change."""
        if hyper["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self.state.get(p) or self._engine.initial_state(p, group)
        state["step"]._data += 1
        where, values = elements(grad)
        total = state["sum"]._data
        total[where] += values * values
        rate = hyper["lr"] / (1 + (float(state["step"]._data) - 1) * hyper["lr_decay"])
        change = values / (np.sqrt(total[where]) + hyper["eps"]) * rate
        p._data[where] -= -change if hyper["maximize"] else change
        bump(p)
