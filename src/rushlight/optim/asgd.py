"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from rushlight.optim.arithmetic import maximum, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class ASGD(Optimizer):
    """Gradient descent with a decaying rate, and an average `ax` of the parameters from step `t0` on.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-2
    lambd : float, default 1e-4
        Decay of the parameters.
    alpha : float, default 0.75
        The rate is lr / (1 + lambd * lr * t)**alpha.
    t0 : float, default 1e6
    weight_decay : float, default 0
    foreach : bool, optional
    maximize, differentiable, capturable : bool, default False

    References
    ----------
    .. [1] B. T. Polyak, A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
    """

    scalar_state = ("step", "eta", "mu")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """The rate starts at `lr`; weight 1 of the newest parameters makes the average a copy at first."""
        return {"step": 0.0, "eta": group["lr"], "mu": 1.0, "ax": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        lr, lambd, eta = group["lr"], group["lambd"], state["eta"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        p = p * (1 - lambd * eta) - g * eta
        # (1 - mu) * ax + mu * p: exact for mu = 1, where the average is a copy.
        average = state["ax"] * (1 - state["mu"]) + p * state["mu"]
        rate = lr / (1 + lambd * lr * step) ** group["alpha"]
        return p, {"step": step, "eta": rate, "mu": 1 / maximum(step - group["t0"], 1), "ax": average}
