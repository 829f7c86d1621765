"""`rushlight.compile`: arguments, results, retraces, breaks, interruptions, threads."""

from __future__ import annotations

import dataclasses
import functools
import random
import threading
import warnings
from collections import namedtuple

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn, optim
from rushlight.compiler.api import CompileError
from rushlight.nn import functional as F
from tests.compiler.steps import check, plain, state_of

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    scale: float
    tags: tuple = ()


def compiled(fn=None, **options):
    return torch.compile(fn, **options)


def test_nested_arguments_and_results():
    @torch.compile
    def fn(batch, pair, *rest, table, flag=True):
        total = batch.x * batch.scale + pair.first + table["a"][0]
        if flag:
            total = total + sum(rest)
        return {"total": total, "pair": Pair(total + 1, "text")}, [batch.x, None, 3], Batch(total * 2, 0.5, ("t",))

    x = torch.arange(3.0)
    for k in range(3):
        batch = Batch(x + k, 2.0)
        got, rest, made = fn(batch, Pair(x, 1), x, x * 2, table={"a": [torch.ones(3)]})
        expected = batch.x * 2 + x + 1 + x + x * 2
        assert torch.equal(got["total"], expected) and got["pair"].second == "text"
        assert torch.equal(got["pair"].first, expected + 1) and isinstance(got["pair"], Pair)
        assert rest[0] is batch.x and rest[1:] == [None, 3]
        assert torch.equal(made.x, expected * 2) and made.scale == 0.5 and made.tags == ("t",)
    assert len(fn.traces) == 1


def test_results_that_the_user_keeps_stay():
    w = torch.zeros(3, requires_grad=True)

    @torch.compile
    def step(x):
        w.grad = None
        loss = ((x - w) ** 2).sum()
        loss.backward()
        return loss

    losses, grads, views = [], [], []
    for k in range(4):
        losses.append(step(torch.full((3,), float(k))))
        grads.append(w.grad)
        views.append(w.grad[1:].numpy())
    assert [float(v) for v in losses] == [0.0, 3.0, 12.0, 27.0]
    assert [g.tolist()[0] for g in grads] == [0.0, -2.0, -4.0, -6.0]
    assert [v.tolist()[0] for v in views] == [0.0, -2.0, -4.0, -6.0]
    assert len(step.traces) == 1


def test_memory_of_dropped_results_is_used_again():
    @torch.compile
    def fn(x):
        return x * 2

    x = torch.ones(4)
    fn(x)
    first = fn(x).data_ptr()
    assert all(fn(x).data_ptr() == first for _ in range(5))


def test_results_that_are_views_stay_views():
    base = torch.arange(6.0)

    @torch.compile
    def fn(x):
        made = x * 1
        return x.view(2, 3), base[1:3], made, made[1:], x

    x = torch.arange(6.0)
    for _ in range(2):
        rows, part, made, tail, same = fn(x)
        rows[0, 0] = 9
        assert x[0] == 9 and same is x and rows._base is x and rows.shape == (2, 3)
        part.add_(1)
        assert part._base is base
        made[1] = -5
        assert tail[0] == -5
        x[0] = 0
    assert base.tolist() == [0, 3, 4, 3, 4, 5]


def test_what_retraces_and_what_does_not():
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    opt = optim.SGD(net.parameters(), lr=0.1)

    @torch.compile
    def step(x, k=1):
        opt.zero_grad()
        loss = net(x).sum() * k
        loss.backward()
        opt.step()
        return loss

    step(torch.ones(5, 4))
    opt.param_groups[0]["lr"] = 0.05
    step(torch.zeros(5, 4))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    net[0].weight.data = torch.ones(3, 4)
    step(torch.zeros(5, 4))
    net.load_state_dict(net.state_dict())
    opt.load_state_dict(opt.state_dict())
    count = len(step.traces)
    step(torch.ones(5, 4))
    assert count == 1
    reasons = []
    for change in (
        lambda: step(torch.ones(2, 4)),
        lambda: step(torch.ones(2, 4).t().contiguous().t()),
        lambda: step(torch.ones(2, 4), 2),
        lambda: step(torch.ones(2, 4), k=2.0),
        lambda: (net.eval(), step(torch.ones(5, 4))),
        lambda: (net[0].bias.requires_grad_(False), step(torch.ones(5, 4))),
        lambda: (opt.param_groups[0].update(weight_decay=0.1), step(torch.ones(5, 4))),
        lambda: (setattr(net, "extra", 3), step(torch.ones(5, 4))),
    ):
        before = len(step.traces)
        change()
        assert len(step.traces) == before + 1
        reasons.append(step.traces[0].reason)
    assert reasons[0] == "new shape of x: (2, 4), was (5, 4)" and reasons[1] == "new whether x is a view"
    assert any("training" in r for r in reasons) and any("weight_decay" in r for r in reasons)


