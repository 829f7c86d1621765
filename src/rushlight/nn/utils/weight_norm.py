"""Weight normalisation by a forward pre-hook, PyTorch's older form; see `parametrizations.weight_norm`."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter, UninitializedParameter
from rushlight.ops.weight_norm import weight_norm as scale_to_norm
from rushlight.tensor import Tensor

__all__ = ["WeightNorm", "norm_except_dim", "remove_weight_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


def dims_except(weight: Tensor, dim: int) -> tuple[int, ...]:
    """All dimensions but `dim`; -1 stands for none, as in PyTorch."""
    return tuple(range(weight.dim())) if dim == -1 else tuple(d for d in range(weight.dim()) if d != dim % weight.dim())


def norm_except_dim(weight: Tensor, dim: int) -> Tensor:
    """The 2-norm of `weight` over all dimensions but `dim`, which are kept with size 1; -1: over all, a 0-d tensor."""
    dims = dims_except(weight, dim)
    squares = weight.square()
    out: Tensor = squares.sum().sqrt() if dim == -1 else (squares.sum(dims, keepdim=True) if dims else squares).sqrt()
    return out


def apply_weight_norm(direction: Tensor, magnitude: Tensor, dim: int) -> Tensor:
    """`direction` with the norms `magnitude`."""
    dims = dims_except(direction, dim)
    out: Tensor = scale_to_norm(direction, magnitude, dims) if dims else direction.sign() * magnitude
    return out


class WeightNorm:
    """The pre-hook that computes the weight from its magnitude `<name>_g` and direction `<name>_v`."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight for the present magnitude and direction."""
        return apply_weight_norm(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Split the parameter `name` of `module` and register the hook."""
        if any(isinstance(hook, WeightNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        if isinstance(weight, UninitializedParameter):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run the dummy "
                "forward before applying weight normalization"
            )
        del module._parameters[name]
        module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, hook.dim).data))
        module.register_parameter(f"{name}_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Put the computed weight back as a parameter."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Make the parameter `name` a magnitude times a direction, both trained.

    Parameters
    ----------
    dim : int or None
        Dimension along which each slice has a magnitude of its own; `None` gives one for all.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo `weight_norm`, keeping the present weight."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
