"""Operations of the user's own."""

from typing import Any

from tests.autograd.outcome import raised


def cube(torch: Any) -> Any:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    y = Cube.apply(x)
    y.sum().backward()
    again = raised(lambda: y.sum().backward())
    plain = Cube.apply(torch.ones(2))
    return [y.grad_fn.name(), g, h, x.grad, again, plain.requires_grad, raised(Cube)[:2]]


def keeps_its_result(torch: Any) -> Any:
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    x = torch.tensor([0.5, 1.0], requires_grad=True)
    (g,) = torch.autograd.grad(Exp.apply(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    y = Exp.apply(x)
    y.add_(1)
    return [g, h, raised(lambda: y.sum().backward())[:2]]


def several_inputs_and_outputs(torch: Any) -> Any:
    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any, factor: float, name: str) -> Any:
            ctx.factor = factor
            ctx.save_for_backward(a, b)
            return a * b, a + b * factor

        @staticmethod
        def backward(ctx: Any, ga: Any, gb: Any) -> Any:
            a, b = ctx.saved_tensors
            seen.append([list(ctx.needs_input_grad), ga.clone(), gb.clone()])
            return ga * b + gb, ga * a + gb * ctx.factor, None, None

    seen: list[Any] = []
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])
    p, s = Pair.apply(a, b, 2.0, "n")
    p.sum().backward()
    b.requires_grad_()
    p, s = Pair.apply(a, b, 2.0, "n")
    flags = [p.output_nr, s.output_nr, p.grad_fn is s.grad_fn, p.grad_fn.name()]
    (s * 2).sum().backward()
    return [flags, seen, a.grad, b.grad]


def without_materialized_gradients(torch: Any) -> Any:
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            seen.append([a is None, b is None])
            return (a * 2 if a is not None else 0) + (b * 3 if b is not None else 0)

    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    p, q = Two.apply(x)
    p.sum().backward()
    p, q = Two.apply(x)
    q.sum().backward()
    return [seen, x.grad]


def changes_its_input(torch: Any) -> Any:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = torch.ones(3, requires_grad=True)
    y = x * 1
    z = Double.apply(y)
    flags = [z is y, y.grad_fn.name(), y._version]
    (y * y).sum().backward()
    first = x.grad.clone()
    x.grad = None
    w = x * 1
    Double.apply(w[1:])
    out = [w.clone().detach(), w.grad_fn.name()]
    w.sum().backward()
    leaf = raised(lambda: Double.apply(torch.ones(2, requires_grad=True)))
    plain = torch.ones(2)
    return [flags, first, out, x.grad, leaf, Double.apply(plain) is plain, plain]


def results_without_gradient(torch: Any) -> Any:
    class SortLike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            values, order = x.sort()
            twice = x * 2
            ctx.mark_non_differentiable(order, twice)
            ctx.save_for_backward(order)
            return values, order, twice

        @staticmethod
        def backward(ctx: Any, g: Any, *others: Any) -> Any:
            (order,) = ctx.saved_tensors
            return torch.zeros(3).scatter(0, order, g)

    x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, order, twice = SortLike.apply(x)
    flags = [values.requires_grad, order.requires_grad, twice.requires_grad, twice.is_leaf]
    (values * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    return [flags, x.grad]


def setup_context(torch: Any) -> Any:
    class Mul(torch.autograd.Function):
        @staticmethod
        def forward(a: Any, b: Any) -> Any:
            return a * b, a + 1

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            seen.append([len(inputs), len(output)])
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any, unused: Any) -> Any:
            a, b = ctx.saved_tensors
            return (g * b if ctx.needs_input_grad[0] else None), (g * a if ctx.needs_input_grad[1] else None)

    seen: list[Any] = []
    a, b = torch.tensor([2.0], requires_grad=True), torch.tensor([5.0], requires_grad=True)
    Mul.apply(a, b)[0].sum().backward()
    return [seen, a.grad, b.grad]


def wrong_backwards(torch: Any) -> Any:
    def tried(result: Any) -> Any:
        class Wrong(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, a: Any, b: Any) -> Any:
                return a * b

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return result(g)

        a = torch.ones(2, requires_grad=True)
        b = torch.ones(2, requires_grad=True)
        got = raised(lambda: Wrong.apply(a, b).sum().backward())
        return [got, a.grad, b.grad]

    return [
        tried(lambda g: g),
        tried(lambda g: (g, g, g)),
        tried(lambda g: (g, g, None, None)),
        tried(lambda g: (g, None)),
        tried(lambda g: (g, torch.ones(3))),
        tried(lambda g: (g, g.double())),
        tried(lambda g: (g, 1.0))[0][:2],
        tried(lambda g: (g, g.sum())),
    ]


