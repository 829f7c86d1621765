"""Averages of a model's weights over training: stochastic weight averaging and moving averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

from rushlight.creation import tensor
from rushlight.dtypes import int64
from rushlight.modes import no_grad
from rushlight.nn.batchnorm import _BatchNorm
from rushlight.nn.module import Module
from rushlight.optim.lr_scheduler.base import LRScheduler, Rate, per_group
from rushlight.optim.optimizer import Optimizer
from rushlight.tensor import Tensor

AverageOne = Callable[[Tensor, Tensor, Any], Tensor]
AverageMany = Callable[[list[Tensor], list[Tensor], Any], None]

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999) -> AverageOne:
    """The moving average `decay * average + (1 - decay) * current`, for `AveragedModel(avg_fn=...)`."""
    _check_decay(decay)

    @no_grad()
    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        mean: Tensor = decay * averaged + (1 - decay) * current
        return mean

    return average


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageMany:
    """The moving average over lists of tensors, in place, for `AveragedModel(multi_avg_fn=...)`."""
    _check_decay(decay)

    @no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(mean * decay + value * (1 - decay))

    return average


def get_swa_avg_fn() -> AverageOne:
    """The plain mean of all weights seen, for `AveragedModel(avg_fn=...)`."""

    @no_grad()
    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        mean: Tensor = averaged + (current - averaged) / (count + 1)
        return mean

    return average


def get_swa_multi_avg_fn() -> AverageMany:
    """The plain mean over lists of tensors, in place, for `AveragedModel(multi_avg_fn=...)`."""

    @no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        share = 1 / (float(count) + 1)
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(value, share)
            else:
                mean.copy_(mean + (value - mean) * share)

    return average


class AveragedModel(Module):
    """A copy of a model whose weights are averages over those that `update_parameters` has seen.

    Parameters
    ----------
    model : Module
        Copied; its weights are the first average.
    device : device, optional
    avg_fn : callable, optional
        (average, current, count) to new average, per tensor; default: the plain mean.
    multi_avg_fn : callable, optional
        The same over lists of tensors, in place.
    use_buffers : bool, default False
        Average buffers too; otherwise they are copied.

    References
    ----------
    .. [1] P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1)
    >>> average = torch.optim.swa_utils.AveragedModel(model)
    >>> average.update_parameters(model)
    >>> average.n_averaged
    tensor(1)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: AverageOne | None = None,
        multi_avg_fn: AverageMany | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the averaged model."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the present weights of `model` into the average."""
        pairs = [
            (mean.detach(), value.detach().to(mean.device))
            for mean, value in zip(
                _weights(self.module, self.use_buffers), _weights(model, self.use_buffers), strict=False
            )
        ]
        if self.n_averaged == 0:
            for mean, value in pairs:
                mean.copy_(value)
        elif self.avg_fn is not None:
            for mean, value in pairs:
                mean.copy_(self.avg_fn(mean, value, self.n_averaged.to(mean.device)))
        else:
            average = self.multi_avg_fn or get_swa_multi_avg_fn()
            for means, values in _by_dtype(pairs):
                average(means, values, self.n_averaged.to(means[0].device))
        if not self.use_buffers:
            for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
                mean.detach().copy_(value.detach().to(mean.device))
        self.n_averaged += 1


def _weights(model: Module, with_buffers: bool) -> Iterable[Tensor]:
    return chain(model.parameters(), model.buffers()) if with_buffers else model.parameters()


def _by_dtype(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for mean, value in pairs:
        means, values = groups.setdefault((mean.device, mean.dtype), ([], []))
        means.append(mean)
        values.append(value)
    return list(groups.values())


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Recompute the running statistics of batch normalisation, with one pass over the data.

    Parameters
    ----------
    loader : iterable
        Batches; of a list or tuple the first item is the model's input.
    model : Module
    device : device, optional
        Where to move the inputs.
    """
    layers = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    if not layers:
        return
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        # Without a momentum the statistics are plain means over all batches.
        layer.momentum = None
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for layer, momentum in layers.items():
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Go from the present rate to `swa_lr` in `anneal_epochs` epochs, and stay there.

    Parameters
    ----------
    optimizer : Optimizer
    swa_lr : float or list of float
    anneal_epochs : int, default 10
    anneal_strategy : {"cos", "linear"}
    last_epoch : int, default -1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: float) -> float:
        """How much of the way is done after `step` steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Rate]:
        """The rates at the present step: the start is recovered from the last rate, so others may change it."""
        self._warn_if_called_directly()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            target = group["swa_lr"]
            start = target if before == 1 else (group["lr"] - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
