"""`GradScaler`, side by side with PyTorch."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import rushlight


def run(lib: Any, **settings: Any) -> list[Any]:
    """Scales and weights over steps of which some overflow."""
    w = lib.tensor([1.0, -2.0], requires_grad=True)
    optimizer = lib.optim.SGD([w], lr=0.1, momentum=0.9)
    scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2, **settings)
    found = []
    for factor in (1.0, 1.0, math.inf, 1.0, math.nan, 1.0, 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((w * w * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append([scaler.get_scale(), *w.tolist()])
    return [found, scaler.state_dict()]


@pytest.mark.parametrize("settings", [{}, {"growth_factor": 3.0, "backoff_factor": 0.25}], ids=str)
def test_scales_are_pytorchs(settings: dict[str, Any]) -> None:
    found = run(rushlight, **settings)
    assert [row[0] for row in found[0]][:3] == [8.0, 8.0 * settings.get("growth_factor", 2.0), found[0][2][0]]
    torch = pytest.importorskip("torch")
    want = run(torch, **settings)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-6)
    assert found[1] == want[1]


def scaled() -> tuple[Any, Any, Any]:
    w = rushlight.ones(2, requires_grad=True)
    optimizer = rushlight.optim.SGD([w], lr=1.0)
    scaler = rushlight.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(w.sum()).backward()
    return w, optimizer, scaler


def test_unscale_for_clipping() -> None:
    w, optimizer, scaler = scaled()
    assert w.grad.tolist() == [4.0, 4.0]
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [1.0, 1.0]
    w.grad.mul_(0.5)
    scaler.step(optimizer)
    assert w.tolist() == [0.5, 0.5]
    with pytest.raises(RuntimeError, match=r"unscale_.. is being called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"step.. has already been called since the last update"):
        scaler.step(optimizer)
    scaler.update(2.0)
    assert scaler.get_scale() == 2.0


def test_errors() -> None:
    _, optimizer, scaler = scaled()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="has already been called on this optimizer since the last update"):
        scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled at the beginning"):
        pickle.dumps(scaler)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(optimizer, closure=lambda: 1)
    fresh = rushlight.amp.GradScaler("cpu")
    for call in (lambda: fresh.step(optimizer), lambda: fresh.update(), lambda: fresh.unscale_(optimizer)):
        with pytest.raises(AssertionError, match="_scale is None"):
            call()
    with pytest.raises(AssertionError, match="growth factor must be > 1"):
        rushlight.amp.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        fresh.load_state_dict({})
    with pytest.raises(ValueError, match="must be a Tensor or an iterable of Tensors"):
        fresh.scale(3)
    half = rushlight.ones(1, dtype=rushlight.float16, requires_grad=True)
    half.grad = rushlight.ones(1, dtype=rushlight.float16)
    fresh.scale(rushlight.ones(1))
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        fresh.step(rushlight.optim.SGD([half]))


def test_nested_outputs_and_disabled() -> None:
    scaler = rushlight.amp.GradScaler("cpu", init_scale=2.0)
    a, (b,) = scaler.scale((rushlight.ones(1), [rushlight.ones(1)]))
    assert a.item() == b.item() == 2.0
    off = rushlight.amp.GradScaler("cpu", enabled=False)
    assert off.scale(3) == 3 and off.get_scale() == 1.0 and off.state_dict() == {} and not off.is_enabled()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not rushlight.amp.GradScaler().is_enabled()


def test_state_travels() -> None:
    _, optimizer, scaler = scaled()
    scaler.step(optimizer)
    scaler.update()
    for other in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
        assert other.state_dict() == scaler.state_dict()
    fresh = rushlight.amp.GradScaler("cpu")
    fresh.load_state_dict(scaler.state_dict())
    assert fresh.get_scale() == 4.0
