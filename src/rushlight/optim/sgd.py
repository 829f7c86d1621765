"""Stochastic gradient descent."""

from __future__ import annotations

from rushlight.optim.checks import check, check_at_least_zero, check_fused, check_lr
from rushlight.optim.optimizer import Group, Optimizer, ParamsT, State, Value
from rushlight.optim.sparse_gradient import dense, elements
from rushlight.tape import bump
from rushlight.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked.

    With gradient g: v = momentum * v + (1 - dampening) * g, p = p - lr * v; the first v is g itself. With
    `nesterov` the step is along g + momentum * v.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        What to optimize, or parameter groups with settings of their own.
    lr : float or Tensor, default 1e-3
        Learning rate.
    momentum, dampening, weight_decay : float, default 0
    nesterov, maximize, differentiable : bool, default False
    foreach, fused : bool, optional
        Accepted; the step is the same with and without.

    References
    ----------
    .. [1] I. Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> opt = torch.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w
    tensor([0., 0.], requires_grad=True)
    """

    scalar_state = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(momentum, "Invalid momentum value: {}")
        check_at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        check(
            not nesterov or (momentum > 0 and dampening == 0),
            "Nesterov momentum requires a momentum and zero dampening",
            expected="momentum > 0 and dampening == 0",
            received=f"momentum={momentum}, dampening={dampening}",
        )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """Nothing: the first step makes the momentum buffer."""
        return {}

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """One step."""
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        momentum = group["momentum"]
        if not momentum:
            return p - g * group["lr"], {}
        velocity = state.get("momentum_buffer")
        velocity = g if velocity is None else velocity * momentum + g * (1 - group["dampening"])
        direction = g + velocity * momentum if group["nesterov"] else velocity
        return p - direction * group["lr"], {"momentum_buffer": velocity}

    def update_sparse(self, p: Tensor, grad: Tensor, group: Group, hyper: Group) -> None:
        """Without momentum and weight decay only the elements that `grad` names change."""
        if group["momentum"] or group["weight_decay"]:
            self._engine.run_rule(p, dense(grad), self.state.get(p, {}), hyper)
            return
        where, values = elements(grad)
        p._data[where] -= values * (-hyper["lr"] if hyper["maximize"] else hyper["lr"])
        bump(p)
