"""Schedules: the sequences, the closed forms, the state dicts and the warnings are PyTorch's."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import rushlight
from rushlight.optim import lr_scheduler as L
from tests.optim.cases import SCHEDULERS, golden, name_of, schedule

Case = tuple[str, dict[str, Any]]
cases = pytest.mark.parametrize("case", SCHEDULERS, ids=name_of)


def optimizer(lib: Any = rushlight, lr: Any = 0.1, **settings: Any) -> Any:
    return lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=lr, **settings)


def rates(scheduler: Any, count: int, *args: Any) -> list[float]:
    """The rates of the first group over some epochs."""
    found = []
    for _ in range(count):
        found.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step(*args)
    return found


@cases
def test_sequence_is_pytorchs(case: Case) -> None:
    rows, _ = schedule(rushlight, *case)
    assert rows == golden("schedulers")[name_of(case)]


@cases
def test_golden_values_and_state_are_pytorchs(case: Case) -> None:
    torch = pytest.importorskip("torch")
    rows, theirs = schedule(torch, *case)
    assert rows == golden("schedulers")[name_of(case)]
    _, ours = schedule(rushlight, *case)
    assert list(ours.state_dict().items()) == list(theirs.state_dict().items())
    assert ours.get_last_lr() == theirs.get_last_lr()
    if hasattr(theirs, "_get_closed_form_lr"):
        for epoch in range(20):
            ours.last_epoch = theirs.last_epoch = epoch
            assert ours._get_closed_form_lr() == theirs._get_closed_form_lr()


@cases
def test_state_dict_goes_on(case: Case) -> None:
    torch = pytest.importorskip("torch")
    name, settings = case
    _, theirs = schedule(torch, *case)
    _, ours = schedule(rushlight, *case)
    fresh = getattr(L, name)(ours.optimizer, **settings)
    for group, saved in zip(ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True):
        group.update({k: v for k, v in saved.items() if k != "params"})
    fresh.load_state_dict(theirs.state_dict())
    ours.optimizer.step()
    theirs.optimizer.step()
    fresh.step()
    theirs.step()
    assert fresh.get_last_lr() == theirs.get_last_lr()


@cases
def test_tensor_rate_is_filled_in_place(case: Case) -> None:
    name, settings = case
    if name == "CyclicLR" or isinstance(settings.get("max_lr"), list):
        return
    want = rates(getattr(L, name)(optimizer(momentum=0.9), **settings), 8)
    rate = rushlight.tensor(0.1, dtype=rushlight.float64)
    driven = optimizer(lr=rate, momentum=0.9)
    assert rates(getattr(L, name)(driven, **settings), 8) == pytest.approx(want)
    assert driven.param_groups[0]["lr"] is rate


def test_functions() -> None:
    assert rates(L.LambdaLR(optimizer(), lambda e: 0.95**e), 3) == [0.1, 0.1 * 0.95, 0.1 * 0.95**2]
    assert rates(L.MultiplicativeLR(optimizer(), lambda e: 0.5), 3) == [0.1, 0.05, 0.025]
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas, but got 2"):
        L.LambdaLR(optimizer(), [abs, abs])
    with pytest.raises(TypeError, match="lr_lambda should be a function, but got int"):
        L.MultiplicativeLR(optimizer(), 3)  # type: ignore[arg-type]

    class Factor:
        def __init__(self, base: float) -> None:
            self.base = base

        def __call__(self, epoch: int) -> float:
            return self.base**epoch

    scheduler = L.LambdaLR(optimizer(), Factor(0.5))
    saved = copy.deepcopy(scheduler.state_dict())
    assert saved["lr_lambdas"] == [{"base": 0.5}]
    other = L.LambdaLR(optimizer(), Factor(0.9))
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].base == 0.5  # type: ignore[attr-defined]
    assert L.LambdaLR(optimizer(), lambda e: 1.0).state_dict()["lr_lambdas"] == [None]


def sequential(lib: Any) -> Any:
    o = optimizer(lib)
    s = lib.optim.lr_scheduler
    return s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=3), s.StepLR(o, 2, 0.5), s.ExponentialLR(o, 0.9)], [3, 7])


def chained(lib: Any) -> Any:
    o = optimizer(lib)
    s = lib.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)])


WANT = {
    sequential: [0.01, 0.04, 0.07, 0.1, 0.1, 0.05, 0.05, 0.1, 0.09, 0.081],
    chained: [0.01, 0.009, 0.0081, 0.0729, 0.06561, 0.059049],
}


@pytest.mark.parametrize("make", [sequential, chained])
def test_combined(make: Callable[[Any], Any]) -> None:
    assert rates(make(rushlight), len(WANT[make])) == pytest.approx(WANT[make])
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = make(torch), make(rushlight)
        assert rates(ours, 10) == rates(theirs, 10)
        assert ours.state_dict() == theirs.state_dict()
        fresh = make(rushlight)
        fresh.load_state_dict(theirs.state_dict())
        fresh.optimizer.param_groups[0]["lr"] = theirs.optimizer.param_groups[0]["lr"]
        assert rates(fresh, 3) == rates(theirs, 3)


def test_combined_errors() -> None:
    o, other = optimizer(), optimizer()
    step = L.StepLR(o, 1)
    with pytest.raises(ValueError, match="expects at least one scheduler"):
        L.SequentialLR(o, [], [])
    with pytest.raises(ValueError, match="belong to the same optimizer"):
        L.SequentialLR(o, [step, L.StepLR(other, 1)], [1])
    with pytest.raises(ValueError, match="number of milestones to be equal to 2"):
        L.SequentialLR(o, [step, L.StepLR(o, 1)], [1, 2])
    with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`"):
        L.ChainedScheduler([step, L.ReduceLROnPlateau(o)])
    with pytest.raises(TypeError, match="should have `optimizer` as its attribute"):
        L.ChainedScheduler([object()], o)  # type: ignore[list-item]


PLATEAU: list[dict[str, Any]] = [
    {"patience": 1},
    {"patience": 0, "cooldown": 2, "factor": 0.5},
    {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs", "min_lr": 0.005},
]


def plateau(lib: Any, settings: dict[str, Any]) -> tuple[list[Any], Any]:
    o = optimizer(lib)
    scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(o, **settings)
    found = []
    for loss in (1.0, 0.9, 0.9, 0.95, 0.9, 0.85, 0.85, 0.85, math.nan, 0.8):
        scheduler.step(loss)
        found.append(o.param_groups[0]["lr"])
    return found, scheduler


@pytest.mark.parametrize("settings", PLATEAU, ids=str)
def test_plateau(settings: dict[str, Any]) -> None:
    found, ours = plateau(rushlight, settings)
    assert found[0] == 0.1 and found[-1] < 0.1
    torch = pytest.importorskip("torch")
    want, theirs = plateau(torch, settings)
    assert found == want and ours.state_dict() == theirs.state_dict()
    fresh = L.ReduceLROnPlateau(optimizer(), **settings)
    fresh.load_state_dict(theirs.state_dict())
    assert fresh.best == theirs.best


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda s, o: s.StepLR(3, 1), TypeError, "int is not an Optimizer"),
    (lambda s, o: s.StepLR(o, 1, last_epoch=4), KeyError, "param 'initial_lr' is not specified in param_groups[0]"),
    (lambda s, o: s.ConstantLR(o, 2.0), ValueError, "expected to be between 0 and 1"),
    (lambda s, o: s.LinearLR(o, 0.0), ValueError, "greater than 0 and less or equal to 1"),
    (lambda s, o: s.LinearLR(o, end_factor=2.0), ValueError, "Ending multiplicative factor"),
    (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1.0."),
    (lambda s, o: s.ReduceLROnPlateau(o, mode="x"), ValueError, "mode x is unknown!"),
    (lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0, 0]), ValueError, "expected 1 min_lrs, got 2"),
    (lambda s, o: s.CyclicLR(o, 0.1, 1.0), ValueError, "must support momentum or beta1"),
    (lambda s, o: s.CyclicLR(o, [0.1, 0.2], 1.0), ValueError, "base_lr has 2 values, param_groups has 1"),
    (lambda s, o: s.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps OR"),
    (lambda s, o: s.OneCycleLR(o, 1.0, total_steps=0), ValueError, "Expected positive integer total_steps, but got 0"),
    (lambda s, o: s.OneCycleLR(o, 1.0, total_steps=5, pct_start=2), ValueError, "between 0 and 1 pct_start, but got 2"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "Expected positive integer T_0, but got 0"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0), ValueError, "Expected integer T_mult >= 1, but got 0"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError, "non-negative epoch, but got -1"),
]


@pytest.mark.parametrize("make, kind, message", ERRORS, ids=[m[:30] for _, _, m in ERRORS])
def test_errors(make: Any, kind: type[Exception], message: str) -> None:
    libraries = [rushlight]
    try:
        import torch

        libraries.append(torch)
    except ImportError:
        pass
    for lib in libraries:
        o = lib.optim.Adagrad([lib.zeros(1, requires_grad=True)])
        with pytest.raises(kind) as caught:
            make(lib.optim.lr_scheduler, o)
        assert message in str(caught.value)


def test_one_cycle_ends() -> None:
    scheduler = L.OneCycleLR(optimizer(momentum=0.9), 1.0, total_steps=3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        rates(scheduler, 5)


def test_warm_restarts_take_fractions() -> None:
    torch = pytest.importorskip("torch")
    found = []
    for lib in (rushlight, torch):
        scheduler = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer(lib), 2, 3)
        for epoch in (0, 0.5, 1.9, 2, 5.25, 7.99, 8, 20):
            scheduler.step(epoch)
            found.append((scheduler.get_last_lr(), scheduler.last_epoch))
    assert found[:8] == found[8:]


def test_momentum_cycles_through_beta1() -> None:
    o = rushlight.optim.Adam([rushlight.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = L.OneCycleLR(o, 1.0, total_steps=4, base_momentum=0.8, max_momentum=0.9)
    found = []
    for _ in range(4):
        found.append(round(o.param_groups[0]["betas"][0], 3))
        o.step()
        scheduler.step()
    assert found[0] == 0.9 and min(found) >= 0.8 and found[-1] == 0.9 and o.param_groups[0]["betas"][1] == 0.999


def test_order_warnings() -> None:
    o = optimizer()
    scheduler = L.StepLR(o, 1)
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    o = optimizer()
    scheduler = L.StepLR(o, 1)
    o.step = lambda: None  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="has been overridden after learning rate scheduler initialization"):
        scheduler.step()
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()
    with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step"):
        scheduler.step(5)


def test_resuming_with_last_epoch() -> None:
    o = optimizer()
    first = L.CosineAnnealingLR(o, 10)
    rates(first, 4)
    o.param_groups[0]["initial_lr"] = 0.1
    again = L.CosineAnnealingLR(o, 10, last_epoch=first.last_epoch - 1)
    assert again.get_last_lr() == pytest.approx(first.get_last_lr())


def test_user_defined_schedule() -> None:
    class Halving(L.LRScheduler):
        def get_lr(self) -> list[Any]:
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    assert rates(Halving(optimizer()), 3) == [0.1, 0.05, 0.1 / 3]
    with pytest.raises(NotImplementedError):
        L.LRScheduler(optimizer())


def test_deepcopy_of_optimizer_keeps_a_working_step() -> None:
    o = optimizer()
    L.StepLR(o, 1)
    twin = copy.deepcopy(o)
    twin.param_groups[0]["params"][0].grad = rushlight.ones(1)
    twin.step()
    assert twin.param_groups[0]["params"][0].item() == pytest.approx(-0.1)
    assert o.param_groups[0]["params"][0].item() == 0
