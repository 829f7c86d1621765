"""Pruning: masks that set chosen weights to zero, kept beside the original parameters."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from rushlight.creation import ones_like, zeros_like
from rushlight.errors import explain
from rushlight.functions.shape import cat
from rushlight.linalg import vector_norm
from rushlight.modes import no_grad
from rushlight.nn.module import Module
from rushlight.sampling import rand, rand_like
from rushlight.tensor import Tensor

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


class BasePruningMethod(ABC):
    """A way to choose what is pruned; a subclass defines `compute_mask`.

    Applied to a parameter `name`, it keeps the original as `name_orig` and the mask as the buffer `name_mask`, and
    as a forward pre-hook sets `name` to their product.
    """

    PRUNING_TYPE: str = "unstructured"
    _tensor_name: str

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask, 0 where `t` is to be pruned; `default_mask` says what is pruned already."""

    def apply_mask(self, module: Module) -> Tensor:
        """The original parameter times the mask."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, original = getattr(module, f"{name}_mask"), getattr(module, f"{name}_orig")
        out: Tensor = mask.to(original.dtype) * original
        return out

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune the parameter `name` of `module`; on a pruned one, this adds to the mask.

        Parameters
        ----------
        *args, **kwargs
            For the method's constructor.
        importance_scores : Tensor, optional
            Decide by these numbers instead of the parameter's values.
        """
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = _remove_hooks(module, name)
        original = getattr(module, f"{name}_orig" if earlier else name)
        present = getattr(module, name)
        scores = present if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, got {scores.shape} vs "
                f"{original.shape}"
            )
        hook = method
        if earlier is not None:
            container = PruningContainer(earlier)
            container.add_pruning_method(method)
            hook = container
        elif not isinstance(method, PruningContainer):
            module.register_parameter(f"{name}_orig", module._parameters.pop(name))
            module.register_buffer(f"{name}_mask", ones_like(original))
        try:
            with no_grad():
                mask = hook.compute_mask(scores, default_mask=getattr(module, f"{name}_mask").to(original.dtype))
        except Exception:
            _undo(module, name, earlier)
            raise
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """`t` with the chosen elements set to zero, without any module."""
        if importance_scores is not None and importance_scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        scores = t if importance_scores is None else importance_scores
        mask = ones_like(t) if default_mask is None else default_mask
        out: Tensor = t * self.compute_mask(scores, default_mask=mask)
        return out

    def remove(self, module: Module) -> None:
        """Make the pruned values the parameter again."""
        name = self._tensor_name
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(f"{name}_orig")
        if original is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        original.data = weight.data
        del module._buffers[f"{name}_mask"]
        setattr(module, name, original)


def _remove_hooks(module: Module, name: str) -> BasePruningMethod | None:
    """Take the pruning hook of `name` off `module` and return it."""
    found = None
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            found = hook
            del module._forward_pre_hooks[number]
    return found


def _undo(module: Module, name: str, earlier: BasePruningMethod | None) -> None:
    """After a refused pruning: the module is as it was."""
    if earlier is not None:
        module.register_forward_pre_hook(earlier)
        return
    original = module._parameters.pop(f"{name}_orig")
    del module._buffers[f"{name}_mask"]
    module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several pruning methods on one parameter, each applied to what those before it left."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
            for method in args:
                members = method if isinstance(method, PruningContainer) else [method]
                for member in members:
                    self.add_pruning_method(member)

    def add_pruning_method(self, method: Any) -> None:
        """Add one more method for the same parameter."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Apply the method added last to the part that `default_mask` still keeps."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype).clone()
        if method.PRUNING_TYPE == "unstructured":
            chosen: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = getattr(method, "dim", 0) % t.dim()
            # Slices that are gone already must not be chosen again.
            others = tuple(d for d in range(t.dim()) if d != dim)
            kept = mask.sum(others) != 0
            chosen = (slice(None),) * dim + (kept,)
        elif method.PRUNING_TYPE == "global":
            chosen = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask[chosen] = method.compute_mask(t[chosen], default_mask=mask[chosen]).to(mask.dtype)
        out: Tensor = mask
        return out


class Identity(BasePruningMethod):
    """Prunes nothing; the mask of ones makes the parameter look pruned."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """`default_mask` itself."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes random elements.

    Parameters
    ----------
    amount : int or float
        How many, or which fraction.
    """

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with `amount` random elements set to zero."""
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            chosen = rand_like(t).reshape(-1).topk(count).indices
            mask.view(-1)[chosen] = 0
        out: Tensor = mask
        return out


