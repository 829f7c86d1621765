"""Adadelta."""

from __future__ import annotations

from rushlight.optim.arithmetic import sqrt, zeros_like
from rushlight.optim.checks import check, check_at_least_zero, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class Adadelta(Optimizer):
    """Steps of the size of recent steps: delta = sqrt(u + eps) / sqrt(v + eps) * g.

    v averages squared gradients, u squared deltas, both with decay `rho`.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1.0
    rho : float, default 0.9
    eps : float, default 1e-6
    weight_decay : float, default 0
    foreach : bool, optional
    capturable, maximize, differentiable : bool, default False

    References
    ----------
    .. [1] M. D. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check(0.0 <= rho <= 1.0, f"Invalid rho value: {rho}", expected="0 <= rho <= 1", received=rho)
        check_at_least_zero(eps, "Invalid epsilon value: {}")
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages."""
        return {"step": 0.0, "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        rho, eps = group["rho"], group["eps"]
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        square = state["square_avg"] * rho + g * (1 - rho) * g
        delta = sqrt(state["acc_delta"] + eps) / sqrt(square + eps) * g
        moved = state["acc_delta"] * rho + delta * (1 - rho) * delta
        return p - delta * group["lr"], {"step": state["step"] + 1, "square_avg": square, "acc_delta": moved}
