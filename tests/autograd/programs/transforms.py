"""`torch.func`: functions of functions."""

from typing import Any

from tests.autograd.outcome import raised


def gradients(torch: Any) -> Any:
    f = torch.func
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    loss = lambda a, b: (a * a * b).sum()  # noqa: E731
    tree = {"w": x, "b": [y, y * 2]}
    return [
        f.grad(loss)(x, y),
        f.grad(loss, argnums=1)(x, y),
        f.grad(loss, argnums=(0, 1))(x, y),
        f.grad(loss, argnums=-1)(x, y),
        f.grad_and_value(loss)(x, y),
        f.grad(lambda a: ((a**2).sum(), a + 1), has_aux=True)(x),
        f.grad(lambda t: (t["w"] * t["b"][0]).sum() + t["b"][1].prod())(tree),
        f.grad(lambda a: y.sum())(x),
        raised(lambda: f.grad(lambda a: a)(x))[:2],
        raised(lambda: f.grad(loss, argnums=5)(x, y))[:2],
    ]


def nested_gradients(torch: Any) -> Any:
    grad = torch.func.grad
    x = torch.tensor(0.5)
    f = lambda t: t.sin() * t**3  # noqa: E731
    found = [f(x)]
    for _ in range(3):
        f = grad(f)
        found.append(f(x))
    mixed = grad(lambda a: grad(lambda b: a * a * b**3)(torch.tensor(2.0)))(torch.tensor(3.0))
    captured = grad(lambda a: a * grad(lambda b: a * b)(a))(x)
    return [found, mixed, captured]


def with_ordinary_autograd(torch: Any) -> Any:
    grad = torch.func.grad
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = torch.tensor([3.0, 4.0])
    g = grad(lambda a: ((w * a) ** 2).sum())(x)
    g.sum().backward()
    v = grad(lambda a: (a**3).sum())(w)
    first = [g, w.grad, v.requires_grad, grad(lambda a: a.sum())(x).requires_grad]
    w.grad = None
    v.sum().backward()
    with torch.no_grad():
        inside = grad(lambda a: (a**3).sum())(w)
        constant = grad(lambda a: (a * w).sum())(x)
    return [first, w.grad, inside, constant]


def products(torch: Any) -> Any:
    f = torch.func
    x, y, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([1.0, 10.0])
    value, pull = f.vjp(lambda a, b: (a * b, a.sum()), x, y)
    found = [value, pull((v, torch.tensor(1.0))), pull((v * 2, torch.tensor(0.0)))]
    found += [f.jvp(torch.exp, (x,), (v,)), f.jvp(lambda a, b: {"p": a * b, "s": a.sum()}, (x, y), (v, v))]
    found += [f.vjp(lambda a: (a * 2, a), x, has_aux=True)[0], f.jvp(lambda a: (a * 2, a), (x,), (v,), has_aux=True)]
    found += [
        f.jvp(f.grad(lambda a: (a**3).sum()), (x,), (v,)),
        f.grad(lambda a: f.jvp(torch.sin, (a,), (v,))[1].sum())(x),
    ]
    value, push = f.linearize(lambda a: a**2, x)
    return [*found, value, push(v), raised(lambda: f.jvp(torch.sin, (x,), (torch.ones(3),)))[:2]]


def jacobians(torch: Any) -> Any:
    f = torch.func
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [4.0]])
    found = []
    for jac in (f.jacrev, f.jacfwd):
        found.append(
            [
                jac(torch.exp)(x),
                jac(lambda a, b: a @ b, argnums=(0, 1))(x, y),
                jac(lambda a: {"s": a.sum(), "o": a.outer(a)})(x),
                jac(lambda a: (a * 2, a.sum()), has_aux=True)(x),
                jac(lambda t: t["w"] * 3)({"w": x}),
            ]
        )
    return [*found, f.hessian(lambda a: (a**3).sum() * a[0])(x), f.jacrev(f.jacrev(torch.sin))(x)]


def mapping(torch: Any) -> Any:
    vmap = torch.func.vmap
    a, b = torch.arange(6.0).reshape(3, 2), torch.arange(6.0, 12.0).reshape(3, 2)
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    results = [
        vmap(torch.dot)(a, b),
        vmap(lambda x, y: x + y, in_dims=(0, None))(a, b[0]),
        vmap(lambda x: x.sum(), in_dims=1)(a),
        vmap(lambda x: x * 2, out_dims=1)(a),
        vmap(vmap(torch.mul))(a, b),
        vmap(lambda t: t["x"] * t["y"][0], in_dims=({"x": 0, "y": [0]},))({"x": a, "y": [b]}),
        vmap(lambda x: (x.sum(), {"m": x.max()}))(a),
        vmap(lambda x, k: x * k, in_dims=(0, None))(a, 3),
        vmap(lambda x: x @ w)(a),
        vmap(lambda x, *, scale: x * scale)(a, scale=torch.tensor([1.0, 2.0])),
        vmap(torch.func.grad(lambda x: (x**3).sum()))(a),
        vmap(torch.func.jacrev(lambda x: x**2))(a),
        torch.func.jacrev(vmap(torch.sin))(a).shape,
        torch.vmap(torch.sin)(a),
    ]
    vmap(lambda x: (x @ w).sum())(a).sum().backward()
    errors = [
        raised(lambda: vmap(torch.dot)(a, b[:2]))[:2],
        raised(lambda: vmap(torch.sin, in_dims=3)(a))[:2],
        raised(lambda: vmap(lambda x: 3)(a))[:2],
        raised(lambda: vmap(lambda x: x + torch.rand(2))(a))[:2],
        raised(lambda: vmap(torch.sin, randomness="no")(a))[:2],
    ]
    same = vmap(lambda x: torch.rand(2), randomness="same")(a)
    different = vmap(lambda x: torch.rand(2), randomness="different")(a)
    return [results, w.grad, errors, bool((same[0] == same[1]).all()), bool((different[0] == different[1]).any())]


def per_sample_gradients(torch: Any) -> Any:
    f = torch.func
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    parameters = {k: v.detach() for k, v in model.named_parameters()}
    x, t = torch.arange(12.0).reshape(4, 3) / 10, torch.ones(4, 1)

    def loss(p: Any, a: Any, b: Any) -> Any:
        return ((f.functional_call(model, p, (a,)) - b) ** 2).mean()

    each = f.vmap(f.grad(loss), in_dims=(None, 0, 0))(parameters, x, t)
    whole = f.grad(loss)(parameters, x, t)
    errors = raised(lambda: f.functional_call(model, [parameters, parameters], (x,)))[:2]
    return [each, whole, [p.grad for p in model.parameters()], errors]


def ensembles(torch: Any) -> Any:
    f = torch.func
    torch.manual_seed(0)
    models = [torch.nn.Linear(2, 2) for _ in range(3)]
    parameters, buffers = f.stack_module_state(models)
    x = torch.ones(1, 2)
    out = f.vmap(lambda p, b: f.functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    return [parameters, buffers, out, torch.stack([m(x) for m in models])]
