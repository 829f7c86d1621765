"""Programs as people write them, compiled against eager."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn, optim
from rushlight.nn import functional as F
from rushlight.utils.checkpoint import checkpoint
from tests.compiler.steps import check


class Trainer:
    def __init__(self):
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        self.opt = optim.AdamW(self.net.parameters(), lr=0.01)
        self.config = {"clip": 0.5, "weights": [1.0, 0.5]}

    def loss(self, x, y):
        scores = self.net(x)
        a, b = self.config["weights"]
        return a * F.cross_entropy(scores, y) + b * scores.square().mean()

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config["clip"])
        self.opt.step()
        return {"loss": loss.detach(), "value": loss.item()}


def batches(n=4, size=6):
    g = torch.Generator().manual_seed(1)
    sizes = [size] * (n - 1) + [size - 3]
    return [(torch.randn(k, 4, generator=g), torch.randint(0, 3, (k,), generator=g)) for k in sizes]


def test_a_trainer_with_batches_from_a_loader():
    def make():
        t = Trainer()
        return t.step, t.net, t.opt

    runs = [lambda s, o, b=b: s(*b) for b in batches() * 2]
    check(make, runs, traces=2)


def test_net_and_optimizer_as_arguments():
    def make():
        t = Trainer()

        def step(net, opt, x, y, *, factor):
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y) * factor
            loss.backward()
            opt.step()
            return loss

        return step, t.net, t.opt

    check(make, [lambda s, o, b=b: s(o[0], o[1], *b, factor=2) for b in batches()], traces=2)


def test_optimizer_with_a_closure():
    def make():
        t = Trainer()
        x, y = batches(1, 9)[0]

        def closure():
            t.opt.zero_grad()
            loss = t.loss(x, y)
            loss.backward()
            return loss

        return (lambda: t.opt.step(closure)), t.net, t.opt

    check(make, 3, traces=1)


def test_hidden_state_carried_between_calls():
    def make():
        net = nn.LSTM(4, 5, batch_first=True)
        head = nn.Linear(5, 3)
        opt = optim.SGD([*net.parameters(), *head.parameters()], lr=0.1)
        state = [None]

        def step(x, h, c):
            opt.zero_grad()
            out, (h, c) = net(x, (h, c))
            loss = head(out).square().mean()
            loss.backward()
            opt.step()
            return loss, h.detach(), c.detach()

        return step, net, head, opt, state

    def run(step, objects):
        state = objects[-1]
        h, c = state[0] or (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))
        loss, h, c = step(torch.ones(2, 3, 4), h, c)
        state[0] = (h, c)
        return loss, h, c

    check(make, [run] * 4, traces=1)


def test_moving_average_of_a_model():
    def make():
        t = Trainer()
        shadow = copy.deepcopy(t.net).requires_grad_(False)
        x, y = batches(1, 9)[0]

        def step():
            loss = t.step(x, y)["loss"]
            with torch.no_grad():
                for a, b in zip(shadow.parameters(), t.net.parameters(), strict=True):
                    a.lerp_(b, 0.1)
            return loss

        return step, t.net, shadow, t.opt

    check(make, 3, traces=1)


def test_two_optimizers_take_turns():
    def make():
        g, d = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1))
        og, od = optim.Adam(g.parameters(), lr=0.01), optim.RMSprop(d.parameters(), lr=0.01)

        def step(real):
            z = torch.randn(real.shape[0], 3)
            od.zero_grad()
            fake = g(z)
            loss_d = F.softplus(-d(real)).mean() + F.softplus(d(fake.detach())).mean()
            loss_d.backward()
            od.step()
            og.zero_grad()
            loss_g = F.softplus(-d(fake)).mean()
            loss_g.backward()
            og.step()
            return loss_d.item(), loss_g.item()

        return step, g, d, og, od

    check(make, [lambda s, o: s(torch.ones(5, 4))] * 4, traces=1)


def test_gradient_penalty():
    def make():
        d = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
        opt = optim.SGD(d.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            x = x.clone().requires_grad_()
            score = d(x).sum()
            (g,) = torch.autograd.grad(score, x, create_graph=True)
            loss = ((g.norm(dim=1) - 1) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        return step, d, opt

    check(make, [lambda s, o: s(torch.ones(5, 4) * 0.3)] * 3)


def test_adversarial_input_gradients():
    def make():
        net = nn.Linear(4, 3)

        def attack(x, y):
            x = x.detach().clone().requires_grad_(True)
            F.cross_entropy(net(x), y).backward()
            return (x + 0.1 * x.grad.sign()).detach(), x.grad

        return attack, net

    check(make, [lambda s, o, b=b: s(*b) for b in batches()])


def test_checkpointed_blocks_with_dropout():
    def make():
        block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Tanh())
        opt = optim.SGD(block.parameters(), lr=0.1)
        x = torch.randn(6, 4)

        def step():
            opt.zero_grad()
            loss = checkpoint(block, x, use_reentrant=False).square().mean()
            loss.backward()
            opt.step()
            return loss

        return step, block, opt

    check(make, 3)


def test_a_function_with_a_formula_of_its_own():
    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, low):
            ctx.save_for_backward(x)
            ctx.low = low
            return x.clamp(min=low)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * (x > ctx.low) * 2, None

    def make():
        w = torch.randn(5, requires_grad=True)

        def step():
            w.grad = None
            loss = (Clip.apply(w, 0.0) ** 2).sum()
            loss.backward()
            with torch.no_grad():
                w.sub_(w.grad, alpha=0.1)
            return loss

        return step, w

    check(make, 3)


def test_variables_that_a_step_rebinds_run_eagerly():
    total = torch.zeros(())
    count = 0

    def make():
        nonlocal total, count
        total, count = torch.zeros(()), 0

        def step(x):
            nonlocal total, count
            total = total + x.sum()
            count += 1
            return total * count

        return (step,)

    check(make, [lambda s, o: s(torch.ones(3))] * 4, warns=True)
    assert count == 4 and total.item() == 12


def test_globals_rebound_between_calls_do_not_retrace():
    x = None
    net = nn.Linear(4, 3)

    @torch.compile
    def predict():
        with torch.no_grad():
            return net(x)

    for k in range(3):
        x = torch.full((2, 4), float(k))
        with torch.no_grad():
            np.testing.assert_allclose(predict().numpy(), net(x).numpy(), rtol=1e-5)
    assert len(predict.traces) == 1


def test_functional_transforms_inside():
    def make():
        w = torch.randn(4, 3)
        x = torch.randn(5, 4)

        def step():
            def loss(w):
                return (x @ w).tanh().square().mean()

            g, value = torch.func.grad_and_value(loss)(w)
            w.sub_(0.1 * g)
            return value

        return step, w

    check(make, 3, warns=True)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "eval"])
def test_inference(mode):
    def make():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net.eval()
        x = torch.randn(2, 3, 6, 6)
        context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(mode)

        def predict():
            if context is None:
                return net(x).detach()
            with context():
                return net(x) * 1

        return predict, net

    check(make, 2, rtol=1e-4)


def test_attention_model_with_masks():
    def make():
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        opt = optim.SGD(layer.parameters(), lr=0.1)
        x = torch.randn(3, 5, 8)

        def step():
            opt.zero_grad()
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            loss = layer(x, src_mask=mask, is_causal=True).square().mean()
            loss.backward()
            opt.step()
            return loss

        return step, layer, opt

    check(make, 3, rtol=2e-4, atol=2e-5)


def test_losses_with_labels_weights_and_smoothing():
    def make():
        net = nn.Linear(4, 3)
        opt = optim.SGD(net.parameters(), lr=0.1)
        weight = torch.tensor([0.2, 1.0, 2.0])

        def step(x, y):
            opt.zero_grad()
            out = net(x)
            loss = F.cross_entropy(out, y, weight=weight, label_smoothing=0.1)
            loss = loss + F.binary_cross_entropy_with_logits(out, F.one_hot(y, 3).float())
            loss = loss + F.smooth_l1_loss(out, out * 0)
            loss.backward()
            opt.step()
            return loss, (out.argmax(1) == y).float().mean()

        return step, net, opt

    check(make, [lambda s, o, b=b: s(*b) for b in batches()], traces=2)


def test_freezing_and_unfreezing_layers_between_calls():
    def make():
        t = Trainer()
        x, y = batches(1, 9)[0]
        return (lambda: t.step(x, y)), t.net, t.opt

    def frozen(step, objects):
        objects[0][0].requires_grad_(False)
        return step()

    def thawed(step, objects):
        objects[0][0].requires_grad_(True)
        return step()

    run = lambda s, o: s()  # noqa: E731
    check(make, [run, frozen, run, thawed, run])


def test_data_replaced_and_state_loaded_between_calls():
    def make():
        t = Trainer()
        x, y = batches(1, 9)[0]
        return (lambda: t.step(x, y)), t.net, t.opt

    def replaced(step, objects):
        for p in objects[0].parameters():
            p.data = p.data * 0.5
        return step()

    def loaded(step, objects):
        objects[0].load_state_dict({k: v * 0.5 for k, v in objects[0].state_dict().items()})
        objects[1].load_state_dict(copy.deepcopy(objects[1].state_dict()))
        return step()

    run = lambda s, o: s()  # noqa: E731
    check(make, [run, replaced, run, loaded, run])


def test_gather_embedding_and_indexing():
    def make():
        table = nn.Embedding(7, 4)
        opt = optim.SGD(table.parameters(), lr=0.1)

        def step(i):
            opt.zero_grad()
            e = table(i)
            picked = e.gather(1, torch.tensor([[0, 1]] * i.shape[0])) + e[:, [0, 2]] + e[torch.arange(i.shape[0]), 1:2]
            loss = picked.square().sum() + torch.where(e > 0, e, 0.1 * e).sum()
            loss.backward()
            opt.step()
            return loss

        return step, table, opt

    check(make, [lambda s, o: s(torch.tensor([1, 3, 3, 6]))] * 3)


def test_convolution_net_in_channels_last():
    def make():
        conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        net = nn.Sequential(conv, nn.Flatten(), nn.Linear(36, 3))
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x):
            opt.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            opt.step()
            return loss

        return step, net, opt

    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    check(make, [lambda s, o: s(x)] * 4, rtol=1e-4, atol=1e-5)