def test_going_back_to_an_earlier_case_uses_its_trace():
    @torch.compile
    def fn(x):
        return x * 2

    for n in (2, 3, 2, 3, 4, 2):
        assert fn(torch.ones(n)).tolist() == [2.0] * n
    assert len(fn.traces) == 3


def test_the_number_of_traces_is_bounded():
    @torch.compile
    def fn(x):
        return x + 1

    with torch.config.config(jit=False):
        for n in range(1, 90):
            fn(torch.ones(n))
    assert len(fn.traces) == 64


def test_globals_and_closures_are_watched():
    scale = 2.0
    settings = {"shift": 1, "list": [1, 2]}

    class Thing:
        factor = 1

    thing = Thing()

    @torch.compile
    def fn(x):
        return x * scale + settings["shift"] + sum(settings["list"]) + thing.factor

    x = torch.zeros(1)
    assert fn(x).item() == 5
    scale = 3.0
    settings["shift"] = 2
    assert fn(x + 1).item() == 9
    settings["list"].append(3)
    assert fn(x).item() == 9
    thing.factor = 5
    assert fn(x).item() == 13


def test_control_flow_on_python_values_unrolls():
    @torch.compile(fullgraph=True)
    def fn(x, n):
        for i in range(n):
            x = x + i if i % 2 else x * 2
        return x

    assert fn(torch.ones(2), 4).tolist() == [9.0, 9.0]
    assert fn(torch.ones(2), 2).tolist() == [3.0, 3.0]


BREAKS = {
    "while": lambda x: _halved(x), "bool": lambda x: x if x.sum() > 0 else -x, "item": lambda x: x * int(x[0].item()),
    "tolist": lambda x: torch.tensor(x.tolist()), "numpy": lambda x: torch.from_numpy(x.numpy() * 2),
    "mask": lambda x: x[x > 0], "nonzero": lambda x: x.nonzero(), "unique": lambda x: x.unique(),
    "float": lambda x: x * float(x.sum()), "print": lambda x: (str(x), x)[1],
    "iterate": lambda x: x * sum(map(float, x)),
    "equal": lambda x: x * torch.equal(x, x + 1), "allclose": lambda x: x * torch.allclose(x, x),
}  # fmt: skip


def _halved(x):
    while x.abs().sum() > 1:
        x = x / 2
    return x


