"""What a step does in Python besides tensors: values read, variables and attributes that get new ones, prints."""

from __future__ import annotations

import copy
import logging
import pickle
import time
import warnings

import pytest

import rushlight as torch
from rushlight import nn, optim
from rushlight.compiler.api import CompileError
from tests.compiler.steps import check, plain

total = 0.0


class Trainer:
    def __init__(self, net, opt):
        self.net = net
        self.opt = opt
        self.total = 0.0
        self.steps = 0
        self.last = (None, None)
        self.stats = {"norm": torch.zeros(())}
        self.history = []
        self.schedule = optim.lr_scheduler.StepLR(opt, 2, 0.5)

    def learn(self, x):
        self.opt.zero_grad()
        loss = self.net(x).square().mean()
        loss.backward()
        return loss

    def returns_float(self, x):
        loss = self.learn(x)
        self.opt.step()
        return float(loss)

    def keeps_total(self, x):
        loss = self.learn(x)
        self.total += loss.item()
        self.opt.step()
        return self.total

    def keeps_global(self, x):
        global total
        loss = self.learn(x)
        self.opt.step()
        total += float(loss)
        return total

    def appends(self, x):
        loss = self.learn(x)
        self.opt.step()
        self.schedule.step()
        self.history.append(loss.item())
        return list(self.history), self.schedule.get_last_lr()

    def plateau(self, x):
        loss = self.learn(x)
        self.opt.step()
        if loss < 0.3:
            self.steps += 1
        return loss, self.steps

    def counts(self, x):
        self.steps += 1
        loss = self.learn(x * self.steps)
        if self.steps % 3 == 0:
            self.opt.step()
        self.last = (loss.detach(), x)
        self.stats["norm"] = self.stats["norm"] * 0.9 + loss.detach()
        return loss


def trainer(name, net=None):
    def make():
        global total
        total = 0.0
        made = copy.deepcopy(net) if net is not None else nn.Linear(4, 3)
        opt = optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
        one = Trainer(made, opt)
        return getattr(one, name), made, opt

    return make


def run(step, objects):
    one = (step.fn if hasattr(step, "fn") else step).__self__
    result = step(torch.ones(2, 4))
    return result, one.total, one.steps, one.last, one.stats, one.history


@pytest.mark.parametrize("name", ["returns_float", "keeps_total", "keeps_global", "appends", "plateau", "counts"])
def test_values_that_a_step_gives_to_python(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step = check(trainer(name), [run] * 7)
    assert not step.eager_cases and 1 <= len(step.traces) <= 5
    assert sum(t.calls for t in step.traces) == 7


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 3)
        self.hidden = None
        self.calls = 0
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        h = self.cell(x, self.hidden)
        self.hidden = h.detach()
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        self.calls += 1
        return h


def test_attributes_that_a_module_assigns():
    def run_and_look(step, objects):
        net = objects[0]
        return run(step, objects), net.hidden, net.mean, net.calls

    step = check(trainer("counts", Recurrent()), [run_and_look] * 6)
    assert not step.eager_cases and len(step.traces) <= 5


def test_attributes_set_between_calls_are_seen():
    net = Recurrent()
    predict = torch.compile(lambda x: net(x))
    x = torch.ones(2, 4)
    with torch.no_grad():
        first = predict(x)
        predict(x)
        net.hidden = None
        assert torch.equal(predict(x), first)
        net.hidden, net.mean = torch.zeros(2, 3), torch.ones(3)
        torch.testing.assert_close(predict(x), first)
        torch.testing.assert_close(net.mean, 0.9 + 0.1 * first.mean(0))


def test_a_step_that_fails_to_trace_leaves_assigned_values():
    net = Recurrent()
    net.hidden = before = torch.zeros(2, 3)

    @torch.compile(fullgraph=True)
    def step(x):
        net(x)
        raise KeyError("no")

    with pytest.raises(KeyError):
        step(torch.ones(2, 4))
    assert net.hidden is before and net.calls == 0 and net.mean.tolist() == [0, 0, 0]


