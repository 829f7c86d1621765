"""Every optimizer walks PyTorch's path, and its state is PyTorch's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import rushlight
from tests.optim.cases import OPTIMIZERS, STEPS, golden, name_of, set_gradients, starts, tensors, train

Case = tuple[str, dict[str, Any]]
cases = pytest.mark.parametrize("case", OPTIMIZERS, ids=name_of)


def plain(value: Any) -> Any:
    """Tensors of either library as arrays, inside any structure."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return np.asarray(value.detach().numpy()) if hasattr(value, "detach") else value


def moved(value: Any, torch: Any) -> Any:
    """The same structure with tensors of the library `torch`."""
    if isinstance(value, dict):
        return {key: moved(v, torch) for key, v in value.items()}
    if isinstance(value, list):
        return [moved(v, torch) for v in value]
    return torch.tensor(value.detach().numpy().copy()) if hasattr(value, "detach") else value


@cases
def test_path_is_pytorchs(case: Case) -> None:
    found, _ = train(rushlight, *case)
    for p, want in zip(found, golden("optimizers")[name_of(case)], strict=True):
        np.testing.assert_allclose(p, np.float32(want), rtol=2e-5, atol=2e-6)


@cases
def test_golden_values_and_state_are_pytorchs(case: Case) -> None:
    torch = pytest.importorskip("torch")
    params, theirs = train(torch, *case)
    for p, want in zip(params, golden("optimizers")[name_of(case)], strict=True):
        np.testing.assert_allclose(p, np.float32(want), rtol=1e-5)
    _, ours = train(rushlight, *case)
    want, found = plain(theirs.state_dict()), plain(ours.state_dict())
    assert found["param_groups"] == want["param_groups"]
    assert str(ours) == str(theirs)
    assert found["state"].keys() == want["state"].keys()
    for key, entry in want["state"].items():
        assert list(found["state"][key]) == list(entry)
        for name, value in entry.items():
            assert found["state"][key][name].dtype == value.dtype, name
            np.testing.assert_allclose(found["state"][key][name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@cases
def test_state_dicts_travel_both_ways(case: Case) -> None:
    torch = pytest.importorskip("torch")
    name, settings = case
    for source, target in ((torch, rushlight), (rushlight, torch)):
        arrays, optimizer = train(source, name, settings)
        want = tensors(source, arrays)
        on = getattr(source.optim, name)(want, **settings)
        on.load_state_dict(optimizer.state_dict())
        found = tensors(target, arrays)
        other = getattr(target.optim, name)(found, **settings)
        other.load_state_dict(moved(optimizer.state_dict(), target))
        for step in range(STEPS, STEPS + 3):
            set_gradients(source, want, step)
            set_gradients(target, found, step)
            on.step()
            other.step()
        for p, q in zip(found, want, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c[0] != "Adafactor"], ids=name_of)
def test_double_precision(case: Case) -> None:
    torch = pytest.importorskip("torch")
    found, _ = train(rushlight, *case, dtype=np.float64)
    want, _ = train(torch, *case, dtype=np.float64)
    for p, q in zip(found, want, strict=True):
        assert p.dtype == np.float64
        # Step counts and step sizes held in float32 state bound the agreement.
        np.testing.assert_allclose(p, q, rtol=1e-9 if case[0] not in ("NAdam", "ASGD") else 1e-6)


def complex_path(torch: Any, name: str, settings: dict[str, Any]) -> Any:
    p = torch.tensor([1 + 2j, -0.5j, 3.0], requires_grad=True)
    optimizer = getattr(torch.optim, name)([p], **settings)
    for step in range(4):
        p.grad = torch.tensor([0.5j * step + 1, 2 - 1j, -1j])
        optimizer.step()
    state = {k: v for k, v in optimizer.state_dict()["state"].get(0, {}).items() if v is not None}
    return p.detach().numpy(), plain(state)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c[0] != "Adafactor" and not c[1].get("fused")], ids=name_of)
def test_complex_parameters(case: Case) -> None:
    torch = pytest.importorskip("torch")
    found, state = complex_path(rushlight, *case)
    want, their_state = complex_path(torch, *case)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    for name, value in their_state.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adafactor"])