@pytest.mark.parametrize("name", BREAKS)
def test_values_in_python_run_eagerly_with_one_warning(name):
    fn = BREAKS[name]
    step = torch.compile(fn)
    x = torch.tensor([3.0, -1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match=r"test_api\.py") as caught:
        for k in range(4):
            np.testing.assert_array_equal(step(x + k).numpy(), fn(x + k).numpy())
    assert len([w for w in caught if "eagerly" in str(w.message)]) == 1
    with pytest.raises(CompileError, match=r"test_api\.py"):
        torch.compile(fn, fullgraph=True)(x)


def test_item_that_is_returned_is_traced():
    @torch.compile(fullgraph=True)
    def step(x, total):
        loss = (x * x).sum()
        return loss.item(), {"mean": loss.item() / 2 + 1, "count": (x > 0).sum().item()}

    for k in range(3):
        value, rest = step(torch.full((3,), float(k)), 0.0)
        assert value == 3.0 * k * k and type(value) is float
        assert rest["mean"] == value / 2 + 1 and rest["count"] == (3 if k else 0) and type(rest["count"]) is int
    assert len(step.traces) == 1


def test_python_state_that_a_step_changes_runs_eagerly():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.seen = []

        def forward(self, x):
            self.calls += 1
            self.seen.append(self.calls)
            return x * self.calls

    net = Counting()
    step = torch.compile(lambda x: net(x))
    with pytest.warns(UserWarning, match="changes .*net"):
        assert [step(torch.ones(1)).item() for _ in range(4)] == [1, 2, 3, 4]
    assert net.seen == [1, 2, 3, 4]


def snapshot(*objects):
    return state_of(objects)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_trace_changes_nothing(error):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    opt = optim.Adam(net.parameters(), lr=0.1)
    x = torch.randn(5, 3)
    stop = [True]

    def step():
        opt.zero_grad()
        net(x).sum().backward()
        opt.step()
        net[0].weight.data = torch.zeros(4, 3)
        torch.rand(3)
        if stop[0]:
            raise error("here")

    fn = torch.compile(step)
    before = snapshot(net, opt)
    with pytest.raises(error, match="here"):
        fn()
    for a, b in zip(before, snapshot(net, opt), strict=True):
        np.testing.assert_equal(a, b)
    assert type(net[0].weight._data) is np.ndarray
    stop[0] = False
    fn()
    assert len(fn.traces) == 1


def test_backward_twice_raises_as_eager():
    w = torch.ones(3, requires_grad=True)

    @torch.compile
    def step():
        loss = (w * w).sum()
        loss.backward()
        return loss

    loss = step()
    assert loss.requires_grad and loss.grad_fn.name() == "SumBackward0"
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_methods_partials_lambdas_and_callables():
    class Model:
        factor = 3

        def __call__(self, x):
            return x * self.factor

        @torch.compile
        def method(self, x):
            return x + self.factor

        @staticmethod
        @torch.compile
        def static(x):
            return x - 1

    x = torch.ones(2)
    model = Model()
    assert model.method(x).tolist() == [4, 4]
    assert model.static(x).tolist() == [0, 0]
    assert torch.compile(model)(x).tolist() == [3, 3]
    assert torch.compile(functools.partial(torch.add, alpha=2))(x, x).tolist() == [3, 3]
    assert torch.compile(model.method)(x).tolist() == [4, 4]
    assert torch.compile()(lambda x: x * 5)(x).tolist() == [5, 5]
    with pytest.raises(TypeError, match="compile"):
        torch.compile(3)


def test_options_are_accepted():
    fn = torch.compile(lambda x: x + 1, dynamic=True, mode="max-autotune", backend="inductor", options={"a": 1})
    assert fn(torch.ones(1)).item() == 2
    f = lambda x: x  # noqa: E731
    assert torch.compile(f, disable=True) is f


def test_a_compiled_function_inside_another_is_inlined():
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x) + inner(x + 1), fullgraph=True)
    assert outer(torch.ones(1)).item() == 6
    assert not inner.traces and len(outer.traces) == 1


def test_off_switch():
    fn = torch.compile(lambda x: x * 2)
    with torch.config.config(compile=False):
        assert fn(torch.ones(1)).item() == 2
    assert not fn.traces


def test_grad_mode_and_default_dtype_are_watched():
    w = torch.ones(2, requires_grad=True)
    fn = torch.compile(lambda x: (x * w * torch.ones(2)).detach())
    fn(torch.ones(2))
    with torch.no_grad():
        fn(torch.ones(2))
    assert len(fn.traces) == 2


def test_threads():
    net = nn.Linear(3, 2)

    @torch.compile
    def fn(x):
        with torch.no_grad():
            return net(x).sum()

    expected = [float(net(torch.full((4, 3), float(k))).sum()) for k in range(8)]
    wrong = []

    def work(k):
        for _ in range(30):
            got = float(fn(torch.full((4, 3), float(k))))
            if abs(got - expected[k]) > 1e-4:
                wrong.append((k, got))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_eager_threads_are_undisturbed_by_a_trace():
    stop = threading.Event()
    wrong = []

    def eager():
        w = torch.ones(3, requires_grad=True)
        while not stop.is_set():
            w.grad = None
            (w * 2).sum().backward()
            if w.grad.tolist() != [2, 2, 2] or type(w._data) is not np.ndarray:
                wrong.append(w.grad)

    thread = threading.Thread(target=eager)
    thread.start()
    with torch.config.config(jit=False):
        for n in range(1, 30):
            torch.compile(lambda x: (x * 2).tanh())(torch.ones(n))
    stop.set()
    thread.join()
    assert not wrong


