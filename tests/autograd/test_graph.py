"""Deep graphs, memory, threads, and the notes of errors: what cannot be compared with PyTorch value by value."""

import gc
import inspect
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight as torch

DEEP = 100_000


def chain(x: Any, length: int) -> Any:
    y = x
    for _ in range(length):
        y = y + 1
    return y


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_deep_graph_backward_and_deallocation_do_not_recurse() -> None:
    x = torch.ones(1, requires_grad=True)
    y = chain(x * 2, DEEP)
    y.backward()
    assert x.grad.item() == 2
    del y
    y = chain(x, DEEP)  # never walked: only deallocation
    del y
    y = chain(x, DEEP)
    (g,) = torch.autograd.grad(y.sum(), x)
    assert g.item() == 1


def test_deep_graph_of_views_and_in_place_changes() -> None:
    x = torch.ones(4, requires_grad=True)
    y = x * 1
    for _ in range(5_000):
        y[1:].mul_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 4
    y = x * 1
    for _ in range(20_000):
        y.mul_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [2.0] * 4
    v = x * 1
    for _ in range(20_000):
        v = v.view(4)
    v.sum().backward()
    assert x.grad.tolist() == [3.0] * 4


def test_deep_double_backward() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(5_000):
        y = y * 1.0
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (g * x).backward()
    assert x.grad.item() == 1


def test_backward_takes_linear_time() -> None:
    x = torch.ones(1, requires_grad=True)
    short, long = chain(x, 5_000), chain(x, 50_000)
    assert seconds(long.backward) < 60 * max(seconds(short.backward), 0.002)


def test_diamonds_are_walked_once_per_edge() -> None:
    x = torch.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(60):  # 2**60 paths
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1


def tracked(made: list[Any]) -> Any:
    """A product whose kept operand is noted in `made` by a weak reference to its array."""
    x = torch.ones(1000, requires_grad=True)
    middle = x * 2
    made.append(weakref.ref(middle._data))
    return (middle * middle).sum()


def test_graph_is_freed_after_backward() -> None:
    gc.disable()
    try:
        made: list[Any] = []
        out = tracked(made)
        assert made[0]() is not None
        out.backward()
        assert made[0]() is None, "kept values must go with the walk, while the root lives"
        kept = tracked(made)
        kept.backward(retain_graph=True)
        assert made[1]() is not None
        del kept
        assert made[1]() is None, "without the root nothing holds the graph, and there is no cycle to collect"
    finally:
        gc.enable()


def test_graph_with_hooks_functions_and_views_has_no_cycles() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            y = x * 2
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    gc.collect()
    gc.disable()
    try:
        x = torch.ones(10, requires_grad=True)
        y = x * 2
        y.retain_grad()
        y[1:].mul_(3)
        z = Double.apply(y)
        z.register_hook(lambda g: g)
        a, b = z.split(5)
        found = [weakref.ref(t) for t in (x, y, z, a, z.grad_fn)]
        (a * b).sum().backward()
        del x, y, z, a, b
        assert [r() is None for r in found] == [True] * 5
    finally:
        gc.enable()


def test_leaf_is_not_kept_alive_by_its_node() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x + 1
    gone = weakref.ref(x)
    del x
    assert gone() is None
    y.sum().backward()


def test_backward_in_several_threads() -> None:
    shared = torch.ones(3, requires_grad=True)
    failures: list[Any] = []

    def work(k: int) -> None:
        try:
            x = torch.ones(3, requires_grad=True)
            for _ in range(50):
                with torch.no_grad():
                    assert not (x * 2).requires_grad
                y = (x * shared.detach() * k).exp().log()
                y.sum().backward()
                torch.autograd.grad((shared * k).sum(), shared)
                assert torch.is_grad_enabled()
            np.testing.assert_allclose(x.grad.numpy(), 50 * k, rtol=1e-4)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_one_graph_walked_by_two_threads() -> None:
    x = torch.ones(100, requires_grad=True)
    y = (x * x).exp().sum()
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(torch.autograd.grad(y, x, retain_graph=True)[0])) for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    assert all(torch.equal(g, found[0]) for g in found)


def test_results_of_grad_share_nothing() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    ga, gb = torch.autograd.grad((a + b).sum(), (a, b))
    ga.zero_()
    assert gb.tolist() == [1, 1]


def notes(call: Callable[[], Any]) -> str:
    with pytest.raises(RuntimeError) as caught:
        call()
    return "\n".join(caught.value.__notes__)


def line_of(text: str) -> int:
    """The line of this file's caller that contains `text`."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    lines, first = inspect.getsourcelines(frame.f_back.f_code)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_error_of_an_overwritten_value_names_both_lines() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    z = y * y  # kept here
    y.add_(1)  # changed here
    note = notes(z.sum().backward)
    assert f"test_graph.py:{line_of('# kept here')}" in note
    assert f"test_graph.py:{line_of('# changed here')}" in note
    assert "mul kept operand" in note
    assert ".clone()" in note


@pytest.mark.parametrize("change", ["setitem", "view", "no_grad", "out", "optimizer"])
def test_error_names_the_line_of_every_kind_of_change(change: str) -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    z = y.sin()
    if change == "setitem":
        y[0] = 3  # by setitem
    elif change == "view":
        y.view(3, 1)[1:].zero_()  # by view
    elif change == "no_grad":
        with torch.no_grad():
            y += 1  # by no_grad
    elif change == "out":
        with torch.no_grad():
            torch.add(x, x, out=y)  # by out
    else:
        w = torch.nn.Parameter(torch.ones(3))
        w.grad = torch.ones(3)
        z = w.sin()
        torch.optim.SGD([w], lr=0.1).step()  # by optimizer
    note = notes(z.sum().backward)
    assert f"test_graph.py:{line_of('# by ' + change)}" in note


def test_anomaly_error_names_the_forward_line() -> None:
    x = torch.zeros(2, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        y = x / x  # makes a NaN
        z = (y * 2).sum()
        note = notes(z.backward)
    assert f"test_graph.py:{line_of('# makes a NaN')}" in note
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        z = x.sqrt().sum()  # infinite gradients are no anomaly
        z.backward()


def test_gradient_of_a_leaf_is_its_own_memory_whatever_made_it() -> None:
    makers: list[Callable[[Any], Any]] = [
        lambda t: t.sum(), lambda t: (t + t).sum(), lambda t: t.view(-1).sum(), lambda t: t.T.sum(),
        lambda t: t.expand(2, 2, 2).sum(), lambda t: t.mean(), lambda t: t[0].sum(), lambda t: torch.cat([t, t]).sum(),
        lambda t: torch.stack([t, t]).sum(0).sum(), lambda t: t.split(1)[0].sum(), lambda t: t.flip(0).sum(),
    ]  # fmt: skip
    for make in makers:
        a = torch.ones(2, 2, requires_grad=True)
        make(a).backward()
        assert a.grad._data.flags.writeable
        assert 0 not in a.grad.stride()
        before = a.grad.clone()
        a.grad.add_(1)
        assert torch.equal(a.grad, before + 1)
