"""RAdam: Adam that waits until its variance is known."""

from __future__ import annotations

from rushlight.optim.arithmetic import maximum, sqrt, where, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_betas, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class RAdam(Optimizer):
    """Adam with a rectified learning rate: momentum alone while the average of squares is too short to trust.

    rho(t) is the length of the average; beyond 5 the step is divided by sqrt(v) and scaled by
    sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho)).

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0
    decoupled_weight_decay, maximize, capturable, differentiable : bool, default False
    foreach : bool, optional

    References
    ----------
    .. [1] L. Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2019.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages."""
        return {"step": 0.0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            if group["decoupled_weight_decay"]:
                p = p * (1 - lr * group["weight_decay"])
            else:
                g = g + p * group["weight_decay"]
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        square = state["exp_avg_sq"] * beta2 + g * (1 - beta2) * g
        correction = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction
        # Below 5 the rectification is not used; 5 keeps its square root real there.
        usable = maximum(length, 5.0)
        rectified = sqrt((usable - 4) * (usable - 2) * longest / ((longest - 4) * (longest - 2) * usable))
        adaptive = sqrt(correction) / (sqrt(square) + group["eps"])
        factor = where(length > 5.0, adaptive * rectified, 1.0)
        p = p - mean / (1 - beta1**step) * lr * factor
        return p, {"step": step, "exp_avg": mean, "exp_avg_sq": square}