def test_compile_of_a_model():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    model = torch.compile(net)
    assert isinstance(model, nn.Module) and model._orig_mod is net
    assert list(model.state_dict()) == [f"_orig_mod.{k}" for k in net.state_dict()]
    x = torch.randn(5, 3)
    with torch.no_grad():
        np.testing.assert_allclose(model.eval()(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)


def test_training_through_a_compiled_model():
    def make():
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Tanh(), nn.Linear(4, 2))
        opt = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x, y = torch.randn(6, 3), torch.randn(6, 2)
        return net, opt, x, y

    sides = []
    for wrap in (lambda net: net, torch.compile):
        torch.manual_seed(0)
        net, opt, x, y = make()
        model = wrap(net)
        seen = []
        for _ in range(4):
            opt.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            opt.step()
            seen.append((float(loss), state_of([net, opt])))
        sides.append(seen)
    for (a, s), (b, t) in zip(*sides, strict=True):
        assert abs(a - b) < 1e-5
        np.testing.assert_equal(len(s), len(t))
    np.testing.assert_allclose(sides[0][-1][0], sides[1][-1][0], rtol=1e-5)
    for p, q in zip(sides[0][-1][1][:-2], sides[1][-1][1][:-2], strict=True):
        np.testing.assert_allclose(p[0], q[0], rtol=1e-4, atol=1e-5)


def test_module_compile():
    net = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    expected = net(x)
    net.compile()
    np.testing.assert_allclose(net(x).detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    assert net._compiled_call_impl is not None


def test_warnings_point_at_the_caller():
    step = torch.compile(lambda x: x * float(x.sum()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step(torch.ones(1))
    assert caught[0].filename == __file__


_ = (check, plain, compiled)


def test_hooks_added_and_removed_between_calls():
    net = nn.Linear(3, 2)
    x = torch.ones(4, 3)

    @torch.compile
    def step():
        net.zero_grad()
        net(x).sum().backward()

    step()
    plain_grad = net.weight.grad.clone()
    handle = net.weight.register_hook(lambda g: g * 2)
    step()
    assert torch.equal(net.weight.grad, plain_grad * 2)
    handle.remove()
    step()
    assert torch.equal(net.weight.grad, plain_grad)
    with nn.modules.module.register_module_forward_hook(lambda module, args, out: out * 3):
        step()
        assert torch.equal(net.weight.grad, plain_grad * 3)
    step()
    assert torch.equal(net.weight.grad, plain_grad)


def test_random_choices_of_python_run_eagerly():
    @torch.compile
    def fn(x):
        return x * 2 if random.random() < 0.5 else x * np.random.rand()

    random.seed(0)
    np.random.seed(0)
    with pytest.warns(UserWarning, match="random"):
        got = [fn(torch.ones(1)).item() for _ in range(6)]
    random.seed(0)
    np.random.seed(0)
    assert got == pytest.approx([2.0 if random.random() < 0.5 else np.random.rand() for _ in range(6)])


def test_numbers_that_change_become_inputs():
    @torch.compile
    def fn(x, step, rate=0.5):
        return x * rate + step, step * 2 + 1, rate / 4

    x = torch.ones(3)
    for k in range(8):
        out, count, share = fn(x, k, rate=0.5 * k)
        assert out.tolist() == [0.5 * k + k] * 3 and out.dtype == torch.float32
        assert (count, share) == (2 * k + 1, 0.125 * k) and type(count) is int
    assert len(fn.traces) == 2


def test_numbers_that_shape_the_program_stay_part_of_it():
    @torch.compile
    def fn(x, n):
        return x[:n].sum() * (2 if n > 2 else 3)

    assert [fn(torch.ones(5), n).item() for n in (1, 2, 3, 4, 1)] == [3, 6, 6, 8, 3]
    assert len(fn.traces) == 4


def test_explain_and_draw(tmp_path):
    fn = torch.compile(lambda x: (x * 2).sum())
    fn(torch.ones(3))
    assert "first call" in str(fn.explain())
    fn.draw(tmp_path / "step.svg")
    assert (tmp_path / "step.svg").exists()
