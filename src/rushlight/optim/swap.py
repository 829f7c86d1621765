"""Letting an optimizer work on other parameters for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rushlight.optim.optimizer import Optimizer
from rushlight.tensor import Tensor

NAME = "swap_in_optimizer_params_and_state"


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Run a block with other parameters and another state in `optimizer`; afterwards it has its own again.

    Parameters
    ----------
    optimizer : Optimizer
        With state: it has made a step.
    swapin_parameters : dict
        Name to parameter, in the order of the optimizer's groups.
    swapin_optim_state : dict
        What `optimizer.state_dict()` of such parameters returns.
    """
    if not optimizer.state:
        raise RuntimeError(f"{NAME} requires initialized optimizer state.")
    groups, state = _checked(optimizer, swapin_optim_state)
    parameters = list(swapin_parameters.values())
    if len(parameters) < sum(len(group["params"]) for group in groups):
        raise RuntimeError(f"{NAME} requires the explicit parameter state to match optimizer.param_groups ordering.")
    own_state, own_groups = optimizer.state, [dict(group) for group in optimizer.param_groups]
    new_state: defaultdict[Any, Any] = defaultdict(dict)
    waiting = iter(parameters)
    try:
        for group, saved in zip(optimizer.param_groups, groups, strict=True):
            chosen = [next(waiting) for _ in saved["params"]]
            group.update({key: value for key, value in saved.items() if key != "params"}, params=chosen)
            for p, number in zip(chosen, saved["params"], strict=True):
                new_state[p] = dict(state.get(number, {}))
        optimizer.state = new_state
        yield
    finally:
        for group, own in zip(optimizer.param_groups, own_groups, strict=True):
            group.clear()
            group.update(own)
        optimizer.state = own_state


def _checked(optimizer: Optimizer, saved: Any) -> tuple[list[dict[str, Any]], dict[Any, Any]]:
    """Groups and state of a state dict, which must have the form of the optimizer's own."""
    if not isinstance(saved, dict) or not isinstance(saved.get("state"), dict):
        raise RuntimeError(f"{NAME} requires swapin_optim_state['state'] to be a dict of packed parameter ids.")
    groups, state = saved.get("param_groups"), saved["state"]
    if not isinstance(groups, list):
        raise RuntimeError(f"{NAME} requires swapin_optim_state['param_groups'] to be a list of param-group dicts.")
    if len(groups) != len(optimizer.param_groups):
        raise RuntimeError("swapin_optim_state has a different number of parameter groups than the live optimizer.")
    for i, (group, own) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        if set(group) != set(own):
            differing = sorted(set(group) ^ set(own))
            raise RuntimeError(f"{NAME} requires equal keys of param group {i}; differing: {differing}.")
        if len(group["params"]) != len(own["params"]):
            raise RuntimeError(
                f"swapin_optim_state param group {i} has a different number of params than the live optimizer param "
                "group."
            )
    extra = [key for key in state if not any(key in group["params"] for group in groups)]
    if extra:
        raise RuntimeError(f"{NAME} requires state keyed only by packed parameter ids; got extra keys {extra!r}.")
    return groups, state
