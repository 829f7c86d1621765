"""The base of learning-rate schedules, and what they share."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import ref

from rushlight.errors import explain
from rushlight.modes import ACTIVE, state
from rushlight.optim.checks import scalar
from rushlight.optim.optimizer import Optimizer
from rushlight.tensor import Tensor

Rate = Any
HOW_TO_ADJUST = "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed "
    "form is used instead of the new chainable form, where available."
)


def require_optimizer(optimizer: Any) -> None:
    """Schedules drive optimizers only."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copied(value: Any) -> Any:
    """A Tensor as a copy, anything else unchanged."""
    return value.clone() if isinstance(value, Tensor) else value


def current(optimizer: Optimizer, key: str) -> list[Any]:
    """A setting of every parameter group."""
    return [copied(group[key]) for group in optimizer.param_groups]


def assign(group: dict[str, Any], key: str, value: Any) -> None:
    """Set a setting of a group; a Tensor is filled, so that captured references see the change."""
    if isinstance(group[key], Tensor):
        group[key].fill_(scalar(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value`, or its items, one for each parameter group."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(count)]
    if len(value) != count:
        raise explain(
            ValueError(
                f"{name} must have the same length as optimizer.param_groups. "
                f"{name} has {len(value)} values, param_groups has {count}."
            ),
            expected=count,
            received=len(value),
        )
    return [copied(v) for v in value]


def start_momentum(scheduler: Any, base: Any, largest: Any, last_epoch: int) -> tuple[list[Any], list[Any]]:
    """Prepare the groups for a cycling momentum (beta1 for the Adam family); returns its bounds per group."""
    optimizer = scheduler.optimizer
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
    scheduler.use_beta1 = "betas" in optimizer.defaults
    lows = per_group("base_momentum", optimizer, base)
    highs = per_group("max_momentum", optimizer, largest)
    if last_epoch == -1:
        for low, high, group in zip(lows, highs, optimizer.param_groups, strict=True):
            set_momentum(group, high, scheduler.use_beta1)
            group["max_momentum"] = high
            group["base_momentum"] = low
    return lows, highs


def set_momentum(group: dict[str, Any], value: Any, use_beta1: bool) -> None:
    """Set the momentum of a group, or its first beta."""
    if use_beta1:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def check_not_traced() -> None:
    """A compiled program does not know schedules: what reads or moves one runs in Python, after the program."""
    if ACTIVE and state.trace is not None:
        state.trace.refuse("uses a learning-rate schedule")


class LRScheduler:
    """Base of learning-rate schedules: sets the `lr` of every parameter group at each `step`.

    A subclass overrides `get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int, default -1
        Index of the last epoch when training is resumed; -1 starts afresh.
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False
    base_lrs: list[Rate]
    last_epoch: int

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0; load the optimizer's state first, or start with last_epoch=-1"
                )
        self.base_lrs = current(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _note_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Every attribute but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Rate]:
        """The rates that the last `step` set."""
        check_not_traced()
        return self._last_lr

    def get_lr(self) -> list[Rate]:
        """The rates for `last_epoch`, from the present ones."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch; call it after `optimizer.step()`."""
        check_not_traced()
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. " + HOW_TO_ADJUST,
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you "
                "should call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to "
                "do this will result in PyTorch skipping the first value of the learning rate schedule. "
                + HOW_TO_ADJUST,
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._within_step():
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                closed = getattr(self, "_get_closed_form_lr", None)
                rates = self.get_lr() if closed is None else closed()
        self._set(rates)

    def _set(self, rates: list[Rate]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            assign(group, "lr", rate)
        self._last_lr: list[Rate] = current(self.optimizer, "lr")

    @contextmanager
    def _within_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def _warn_if_called_directly(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


class GroupwiseLR(LRScheduler):
    """A schedule whose rate of a group depends on that group alone."""

    def get_lr(self) -> list[Rate]:
        """The rates for `last_epoch`, from the present ones."""
        self._warn_if_called_directly()
        groups = self.optimizer.param_groups
        return [
            self._next(i, group["lr"], base) for i, (group, base) in enumerate(zip(groups, self.base_lrs, strict=True))
        ]

    def _next(self, i: int, rate: Rate, base: Rate) -> Rate:
        """The rate of group `i` at `last_epoch`, from its present and its initial rate."""
        raise NotImplementedError


class ClosedFormLR(GroupwiseLR):
    """A schedule that also knows the rate at an epoch from the initial rate alone."""

    def _get_closed_form_lr(self) -> list[Rate]:
        return [self._closed(base) for base in self.base_lrs]

    def _closed(self, base: Rate) -> Rate:
        raise NotImplementedError


def _note_steps(optimizer: Optimizer) -> None:
    """Make `optimizer.step` leave a mark, so that a wrong order of steps can be reported."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    held = ref(optimizer)
    step = optimizer.step.__func__  # type: ignore[attr-defined]

    @wraps(step)
    def noted(*args: Any, **kwargs: Any) -> Any:
        target = held()
        target._opt_called = True  # type: ignore[union-attr]
        return step(target, *args, **kwargs)

    noted._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = noted  # type: ignore[method-assign]


def callables_state(functions: list[Callable[..., Any]]) -> list[dict[str, Any] | None]:
    """State of callable objects; plain functions have none."""
    return [None if isinstance(fn, types.FunctionType) else fn.__dict__.copy() for fn in functions]
