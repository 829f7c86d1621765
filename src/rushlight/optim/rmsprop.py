"""RMSprop."""

from __future__ import annotations

from rushlight.optim.arithmetic import sqrt, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class RMSprop(Optimizer):
    """Steps divided by the root of a running average of squared gradients.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-2
    alpha : float, default 0.99
        Decay of the average.
    eps : float, default 1e-8
    weight_decay, momentum : float, default 0
    centered : bool, default False
        Subtract the squared average gradient: divide by the standard deviation.
    capturable, maximize, differentiable : bool, default False
    foreach : bool, optional

    References
    ----------
    .. [1] G. Hinton, "Neural Networks for Machine Learning", lecture 6e, 2012.
    .. [2] A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013 (the centered form).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(eps, "Invalid epsilon value: {}")
        check_at_least_zero(momentum, "Invalid momentum value: {}")
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        check_at_least_zero(alpha, "Invalid alpha value: {}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages, and a zero buffer if there is momentum."""
        state = {"step": 0.0, "square_avg": zeros_like(p)}
        if group["momentum"]:
            state["momentum_buffer"] = zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = zeros_like(p)
        return state

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        alpha = group["alpha"]
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        square = state["square_avg"] * alpha + g * (1 - alpha) * g
        new_state = {"step": state["step"] + 1, "square_avg": square}
        if group["centered"]:
            mean = new_state["grad_avg"] = state["grad_avg"] + (g - state["grad_avg"]) * (1 - alpha)
            square = square - mean * mean
        scale = sqrt(square) + group["eps"]
        if not group["momentum"]:
            return p - g * group["lr"] / scale, new_state
        velocity = new_state["momentum_buffer"] = state["momentum_buffer"] * group["momentum"] + g / scale
        return p - velocity * group["lr"], new_state