class L1Unstructured(BasePruningMethod):
    """Prunes the elements of smallest magnitude.

    Parameters
    ----------
    amount : int or float
        How many, or which fraction.
    """

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with the `amount` smallest elements set to zero."""
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            chosen = t.abs().reshape(-1).topk(count, largest=False).indices
            mask.view(-1)[chosen] = 0
        out: Tensor = mask
        return out


class _Structured(BasePruningMethod):
    """Prunes whole slices along `dim`; a subclass scores them, the lowest go."""

    PRUNING_TYPE = "structured"
    amount: float
    dim: int

    def scores(self, t: Tensor) -> Tensor:
        """One number for each slice of `t`."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with the `amount` slices of lowest score set to zero."""
        if t.dim() <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.dim()} dims"
            )
        if not -t.dim() <= self.dim < t.dim():
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if count == 0:
            return default_mask
        kept = self.scores(t).topk(size - count, largest=True).indices
        mask = zeros_like(t)
        mask[(slice(None),) * (self.dim % t.dim()) + (kept,)] = 1
        out: Tensor = mask * default_mask.to(mask.dtype)
        return out


class RandomStructured(_Structured):
    """Prunes random slices along a dimension.

    Parameters
    ----------
    amount : int or float
        How many, or which fraction.
    dim : int
        The dimension.
    """

    def __init__(self, amount: float, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.dim = dim

    def scores(self, t: Tensor) -> Tensor:
        """Random numbers."""
        out: Tensor = rand(t.shape[self.dim])
        return out


class LnStructured(_Structured):
    """Prunes the slices of smallest norm along a dimension.

    Parameters
    ----------
    amount : int or float
        How many, or which fraction.
    n : int, float, "fro" or "nuc"
        The order of the norm.
    dim : int
        The dimension.
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.n = n
        self.dim = dim

    def scores(self, t: Tensor) -> Tensor:
        """The norm of each slice."""
        others = tuple(d for d in range(t.dim()) if d != self.dim % t.dim())
        out: Tensor
        if self.n == "nuc":
            out = t.norm(p="nuc", dim=others)
        else:
            out = vector_norm(t, 2.0 if self.n == "fro" else float(self.n), dim=others)
        return out


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask of the user's.

    Parameters
    ----------
    mask : Tensor
        0 where the parameter is to be pruned.
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The user's mask, where the parameter is not pruned already."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(f"mask shape mismatch: expected {default_mask.shape}, received {self.mask.shape}")
        out: Tensor = default_mask * self.mask.to(default_mask.dtype)
        return out


def identity(module: Module, name: str) -> Module:
    """Make the parameter `name` look pruned without pruning anything."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune `amount` (a number or a fraction) random elements of the parameter `name`."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the `amount` (a number or a fraction) elements of smallest magnitude of the parameter `name`.

    Examples
    --------
    >>> from rushlight.nn.utils import prune
    >>> layer = prune.l1_unstructured(torch.nn.Linear(4, 2), "weight", amount=0.5)
    >>> int((layer.weight == 0).sum())
    4
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune `amount` random slices along `dim` of the parameter `name`."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the `amount` slices along `dim` of smallest `n`-norm of the parameter `name`."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune the parameter `name` where `mask` is 0."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Any, pruning_method: type[BasePruningMethod], importance_scores: Any = None, **kwargs: Any
) -> None:
    """Prune several parameters as if they were one vector, so that some lose more than others.

    Parameters
    ----------
    parameters : iterable of (Module, str)
        Modules and names of their parameters.
    pruning_method : type
        A method of unstructured pruning.
    importance_scores : dict, optional
        `(module, name)` to scores that decide in place of the values.
    **kwargs
        For the method's constructor, such as `amount`.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    pairs = list(parameters)
    values = [scores.get(pair, getattr(*pair)) for pair in pairs]
    masks = [getattr(module, f"{name}_mask", None) for module, name in pairs]
    all_values = cat([value.detach().reshape(-1) for value in values], 0)
    kept = cat([(ones_like(v) if m is None else m).reshape(-1) for v, m in zip(values, masks, strict=True)], 0)
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {method.PRUNING_TYPE}"
        )
    mask = container.compute_mask(all_values, kept)
    start = 0
    for (module, name), value in zip(pairs, values, strict=True):
        custom_from_mask(module, name, mask[start : start + value.numel()].view_as(value))
        start += value.numel()


def remove(module: Module, name: str) -> Module:
    """Make the pruning of `name` permanent: the masked values become the parameter."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether some parameter of `module` or of its submodules is pruned."""
    hooks = (hook for member in module.modules() for hook in member._forward_pre_hooks.values())
    return any(isinstance(hook, BasePruningMethod) for hook in hooks)


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    is_integer = isinstance(amount, numbers.Integral)
    if (is_integer and amount < 0) or (not is_integer and not 0.0 <= float(amount) <= 1.0):
        raise explain(
            ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer"),
            received=amount,
        )


def _count(amount: float, size: int) -> int:
    """How many of `size` units `amount` means."""
    if not isinstance(amount, numbers.Integral):
        return round(amount * size)
    if amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return int(amount)
