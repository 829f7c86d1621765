"""Muon: momentum with orthogonalised updates."""

from __future__ import annotations

import math
from typing import Any

from rushlight.optim.arithmetic import maximum, mean_square, round_to_bfloat16, sqrt, transpose, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor

ADJUSTMENTS = ("original", "match_rms_adamw")


class Muon(Optimizer):
    """Momentum whose update is replaced by the nearest orthogonal matrix, for weights of hidden layers.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        Matrices; biases, embeddings and output layers belong to another optimizer.
    lr : float, default 1e-3
    weight_decay : float, default 0.1
        Decoupled: p shrinks by `lr * weight_decay`.
    momentum : float, default 0.95
    nesterov : bool, default True
    ns_coefficients : (float, float, float)
        Coefficients of the Newton-Schulz iteration, run in bfloat16.
    eps : float, default 1e-7
    ns_steps : int, default 5
    adjust_lr_fn : {"original", "match_rms_adamw"}, optional
        How the rate depends on the shape: by sqrt(max(1, rows / columns)), or by 0.2 * sqrt(max(rows, columns)).

    References
    ----------
    .. [1] K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    .. [2] J. Liu et al., "Muon is Scalable for LLM Training", 2025.
    """

    scalar_state = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        check_at_least_zero(momentum, "momentum should be >= 0 but is: {}")
        check_at_least_zero(weight_decay, "weight decay should be >= 0 but is: {}")
        if adjust_lr_fn is not None and adjust_lr_fn not in ADJUSTMENTS:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}"
                    )

    def check_parameter(self, p: Tensor) -> None:
        """Real parameters only."""
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero momentum."""
        return {"momentum_buffer": zeros_like(p)}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        momentum, shape = group["momentum"], tuple(p.shape)
        average = state["momentum_buffer"] + (g - state["momentum_buffer"]) * (1 - momentum)
        direction = average - (average - g) * (1 - momentum) if group["nesterov"] else average
        direction = orthogonal(direction, shape, group["ns_coefficients"], group["ns_steps"], group["eps"])
        p = p * (1 - group["lr"] * group["weight_decay"])
        return p - direction * (group["lr"] * _shape_factor(group["adjust_lr_fn"], shape)), {"momentum_buffer": average}


def orthogonal(x: Value, shape: tuple[int, ...], coefficients: Any, steps: int, eps: float) -> Value:
    """An orthogonal matrix near `x`, by Newton-Schulz steps in bfloat16."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    is_tall = shape[0] > shape[1]
    x = round_to_bfloat16(x)
    x = transpose(x) if is_tall else x
    norm = round_to_bfloat16(sqrt(mean_square(x) * (shape[0] * shape[1])))
    x = round_to_bfloat16(x / maximum(norm, eps))
    for _ in range(steps):
        gram = round_to_bfloat16(x @ transpose(x))
        polynomial = round_to_bfloat16(gram * b + (gram @ gram) * c)
        x = round_to_bfloat16(x * a + polynomial @ x)
    return transpose(x) if is_tall else x


def _shape_factor(adjustment: str | None, shape: tuple[int, ...]) -> float:
    rows, columns = shape
    if adjustment == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))
