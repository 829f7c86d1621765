"""Adamax: Adam with the maximum norm."""

from __future__ import annotations

from rushlight.optim.arithmetic import absolute, maximum, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_betas, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class Adamax(Optimizer):
    """Adam that divides by a decaying maximum of the gradient's size: u = max(beta2 * u, |g| + eps).

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 2e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0
    foreach : bool, optional
    maximize, differentiable, capturable : bool, default False

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014, section 7.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(eps, "Invalid epsilon value: {}")
        check_betas(betas)
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero average, zero maximum."""
        return {"step": 0.0, "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        beta1, beta2 = group["betas"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        largest = maximum(state["exp_inf"] * beta2, absolute(g) + group["eps"])
        p = p - mean * (group["lr"] / (1 - beta1**step)) / largest
        return p, {"step": step, "exp_avg": mean, "exp_inf": largest}
