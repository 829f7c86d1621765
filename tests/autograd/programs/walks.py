"""Walking the graph: twice, with a graph of its own, towards chosen inputs."""

from typing import Any

from tests.autograd.outcome import raised


def twice_through_what_kept_nothing(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    z = x.view(2).reshape(1, 2).sum()
    return [x.grad, raised(z.backward), raised(z.backward), x.grad]


def twice_through_a_freed_graph(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    e = x.exp().sum()
    e.backward()
    m = (x.reshape(1, 2) @ x.reshape(2, 1)).sum()
    m.backward()
    n = (x * 3).sum()
    n.backward()
    p = (x**2).sum()
    p.backward()
    d = (x / 2).sum()
    d.backward()
    return [raised(t.backward) for t in (y, e, m, n, p, d)] + [x.grad]


def retain_graph_walks_again(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).exp().sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    return [x.grad, raised(y.backward)]


def part_of_the_graph_freed(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.sum().backward()
    return [raised((y * 2).sum().backward), raised((y * y).sum().backward), x.grad]


def grad_frees_like_backward(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    first = torch.autograd.grad(y, x, retain_graph=True)
    second = torch.autograd.grad(y, x)
    return [first, second, raised(lambda: torch.autograd.grad(y, x)), x.grad]


def second_and_third_derivatives(torch: Any) -> Any:
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    y = (x**4 + x.exp() * x.sin()).sum()
    found = [y]
    for _ in range(4):
        (g,) = torch.autograd.grad(found[-1].sum(), x, create_graph=True)
        found.append(g)
    return found[1:]


def backward_with_create_graph(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True, inputs=[x])
    g = x.grad
    out = [g.requires_grad, g.is_leaf, g.clone().detach()]
    x.grad = None
    (g * g).sum().backward()
    return [*out, x.grad]


def create_graph_accumulates_into_grad(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    old = x.grad
    (x**3).sum().backward(create_graph=True, inputs=[x])
    return [x.grad is old, x.grad, old, x.grad.requires_grad]


def gradient_penalty(torch: Any) -> Any:
    w = torch.tensor([[0.5, -1.0], [2.0, 0.3]], requires_grad=True)
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    out = torch.tanh(x @ w).sum()
    (g,) = torch.autograd.grad(out, x, create_graph=True)
    ((g.norm() - 1) ** 2).backward()
    return [w.grad, x.grad]


def grad_of_grad_outputs(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    v = torch.tensor([3.0, 4.0], requires_grad=True)
    (g,) = torch.autograd.grad(x * x, x, v, create_graph=True)
    return [g, torch.autograd.grad(g.sum(), [v, x])]


def unused_inputs(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    out = (x * x).sum()
    grad = torch.autograd.grad
    return [
        raised(lambda: grad(out, [x, y], retain_graph=True)),
        grad(out, [x, y], retain_graph=True, allow_unused=True),
        grad(out, [x, y], retain_graph=True, materialize_grads=True),
        raised(lambda: grad(out, [x, y], retain_graph=True, allow_unused=False, materialize_grads=True)),
        grad(out, [y, x], allow_unused=True),
    ]


def grad_wrt_non_leaves(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    z = y * y
    out = z.sum() + y.sum()
    found = torch.autograd.grad(out, [x, y, z, out])
    return [found, x.grad]


def grad_wrt_one_of_several_results(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    a, b = x.split(2)
    found = torch.autograd.grad((a * b).sum(), [a, b], retain_graph=True)
    return [found, torch.autograd.grad((a * b).sum(), x)]


def grad_wrt_itself(torch: Any) -> Any:
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    return [torch.autograd.grad(x, x), torch.autograd.grad(y, [y, x]), torch.autograd.grad(y, y, torch.tensor(5.0))]


def same_input_twice(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    return torch.autograd.grad((x * x).sum(), [x, x])


def several_outputs(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y, z = x * 2, (x * x).sum()
    return torch.autograd.grad([y, z], x, [torch.tensor([1.0, 10.0]), None])


def batched_grad_outputs(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x
    return torch.autograd.grad(y, x, torch.eye(3), is_grads_batched=True)


def backward_towards_inputs(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    z = x * y
    w = (z * z).sum()
    w.backward(inputs=[y], retain_graph=True)
    first = [x.grad, y.grad.clone()]
    w.backward(inputs=x)
    return [first, x.grad, y.grad]


def backward_towards_a_non_leaf(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    (y * y).sum().backward(inputs=[y])
    return [y.grad, x.grad]


def only_the_needed_part_runs(torch: Any) -> Any:
    ran = []
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    a, b = x * 2, y * 3
    a.register_hook(lambda g: ran.append("a"))
    b.register_hook(lambda g: ran.append("b"))
    torch.autograd.grad((a * b).sum(), x)
    return ran


def walk_leaves_other_parts_unfreed(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    a, b = x * x, y * y
    out = (a + b).sum()
    torch.autograd.grad(out, x)
    return [raised(lambda: torch.autograd.grad(out, y)), raised(lambda: torch.autograd.grad(out, x))]


def inside_no_grad(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    with torch.no_grad():
        y.backward()
        (g,) = torch.autograd.grad(_squares(torch, x), x)
    return [x.grad, g, g.requires_grad]


def _squares(torch: Any, x: Any) -> Any:
    with torch.enable_grad():
        return (x * x).sum()


def create_graph_inside_no_grad(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x**3).sum()
    with torch.no_grad():
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        inside = torch.is_grad_enabled()
    return [g, g.requires_grad, inside, torch.autograd.grad(g.sum(), x)]


def hessian_by_hand(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    y = (x.prod() + (x**2).sum()).sigmoid()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    return [torch.autograd.grad(g[i], x, retain_graph=True)[0] for i in range(3)]


def second_order_through_views_and_indexing(torch: Any) -> Any:
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    y = (x.t()[1:] ** 3).sum() + (x[:, 0] * x[0, 1:].sum()).prod() + torch.cat([x, x * x]).sum(0).prod()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    return [g, torch.autograd.grad((g * g).sum(), x)]


def training_loop(torch: Any) -> Any:
    w = torch.tensor([[0.1, 0.2], [0.3, 0.4]], requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    x, t = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    losses = []
    for _ in range(4):
        loss = ((torch.tanh(x @ w + b) - t) ** 2).mean()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p -= 0.5 * p.grad
                p.grad = None
    return [losses, w, b]