def test_half_precision(name: str, kind: str) -> None:
    torch = pytest.importorskip("torch")

    def path(lib: Any) -> Any:
        p = lib.tensor([[1.0, -2.0], [0.5, 3.0]]).to(getattr(lib, kind)).requires_grad_()
        optimizer = getattr(lib.optim, name)([p], lr=0.1, **({"eps": 1e-3} if name in ("Adam", "RMSprop") else {}))
        for step in range(4):
            p.grad = lib.tensor([[0.5 + step, 1.0], [-1.0, 0.25]]).to(getattr(lib, kind))
            optimizer.step()
        assert p.dtype is getattr(lib, kind)
        return p.detach().float().numpy()

    np.testing.assert_allclose(path(rushlight), path(torch), rtol=6e-2)


def test_muon() -> None:
    torch = pytest.importorskip("torch")
    for settings in ({"lr": 0.1}, {"lr": 0.1, "nesterov": False, "adjust_lr_fn": "match_rms_adamw"}):
        for shape in ((6, 4), (4, 6)):
            paths = []
            for lib in (rushlight, torch):
                p = lib.tensor(np.cos(np.arange(24.0)).reshape(shape).astype(np.float32), requires_grad=True)
                optimizer = lib.optim.Muon([p], **settings)
                for step in range(3):
                    set_gradients(lib, [p], step)
                    optimizer.step()
                paths.append(p.detach().numpy())
            np.testing.assert_allclose(*paths, atol=0.02)
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        rushlight.optim.Muon([rushlight.zeros(3, requires_grad=True)])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_tensor_learning_rate(name: str) -> None:
    want, _ = train(rushlight, name, {"lr": 0.125})
    found, optimizer = train(rushlight, name, {"lr": rushlight.tensor(0.125)})
    for p, q in zip(found, want, strict=True):
        np.testing.assert_array_equal(p, q)
    assert isinstance(optimizer.param_groups[0]["lr"], rushlight.Tensor)


def test_step_counts_are_tensors() -> None:
    _, optimizer = train(rushlight, "Adam", {})
    step = optimizer.state_dict()["state"][0]["step"]
    assert step.dtype is rushlight.float32 and step.shape == () and step.item() == STEPS


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "NAdam", "Adadelta"])
def test_differentiable_step(name: str) -> None:
    torch = pytest.importorskip("torch")

    def gradient_of_rate(lib: Any) -> Any:
        rate = lib.tensor(0.1, dtype=lib.float64, requires_grad=True)
        w = lib.tensor([1.0, -2.0], dtype=lib.float64, requires_grad=True)
        p = w.clone()
        # PyTorch's Adam family takes a rate that requires a gradient only as a plain number.
        optimizer = getattr(lib.optim, name)([p], lr=rate if name == "SGD" else 0.1, differentiable=True)
        for _ in range(2):
            p.grad = (3 * w).sin()
            optimizer.step()
        p.square().sum().backward()
        return [g.numpy() for g in (w.grad, rate.grad) if g is not None]

    found, want = gradient_of_rate(rushlight), gradient_of_rate(torch)
    assert len(found) == len(want)
    for g, h in zip(found, want, strict=True):
        # PyTorch corrects the bias in the step count's float32 here, this project in double precision.
        np.testing.assert_allclose(g, h, rtol=1e-5)


def test_deepcopy_and_pickle_go_on_alike() -> None:
    import pickle

    for clone in (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        _, optimizer = train(rushlight, "Adam", {"lr": 0.1})
        twin = clone(optimizer)
        for o in (optimizer, twin):
            set_gradients(rushlight, o.param_groups[0]["params"], STEPS)
            o.step()
        for p, q in zip(optimizer.param_groups[0]["params"], twin.param_groups[0]["params"], strict=True):
            assert p is not q and rushlight.equal(p, q)


def test_starts_are_what_the_golden_values_began_with() -> None:
    assert [p.shape for p in starts()] == [(3, 4), (5,), ()]