def no_backward(torch: Any) -> Any:
    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    class Nothing(torch.autograd.Function):
        pass

    x = torch.ones(2, requires_grad=True)
    y = Forward.apply(x)
    return [y.requires_grad, raised(lambda: y.sum().backward())[:2], raised(lambda: Nothing.apply(x))[:2]]


def returns_its_input(torch: Any) -> Any:
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 5

    class View(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.view(-1)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.view(1, 2) * 3

    x = torch.ones(1, 2, requires_grad=True)
    y = Same.apply(x)
    z = View.apply(x)
    flags = [y is x, y.is_leaf, x.is_leaf, y.grad_fn.name(), z.shape, y.data_ptr() == x.data_ptr(), y._is_view()]
    (y.sum() + z.sum()).backward()
    return [flags, x.grad]


def gradient_reversal(torch: Any) -> Any:
    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float) -> Any:
            ctx.scale = scale
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.neg() * ctx.scale, None

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (Reverse.apply(x * 2, 0.5) ** 2).sum().backward()
    return x.grad


def straight_through(torch: Any) -> Any:
    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.round()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    x = torch.tensor([0.4, 1.6], requires_grad=True)
    y = Round.apply(x * 2)
    (y * y).sum().backward()
    return [y, x.grad]


def once(torch: Any) -> Any:
    from_function = torch.autograd.function.once_differentiable

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @from_function
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g * ctx.saved_tensors[0]

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    return [g.detach(), g.requires_grad, raised(lambda: torch.autograd.grad(g.sum(), x))]


def grad_modes_inside(torch: Any) -> Any:
    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            seen.append(["forward", torch.is_grad_enabled(), x.requires_grad, (x * 2).requires_grad])
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(["backward", torch.is_grad_enabled(), g.requires_grad])
            return g * 2

    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    Probe.apply(x).sum().backward()
    torch.autograd.grad(Probe.apply(x).sum(), x, create_graph=True)
    with torch.no_grad():
        seen.append(Probe.apply(x).requires_grad)
    return seen


def differentiates_inside_its_backward(torch: Any) -> Any:
    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (d,) = torch.autograd.grad(x.sin().sum(), x)
            return g * d

    x = torch.tensor([0.5, 1.0], requires_grad=True)
    Inner.apply(x * 2).sum().backward()
    return x.grad


def attributes_on_ctx(torch: Any) -> Any:
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, *, factor: float = 2.0) -> Any:
            ctx.factor = factor
            ctx.shape = x.shape
            return (x * factor).sum()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.factor * torch.ones(ctx.shape)

    x = torch.ones(2, requires_grad=True)
    Scale.apply(x).backward()
    return x.grad


def saved_none_and_errors(torch: Any) -> Any:
    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, what: Any) -> Any:
            ctx.save_for_backward(x, what)
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            _, nothing = ctx.saved_tensors
            seen.append(nothing is None)
            return g, None

    seen: list[Any] = []
    x = torch.ones(2, requires_grad=True)
    Saves.apply(x, None).sum().backward()
    return [seen, raised(lambda: Saves.apply(x, "text"))]


def changed_saved_tensor(torch: Any) -> Any:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g * ctx.saved_tensors[0]

    x = torch.ones(2, requires_grad=True)
    y = x * 1
    z = Square.apply(y)
    y.add_(1)
    return raised(lambda: z.sum().backward())


def structures_as_arguments(torch: Any) -> Any:
    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, scale: Any, *xs: Any) -> Any:
            ctx.count = len(xs)
            return sum(xs) * scale, [1, 2], "text"

        @staticmethod
        def backward(ctx: Any, g: Any, *rest: Any) -> Any:
            seen.append(len(rest))
            return (None,) + (g,) * ctx.count

    seen: list[Any] = []
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    total, numbers, text = Sum.apply(2.0, a, b)
    total.sum().backward()
    return [numbers, text, seen, a.grad, b.grad]


def checks_its_gradient(torch: Any) -> Any:
    def made(factor: float) -> Any:
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return factor * g * ctx.saved_tensors[0]

        return Square.apply

    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    right, wrong = made(2.0), made(2.1)
    return [
        check(right, (x,)),
        check(wrong, (x,), raise_exception=False),
        raised(lambda: check(wrong, (x,)))[:2],
        torch.autograd.gradgradcheck(right, (x,)),
    ]
