"""What all optimizers share: groups, errors, hooks, state dicts, closures."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import rushlight
from rushlight.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)


def leaf(*shape: int) -> Any:
    return rushlight.ones(*shape, requires_grad=True)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda t: t.optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
    (lambda t: t.optim.SGD(t.ones(1, requires_grad=True)), TypeError, "should be an iterable of Tensors or dicts"),
    (lambda t: t.optim.SGD([1.0]), TypeError, "optimizer can only optimize Tensors, but one of the params is float"),
    (lambda t: t.optim.SGD([t.ones(1, requires_grad=True) * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    (lambda t: t.optim.SGD([{"params": {t.ones(1)}}]), TypeError, "need to be organized in ordered collections"),
    (lambda t: t.optim.SGD([t.ones(1)], lr=-1), ValueError, "Invalid learning rate: -1"),
    (lambda t: t.optim.SGD([t.ones(1)], lr=t.ones(2)), ValueError, "Tensor lr must be 1-element"),
    (lambda t: t.optim.SGD([t.ones(1)], momentum=-1), ValueError, "Invalid momentum value: -1"),
    (lambda t: t.optim.SGD([t.ones(1)], nesterov=True), ValueError, "Nesterov momentum requires a momentum"),
    (lambda t: t.optim.Adam([t.ones(1)], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
    (lambda t: t.optim.Adam([t.ones(1)], betas=(0, 0.9)), ValueError, "betas must be either both floats"),
    (lambda t: t.optim.Adam([t.ones(1)], eps=-1), ValueError, "Invalid epsilon value: -1"),
    (lambda t: t.optim.AdamW([t.ones(1)], fused=True, foreach=True), RuntimeError, "`fused` and `foreach` cannot"),
    (lambda t: t.optim.Adam([t.ones(1)], fused=True, differentiable=True), RuntimeError, "`fused` does not support"),
    (lambda t: t.optim.Rprop([t.ones(1)], etas=(1.5, 2)), ValueError, "Invalid eta values: 1.5, 2"),
    (lambda t: t.optim.Adadelta([t.ones(1)], rho=2), ValueError, "Invalid rho value: 2"),
    (lambda t: t.optim.RMSprop([t.ones(1)], alpha=-1), ValueError, "Invalid alpha value: -1"),
    (lambda t: t.optim.Adafactor([t.ones(1)], d=0.5), ValueError, "Clipping threshold d should be >= 1 but is: 0.5"),
    (lambda t: t.optim.Muon([t.ones(1, 1)], adjust_lr_fn="x"), ValueError, "function x is not supported"),
    (lambda t: t.optim.SparseAdam([t.ones(1)], lr=0.0), ValueError, "Invalid learning rate: 0.0"),
]  # fmt: skip


@pytest.mark.parametrize("make, kind, message", BAD, ids=[m[:30] for _, _, m in BAD])
def test_constructor_errors(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        make(rushlight)
    assert message in str(caught.value)
    torch = pytest.importorskip("torch")
    with pytest.raises(kind) as theirs:
        make(torch)
    assert message in str(theirs.value)


def test_groups_and_defaults() -> None:
    a, b, c = leaf(1), leaf(2), leaf(3)
    optimizer = rushlight.optim.SGD([{"params": [a], "lr": 0.5}, {"params": iter([b])}], lr=0.1, momentum=0.9)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    optimizer.add_param_group({"params": c, "momentum": 0.0})
    assert optimizer.param_groups[2]["params"] == [c] and optimizer.param_groups[2]["lr"] == 0.1
    lines = str(optimizer).splitlines()
    assert lines[0] == "SGD (" and lines[11:14] == ["", "Parameter Group 1", "    dampening: 0"] and lines[-1] == ")"
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optimizer.add_param_group({"params": [a]})
    with pytest.raises(TypeError, match="param_group must be a dict"):
        optimizer.add_param_group([a])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="duplicate parameters"):
        rushlight.optim.SGD([a, a])


def test_named_parameters() -> None:
    a, b = leaf(1), leaf(1)
    optimizer = rushlight.optim.SGD([("a", a), ("b", b)])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]
    with pytest.raises(ValueError, match="without names"):
        optimizer.add_param_group({"params": [leaf(1)]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        rushlight.optim.SGD([("a", a), b])


def test_required_default() -> None:
    class Mine(Optimizer):
        pass

    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Mine([leaf(1)], {"lr": required})
    with pytest.raises(NotImplementedError):
        Mine([leaf(1)], {}).step()


def test_zero_grad() -> None:
    w = leaf(2)
    optimizer = rushlight.optim.SGD([w])
    (w * w).sum().backward()
    held = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is held and w.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert w.grad is None


def test_closure_runs_with_gradients() -> None:
    w = leaf(1)
    optimizer = rushlight.optim.SGD([w], lr=0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with rushlight.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert w.item() == 0.0 and w.requires_grad and w.grad_fn is None


def test_parameters_without_gradient_are_left_alone() -> None:
    a, b = leaf(1), leaf(1)
    optimizer = rushlight.optim.Adam([a, b], lr=0.1)
    a.grad = rushlight.ones(1)
    optimizer.step()
    assert b.item() == 1.0 and list(optimizer.state) == [a]
    plain = rushlight.optim.SGD([a])
    plain.step()
    assert plain.state_dict()["state"] == {}


def test_identity_is_kept() -> None:
    w = leaf(3)
    view = w.detach()
    optimizer = rushlight.optim.Adam([w], lr=0.1)
    w.grad = rushlight.ones(3)
    optimizer.step()
    moment = optimizer.state[w]["exp_avg"]
    before = moment.clone()
    optimizer.step()
    assert optimizer.state[w]["exp_avg"] is moment and not rushlight.equal(before, moment)
    assert rushlight.equal(view, w.detach()) and view.data_ptr() == w.data_ptr()


def test_step_hooks() -> None:
    w = leaf(1)
    optimizer = rushlight.optim.SGD([w])
    calls: list[str] = []
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("post")),
        register_optimizer_step_pre_hook(lambda o, args, kwargs: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: calls.append("global post")),
    ]
    optimizer.step()
    assert calls == ["global pre", "pre", "post", "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((args[0], lambda: 7), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 1)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_user_defined_step_has_hooks() -> None:
    class Mine(Optimizer):
        @rushlight.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad, alpha=-group["lr"])
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1

    w = leaf(1)
    w.grad = rushlight.ones(1)
    optimizer = Mine([w], {"lr": 0.5})
    seen: list[float] = []
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(w.item()))
    optimizer.step()
    assert seen == [0.5] and optimizer.state_dict()["state"] == {0: {"count": 1}}


def test_state_dict_hooks() -> None:
    optimizer = rushlight.optim.SGD([leaf(1)])
    order: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: order.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: order.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    saved = optimizer.state_dict()
    assert order == ["first", "second"] and saved["extra"] == 1
    optimizer.register_load_state_dict_pre_hook(lambda o, state: {k: v for k, v in state.items() if k != "extra"})
    optimizer.register_load_state_dict_post_hook(lambda o: order.append("loaded"))
    optimizer.load_state_dict(saved)
    assert order[-1] == "loaded" and "extra" in saved


def test_load_state_dict_errors() -> None:
    one, two = rushlight.optim.SGD([leaf(1)]), rushlight.optim.SGD([{"params": [leaf(1)]}, {"params": [leaf(1)]}])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        one.load_state_dict(two.state_dict())
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        one.load_state_dict(rushlight.optim.SGD([leaf(1), leaf(1)]).state_dict())


def test_loaded_state_is_a_copy_in_the_parameters_dtype() -> None:
    w = leaf(2)
    w.grad = rushlight.ones(2)
    optimizer = rushlight.optim.Adam([w])
    optimizer.step()
    saved = optimizer.state_dict()
    v = rushlight.ones(2, dtype=rushlight.float64, requires_grad=True)
    other = rushlight.optim.Adam([v])
    other.load_state_dict(saved)
    assert other.state[v]["exp_avg"].dtype is rushlight.float64 and other.state[v]["step"].dtype is rushlight.float32
    v.grad = rushlight.ones(2, dtype=rushlight.float64)
    other.step()
    assert saved["state"][0]["step"].item() == 1.0


def test_old_state_with_plain_step_counts() -> None:
    w = leaf(1)
    optimizer = rushlight.optim.Adam([w])
    w.grad = rushlight.ones(1)
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"] = {0: {**saved["state"][0], "step": 3}}
    optimizer.load_state_dict(saved)
    assert rushlight.is_tensor(optimizer.state[w]["step"])
    optimizer.step()
    assert optimizer.state[w]["step"].item() == 4


def test_sparse_gradients_are_refused_by_name() -> None:
    with pytest.raises(RuntimeError, match="does not support dense gradients, please consider Adam instead"):
        w = leaf(1)
        w.grad = rushlight.ones(1)
        rushlight.optim.SparseAdam([w]).step()


def test_default_double_makes_double_step_counts() -> None:
    rushlight.set_default_dtype(rushlight.float64)
    try:
        w = leaf(1)
        optimizer = rushlight.optim.Adam([w])
        w.grad = rushlight.ones(1)
        optimizer.step()
        assert optimizer.state[w]["step"].dtype is rushlight.float64
    finally:
        rushlight.set_default_dtype(rushlight.float32)


def test_many_groups_and_dtypes_in_one_step() -> None:
    params = [rushlight.ones(2, dtype=d, requires_grad=True) for d in (rushlight.float32, rushlight.float64) * 2]
    optimizer = rushlight.optim.Adam([{"params": params[:3]}, {"params": params[3:], "lr": 0.5}], lr=0.25)
    for p in params:
        p.grad = rushlight.ones_like(p)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert [round(p[0].item(), 4) for p in params] == [0.75, 0.75, 0.75, 0.5]


def test_other_parameters_for_a_while() -> None:
    own, other = leaf(1), leaf(1)
    optimizer = rushlight.optim.SGD([own], lr=0.5, momentum=0.5)
    own.grad, other.grad = rushlight.ones(1), rushlight.ones(1)
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"] = {0: {"momentum_buffer": rushlight.tensor([2.0])}}
    saved["param_groups"][0]["lr"] = 0.25
    with rushlight.optim.swap_in_optimizer_params_and_state(optimizer, {"w": other}, saved):
        optimizer.step()
    assert other.item() == 1 - 0.25 * 2 and own.item() == 0.5
    assert optimizer.param_groups[0]["lr"] == 0.5 and list(optimizer.state) == [own]
    with pytest.raises(RuntimeError, match="different number of parameter groups"):
        with rushlight.optim.swap_in_optimizer_params_and_state(optimizer, {}, {"state": {}, "param_groups": []}):
            pass
