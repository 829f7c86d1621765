"""Checkpoints: the same values and gradients, computed again."""

from typing import Any

from tests.autograd.outcome import raised


def both_forms(torch: Any) -> Any:
    checkpoint = torch.utils.checkpoint.checkpoint
    found = []
    for reentrant in (True, False):
        runs = []

        def block(x: Any, scale: float, w: Any, runs: list[bool] = runs) -> Any:
            runs.append(torch.is_grad_enabled())
            return (x * w).exp() * scale, x.sum()

        x = torch.tensor([0.5, 1.0], requires_grad=True)
        w = torch.tensor([2.0, 3.0], requires_grad=True)
        y, total = checkpoint(block, x * 1, 2.0, w, use_reentrant=reentrant)
        (y.sum() * total).backward()
        found.append([runs, y, total, x.grad, w.grad])
    return found


def random_state(torch: Any) -> Any:
    found = []
    for reentrant in (True, False):
        x = torch.ones(20, requires_grad=True)
        y = torch.utils.checkpoint.checkpoint(
            lambda t: torch.nn.functional.dropout(t * 2, 0.5), x, use_reentrant=reentrant
        )
        after = torch.rand(1)
        y.sum().backward()
        found.append([y, torch.equal(x.grad, y.detach()), after, torch.rand(1)])
    return found


def twice_and_grad(torch: Any) -> Any:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(lambda t: t.sin() * t.exp(), x, use_reentrant=False).sum()
    first = torch.autograd.grad(y, x, retain_graph=True)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    return [first, g, torch.autograd.grad(g.sum(), x)]


def nested(torch: Any) -> Any:
    checkpoint = torch.utils.checkpoint.checkpoint
    runs = []

    def inner(t: Any) -> Any:
        runs.append("inner")
        return t.sin().exp()

    def outer(t: Any) -> Any:
        runs.append("outer")
        return checkpoint(inner, t * 2, use_reentrant=False).tanh()

    x = torch.tensor([0.5, 1.0], requires_grad=True)
    checkpoint(outer, x, use_reentrant=False).sum().backward()
    return [x.grad, runs[:2]]


def keyword_arguments(torch: Any) -> Any:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    checkpoint = torch.utils.checkpoint.checkpoint
    y = checkpoint(lambda t, *, d: {"out": t.exp() * d["w"]}, x, use_reentrant=False, d={"w": 3.0})
    y["out"].sum().backward()
    return [x.grad, raised(lambda: checkpoint(lambda t, k=1: t, x, k=2, use_reentrant=True))]


def sequential(torch: Any) -> Any:
    found = []
    for reentrant in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) if i % 2 else torch.nn.Tanh() for i in range(5)])
        x = torch.ones(2, 3, requires_grad=True)
        y = torch.utils.checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=reentrant)
        y.sum().backward()
        found.append([y, x.grad, [p.grad for p in model.parameters()]])
    return found


def errors(torch: Any) -> Any:
    checkpoint = torch.utils.checkpoint.checkpoint
    x = torch.ones(2, requires_grad=True)
    runs = []

    def other_shape(t: Any) -> Any:
        runs.append(1)
        return t.sin() if len(runs) == 1 else torch.ones(3).mul(t[0]).sin()

    def fewer(t: Any) -> Any:
        runs.append(1)
        return (t * t).sin() if len(runs) == 1 else t * 1

    results = [raised(lambda: torch.autograd.grad(checkpoint(torch.sin, x, use_reentrant=True).sum(), x))]
    results.append(raised(lambda: checkpoint(lambda t: t.detach(), x, use_reentrant=True).sum().backward()))
    results.append(raised(lambda: checkpoint(other_shape, x, use_reentrant=False).sum().backward()))
    runs.clear()
    results.append(raised(lambda: checkpoint(fewer, x, use_reentrant=False).sum().backward()))
    return results


def parameters_of_modules(torch: Any) -> Any:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2)
    found = []
    for reentrant in (True, False):
        layer.zero_grad()
        x = torch.ones(1, 2, requires_grad=True)
        torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=reentrant).exp().sum().backward()
        found.append([layer.weight.grad, layer.bias.grad, x.grad])
    plain = torch.ones(1, 2)
    layer.zero_grad()
    torch.utils.checkpoint.checkpoint(layer, plain, use_reentrant=False).exp().sum().backward()
    return [found, layer.weight.grad]
