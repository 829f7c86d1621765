"""Adafactor: Adam's scaling with row and column averages instead of one number per element."""

from __future__ import annotations

from typing import Any

from rushlight.dtypes import finfo
from rushlight.optim.arithmetic import maximum, mean, mean_square, minimum, new_zeros, sqrt, zeros_like
from rushlight.optim.checks import check, check_at_least_zero, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor


class Adafactor(Optimizer):
    """Memory-saving adaptive steps: matrices keep one average per row and per column.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-2
        Upper bound of the relative step size, which is min(lr, 1 / sqrt(t)).
    beta2_decay : float, default -0.8
        The averages forget with 1 - t**beta2_decay.
    eps : (float or None, float), default (None, 1e-3)
        Smallest squared gradient (None: that of the dtype), smallest size of a parameter.
    d : float, default 1.0
        Largest root mean square of an update.
    weight_decay : float, default 0.0
    foreach : bool, optional
    maximize : bool, default False

    References
    ----------
    .. [1] N. Shazeer, M. Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", 2018.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        message = f"beta2_decay should be <= 0 but is: {beta2_decay}"
        check(beta2_decay <= 0.0, message, expected="a number <= 0", received=beta2_decay)
        if eps[0] is not None:
            check_at_least_zero(eps[0], "epsilon1 should be >= 0 but is: {}")
        check_at_least_zero(eps[1], "epsilon2 should be >= 0 but is: {}")
        check(d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}", expected="a number >= 1", received=d)
        check_at_least_zero(weight_decay, "weight_decay should be >= 0 but is: {}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_parameter(self, p: Tensor) -> None:
        """Real parameters only."""
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")

    def settings(self, p: Tensor, group: Group) -> Group:
        """With the dtype's epsilon where none was given."""
        smallest, size = group["eps"]
        return {**group, "eps": (finfo(p.dtype).eps, size)} if smallest is None else group

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages: of rows and columns for matrices, of elements for vectors."""
        shape = tuple(p.shape)
        if len(shape) < 2:
            return {"step": 0.0, "variance": zeros_like(p)}
        row, column = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return {"step": 0.0, "row_var": new_zeros(p, row), "col_var": new_zeros(p, column)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        lr, (smallest, size) = group["lr"], group["eps"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        rate = maximum(sqrt(mean_square(p)), size) * minimum(1 / sqrt(step), lr)
        if group["weight_decay"]:
            p = p * (1 - lr * group["weight_decay"])
        new_state: dict[str, Any] = {"step": step}
        forget = step ** group["beta2_decay"]
        if "row_var" in state:
            row = state["row_var"] + (mean_square(g, -1) - state["row_var"]) * forget
            column = state["col_var"] + (mean_square(g, -2) - state["col_var"]) * forget
            new_state.update(row_var=row, col_var=column)
            variance = row @ column / maximum(mean(row, -2), smallest)
        else:
            variance = new_state["variance"] = state["variance"] + (g * g - state["variance"]) * forget
        direction = g / sqrt(maximum(variance, smallest * smallest))
        clipping = maximum(sqrt(mean_square(direction)) / group["d"], 1.0)
        return p - direction * (rate / clipping), new_state
