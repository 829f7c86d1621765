"""The in-place programs are the rules, bit by bit."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.optim.kernel import PIECE, Kernel
from rushlight.optim.program import NotRecordable, record
from tests.optim.cases import OPTIMIZERS, gradient, name_of

RECORDABLE = [c for c in OPTIMIZERS if c[0] not in ("RAdam", "Rprop", "Adafactor")]
Case = tuple[str, dict[str, Any]]


def run_rule(optimizer: Any, data: Any, state: dict[str, Any], g: Any) -> tuple[Any, dict[str, Any]]:
    """The rule as it stands, with scalar state rounded as it is stored."""
    new, after = optimizer.update(data, g, state, optimizer.param_groups[0])
    return new, {k: float(np.float32(v)) if k in optimizer.scalar_state else v for k, v in after.items()}


def both_ways(case: Case, data: Any, steps: int = 4) -> tuple[Any, Any, Any]:
    """The parameter by the optimizer's step and by its rule, and the optimizer."""
    name, settings = case
    p = rushlight.from_numpy(data.copy(order="K")).requires_grad_()
    optimizer = getattr(rushlight.optim, name)([p], **settings)
    by_rule, state = data.copy(order="K"), optimizer.init_state(data, optimizer.param_groups[0])
    for step in range(steps):
        g = gradient(by_rule, step)
        by_rule, state = run_rule(optimizer, by_rule, state, g)
        p.grad = rushlight.from_numpy(np.asarray(g))
        optimizer.step()
    return p.detach().numpy(), by_rule, optimizer


@pytest.mark.parametrize("case", RECORDABLE, ids=name_of)
def test_program_equals_rule(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for floor in ("FLOOR", "FLOOR_STATELESS"):
        monkeypatch.setattr(f"rushlight.optim.engine.{floor}", sys.maxsize)  # compiled updates round otherwise
    rng = np.random.default_rng(0)
    for shape in ((7, 3), (), (PIECE + 5,)):
        found, want, optimizer = both_ways(case, rng.standard_normal(shape).astype(np.float32))
        np.testing.assert_array_equal(found, want)
        assert any(k is not None for k in optimizer._engine.kernels.values())


@pytest.mark.parametrize("case", OPTIMIZERS, ids=name_of)
def test_rule_on_tensors_is_the_rule_on_arrays(case: Case) -> None:
    """What a traced step runs: the rule on Tensors, written back with `copy_`."""
    name, settings = case
    data = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    p, q = (rushlight.from_numpy(data.copy()).requires_grad_() for _ in range(2))
    one, other = (getattr(rushlight.optim, name)([x], **settings) for x in (p, q))
    for step in range(4):
        p.grad = q.grad = rushlight.from_numpy(gradient(p.detach().numpy(), step))
        one.step()
        with rushlight.no_grad():
            other._engine.step_tensor(q, q.grad, other.param_groups[0])
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=2e-5, atol=1e-6)
    for key, value in one.state[p].items() if p in one.state else ():
        np.testing.assert_allclose(other.state[q][key].numpy(), value.numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_layouts(name: str) -> None:
    large = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    for data in (large.T, large[::2, ::-1], np.zeros((0, 3), np.float32), np.asfortranarray(large)):
        found, want, _ = both_ways((name, {"lr": 0.1}), data)
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("name", ["RAdam", "Rprop", "Adafactor"])
def test_rules_that_compare_values_run_as_they_stand(name: str) -> None:
    optimizer = getattr(rushlight.optim, name)([rushlight.zeros(2, 2, requires_grad=True)])
    group = {**optimizer.param_groups[0], "eps": (1e-7, 1e-3) if name == "Adafactor" else 1e-8}
    state = dict.fromkeys(optimizer.init_state(np.zeros((2, 2)), group), False)
    with pytest.raises(NotRecordable):
        record(optimizer.update, {k: k in optimizer.scalar_state for k in state}, group)


def test_program_of_sgd_reads_as_documented() -> None:
    optimizer = rushlight.optim.SGD([rushlight.zeros(1, requires_grad=True)], momentum=0.9)
    program = record(optimizer.update, {"momentum_buffer": False}, optimizer.param_groups[0])
    assert program.array_source.splitlines()[1:] == [
        "    multiply(a_momentum_buffer, c0, a_momentum_buffer)",
        "    multiply(g, c1, t0)",
        "    add(a_momentum_buffer, t0, a_momentum_buffer)",
        "    multiply(a_momentum_buffer, c2, t0)",
        "    subtract(p, t0, p)",
    ]
    assert program.scratch == 1 and program.constants == 3


def test_storage_is_never_overwritten_too_early() -> None:
    def rule(p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        old = state["a"]
        return p + old * g, {"a": p * 2 + old, "b": g, "c": p - old}

    arrays = [np.random.default_rng(i).standard_normal(4) for i in range(5)]
    p, g, a, b, c = (x.copy() for x in arrays)
    kernel = Kernel(record(rule, {"a": False, "b": False, "c": False}, {}), np.float64)
    kernel.load({}, ())
    kernel.run(p, g, a, b, c, *[np.empty(4) for _ in range(kernel.program.scratch)])
    new, state = rule(arrays[0], arrays[1], {"a": arrays[2]}, {})
    for found, want in ((p, new), (g, arrays[1]), (a, state["a"]), (b, state["b"]), (c, state["c"])):
        np.testing.assert_array_equal(found, want)


def test_changed_settings_reach_the_next_step() -> None:
    p = rushlight.zeros(2, requires_grad=True)
    optimizer = rushlight.optim.SGD([p], lr=1.0)
    want = 0.0
    for rate, decay in ((1.0, 0.0), (0.5, 0.0), (0.25, 1.0), (2.0, 1.0)):
        optimizer.param_groups[0].update(lr=rate, weight_decay=decay)
        p.grad = rushlight.ones(2)
        optimizer.step()
        want -= rate * (1 + decay * want)
        assert p.tolist() == [want, want]


def test_step_counts_an_inplace_change_and_its_line() -> None:
    w = rushlight.ones(2, requires_grad=True)
    y = (w * w).sum()
    w.grad = rushlight.ones(2)
    rushlight.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
