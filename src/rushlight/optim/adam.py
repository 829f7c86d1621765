"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from rushlight.optim.arithmetic import maximum, sqrt, zeros_like
from rushlight.optim.checks import check_at_least_zero, check_betas, check_fused, check_lr, scalar
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.tensor import Tensor

Betas = tuple[float | Tensor, float | Tensor]


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    m = beta1 * m + (1 - beta1) * g, v = beta2 * v + (1 - beta2) * g**2, and
    p = p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps).

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0
        Added to the gradient as `weight_decay * p`; with `decoupled_weight_decay`, p shrinks by
        `lr * weight_decay` instead.
    amsgrad : bool, default False
        Divide by the largest v so far.
    maximize, differentiable, capturable : bool, default False
    foreach, fused : bool, optional
        Accepted; the step is the same with and without.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014.
    .. [2] S. J. Reddi, S. Kale, S. Kumar, "On the Convergence of Adam and Beyond", 2018.

    Examples
    --------
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> opt = torch.optim.Adam([w], lr=0.1)
    >>> w.sum().backward()
    >>> opt.step()
    >>> w
    tensor([0.9000], requires_grad=True)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_lr(lr)
        check_at_least_zero(eps, "Invalid epsilon value: {}")
        check_betas(betas)
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        _check_beta_types(betas, foreach, capturable)
        defaults = {
            "lr": lr,
            "betas": tuple(map(scalar, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Zero averages."""
        state = {"step": 0.0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(p)
        return state

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        beta1, beta2 = group["betas"]
        if group["maximize"]:
            g = -g
        step = state["step"] + 1
        if group["weight_decay"]:
            if group["decoupled_weight_decay"]:
                p = p * (1 - group["lr"] * group["weight_decay"])
            else:
                g = g + p * group["weight_decay"]
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        square = state["exp_avg_sq"] * beta2 + g * (1 - beta2) * g
        new_state = {"step": step, "exp_avg": mean, "exp_avg_sq": square}
        if group["amsgrad"]:
            square = new_state["max_exp_avg_sq"] = maximum(state["max_exp_avg_sq"], square)
        step_size = group["lr"] / (1 - beta1**step)
        scale = sqrt(square) / sqrt(1 - beta2**step) + group["eps"]
        return p - mean * step_size / scale, new_state

    def update_sparse(self, p: Tensor, grad: Tensor, group: Group, hyper: Group) -> None:
        """Not defined: the averages of rows without a gradient would have to decay too."""
        raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")


def _check_beta_types(betas: Betas, foreach: bool | None, capturable: bool) -> None:
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if any(tensors) != all(tensors) or not all(isinstance(beta, (float, Tensor)) for beta in betas):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if not isinstance(beta, Tensor):
            continue
        if not capturable and foreach:
            raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
        if beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")


class AdamW(Adam):
    """Adam with decoupled weight decay: p shrinks by `lr * weight_decay` before each step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, default 1e-3
    betas : (float, float), default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 1e-2
    amsgrad, maximize, capturable, differentiable : bool, default False
    foreach, fused : bool, optional

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2019.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
