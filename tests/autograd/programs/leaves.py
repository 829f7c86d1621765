"""Leaves, accumulation, what `.grad` shares memory with, detaching, `requires_grad` rules."""

from typing import Any

from tests.autograd.outcome import raised


def leaf_flags(torch: Any) -> Any:
    a = torch.ones(2, requires_grad=True)
    b = torch.ones(2)
    c = a * b
    d = b * 2
    e = c.detach()
    f = torch.nn.Parameter(torch.ones(2))
    with torch.no_grad():
        g = a * 2
    h = a.clone().requires_grad_()
    i = torch.ones(2, dtype=torch.int64) * 2
    return [(t.is_leaf, t.requires_grad, t.grad_fn is None) for t in (a, b, c, d, e, f, g, h, i)]


def gradients_add_up(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    seen = [x.grad]
    for k in range(3):
        (x * (k + 1)).sum().backward()
        seen.append(x.grad.clone())
    kept = x.grad
    (x * x).sum().backward()
    same = kept is x.grad
    x.grad.zero_()
    (x * x).sum().backward()
    x.grad = None
    return [seen, same, kept, x.grad]


def shared_input_counts_twice(torch: Any) -> Any:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y = x * x + x * 3 + x
    (y + y).sum().backward()
    return x.grad


def leaves_of_one_add_have_their_own_grad(torch: Any) -> Any:
    a, b, c = (torch.ones(3, requires_grad=True) for _ in range(3))
    (a + b + c).sum().backward()
    a.grad.mul_(5)
    first = [a.grad.clone(), b.grad.clone(), c.grad.clone()]
    (a + b).backward(torch.ones(3))
    a.grad.add_(1)
    return [first, a.grad, b.grad, c.grad]


def given_gradient_stays_the_users(torch: Any) -> Any:
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    v = torch.tensor([1.0, 2.0, 3.0])
    (x + 0).backward(v)
    x.view(3).backward(v)
    (x + y).backward(v)
    x.grad.zero_()
    y.grad.zero_()
    leaf = torch.ones(3, requires_grad=True)
    leaf.backward(v)
    leaf.grad.zero_()
    return [v, x.grad, y.grad, leaf.grad]


def views_in_the_backward_share_nothing(torch: Any) -> Any:
    x, y = torch.ones(2, 3, requires_grad=True), torch.ones(3, 2, requires_grad=True)
    z = x.t() + y
    z.backward(torch.arange(6.0).reshape(3, 2))
    x.grad.zero_()
    again = torch.ones(4, requires_grad=True)
    parts = again.reshape(2, 2).unbind()
    (parts[0] + parts[1]).sum().backward()
    again.grad[0] = 9
    wide = torch.ones(1, requires_grad=True)
    wide.expand(4).sum().backward()
    return [x.grad, y.grad, again.grad, wide.grad]


def sum_gradient_is_writable(torch: Any) -> Any:
    x = torch.ones(2, 2, requires_grad=True)
    x.sum().backward()
    x.grad[0, 0] = 7
    x.sum().backward()
    return [x.grad, x.grad.stride(), x.grad.is_contiguous()]


def backward_errors(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    return [
        raised(lambda: (x * 2).backward()),
        raised(lambda: torch.ones(()).backward()),
        raised(lambda: (x * 2).backward(torch.ones(3))),
        raised(lambda: torch.autograd.backward([x.sum(), x.sum()], [torch.ones(())])),
        raised(lambda: (x * 2).argmax().backward()),
        raised(lambda: (x * 2)[:1].backward()),
        raised(lambda: x.sum().backward(inputs=[])),
        raised(lambda: x.sum().backward(inputs=[torch.ones(2)])),
        raised(lambda: torch.autograd.grad(x.sum(), torch.ones(2))),
        raised(lambda: torch.autograd.grad(torch.ones(2).sum(), x)),
    ]


def requires_grad_rules(torch: Any) -> Any:
    x = torch.ones(2)
    y = torch.ones(2, requires_grad=True)
    z = y * 2

    def turn_off() -> None:
        z.requires_grad = False

    def on_integers() -> None:
        torch.ones(2, dtype=torch.int64).requires_grad_()

    results = [raised(turn_off), raised(on_integers)]
    results.append(raised(lambda: torch.ones(2, dtype=torch.int64, requires_grad=True)))
    results.append(raised(lambda: torch.tensor([1, 2], requires_grad=True)))
    results.append(raised(lambda: z.requires_grad_(False)))
    z.requires_grad_()
    results.append([x.requires_grad_() is x, x.requires_grad, x.requires_grad_(False).requires_grad, z.is_leaf])
    return results


def integer_results_need_no_gradient(torch: Any) -> Any:
    x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, order = x.sort()
    return [(t.requires_grad, t.is_leaf) for t in (values, order, x.argmax(), x > 2, x.long(), x.bool(), x.isnan())]


def detach_shares_memory(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    d = y.detach()
    d[0] = 10
    before = y.clone().detach()
    d.requires_grad_()
    (d * 2).sum().backward()
    return [before, d.grad, d.is_leaf, y.requires_grad, x.grad, y._version, d._version]


def detach_in_place(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    z = y + 1
    y.detach_()
    z.sum().backward()
    view = (x * 2).view(3)
    return [y.is_leaf, y.requires_grad, x.grad, x.detach_() is x, x.requires_grad, raised(lambda: view.detach_())]


def data_is_not_tracked(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * x
    x.data.mul_(3)
    x.data[0] = 5
    y.sum().backward()
    out = [x.grad, x._version, x.data.requires_grad]
    x.data = torch.zeros(2)
    out += [x.shape, x.requires_grad, x.is_leaf]
    y = torch.ones(3, requires_grad=True)
    y.data = torch.zeros(2)
    y.sum().backward()
    return [*out, y.grad]


def assigning_grad(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)

    def assign(value: Any) -> Any:
        x.grad = value

    x.grad = torch.tensor([1.0, 2.0])
    given = x.grad
    x.sum().backward()
    out = [x.grad, given is x.grad]
    wrong = [torch.ones(3), torch.ones(2, dtype=torch.float64), 1.0, x]
    out += [raised(lambda w=w: assign(w)) for w in wrong]
    assign(None)
    return [*out, x.grad]


def setting_to_none_in_the_middle(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    x.sum().backward()
    old = x.grad
    x.grad = None
    (2 * x).sum().backward()
    return [old, x.grad]


def dtype_of_grad(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    d = torch.ones(2, dtype=torch.float64, requires_grad=True)
    h = torch.ones(2, dtype=torch.float16, requires_grad=True)
    (x * d).sum().backward()
    (h.float() * x).sum().backward()
    c = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    (c * x).abs().sum().backward()
    return [x.grad, d.grad, h.grad, c.grad]


def clone_and_copies(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    c = x.clone()
    c.mul_(3)
    t = torch.tensor(x.detach(), requires_grad=False).requires_grad_()
    n = x.new_ones(2)
    (c.sum() + t.sum()).backward()
    return [x.grad, t.grad, n.requires_grad, c.is_leaf, torch.zeros_like(x).requires_grad]


def numbers_and_conversions(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    return [
        raised(lambda: x.numpy()),
        x.detach().numpy().tolist(),
        x.tolist(),
        x.sum().item(),
        raised(lambda: float(x.sum())),
    ]


def same_leaf_many_roots(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y, z = x * 2, x * x
    torch.autograd.backward([y, z], [torch.ones(2), torch.tensor([1.0, 10.0])])
    first = x.grad.clone()
    x.grad = None
    torch.autograd.backward((x.sum(), x.prod()))
    w = x * 3
    torch.autograd.backward([w, w], [torch.ones(2), torch.ones(2)])
    return [first, x.grad]


def root_inside_the_graph_of_another(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = y * y
    torch.autograd.backward([z, y], [torch.ones(2), torch.ones(2)])
    return x.grad


def zero_size_and_zero_dim(torch: Any) -> Any:
    e = torch.ones(0, 3, requires_grad=True)
    e.sum().backward()
    s = torch.tensor(2.0, requires_grad=True)
    (s * s * s).backward()
    m = torch.ones(1, 1, requires_grad=True)
    (m * 3).backward()
    return [e.grad, s.grad, m.grad]


def unused_leaf_keeps_none(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    x.sum().backward()
    return [x.grad, y.grad]


def broadcasting_sums_back(torch: Any) -> Any:
    a = torch.ones(3, 1, requires_grad=True)
    b = torch.ones(4, requires_grad=True)
    c = torch.tensor(2.0, requires_grad=True)
    ((a * b + c) * c).sum().backward()
    return [a.grad, b.grad, c.grad]


def iadd_under_no_grad_trains(torch: Any) -> Any:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (w * w).sum().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            w.grad.zero_()
    return [w, w.is_leaf, w.grad, w._version]
