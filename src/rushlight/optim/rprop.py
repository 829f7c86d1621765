"""Rprop: resilient backpropagation."""

from __future__ import annotations

from rushlight.optim.arithmetic import full_like, maximum, minimum, sign, where, zeros_like
from rushlight.optim.checks import check, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class Rprop(Optimizer):
    """Steps by the sign of the gradient alone, each element with a step size of its own.

    The step size grows by `etas[1]` while the sign stays and shrinks by `etas[0]` when it changes; an element whose
    sign changed rests for one step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-2
        First step size.
    etas : (float, float), default (0.5, 1.2)
    step_sizes : (float, float), default (1e-6, 50)
        Smallest and largest step size.
    capturable, maximize, differentiable : bool, default False
    foreach : bool, optional

    References
    ----------
    .. [1] M. Riedmiller, H. Braun, "A Direct Adaptive Method for Faster Backpropagation Learning", 1993.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        message = f"Invalid eta values: {etas[0]}, {etas[1]}"
        check(0.0 < etas[0] < 1.0 < etas[1], message, expected="0 < etas[0] < 1 < etas[1]", received=etas)
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """No previous gradient; step sizes of `lr`."""
        return {"step": 0.0, "prev": zeros_like(p), "step_size": full_like(p, group["lr"])}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        shrink, grow = group["etas"]
        smallest, largest = group["step_sizes"]
        if group["maximize"]:
            g = -g
        agreement = sign(g * state["prev"])
        # Zero agreement keeps the size; nan stays nan, so a diverged element is not hidden.
        factor = where(agreement > 0, grow, where(agreement < 0, shrink, agreement + 1))
        step_size = minimum(maximum(state["step_size"] * factor, smallest), largest)
        g = where(agreement < 0, 0.0, g)
        return p - sign(g) * step_size, {"step": state["step"] + 1, "prev": g, "step_size": step_size}
