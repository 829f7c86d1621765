"""Changes in place: versions, views, bases with live views, chains of views, leaves."""

from typing import Any

from tests.autograd.outcome import raised


def versions_count(torch: Any) -> Any:
    x = torch.ones(4)
    counts = [x._version]
    v = x[1:3]
    x.add_(1)
    counts.append(v._version)
    v.mul_(2)
    counts.append(x._version)
    x[0] = 5
    counts.append(v._version)
    d = x.detach()
    d.add_(1)
    counts.append(x._version)
    x.data.add_(1)
    counts.append(x._version)
    x.zero_()
    x.fill_(2)
    x.copy_(torch.ones(4))
    counts.append(x._version)
    torch.add(x, x, out=x)
    counts.append(x._version)
    x += 1
    counts.append(d._version)
    x.clone().add_(1)
    return [*counts, x._version]


def overwritten_values_are_errors(torch: Any) -> Any:
    def changed(make: Any, change: Any) -> Any:
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x * 1
        z = make(y)
        change(y, z)
        return raised(lambda: z.sum().backward())[:2]

    return [
        changed(lambda y: y * y, lambda y, z: y.add_(1)),
        changed(lambda y: y.exp(), lambda y, z: z.add_(1)),
        changed(lambda y: y.exp(), lambda y, z: y.add_(1)),
        changed(lambda y: y + y, lambda y, z: y.add_(1)),
        changed(lambda y: y.sin(), lambda y, z: y.zero_()),
        changed(lambda y: y.sigmoid(), lambda y, z: z[0].fill_(0)),
        changed(lambda y: y.relu(), lambda y, z: z.mul_(2)),
        changed(lambda y: y * 3, lambda y, z: y.mul_(2)),
        changed(lambda y: y**2, lambda y, z: y[:1].mul_(2)),
        changed(lambda y: y / y, lambda y, z: y.detach().mul_(2)),
        changed(lambda y: y * y, lambda y, z: y.data.mul_(1)),
        changed(lambda y: torch.stack([y, y]).prod(0), lambda y, z: y.mul_(2)),
        changed(lambda y: y.view(1, 2) @ torch.ones(2, 1), lambda y, z: y.mul_(2)),
    ]


def message_of_overwritten_value(torch: Any) -> Any:
    x = torch.ones(2, 3, requires_grad=True)
    y = x.exp()
    z = y * y
    y.add_(1)
    first = raised(lambda: z.sum().backward())
    u = torch.ones(2, dtype=torch.float64, requires_grad=True)
    w = torch.ones(2, dtype=torch.float64)
    v = u * w
    w.add_(1)
    w.add_(1)
    second = raised(lambda: v.sum().backward())
    t = x.tanh()
    t.mul_(2)
    return [first, second, raised(lambda: t.sum().backward())]


def weight_changed_between_forward_and_backward(torch: Any) -> Any:
    w = torch.ones(2, requires_grad=True)
    x = torch.ones(2, requires_grad=True)
    y = (w * x).sum()
    with torch.no_grad():
        w.add_(1)
    return raised(y.backward)[:2]


def leaves_may_not_be_changed(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)

    def iadd() -> None:
        nonlocal x
        x += 1

    def put() -> None:
        x[0] = 1

    def put_in_view() -> None:
        x[1:][0] = 1

    results = [raised(f) for f in (iadd, put, put_in_view, lambda: x.zero_(), lambda: x.view(3).add_(1))]
    results += [raised(f) for f in (lambda: x.fill_(1), lambda: x.copy_(torch.ones(3)), lambda: x.uniform_())]
    results += [raised(f) for f in (lambda: x.normal_(), lambda: x.clamp_(0, 1), lambda: x.T.add_(1))]
    with torch.no_grad():
        x.mul_(2)
        x[0] = 7
        x.view(3)[1] = 3
    return [*results, x, x.requires_grad, x.is_leaf]


