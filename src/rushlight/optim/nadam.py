"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from rushlight.optim.arithmetic import sqrt, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_betas, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class NAdam(Optimizer):
    """Adam whose step looks ahead along the momentum, with a momentum that warms up.

    mu(t) = beta1 * (1 - 0.96**(t * momentum_decay) / 2); the step mixes the gradient, weighted with 1 - mu(t), and
    the running average, weighted with mu(t + 1), each divided by one minus the product of the mu so far.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 2e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0
    momentum_decay : float, default 4e-3
    decoupled_weight_decay, maximize, capturable, differentiable : bool, default False
    foreach : bool, optional

    References
    ----------
    .. [1] T. Dozat, "Incorporating Nesterov Momentum into Adam", 2016.
    """

    scalar_state = ("step", "mu_product")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_at_least_zero(momentum_decay, "Invalid momentum_decay value: {}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages; the product of the momenta starts at 1."""
        return {"step": 0.0, "mu_product": 1.0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["momentum_decay"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            if group["decoupled_weight_decay"]:
                p = p * (1 - lr * group["weight_decay"])
            else:
                g = g + p * group["weight_decay"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))
        mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * decay))
        product = state["mu_product"] * mu
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        square = state["exp_avg_sq"] * beta2 + g * (1 - beta2) * g
        scale = sqrt(square / (1 - beta2**step)) + group["eps"]
        p = p - g * (lr * (1.0 - mu) / (1.0 - product)) / scale
        p = p - mean * (lr * mu_next / (1.0 - product * mu_next)) / scale
        return p, {"step": step, "mu_product": product, "exp_avg": mean, "exp_avg_sq": square}
