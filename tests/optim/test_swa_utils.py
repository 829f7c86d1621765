"""Averages of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn
from rushlight.optim import swa_utils


def model(lib: Any) -> Any:
    net = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.BatchNorm1d(2))
    for i, p in enumerate(net.parameters()):
        p.data.fill_(float(i + 1))
    return net


def averaged(lib: Any, make: Any, use_buffers: bool) -> list[Any]:
    net = model(lib)
    average = lib.optim.swa_utils.AveragedModel(net, use_buffers=use_buffers, **make(lib.optim.swa_utils))
    for step in range(3):
        for p in net.parameters():
            p.data.add_(0.5 * (step + 1))
        net[1].running_mean.fill_(step)
        average.update_parameters(net)
    return [*(p.detach().numpy() for p in average.parameters()), *(b.numpy() for b in average.buffers())]


MAKERS: list[Any] = [
    lambda s: {},
    lambda s: {"avg_fn": s.get_ema_avg_fn(0.9)},
    lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.9)},
    lambda s: {"avg_fn": s.get_swa_avg_fn()},
    lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
    lambda s: {"avg_fn": lambda average, current, count: 0.5 * average + 0.5 * current},
]


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_averages_are_pytorchs(make: Any, use_buffers: bool) -> None:
    found = averaged(rushlight, make, use_buffers)
    assert len(found) == 8
    torch = pytest.importorskip("torch")
    if use_buffers and make is MAKERS[4]:
        pytest.skip("PyTorch refuses integer buffers here")
    want = averaged(torch, make, use_buffers)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_plain_mean() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = swa_utils.AveragedModel(net)
    for value in (1.0, 2.0, 6.0):
        net.weight.data.fill_(value)
        average.update_parameters(net)
    assert average.module.weight.item() == pytest.approx(3.0) and average.n_averaged.item() == 3
    assert list(average.state_dict()) == ["n_averaged", "module.weight"]
    assert average(rushlight.ones(1, 1)).item() == pytest.approx(3.0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="Invalid decay value 2 provided"):
        swa_utils.get_ema_multi_avg_fn(2)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=abs, multi_avg_fn=abs)  # type: ignore[arg-type]


def rates(lib: Any, **settings: Any) -> list[float]:
    optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=1.0)
    base = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    swa = lib.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, **settings)
    found = []
    for epoch in range(8):
        optimizer.step()
        (base if epoch < 3 else swa).step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_swalr() -> None:
    torch = pytest.importorskip("torch")
    for settings in ({"anneal_epochs": 3}, {"anneal_epochs": 2, "anneal_strategy": "linear"}, {"anneal_epochs": 0}):
        assert rates(rushlight, **settings) == rates(torch, **settings)
    with pytest.raises(ValueError, match="anneal_strategy must be one of"):
        rates(rushlight, anneal_strategy="x")
    with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0"):
        rates(rushlight, anneal_epochs=-1)


def test_update_bn() -> None:
    layer = nn.BatchNorm1d(1)
    data = [[rushlight.tensor([[1.0], [3.0]]), 0], [rushlight.tensor([[5.0], [7.0]]), 0]]
    swa_utils.update_bn(data, layer.eval())
    assert layer.running_mean.item() == pytest.approx(4.0) and not layer.training and layer.momentum == 0.1
    assert layer.running_var.item() == pytest.approx(2.0)
