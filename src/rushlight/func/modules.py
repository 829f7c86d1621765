"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.nn.batchnorm import _BatchNorm
from rushlight.nn.utils.stateless import call_with_tensors
from rushlight.ops import linear


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """`module(*args, **kwargs)` with the given tensors in the place of its parameters and buffers.

    Parameters
    ----------
    module : Module
    parameter_and_buffer_dicts : dict of str to Tensor, or a sequence of such dicts with different names
    args : Any or tuple
    kwargs : dict, optional
    tie_weights : bool
        Replace a shared parameter under all its names.
    strict : bool
        Refuse missing and unexpected names.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 1)
    >>> tensors = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    >>> torch.func.functional_call(layer, tensors, torch.tensor([1.0, 2.0]))
    tensor([3.])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        tensors = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        tensors = {}
        for given in parameter_and_buffer_dicts:
            repeated = tensors.keys() & given.keys()
            if repeated:
                raise ValueError(
                    f"{sorted(repeated)} appear in multiple dictionaries; behavior of functional call is ambiguous"
                )
            tensors.update(given)
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    return call_with_tensors(module, tensors, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of several modules of one kind, each stacked along a new first dim."""
    several = list(models)
    if not several:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(several[0]) for m in several):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = _stacked([dict(m.named_parameters()) for m in several])
    for p in parameters.values():
        p.requires_grad_()
    return parameters, _stacked([dict(m.named_buffers()) for m in several])


def _stacked(tables: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: linear.stack([t[name].detach() for t in tables], 0) for name in tables[0]}


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Let all batch norms in `root` use the batch's statistics only, so that they write no buffers; returns `root`."""
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def functionalize(func: Any, *, remove: str = "mutations") -> Any:
    """`func` itself: in-place operations need no rewriting here."""
    return func
