"""`autograd.functional`, gradcheck, saved-tensor hooks, the graph's names and shape, anomaly mode."""

from typing import Any

from tests.autograd.outcome import raised


def jacobians(torch: Any) -> Any:
    jacobian = torch.autograd.functional.jacobian
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [4.0]])
    graph = jacobian(lambda t: t**3, x.clone().requires_grad_(), create_graph=True)
    return [
        jacobian(lambda t: t.exp(), x),
        jacobian(lambda t: t.sum(), x),
        jacobian(lambda a, b: a * b.t(), (x, y)),
        jacobian(lambda a, b: (a.sum(), a @ b), (x, y)),
        jacobian(lambda t: torch.ones(2), x),
        graph,
        jacobian(lambda t: t.outer(t), x, vectorize=True),
        raised(lambda: jacobian(lambda t: torch.ones(2), x, strict=True))[:2],
        raised(lambda: jacobian(lambda t: 3, x))[:2],
        raised(lambda: jacobian(lambda t: t, [1, 2]))[:2],
    ]


def hessians(torch: Any) -> Any:
    hessian = torch.autograd.functional.hessian
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    return [
        hessian(lambda t: (t**3).sum(), x),
        hessian(lambda a, b: (a * b).sum() ** 2, (x, y)),
        hessian(lambda t: t.sum(), x),
        raised(lambda: hessian(lambda t: t, x))[:2],
    ]


def products(torch: Any) -> Any:
    f = torch.autograd.functional
    x, y, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([1.0, 10.0])
    return [
        f.vjp(lambda t: t**2, x, v),
        f.vjp(lambda t: t.sum(), x),
        f.vjp(lambda a, b: a * b, (x, y), v),
        f.jvp(lambda t: t**2, x, v),
        f.jvp(lambda a, b: (a * b, a.sum()), (x, y), (v, v)),
        f.hvp(lambda t: (t**3).sum(), x, v),
        f.vhp(lambda t: (t**3).sum(), x, v),
        f.hvp(lambda a, b: (a * b).sum() ** 2, (x, y), (v, v)),
        f.vhp(lambda a, b: (a * b).sum() ** 2, (x, y), (v, v)),
        f.vjp(lambda t: t**3, x.clone().requires_grad_(), v, create_graph=True)[1],
        raised(lambda: f.vjp(lambda t: t, x))[:2],
        raised(lambda: f.vjp(lambda t: t, x, torch.ones(3)))[:2],
        raised(lambda: f.jvp(lambda t: t, x, torch.ones(3)))[:2],
        raised(lambda: f.hvp(lambda t: t, x, v))[:2],
    ]


def gradchecks(torch: Any) -> Any:
    check, check2 = torch.autograd.gradcheck, torch.autograd.gradgradcheck
    x = torch.tensor([[0.5, 1.5], [2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([1 + 2j, 0.5 - 1j], dtype=torch.complex128, requires_grad=True)
    return [
        check(lambda a: a.exp().sum(0), x),
        check(lambda a, b: (a @ b, a * b), (x, w)),
        check(lambda a: (a * a.conj()).real, c),
        check(lambda a: a * a, c),
        check2(lambda a, b: torch.tanh(a @ b), (x, w)),
        check(lambda a, n: a * n, (x, 3)),
        raised(lambda: check(lambda a: a, torch.ones(2)))[:2],
        check(lambda a: a.detach() * 2 + a, x, raise_exception=False),
        check2(lambda a: a.detach() ** 2 * a, x, raise_exception=False),
    ]


def node_names(torch: Any) -> Any:
    x = torch.ones(2, 2, requires_grad=True)
    results = [
        x + 1, x - x, x * 2, x / 2, x**2, 2**x, -x, x @ x, x.mm(x), x[0], x[:, None], x[[0]], x.sum(), x.sum(0),
        x.mean(),
        x.mean(1), x.view(4), x.reshape(4), x.t(), x.permute(1, 0), x.transpose(0, 1), x.exp(), x.log(), x.sigmoid(),
        x.tanh(), x.relu(), x.abs(), x.max(), x.max(0)[0], x.clamp(0, 1), torch.cat([x, x]), torch.stack([x, x]),
        x.unsqueeze(0), x.squeeze(), x.expand(2, 2, 2), x.softmax(0), x.log_softmax(1), x.clone(), x.double(),
        x.select(0, 1), x.narrow(0, 0, 1), torch.where(x > 0, x, -x), x.prod(), x.std(), x.var(), x.norm(),
        x.unbind()[0], x.split(1)[0], x.cumsum(0), x.gather(0, torch.zeros(1, 2, dtype=torch.int64)), x.sqrt(), x.sin(),
        x.masked_fill(x > 0, 0.0), torch.maximum(x, x * 2), x.flip(0), x.pow(x), x.repeat(2, 1), x.flatten(),
        x.diagonal(),
        x.T, x.square(), x.rsqrt(), x.floor(), x.erf(), x.logsumexp(0), x.triu(), x.index_select(0, torch.tensor([1])),
        x.unsqueeze(0).bmm(x.unsqueeze(0)), x.mv(torch.ones(2)), x[0].dot(x[1]), x.amax(), x.min(),
        torch.nn.functional.linear(x, x), torch.nn.functional.linear(x, x, x[0]),
        torch.nn.functional.mse_loss(x, x * 2),
        torch.nn.functional.gelu(x), torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])),
        torch.nn.functional.binary_cross_entropy(x.sigmoid(), torch.ones(2, 2)), torch.nn.functional.leaky_relu(x),
        torch.nn.functional.elu(x), torch.nn.functional.softplus(x), torch.nn.functional.silu(x), x.sort()[0],
        x.topk(1)[0], torch.outer(x[0], x[1]), torch.addmm(x, x, x), x.view(4).view(2, 2),
    ]  # fmt: skip
    return [t.grad_fn.name() for t in results]


