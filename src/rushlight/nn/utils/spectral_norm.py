"""Spectral normalisation by a forward pre-hook, PyTorch's older form; see `parametrizations.spectral_norm`."""

from __future__ import annotations

from typing import Any, TypeVar

from rushlight.errors import explain
from rushlight.linalg import multi_dot
from rushlight.modes import no_grad
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter, UninitializedParameter
from rushlight.tensor import Tensor

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]

M = TypeVar("M", bound=Module)


def unit(vector: Tensor, eps: float) -> Tensor:
    """`vector` divided by its norm, or by `eps` if that is larger."""
    out: Tensor = vector / vector.norm().clamp_min(eps)
    return out


def random_unit(like: Tensor, size: int, eps: float) -> Tensor:
    """A random direction with `size` entries of the dtype of `like`."""
    return unit(like.new_empty(size).normal_(0, 1), eps)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """`weight` with dimension `dim` as rows and all others as columns."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    out: Tensor = weight.reshape(weight.size(0), -1)
    return out


def check_iterations(count: int) -> None:
    """Raise unless `count` is positive."""
    if count <= 0:
        raise explain(
            ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={count}"), fix="1"
        )


def output_dim(module: Any) -> int:
    """The dimension of the weight that counts outputs: 1 in transposed convolutions."""
    return 1 if getattr(module, "transposed", False) else 0


class SpectralNorm:
    """The pre-hook that divides a weight by its largest singular value, found by power iteration [1].

    References
    ----------
    .. [1] T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", arXiv 1802.05957.
    """

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        check_iterations(n_power_iterations)
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix."""
        return as_matrix(weight, self.dim)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The normalised weight; with `do_power_iteration` the singular vectors are improved in place first."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(unit(matrix.t().mv(u), self.eps))
                    u.copy_(unit(matrix.mv(v), self.eps))
                # The formulas below keep the vectors; the next call overwrites the buffers.
                u, v = u.clone(), v.clone()
        out: Tensor = weight / u.dot(matrix.mv(v))
        return out

    def remove(self, module: Module) -> None:
        """Put the normalised weight back as a parameter."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for name in (self.name, f"{self.name}_u", f"{self.name}_v", f"{self.name}_orig"):
            delattr(module, name)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))

    def _solve_v_and_rescale(self, matrix: Tensor, u: Tensor, sigma: Any) -> Tensor:
        v = multi_dot([matrix.t().mm(matrix).pinverse(), matrix.t(), u.unsqueeze(1)]).squeeze(1)
        out: Tensor = v * (sigma / u.dot(matrix.mv(v)))
        return out

    @staticmethod
    def apply(module: Module, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        """Replace the parameter `name` of `module` and register the hooks."""
        if any(isinstance(hook, SpectralNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if isinstance(weight, UninitializedParameter):
            raise ValueError(
                "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to run the dummy "
                "forward before applying spectral normalization"
            )
        with no_grad():
            rows, columns = as_matrix(weight, dim).size()
            u, v = random_unit(weight, rows, eps), random_unit(weight, columns, eps)
        delattr(module, name)
        module.register_parameter(f"{name}_orig", weight)
        # A plain attribute: `named_parameters` must give the original only.
        setattr(module, name, weight.data)
        module.register_buffer(f"{name}_u", u)
        module.register_buffer(f"{name}_v", v)
        module.register_forward_pre_hook(hook)
        module._register_state_dict_hook(SpectralNormStateDictHook(hook))
        module._register_load_state_dict_pre_hook(SpectralNormLoadStateDictPreHook(hook))
        return hook


class SpectralNormLoadStateDictPreHook:
    """Reads state dicts of PyTorch before 1.0, which held the normalised weight and no right singular vector."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        hook = self.fn
        version = local_metadata.get("spectral_norm", {}).get(f"{hook.name}.version")
        key = prefix + hook.name
        if version is not None and version >= 1:
            return
        if all(f"{key}{end}" in state_dict for end in ("_orig", "_u", "_v")) and key not in state_dict:
            return
        absent = [f"{key}{end}" for end in ("_orig", "", "_u") if f"{key}{end}" not in state_dict]
        if absent:
            missing_keys.extend(absent if strict else [])
            return
        with no_grad():
            original, weight = state_dict[f"{key}_orig"], state_dict.pop(key)
            sigma = (original / weight).mean()
            matrix = as_matrix(original, hook.dim)
            state_dict[f"{key}_v"] = hook._solve_v_and_rescale(matrix, state_dict[f"{key}_u"], sigma)


class SpectralNormStateDictHook:
    """Notes the format's version in the metadata of the state dict."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(self, module: Module, state_dict: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
        versions = local_metadata.setdefault("spectral_norm", {})
        versions[f"{self.fn.name}.version"] = self.fn._version


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide the parameter `name` by its largest singular value in every forward.

    Parameters
    ----------
    n_power_iterations : int
        Steps of power iteration per training forward.
    eps : float
        Smallest norm divided by.
    dim : int, optional
        The dimension that counts outputs; 1 for transposed convolutions, else 0.
    """
    SpectralNorm.apply(module, name, n_power_iterations, output_dim(module) if dim is None else dim, eps)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Undo `spectral_norm`, keeping the present weight."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            break
    else:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for table, kind in (
        (module._state_dict_hooks, SpectralNormStateDictHook),
        (module._load_state_dict_pre_hooks, SpectralNormLoadStateDictPreHook),
    ):
        for number, entry in list(table.items()):
            found = getattr(entry, "hook", entry)
            if isinstance(found, kind) and found.fn.name == name:
                del table[number]
    return module
