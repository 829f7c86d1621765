"""L-BFGS on Rosenbrock's function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from tests.optim.cases import golden

SETTINGS: list[dict[str, Any]] = [
    {"lr": 0.1, "max_iter": 5},
    {"lr": 1.0, "line_search_fn": "strong_wolfe", "max_iter": 6},
    {"lr": 0.5, "line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 10, "max_eval": 12},
]


def fit(torch: Any, settings: dict[str, Any], steps: int = 4, reload_after: int = 0) -> tuple[list[float], Any, Any]:
    """Losses of some steps; optionally through a state dict and a fresh optimizer on the way."""
    xy = torch.tensor([-1.5, 2.0], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([xy, bias], **settings)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (1 - xy[0]) ** 2 + 100 * (xy[1] - xy[0] ** 2) ** 2 + bias**2
        loss.backward()
        return loss

    losses = []
    for step in range(steps):
        if step and step == reload_after:
            saved = optimizer.state_dict()
            optimizer = torch.optim.LBFGS([xy, bias], **settings)
            optimizer.load_state_dict(saved)
        losses.append(optimizer.step(closure).item())
    return [*losses, *xy.tolist(), bias.item()], optimizer, closure


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_path_is_pytorchs(settings: dict[str, Any]) -> None:
    found, optimizer, _ = fit(rushlight, settings)
    np.testing.assert_allclose(found, golden("lbfgs")[str(settings)], rtol=1e-6)
    assert set(optimizer.state_dict()["state"][0]) >= {"func_evals", "n_iter", "d", "t", "old_dirs", "prev_loss"}


def test_golden_values_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for settings in SETTINGS:
        np.testing.assert_allclose(fit(torch, settings)[0], golden("lbfgs")[str(settings)], rtol=1e-9)


def test_state_dict_goes_on() -> None:
    settings = SETTINGS[1]
    assert fit(rushlight, settings)[0] == fit(rushlight, settings, reload_after=2)[0]


def test_state_dict_from_pytorch() -> None:
    torch = pytest.importorskip("torch")
    _, theirs, their_closure = fit(torch, SETTINGS[1], steps=2)
    state = theirs.state_dict()
    _, ours, closure = fit(rushlight, SETTINGS[1], steps=2)
    held = {
        key: [rushlight.from_numpy(np.asarray(v)) for v in value] if isinstance(value, list) and key != "al"
        else rushlight.from_numpy(value.numpy()) if isinstance(value, torch.Tensor) else value
        for key, value in state["state"][0].items() if key != "al"
    }  # fmt: skip
    ours.load_state_dict({"state": {0: held}, "param_groups": state["param_groups"]})
    for _ in range(2):
        assert ours.step(closure).item() == pytest.approx(theirs.step(their_closure).item(), rel=1e-6)
    assert ours.state_dict()["state"][0]["n_iter"] == theirs.state_dict()["state"][0]["n_iter"]


def test_errors() -> None:
    x = rushlight.zeros(1, requires_grad=True)
    with pytest.raises(ValueError, match="doesn't support per-parameter options"):
        rushlight.optim.LBFGS([{"params": [x]}, {"params": [rushlight.zeros(1, requires_grad=True)]}])
    with pytest.raises(TypeError, match="closure"):
        rushlight.optim.LBFGS([x]).step()
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        x.grad = rushlight.ones(1)
        rushlight.optim.LBFGS([x], line_search_fn="armijo").step(lambda: rushlight.tensor(1.0))
