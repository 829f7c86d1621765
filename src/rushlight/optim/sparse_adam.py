"""SparseAdam: Adam for the rows that a sparse gradient names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.modes import enable_grad
from rushlight.optim.checks import check, check_betas, check_lr
from rushlight.optim.engine import numbers
from rushlight.optim.optimizer import Group, Optimizer, ParamsT
from rushlight.optim.sparse_gradient import elements
from rushlight.tape import bump, wrap
from rushlight.tensor import Tensor


class SparseAdam(Optimizer):
    """Adam whose averages and parameters change only where the gradient has entries.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        Dense parameters that get sparse gradients, such as those of `nn.Embedding(..., sparse=True)`.
    lr : float or Tensor, default 1e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    maximize : bool, default False
    """

    scalar_state = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        check(lr > 0.0, f"Invalid learning rate: {lr}", expected="lr > 0", received=lr)
        check(eps > 0.0, f"Invalid epsilon value: {eps}", expected="eps > 0", received=eps)
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [(i, j, p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        sparse = [[i, j] for i, j, p in places if getattr(p, "is_sparse", False)]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        complex_ = [[i, j] for i, j, p in places if p.is_complex()]
        if complex_:
            raise ValueError(f"Complex params at indices {complex_}: SparseAdam does not support complex parameters")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the elements that the gradients name."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            hyper = numbers(group, self.defaults)
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not getattr(p.grad, "is_sparse", False):
                    raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
                self.update_sparse(p, p.grad, group, hyper)
        return loss

    def update_sparse(self, p: Tensor, grad: Tensor, group: Group, hyper: Group) -> None:
        """One step of one parameter."""
        state = self.state[p]
        if not state:
            state.update(step=0, exp_avg=wrap(np.zeros_like(p._data)), exp_avg_sq=wrap(np.zeros_like(p._data)))
        state["step"] += 1
        where, g = elements(grad)
        if not g.size:
            return
        if hyper["maximize"]:
            g = -g
        beta1, beta2 = hyper["betas"]
        mean, square = state["exp_avg"]._data, state["exp_avg_sq"]._data
        mean[where] += (g - mean[where]) * (1 - beta1)
        square[where] += (g * g - square[where]) * (1 - beta2)
        step_size = hyper["lr"] * math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        p._data[where] -= step_size * (mean[where] / (np.sqrt(square[where]) + hyper["eps"]))
        bump(p)
