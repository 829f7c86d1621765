"""Traced training steps against the eager ones: parameters, gradients, state, results, random stream."""

from __future__ import annotations

import pytest

import rushlight as torch
from rushlight import nn, optim
from rushlight.nn import functional as F
from tests.compiler.steps import check


def regression(optimizer=lambda p: optim.SGD(p, lr=0.1), net=None, x=(6, 4), y=(6, 3), loss_fn=F.mse_loss):
    net = net or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    opt = optimizer(net.parameters())
    x, y = torch.randn(*x), torch.randn(*y)

    def step():
        opt.zero_grad()
        loss = loss_fn(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return step, net, opt


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01, maximize=True),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "tensor lr": lambda p: optim.Adam(p, lr=torch.tensor(0.01)),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.05),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "asgd": lambda p: optim.ASGD(p, lr=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    check(lambda: regression(OPTIMIZERS[name]), 7, rtol=2e-4, atol=2e-6)


def test_groups_with_settings_of_their_own():
    def make():
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        groups = [{"params": net[0].parameters(), "lr": 0.5}, {"params": net[2].parameters(), "momentum": 0.9}]
        return regression(lambda p: optim.SGD(groups, lr=0.1), net)

    check(make, 5)


def test_a_scheduler_does_not_retrace():
    def make():
        step, net, opt = regression(lambda p: optim.Adam(p, lr=0.01))
        return step, net, opt, optim.lr_scheduler.CosineAnnealingLR(opt, 5)

    def run(step, objects):
        loss = step()
        objects[2].step()
        return loss

    check(lambda: make()[:3], 3, traces=1)
    check_scheduled(make, run)


def check_scheduled(make, run):
    def bare():
        step, net, opt, scheduler = make()
        held.append(scheduler)
        return step, net, opt

    held = []
    check(bare, [lambda step, objects: (step(), held[-1].step())[0]] * 5, traces=1)


def test_gradients_accumulate():
    def make():
        net = nn.Linear(4, 3)
        opt = optim.SGD(net.parameters(), lr=0.1)
        xs = torch.randn(3, 5, 4)

        def step():
            opt.zero_grad()
            for x in xs:
                (net(x) ** 2).mean().backward()
            opt.step()

        return step, net, opt

    check(make, 3, traces=1)


def test_gradients_accumulate_over_calls():
    def make():
        net = nn.Linear(4, 3)
        x = torch.randn(5, 4)

        def step():
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss

        return step, net

    check(make, 4)


def test_clipping_and_zeroing_in_place():
    def make():
        net = nn.Linear(4, 3)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x = torch.randn(5, 4)

        def step():
            opt.zero_grad(set_to_none=False)
            loss = (net(x) ** 2).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            nn.utils.clip_grad_value_(net.parameters(), 0.05)
            opt.step()
            return loss, norm

        return step, net, opt

    check(make, 5)


def test_updates_by_hand():
    def make():
        w, b = torch.randn(4, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
        average = torch.zeros(4, 3)
        x = torch.randn(5, 4)

        def step():
            loss = ((x @ w + b) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                w.sub_(0.1 * w.grad)
                b.data.add_(b.grad, alpha=-0.1)
                average.mul_(0.9).add_(w, alpha=0.1)
                w.grad.zero_()
            b.grad = None
            return loss.detach()

        return step, w, b, average

    check(make, 4)


def test_minus_assign_on_a_parameter():
    def make():
        w = torch.randn(4, 3, requires_grad=True)
        x = torch.randn(5, 4)

        def step():
            nonlocal_w = w
            loss = ((x @ w) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                nonlocal_w -= 0.1 * w.grad
                w.grad.zero_()
            return loss

        return step, w

    check(make, 4)


def test_batch_norm_and_dropout():
    def make():
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        return regression(net=net)

    check(make, 4, traces=1)


def test_dropout_follows_seeds_between_and_inside_calls():
    def make():
        x = torch.ones(20)

        def step():
            torch.manual_seed(3)
            return F.dropout(x, 0.5), F.dropout(x, 0.3)

        return (step,)

    check(make, 3)

    def unseeded():
        x = torch.ones(20)
        return ((lambda: F.dropout(x, 0.5) + torch.bernoulli(x * 0.5)),)

    check(unseeded, [lambda s, o: s(), lambda s, o: (torch.manual_seed(5), s())[1], lambda s, o: s()], traces=1)


DRAWS = {
    "rand": lambda: torch.rand(3, 2), "randn": lambda: torch.randn(5), "randint": lambda: torch.randint(0, 9, (4,)),
    "randperm": lambda: torch.randperm(6), "normal": lambda: torch.normal(0.0, 1.0, (3,)),
    "uniform_": lambda: torch.empty(4).uniform_(-1, 1), "rand_like": lambda: torch.rand_like(torch.zeros(3)),
    "multinomial": lambda: torch.multinomial(torch.ones(5), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_draws_in_a_step(name):
    def make():
        x = torch.ones(1)
        return (lambda: x * DRAWS[name]().sum(),)

    check(make, 3, warns=True)


def test_views_and_writes_through_them():
    def make():
        a, c = torch.zeros(4, 5), torch.arange(12.0)

        def step():
            row = a[1]
            row += 1
            a[:, 2] = torch.ones(4) * 3
            a[0].copy_(c[:5])
            c.view(3, 4).t()[1] *= 2
            return row, a[2:].sum(), c[::2] + 1

        return step, a, c

    check(make, 3)


def test_writes_to_a_storage_seen_in_two_layouts():
    def make():
        a = torch.zeros(4, 5)
        b = a[1:3, ::2]

        def step():
            b.add_(1)
            a.mul_(2)
            return a.sum() + b.sum()

        return step, a, b

    check(make, 3)


def test_views_of_constants():
    def make():
        x = torch.randn(3)

        def step():
            m = torch.zeros(3, 3)
            row = m[1]
            row.copy_(x)
            m[:, 0] += x
            return m, row, torch.eye(3) @ m

        return (step,)

    check(make, 2)


def test_autocast():
    def make():
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        opt = optim.SGD(net.parameters(), lr=0.1)
        x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))

        def step():
            opt.zero_grad()
            with torch.autocast("cpu"):
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            return loss

        return step, net, opt

    check(make, 3, rtol=2e-2, atol=2e-3)


def test_hooks_run_in_the_trace():
    def make():
        net = nn.Linear(4, 3)
        net.weight.register_hook(lambda g: g * 2)
        net.register_forward_hook(lambda module, args, out: out + 1)
        return regression(net=net)

    check(make, 3)


def test_parameters_shared_between_layers():
    def make():
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        return regression(net=nn.Sequential(first, nn.Tanh(), second, nn.Linear(4, 3)))

    check(make, 3)


def test_grad_function():
    def make():
        w = torch.randn(3, requires_grad=True)
        x = torch.randn(5, 3)

        def step():
            (g,) = torch.autograd.grad(((x @ w) ** 2).sum(), w)
            with torch.no_grad():
                w.add_(g, alpha=-0.01)
            return g

        return step, w

    check(make, 3)


def test_second_derivatives():
    def make():
        w = torch.randn(3, requires_grad=True)
        x = torch.randn(5, 3)

        def step():
            (g,) = torch.autograd.grad(((x @ w) ** 3).sum(), w, create_graph=True)
            (g * g).sum().backward()
            return g.detach()

        return step, w

    check(make, 3)


def test_indices_that_are_values():
    def make():
        w = torch.randn(5, 4, requires_grad=True)
        kept = torch.zeros(5, 4)

        def step(i, j):
            w.grad = None
            loss = w[i].square().sum() + w[torch.arange(3), j].sum() + w[:, j].exp().mean()
            loss = loss + w[i[0]].sum() + w[1, j].sum()
            loss.backward()
            kept[i] = w.detach()[i] * 2
            kept[:, 1:][j, j % 2] += 1
            with torch.no_grad():
                kept[kept > 1] = 0.5
            return loss, F.one_hot(j, 4)

        return step, w, kept

    i, j = torch.tensor([4, 0, 4]), torch.tensor([1, 3, 0])
    check(make, [lambda s, o: s(i, j), lambda s, o: s(j, j.clone()), lambda s, o: s(i, i % 4)], traces=1)


def test_new_arrays_in_the_layout_of_traced_ones():
    x = torch.randn(2, 3, 4)

    @torch.compile(fullgraph=True)
    def fn(x):
        y = x.transpose(0, 1)
        made = torch.zeros_like(y), torch.ones_like(y), torch.full_like(y, 2.0), torch.empty_like(y).fill_(1)
        return (
            y.contiguous().view(-1),
            [m + y for m in made],
            [m.stride() for m in made],
            y.contiguous().is_contiguous(),
        )

    for _ in range(2):
        flat, sums, strides, contiguous = fn(x)
        y = x.transpose(0, 1)
        assert torch.equal(flat, y.reshape(-1)) and contiguous
        for got, k, stride in zip(sums, (0, 1, 2, 1), strides, strict=True):
            assert torch.equal(got, y + k) and stride == torch.zeros_like(y).stride()
    drawn = torch.compile(lambda x: torch.randn_like(x) + torch.rand_like(x), fullgraph=True)
    torch.manual_seed(3)
    got = drawn(x)
    torch.manual_seed(3)
    assert torch.equal(got, torch.randn_like(x) + torch.rand_like(x))
