"""What the optimizer tests run: one row per optimizer and setting, for `rushlight` and PyTorch alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 12
SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (5,), ())
GOLDEN = Path(__file__).parent / "golden"

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "foreach": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "maximize": True, "fused": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("NAdam", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"lr": 0.1}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.5, "maximize": True}),
    ("Rprop", {"lr": 0.1}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.01, 0.2), "maximize": True}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 3, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1, "d": 1.5, "eps": (1e-4, 1e-2), "maximize": True}),
]  # fmt: skip

SCHEDULERS: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.5}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.25, "total_iters": 6}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3, "step_size_down": 4}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": [1.0, 2.0], "step_size_up": 3, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 15}),
    ("OneCycleLR", {"max_lr": [1.0, 0.5], "epochs": 3, "steps_per_epoch": 5, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 15, "anneal_strategy": "linear", "cycle_momentum": False}),
]  # fmt: skip


def name_of(case: tuple[str, dict[str, Any]]) -> str:
    """A readable test id."""
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items())]).replace(" ", "")


def starts(dtype: Any = np.float32) -> list[Any]:
    """Parameters before the first step."""
    return [np.cos(np.arange(np.prod(shape, dtype=int)) * 0.7).reshape(shape).astype(dtype) for shape in SHAPES]


def gradient(p: Any, step: int) -> Any:
    """A gradient that depends on the parameter and on the step, and changes its sign."""
    noise = np.sin(np.arange(p.size) * 1.3 + step * 2.1).reshape(p.shape)
    return (0.5 * p + noise).astype(p.dtype)


def set_gradients(torch: Any, params: list[Any], step: int) -> None:
    """Give every parameter its gradient of this step."""
    for p in params:
        p.grad = torch.from_numpy(np.asarray(gradient(p.detach().numpy(), step)))


def tensors(torch: Any, arrays: list[Any]) -> list[Any]:
    """Parameters over copies of `arrays`."""
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def train(torch: Any, name: str, settings: dict[str, Any], dtype: Any = np.float32) -> tuple[list[Any], Any]:
    """Parameters after `STEPS` steps, and the optimizer."""
    params = tensors(torch, starts(dtype))
    optimizer = getattr(torch.optim, name)(params, **settings)
    for step in range(STEPS):
        set_gradients(torch, params, step)
        optimizer.step()
    return [p.detach().numpy() for p in params], optimizer


def schedule(torch: Any, name: str, settings: dict[str, Any]) -> tuple[list[Any], Any]:
    """Rates and momenta of two groups over 14 steps, and the scheduler."""
    params = tensors(torch, starts())
    optimizer = torch.optim.SGD([{"params": params[:2]}, {"params": params[2:], "lr": 0.2}], lr=0.4, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
    rows = []
    for _ in range(14):
        rows.append([[group["lr"], group["momentum"]] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rows, scheduler


def golden(name: str) -> Any:
    """Recorded values, for machines without PyTorch."""
    return json.loads((GOLDEN / f"{name}.json").read_text())