def leaf_filled_in_place_from_a_graph(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = torch.zeros(2)
    y.add_(x * 3)
    z = torch.zeros(3)
    z[1:] = x * x
    z[0] = x[0] * 5
    before = [y.requires_grad, y.is_leaf, z.requires_grad]
    (y.sum() + z.sum()).backward()
    return [before, y, z, x.grad]


def inplace_chain(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.add_(1).mul_(3).sub_(x)
    y *= y.detach() + 0
    y.exp_()
    y.sum().backward()
    return [y, x.grad]


def inplace_forms_with_gradients(torch: Any) -> Any:
    found = []
    changes = [
        lambda t: t.add_(2), lambda t: t.mul_(3), lambda t: t.div_(4), lambda t: t.sub_(1, alpha=2),
        lambda t: t.pow_(2),
        lambda t: t.exp_(), lambda t: t.sqrt_(), lambda t: t.tanh_(), lambda t: t.sigmoid_(), lambda t: t.relu_(),
        lambda t: t.clamp_(0.5, 1.5), lambda t: t.neg_(), lambda t: t.zero_(), lambda t: t.fill_(2), lambda t: t.abs_(),
        lambda t: t.copy_(t.detach() * 2), lambda t: t.lerp_(torch.ones(3), 0.25), lambda t: t.masked_fill_(t > 1, 0.0),
        lambda t: t.addcmul_(torch.ones(3), torch.ones(3), value=2), lambda t: t.reciprocal_(), lambda t: t.log_(),
        lambda t: t.cumsum_(0), lambda t: t.index_fill_(0, torch.tensor([1]), 3.0), lambda t: t.square_(),
        lambda t: t.index_add_(0, torch.tensor([0, 2]), torch.ones(2)), lambda t: t.scatter_(0, torch.tensor([1]), 5.0),
        lambda t: t.index_copy_(0, torch.tensor([1]), torch.ones(1)), lambda t: t.mul_(t), lambda t: t.add_(t),
        lambda t: t.mul_(t + 1), lambda t: t.sub_(t * t), lambda t: t.div_(t.sum()),
    ]  # fmt: skip
    for change in changes:
        x = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
        y = x * 1
        same = change(y) is y
        walked = raised(lambda y=y: (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward())
        found.append([same, walked, y, x.grad])
    return found


def setitem_gradients(torch: Any) -> Any:
    found = []
    keys: list[Any] = [
        0,
        slice(1, 3),
        (slice(None), 1),
        (..., -1),
        (0, 1),
        (slice(None, None, 2),),
        torch.tensor([0, 2]),
    ]
    keys += [[2, 0], torch.tensor([[True, False, True]] * 3), (torch.tensor([0, 1]), torch.tensor([2, 2])), None]
    for key in keys:
        x = torch.arange(9.0).reshape(3, 3).requires_grad_()
        v = torch.tensor(2.0, requires_grad=True)
        y = x * 2
        y[key] = v * 3
        (y * y).sum().backward()
        found.append([y, x.grad, v.grad])
    return found


def setitem_broadcasts_its_value(torch: Any) -> Any:
    x = torch.zeros(2, 3, requires_grad=True)
    v = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x + 0
    y[:] = v
    y[0] += v
    y[:, 1] *= 2
    w = torch.arange(6.0).reshape(2, 3)
    (y * w).sum().backward()
    return [y, x.grad, v.grad]


def change_through_a_view(torch: Any) -> Any:
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    y = x * 1
    y[0].mul_(3)
    y.t()[1].exp_()
    names = [y.grad_fn.name()]
    y.sum().backward(retain_graph=True)
    y.view(-1)[::2].add_(x.view(-1)[:3] * 2)
    again = raised(lambda: y.sum().backward())
    return [names, again, y, x.grad]


def change_of_a_base_reaches_its_views(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    a, b = y[:2], y.view(2, 2)
    y.mul_(3)
    y[1] = 10
    out = [a, b]
    ((a**2).sum() + b.sum() * 2).backward()
    return [*out, x.grad]


def change_of_a_view_reaches_its_siblings(torch: Any) -> Any:
    x = torch.arange(6.0).requires_grad_()
    y = x * 1
    a, b, c = y[:4], y[2:], y.view(2, 3)
    a.mul_(2)
    b.add_(1)
    c[0].mul_(x[:3])
    out = y.grad_fn.name()
    (a.sum() + (b * b).sum() + c.sum() + y.prod()).backward()
    return [out, a, b, c, x.grad]


def views_of_views(torch: Any) -> Any:
    x = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    y = x * 1
    v = y.transpose(0, 2)[1:].select(1, 1).unsqueeze(0)
    v.mul_(3)
    w = v.squeeze(0)[::2]
    w.add_(5)
    w.mul_(torch.arange(4.0).reshape(2, 2))
    (y * y).sum().backward(retain_graph=True)
    first = x.grad.clone()
    x.grad = None
    ((v * 2).sum() + w.prod()).backward()
    return [y, first, x.grad]


def view_made_after_the_change(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    y.mul_(2)
    v = y[1:]
    v.mul_(3)
    y.add_(1)
    u = y[:2]
    overlap = raised(lambda: u.mul_(v[:2]))
    u.mul_(torch.tensor([4.0, 5.0]))
    y.sum().backward()
    return [overlap, y, x.grad]


def untracked_base_changed_through_a_view(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    base = torch.zeros(2, 2)
    row = base[0]
    before = [row.requires_grad, base.requires_grad]
    row.add_(x * 2)
    after = [row.requires_grad, base.requires_grad, row.is_leaf, base.is_leaf]
    base.sum().backward()
    buffer = torch.zeros(3)
    for i in range(3):
        buffer[i] = x.sum() * i
    buffer.sum().backward()
    return [before, after, base, x.grad, buffer]


def results_of_unbind_and_split_may_not_be_changed(torch: Any) -> Any:
    def tried(take: Any, change: Any = lambda t: t.add_(1)) -> Any:
        x = torch.arange(4.0).reshape(2, 2).requires_grad_()
        y = x * 1
        return raised(lambda: change(take(y)))

    return [
        tried(lambda y: y.unbind()[0]),
        tried(lambda y: y.split(1)[1]),
        tried(lambda y: y.chunk(2)[0]),
        tried(lambda y: next(iter(y))),
        tried(lambda y: torch.split(y, [1, 1])[0].view(-1)),
        tried(lambda y: y.unbind()[0], lambda t: t.mul_(2)),
        tried(lambda y: y[0])[0],
        tried(lambda y: y.detach().unbind()[0]),
    ]


def base_of_unbound_views_changed(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    a, b = y.split(2)
    y.mul_(2)
    return [raised(lambda: (a * b).sum().backward())[:2], b.detach(), raised(lambda: a.grad_fn.name())]


def unbound_views_without_gradient_may_be_changed(torch: Any) -> Any:
    x = torch.zeros(2, 2)
    a, b = x.unbind()
    a.add_(1)
    for row in x:
        row.mul_(3)
    b.fill_(4)
    return [x, x._version]


def unbound_views_written_from_a_graph(torch: Any) -> Any:
    w = torch.ones(2, requires_grad=True)
    x = torch.zeros(2, 2)
    a = x.unbind()[0]
    return [raised(lambda: a.add_(w)), x.detach()]


def no_grad_views(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    with torch.no_grad():
        leaf_view, view = x[:2], y[:2]
    flags = [leaf_view.requires_grad, view.requires_grad, leaf_view.is_leaf, view.is_leaf]
    results = [raised(lambda: leaf_view.add_(1)), raised(lambda: view.add_(1))]
    with torch.no_grad():
        view.mul_(3)
    y.sum().backward()
    return [flags, results, y, x.grad]


def no_grad_change_of_a_tracked_view(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    v = y[1:]
    with torch.no_grad():
        v.zero_()
    v2 = y * 3
    v2.sum().backward()
    return [y, v, x.grad, v.requires_grad]


def detached_view_changes_the_base(torch: Any) -> Any:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.detach()[1] = 9
    y.sum().backward()
    return [y, x.grad, y._version]


def shape_and_dtype_errors(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True) * 1
    i = torch.ones(2, dtype=torch.int64)
    return [
        raised(lambda: x.add_(torch.ones(3, 2))),
        raised(lambda: i.add_(1.5)),
        raised(lambda: i.div_(2)),
        raised(lambda: torch.ones(2, dtype=torch.bool).add_(1)),
        raised(lambda: torch.ones(1).expand(3).add_(1)),
        raised(lambda: x.expand(3, 2).mul_(2)),
    ]


def inplace_with_a_half_needed_operand(torch: Any) -> Any:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = torch.tensor([3.0, 4.0])
    y = x * 1
    y.mul_(w)
    y.mul_(w)
    y.sum().backward()
    return [y, w.grad]


def kept_value_of_an_inplace_op_is_the_old_one(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([5.0, 7.0], requires_grad=True)
    y = x * 1
    y.mul_(w)
    z = raised(lambda: y.sum().backward())
    y = x * 1
    y.pow_(3)
    y.sum().backward()
    y = x * 1
    s = y.sigmoid_()
    y.mul_(2)
    return [z, x.grad, w.grad, raised(lambda: s.sum().backward())[:2]]


def double_backward_through_inplace(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    y[1:].mul_(x[:2])
    y.mul_(x)
    y[0] = x[2] ** 3
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return [g, torch.autograd.grad((g * g).sum(), x)]


def inplace_on_results_of_reshape(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    flat = y.reshape(2, 2)
    flat.mul_(2)
    copy = y.view(2, 2).t().reshape(4)
    copy.mul_(10)
    y.sum().backward()
    return [y, copy, x.grad]


def copy_between_dtypes(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = torch.zeros(2)
    y.copy_(x * 3)
    z = torch.zeros(2, 2)
    z.copy_(x)
    (y.sum() + z.sum()).backward()
    return [y, z, x.grad]


def inplace_random_on_a_graph(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.uniform_(0, 0)
    (y + x).sum().backward()
    return [y, x.grad]


def masked_and_indexed_updates(torch: Any) -> Any:
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    y[y > 2] = 0
    y[:, [0, 2]] += w.reshape(2, 1)
    y[torch.tensor([0, 0]), torch.tensor([1, 2])] *= w
    y.sum().backward()
    return [y, x.grad, w.grad]


def index_put_accumulate(torch: Any) -> Any:
    x = torch.zeros(3, requires_grad=True)
    v = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x + 1
    y.index_put_((torch.tensor([0, 0, 2]),), v * v, accumulate=True)
    (y * y).sum().backward()
    return [y, x.grad, v.grad]


def output_nr_and_base(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    y = x * 1
    a, b = y.split(2)
    v = y[1:][1:]
    return [a.output_nr, b.output_nr, a._base is y, v._base is y, y._base is None, v._is_view(), y._is_view()]


def recurrent_state_in_a_buffer(torch: Any) -> Any:
    w = torch.tensor([[0.5, -0.2], [0.1, 0.3]], requires_grad=True)
    states = torch.zeros(4, 2)
    h = torch.ones(2)
    for i in range(4):
        h = torch.tanh(w @ h)
        states[i] = h
    (states * torch.arange(8.0).reshape(4, 2)).sum().backward()
    return [states, w.grad]