def inplace_node_names(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    seen = []
    for change in ("add_", "mul_", "sub_", "div_"):
        y = x * 1
        getattr(y, change)(2)
        seen.append(y.grad_fn.name())
    for change in ("exp_", "relu_", "neg_", "sigmoid_", "tanh_"):
        y = x * 1
        getattr(y, change)()
        seen.append(y.grad_fn.name())
    y = x * 1
    y[0] = 1
    seen.append(y.grad_fn.name())
    y = x * 1
    y[:1].mul_(2)
    seen.append(y.grad_fn.name())
    return seen


def graph_shape(torch: Any) -> Any:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2)

    def shape(node: Any, depth: int = 6) -> Any:
        if node is None or not depth:
            return None
        return [node.name(), [[shape(n, depth - 1), i] for n, i in node.next_functions]]

    a, b = (x * 2).split(1)
    return [
        shape((x * y + x).sum().grad_fn),
        shape((a * b).grad_fn),
        shape((x * 3).grad_fn),
        shape(torch.cat([x, y, x]).grad_fn),
        shape((y + x.view(2)).grad_fn),
        shape(torch.where(x > 0, x, y).grad_fn),
    ]


def repr_of_tensors_with_graph(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    return [repr(x), repr(y), repr(y.sum()), repr(y.detach()), repr(y[0]), repr(y.unbind()[0])]


def saved_tensor_hooks(torch: Any) -> Any:
    seen: list[Any] = []

    def pack(t: Any) -> Any:
        seen.append(["pack", t.clone().detach()])
        return t.detach().clone()

    def unpack(t: Any) -> Any:
        seen.append(["unpack", t])
        return t * 2

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = x * x
        z = y.exp()
        w = z + 1
    w.sum().backward()
    outside = (x * x).sum()
    outside.backward()
    return [len([s for s in seen if s[0] == "pack"]), len([s for s in seen if s[0] == "unpack"]), x.grad]


def saved_tensor_hooks_walk_twice(torch: Any) -> Any:
    counts = [0, 0]

    def pack(t: Any) -> Any:
        counts[0] += 1
        return t.detach().clone()

    def unpack(t: Any) -> Any:
        counts[1] += 1
        return t

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x.exp() * 3).sum()
    y.backward(retain_graph=True)
    y.backward()
    freed = raised(y.backward)
    with torch.autograd.graph.save_on_cpu():
        z = (x * x).sum()
    z.backward()
    return [counts, freed, x.grad]


def saved_tensor_hooks_nest(torch: Any) -> Any:
    seen: list[str] = []

    def hooks(name: str) -> Any:
        return torch.autograd.graph.saved_tensors_hooks(lambda t: (seen.append(name), t.detach())[1], lambda t: t)

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with hooks("outer"):
        a = x.exp()
        with hooks("inner"):
            b = a.sin()
        c = b.cos()
    c.sum().backward()
    return [seen, x.grad]


def saved_tensor_hooks_and_create_graph(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        y = (x**3).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    return [g, torch.autograd.grad(g.sum(), x)]


def saved_tensor_hooks_of_custom_functions(torch: Any) -> Any:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g * ctx.saved_tensors[0]

    seen: list[str] = []
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (seen.append("pack"), t)[1], lambda t: (seen.append("un"), t)[1]
    ):
        y = Square.apply(x)
    y.sum().backward()
    return [seen, x.grad]


def anomaly(torch: Any) -> Any:
    x = torch.tensor([0.0, 1.0], requires_grad=True)

    def run() -> None:
        with torch.autograd.detect_anomaly():
            y = (x * 0).sqrt() * 0
            (y / (x * 0).sqrt()).sum().backward()

    def quiet() -> None:
        with torch.autograd.detect_anomaly(check_nan=False):
            (x.sqrt() * float("inf") * 0).sum().backward()

    return [raised(run), raised(quiet), torch.is_anomaly_enabled()]


def anomaly_switches(torch: Any) -> Any:
    seen = [torch.is_anomaly_enabled()]
    with torch.autograd.set_detect_anomaly(True):
        seen.append(torch.is_anomaly_enabled())
        with torch.autograd.set_detect_anomaly(False):
            seen.append(torch.is_anomaly_enabled())
        seen.append(torch.is_anomaly_enabled())
    mode = torch.autograd.set_detect_anomaly(True, check_nan=False)
    seen += [torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()]
    torch.autograd.set_detect_anomaly(False)
    del mode
    return [*seen, torch.is_anomaly_enabled()]


def node_metadata(torch: Any) -> Any:
    y = torch.ones(2, requires_grad=True) * 2
    y.grad_fn.metadata["mine"] = 3
    return y.grad_fn.metadata


def gradient_edges(torch: Any) -> Any:
    x = torch.arange(4.0).requires_grad_()
    a, b = (x * 2).split(2)
    edge = torch.autograd.graph.get_gradient_edge(b)
    out = (a * b).sum()
    return [edge.node.name(), edge.output_nr, torch.autograd.grad(out, [edge])]


def saved_attributes(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    e = x.exp()
    out = [y.grad_fn._saved_self, y.grad_fn._saved_other, e.grad_fn._saved_result, (x**3).grad_fn._saved_exponent]
    y.sum().backward()
    return [*out, raised(lambda: y.grad_fn._saved_self)[:2]]