def test_the_rest_of_a_step_sees_arguments_closures_and_defaults():
    w = torch.ones(3, requires_grad=True)
    seen = []

    def step(x, *more, scale=2.0, log=seen, **words):
        y = (w * x * scale).sum()
        y.backward()
        names = sorted(words)
        if float(y) > 20:
            log.append((x, len(more), names))
            return None
        return y, more, words

    fast = torch.compile(step)
    x = torch.ones(3)
    for args, words in [((x,), {}), ((x * 5, 1), {"k": 1}), ((x, x), {"scale": 9.0}), ((x,), {"log": []})]:
        w.grad = None
        expected = plain(step(*args, **words)), plain(w.grad), seen[:]
        seen.clear()
        w.grad = None
        got = plain(fast(*args, **words)), plain(w.grad), seen[:]
        seen.clear()
        assert str(got) == str(expected)
        assert [a for a, *_ in got[2]] == [a for a, *_ in expected[2]] or got[2][0][0] is expected[2][0][0]
    assert not fast.eager_cases
    with pytest.raises(CompileError):
        torch.compile(step, fullgraph=True)(x)


def test_prints_are_printed_at_every_call(capsys):
    @torch.compile(fullgraph=True)
    def step(x):
        print("begins", x.shape, end=";\n")
        y = x * 2
        print("ends")
        return y

    for _ in range(3):
        step(torch.ones(2))
    assert capsys.readouterr().out == "begins torch.Size([2]);\nends\n" * 3
    assert len(step.traces) == 1


def test_clocks_and_logs_are_not_frozen(caplog):
    def step(x):
        y = x * 2
        logging.getLogger("steps").warning("again")
        return y, time.perf_counter()

    fast = torch.compile(step)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = [fast(torch.ones(2))[1] for _ in range(3)]
    assert len(set(seen)) == 3 and len([r for r in caplog.records if r.message == "again"]) == 3


def test_a_counter_among_the_arguments_decides():
    net = nn.Linear(4, 3)
    opt = optim.SGD(net.parameters(), lr=0.1)

    def step(x, i):
        (net(x).square().mean() / 4).backward()
        if (i + 1) % 4 == 0:
            opt.step()
            opt.zero_grad(set_to_none=False)
        return i // 2 - -1 * i

    fast = torch.compile(step)
    for i in range(20):
        before = net.weight.clone()
        assert fast(torch.ones(2, 4), i) == i // 2 + i
        assert torch.equal(net.weight, before) is bool((i + 1) % 4)
    assert len(fast.traces) <= 5


def test_loss_scaling():
    def make():
        net = nn.Linear(4, 3)
        opt = optim.SGD(net.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

        def step(x):
            opt.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = net(x).square().mean()
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
            return loss.detach().float(), scaler.get_scale()

        return step, net, opt

    step = check(make, [lambda s, o: s(torch.ones(2, 4))] * 5, warns=True, rtol=2e-2, atol=1e-3)
    assert step.traces and not step.eager_cases


def doubled(x):
    return x * 2


module_level = torch.compile(doubled)


def test_copies_and_pickles():
    net = torch.compile(nn.Linear(4, 3))
    x = torch.ones(2, 4)
    expected = net(x)
    other = copy.deepcopy(net)
    assert torch.equal(other(x), expected) and other.weight is not net.weight
    with torch.no_grad():
        other.weight.zero_()
    assert torch.equal(net(x), expected) and not torch.equal(other(x), expected)
    again = pickle.loads(pickle.dumps(net))
    assert torch.equal(again(x), expected) and list(again.state_dict()) == list(net.state_dict())
    assert torch.equal(pickle.loads(pickle.dumps(module_level))(x), x * 2)


def test_names_of_the_namespace():
    @torch.compiler.disable
    def outside(x):
        assert not torch.compiler.is_compiling()
        return float(x.sum())

    def step(x):
        y = x * (2 if torch.compiler.is_compiling() else 2.0)
        return outside(y)

    fast = torch.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [fast(torch.ones(3) * k) for k in range(3)] == [0, 6, 12]
    assert fast.traces
    torch.compiler.reset()
    assert not fast.traces and not torch.compiler.is_compiling()
    torch.compiler.cudagraph_mark_step_begin()
    torch._dynamo.config.cache_size_limit = 8
    with pytest.raises(NotImplementedError, match="explain"):
        torch._dynamo.explain(step)
