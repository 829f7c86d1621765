"""Random programs, eager against compiled: values, gradients, changed inputs, random stream, errors.

CI draws a few programs; `pytest --hypothesis-profile=many` draws thousands.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rushlight
from rushlight.config import config
from tests.compiler.programs import Shape, functions, training

many = settings.get_current_profile_name() == "many"
common = {"deadline": None, "derandomize": not many, "suppress_health_check": list(HealthCheck), "print_blob": False}


def function_of(source: str, name: str) -> Any:
    """The function `name` that a source defines."""
    namespace: dict[str, Any] = {"torch": rushlight}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


def outcome(program: Any, arrays: list[Any]) -> dict[str, Any]:
    """All that a program leaves: results, gradients, arguments, the next random number; or the kind of its error."""
    a, b, c = (rushlight.tensor(v) for v in arrays)
    a.requires_grad_(), b.requires_grad_()
    rushlight.manual_seed(1)
    left: dict[str, Any] = {}
    try:
        for k, t in enumerate(program(a, b, c)):
            left[f"result {k}"] = t.detach().numpy().copy()
    except RuntimeError as error:
        return {"error": str(error)[:50]}
    for name, t in (("a", a), ("b", b)):
        left[f"{name}.grad"] = None if t.grad is None else t.grad.numpy()
    left.update(
        {"a": a.detach().numpy(), "b": b.detach().numpy(), "c": c.detach().numpy(), "random": rushlight.rand(3).numpy()}
    )
    return left


def assert_alike(expected: dict[str, Any], received: dict[str, Any], tolerance: float, about: str) -> None:
    """Equal keys, shapes and dtypes, close numbers; `about` is printed if not."""
    assert expected.keys() == received.keys(), f"{sorted(received)} != {sorted(expected)}\n{about}"
    for name, want in expected.items():
        got = received[name]
        if want is None or isinstance(want, str):
            assert (got is None) == (want is None) and (want is None or got == want), (
                f"{name}: {got} != {want}\n{about}"
            )
            continue
        assert (got.shape, got.dtype) == (want.shape, want.dtype), f"{name}\n{about}"
        scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0)))
        np.testing.assert_allclose(got, want, 100 * tolerance, tolerance * scale, err_msg=f"{name}\n{about}")


@settings(max_examples=5000 if many else 40, **common)
@given(functions(), st.sampled_from(["float32", "float64"]))
def test_functions(drawn: tuple[str, list[Shape]], dtype: str) -> None:
    source, shapes = drawn
    eager = function_of(source, "program")
    compiled = rushlight.compile(function_of(source, "program"))
    with config(debug="verify"):
        for seed in range(2):
            rng = np.random.default_rng(seed)
            arrays = [rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes]
            expected = outcome(eager, arrays)
            about = f"\n{source}\nshapes {shapes}, {dtype}, call {seed}"
            with warnings.catch_warnings():
                # a program that fails says first that it runs eagerly, and fails alike
                warnings.simplefilter("ignore" if "error" in expected else "error")
                received = outcome(compiled, arrays)
            assert_alike(expected, received, 1e-5 if dtype == "float32" else 1e-12, about)


def train(source: str, compiled: bool, steps: int) -> dict[str, Any]:
    """Losses, and all state after some steps; the last batch is smaller."""
    net, optimizer, schedule, step = function_of(source, "build")(rushlight)
    run = rushlight.compile(step) if compiled else step
    rng = np.random.default_rng(0)
    rushlight.manual_seed(5)
    losses = []
    for k in range(steps):
        n = 6 if k % 7 else 4
        x = rushlight.tensor(rng.standard_normal((n, 32)).astype(np.float32))
        losses.append(float(run(x, rushlight.tensor(rng.integers(0, 3, n)))))
        schedule.step()
    left = {"losses": np.array(losses), "random": rushlight.rand(2).numpy()}
    left.update({name: t.numpy() for name, t in net.state_dict().items()})
    left.update({f"{name}.grad": None if p.grad is None else p.grad.numpy() for name, p in net.named_parameters()})
    for k, held in optimizer.state_dict()["state"].items():
        left.update({f"state {k} {n}": np.asarray(getattr(v, "numpy", lambda v=v: v)()) for n, v in held.items()})
    return left


@settings(max_examples=1000 if many else 10, **common)
@given(training())
def test_training_steps(source: str) -> None:
    with config(debug="verify"):
        received = train(source, True, 20)
    assert_alike(train(source, False, 20), received, 3e-4, f"\n{source}")


@pytest.mark.parametrize("optimizer", ["SGD(p, lr=0.1, momentum=0.9)", "Adam(p, lr=0.01)", "Rprop(p)"])
def test_an_exact_case(optimizer: str) -> None:
    """One case without luck: small integers, whose sums are exact in any order."""
    source = f"""
def build(torch):
    net = torch.nn.Linear(32, 3, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.arange(96.0).view(3, 32) % 5 - 2)
    p = net.parameters()
    optimizer = torch.optim.{optimizer}
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    def step(x, y):
        optimizer.zero_grad()
        loss = net(x.round()).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return net, optimizer, schedule, step
"""
    assert_alike(train(source, False, 3), train(source, True, 3), 1e-7, source)
