"""Hooks on tensors, leaves, nodes and groups; `retain_grad`."""

from typing import Any

from tests.autograd.outcome import raised


def tensor_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: seen.append(["y", g.clone()]))
    h = x.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: seen.append(["x", g.clone()]))
    y.sum().backward(retain_graph=True)
    h.remove()
    h.remove()
    first = x.grad.clone()
    y.sum().backward()
    return [seen, first, x.grad]


def hooks_on_a_leaf_see_each_walk_not_the_sum(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda g: seen.append(g.clone()))
    for k in (1, 2):
        (x * k + x).sum().backward()
    return [seen, x.grad]


def hook_sees_the_total_gradient_once(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    y = x * 1
    y.register_hook(lambda g: seen.append(g.clone()))
    (y * 2 + y * 3).sum().backward()
    return [seen, x.grad]


def hook_on_root(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    y = x.sum()
    y.register_hook(lambda g: (seen.append(g.clone()), g * 4)[1])
    y.backward()
    return [seen, x.grad]


def hook_errors(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    results = [raised(lambda: torch.ones(2).register_hook(lambda g: None))]
    for bad in (lambda g: torch.ones(3), lambda g: 1.0):
        h = y.register_hook(bad)
        kind, name, *_ = raised(lambda: y.sum().backward(retain_graph=True))
        results.append([kind, name])
        h.remove()
    return results


def hook_in_with_block(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    with x.register_hook(lambda g: g * 5):
        x.sum().backward()
    x.sum().backward()
    return x.grad


def hook_changes_gradient_in_place(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    a = x + y
    b = a * 1
    b.register_hook(lambda g: g.mul_(3))
    (b * torch.tensor([1.0, 2.0])).sum().backward()
    return [x.grad, y.grad]


def retain_grad_of_non_leaf(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    x.retain_grad()
    z = y * y
    z.sum().backward(retain_graph=True)
    first = y.grad.clone()
    z.sum().backward()
    out = [first, y.grad, x.grad, y.retains_grad, x.retains_grad, z.retains_grad]
    return [*out, raised(lambda: torch.ones(2).retain_grad())]


def retain_grad_comes_after_hooks(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 7)
    y.sum().backward()
    return [y.grad, x.grad]


def retain_grad_of_a_view(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    a, b = y.split(2)
    a.retain_grad()
    b.retain_grad()
    (a * b).sum().backward()
    return [a.grad, b.grad, x.grad]


def retained_grad_is_not_shared(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y, z = x * 1, x * 1
    y.retain_grad()
    z.retain_grad()
    (y + z).sum().backward()
    y.grad.mul_(9)
    return [y.grad, z.grad, x.grad]


def post_accumulate_hook(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)

    def step(p: Any) -> None:
        seen.append([p is x, p.grad.clone()])
        with torch.no_grad():
            p -= 0.5 * p.grad
        p.grad = None

    handle = x.register_post_accumulate_grad_hook(step)
    (x * x).sum().backward()
    (x * x).sum().backward()
    handle.remove()
    (x * x).sum().backward()
    return [seen, x, x.grad, raised(lambda: (x * 2).register_post_accumulate_grad_hook(step))]


def node_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = y.sum()
    z.grad_fn.register_prehook(lambda outs: seen.append(["pre", [o.clone() for o in outs]]))
    y.grad_fn.register_hook(
        lambda ins, outs: seen.append(["post", [i.clone() for i in ins], [o.clone() for o in outs]])
    )
    y.grad_fn.register_prehook(lambda outs: (outs[0] * 3,))
    h = z.grad_fn.register_hook(lambda ins, outs: (ins[0] * 5,))
    z.backward(retain_graph=True)
    first = x.grad.clone()
    h.remove()
    z.backward()
    return [seen, first, x.grad]


def node_hook_on_accumulate(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    node = y.grad_fn.next_functions[0][0]
    node.register_hook(lambda ins, outs: seen.append([len(ins), [o.clone() for o in outs], x.grad.clone()]))
    y.sum().backward()
    return [seen, node.variable is x, node.name()]


def multi_grad_hook(torch: Any) -> Any:
    seen: list[Any] = []
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    register = torch.autograd.graph.register_multi_grad_hook
    handle = register([a, b], lambda grads: seen.append([None if g is None else g.clone() for g in grads]))
    (a * 2 + b * 3 + c).sum().backward()
    (a * 2).sum().backward()
    handle.remove()
    (a + b).sum().backward()
    register([a, b], lambda g: seen.append(g.clone()), mode="any")
    (a * 4).sum().backward()
    (b * 6).sum().backward()
    return seen


def hooks_and_create_graph(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x**3
    y.register_hook(lambda g: g * 2)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return [g, torch.autograd.grad(g.sum(), x)]


def hook_of_a_replaced_version(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: seen.append(["before", g.clone()]))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(["after", g.clone()]))
    y.sum().backward()
    return [seen, x.grad]


def retain_grad_then_inplace(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    (y * y).sum().backward()
    return [y.grad, x.grad]


def captured_gradients_pass_hooks(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g * 7)
    x.register_hook(lambda g: g * 11)
    return torch.autograd.grad(y.sum(), [x, y])


def module_hooks_see_gradients(torch: Any) -> Any:
    seen: list[Any] = []
    layer = torch.nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(0)
    layer.register_full_backward_hook(lambda m, i, o: seen.append([list(i), list(o)]))
    layer.register_full_backward_pre_hook(lambda m, o: (o[0] * 3,))
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    return [seen, x.grad, layer.weight.grad]


def exception_in_a_hook_leaves_modes(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = (x * 2).sum()

    def bad(g: Any) -> Any:
        raise ZeroDivisionError("mine")

    h = x.register_hook(bad)
    out = [raised(lambda: y.backward(retain_graph=True)), torch.is_grad_enabled()]
    out += [raised(lambda: y.backward(create_graph=True, retain_graph=True)), torch.is_grad_enabled()]
    with torch.no_grad():
        out += [raised(lambda: torch.autograd.grad(y, x, create_graph=True)), torch.is_grad_enabled()]
    h.remove()
    y.backward()
    return [*out, x.grad]


def grad_mode_inside_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda g: seen.append([torch.is_grad_enabled(), g.requires_grad]))
    (x * x).sum().backward()
    (x * x).sum().backward(create_graph=True, inputs=[x])
    x.grad = None
    return seen


def backward_inside_a_hook(torch: Any) -> Any:
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def inner(g: Any) -> None:
        with torch.enable_grad():
            (w * w * g).sum().backward()

    x.register_hook(inner)
    (x * 3).sum().backward()
    return [x.grad, w.grad]
