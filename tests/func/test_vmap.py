"""`vmap`: one run for the whole batch equals one run for each example, and PyTorch's where it is installed."""

from collections.abc import Callable
from typing import Any

import pytest

import rushlight as torch
from rushlight import func, nn
from rushlight.func import batching

F = nn.functional
torch.manual_seed(0)
X, Y, A, V, B = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 3, 5), torch.randn(3), torch.randn(5, 2)
SQUARE = torch.randn(4, 3, 3)
LABELS, CHOICE = torch.randint(0, 3, (4,)), torch.randint(0, 3, (4, 3))
LSTM = nn.LSTM(3, 2).requires_grad_(False)
NET = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
STATE = {name: p.detach() for name, p in NET.named_parameters()}


def views(a: Any) -> Any:
    return (
        a.t(), a[1], a[:, 1:3], a.reshape(-1), a.unsqueeze(0), a.permute(1, 0)[2:], a.view(5, 3), a[..., None],
        a.expand(2, 3, 5), a.diagonal(), a.flatten(), a.transpose(0, 1).reshape(-1), a.unbind(0), a.split(2),
        a.contiguous(),
    )  # fmt: skip


def aliased(a: Any) -> Any:
    b = a.clone()
    row = b[0]
    b += 1
    row.mul_(2)
    b[1:].zero_()
    b[2] = a[0]
    return row, b


def loss(p: Any, x: Any, label: Any) -> Any:
    return F.cross_entropy(func.functional_call(NET, p, (x[None],)), label[None])


CASES: dict[str, tuple[Any, ...]] = {
    "arithmetic": (lambda a, b: (a + b, a * 2 - b / 3, a**2, 2**a, -a, abs(a), a > b, a.clamp(-0.5, 0.5)), X, Y),
    "broadcasting": (lambda a, b: a + b, A, torch.randn(4, 5)),
    "numbers": (lambda a, b: a * b, torch.randn(4), A),
    "one operand for all": (lambda a: a * V + V, X),
    "unary": (lambda a: (F.relu(a), F.gelu(a), F.silu(a), torch.sigmoid(a), a.exp().log1p()), X),
    "where": (lambda a, b: torch.where(a > 0, a, b).masked_fill(b > 0, 0.0), X, Y),
    "dtypes": (lambda a: (a.double() + 1, (a.bfloat16() * 2).float(), (a * 3).int() // 2), X),
    "reductions": (lambda a: (a.sum(), a.mean(0), a.sum(1, keepdim=True), a.std(), a.var(0), a.norm(), a.prod(1)), A),
    "extremes": (lambda a: (a.max(), a.amin(0), *a.max(0), a.argmax(), a.argmin(1)), A),
    "order": (lambda a: (*a.sort(-1), *a.topk(2), a.cumsum(0), a.flip(0), a.roll(1, 0), a.logcumsumexp(1)), A),
    "views": (views, A),
    "products": (lambda a: (a @ B, torch.ones(2, 3) @ a, torch.ones(2, 2, 3) @ a, a @ torch.ones(5), V @ a), A),
    "products of both": (lambda a, b: (a @ b, torch.einsum("ij,jk->ik", a, b)), A, torch.randn(4, 5, 2)),
    "dot": (lambda a, b: (torch.dot(a, b), torch.dot(a, V), torch.outer(a, b), torch.kron(a, b)), X, Y),
    "joining": (lambda a, b: (torch.cat([a, b, V]), torch.stack([a, V], 1)), X, Y),
    "softmax": (lambda a: (F.softmax(a, -1), F.log_softmax(a, 0), a.logsumexp(0)), A),
    "gather": (lambda a, i: (a.gather(0, i), torch.take_along_dim(a, i, 0)), X, CHOICE),
    "index": (lambda a: (a[[0, 2]], a[:, torch.tensor([True, False, True, False, False])]), A),
    "linear": (lambda a, w: (F.linear(a, w), F.linear(a, B.t(), torch.ones(2))), A, torch.randn(4, 2, 5)),
    "embedding": (lambda i: F.embedding(i, B), CHOICE),
    "convolution": (lambda a, w: (F.conv2d(a, torch.ones(2, 3, 3, 3)), F.conv2d(a, w)), torch.randn(4, 2, 3, 6, 6),
                    torch.randn(4, 2, 3, 3, 3)),
    "pooling": (lambda a: F.max_pool2d(a, 2), torch.randn(4, 3, 6, 6)),
    "norms": (lambda a: (F.layer_norm(a, (5,)), F.batch_norm(a, None, None, training=True)), A),
    "attention": (lambda q: F.scaled_dot_product_attention(q, q, q), torch.randn(4, 2, 5, 4)),
    "losses": (lambda a, b: (F.mse_loss(a, b), F.binary_cross_entropy_with_logits(a, b.sigmoid())), X, Y),
    "labels": (lambda a, t: F.cross_entropy(a, t), X, LABELS),
    "lstm": (lambda a: LSTM(a)[0], torch.randn(4, 5, 3)),
    "matrices": (lambda a: (torch.linalg.inv(a), torch.linalg.det(a), torch.linalg.svdvals(a)), SQUARE),
    "fft": (lambda a: torch.fft.fft(a).abs(), A),
    "new tensors": (lambda a: torch.zeros_like(a) + a.new_ones(3) + torch.arange(3), X),
    "in place": (aliased, A),
    "nested": (lambda a: func.vmap(lambda r: r * 2 + a.sum())(a), A),
    "nested, one whole": (lambda a: func.vmap(torch.dot, in_dims=(0, None))(a, torch.ones(5)), A),
    "nested twice": (lambda a, b: func.vmap(lambda r: func.vmap(lambda s: torch.dot(r, s))(b))(a), A,
                     torch.randn(4, 2, 5)),
    "gradient": (func.grad(lambda a: (a.sin() * a).sum()), X),
    "gradient of a product": (func.grad(lambda a: (a @ B).relu().sum()), A),
    "gradient of attention": (func.grad(lambda q: F.scaled_dot_product_attention(q, q, q).pow(2).sum()),
                              torch.randn(4, 2, 5, 4)),
    "hessian": (func.hessian(lambda a: (a**3).sum() * a[0]), X),
    "jacobian": (func.jacrev(lambda a: a.sin() * a.sum()), X),
    "jvp": (lambda a, t: func.jvp(torch.sin, (a,), (t,)), X, Y),
    "vjp": (lambda a, t: func.vjp(torch.sin, a)[1](t)[0], X, Y),
}  # fmt: skip


def same(ours: Any, theirs: Any) -> None:
    got, wanted = batching.leaves(ours), batching.leaves(theirs)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert (tuple(a.shape), str(a.dtype)) == (tuple(b.shape), str(b.dtype))
        assert (
            a.tolist() == pytest.approx(b.tolist(), rel=1e-4, abs=1e-5)
            if a.dim() < 2
            else torch.allclose(a.double(), torch.tensor(b.tolist()).double(), rtol=1e-4, atol=1e-5)
        )


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The run for each example, which `vmap` itself may not use here."""
    kept = batching._one_by_one

    def refused(*args: Any) -> Any:
        raise AssertionError("not at once")

    monkeypatch.setattr(batching, "_one_by_one", refused)

    def run(function: Any, args: Any, in_dims: Any = 0, out_dims: Any = 0) -> Any:
        values = batching.leaves((args, {}))
        dims = batching._spread(in_dims, args, "in_dims")
        monkeypatch.setattr(batching, "_one_by_one", kept)
        count = batching._batch_size(values, dims)
        result = kept(function, (args, {}), values, dims, count, out_dims, "error")
        monkeypatch.setattr(batching, "_one_by_one", refused)
        return result

    return run


@pytest.mark.parametrize("name", CASES)
def test_at_once_equals_one_by_one(name: str, loop: Callable[..., Any]) -> None:
    function, *args = CASES[name]
    same(func.vmap(function)(*args), loop(function, tuple(args)))


def test_dims(loop: Callable[..., Any]) -> None:
    same(func.vmap(lambda a: a * 2, in_dims=2, out_dims=1)(A), loop(lambda a: a * 2, (A,), 2, 1))
    same(func.vmap(torch.mul, (0, None), -1)(X, V), loop(torch.mul, (X, V), (0, None), -1))
    same(func.vmap(lambda d, b: d["a"] + b, ({"a": 1}, 0))({"a": X.t()}, Y), X + Y)
    same(func.vmap(lambda a: (a, V), out_dims=(0, None))(X), (X, V))
    same(func.vmap(lambda a: V)(X), V.expand(4, 3))
    with pytest.raises(ValueError, match="batched tensor with out_dim"):
        batching._at_once(lambda a: a, ((X,), {}), [X], [0], 4, None)


def test_gradients_per_sample(loop: Callable[..., Any]) -> None:
    images, each = torch.randn(4, 1, 8, 8), func.grad(loss)
    same(func.vmap(each, (None, 0, 0))(STATE, images, LABELS), loop(each, (STATE, images, LABELS), (None, 0, 0)))


def test_parts_of_the_batch(loop: Callable[..., Any]) -> None:
    same(func.vmap(torch.dot, chunk_size=3)(X, Y), loop(torch.dot, (X, Y)))
    same(func.vmap(lambda a: a + 1, 1, 1, chunk_size=2)(X), X + 1)


COUNTED = torch.zeros(3)


def counting(a: Any) -> Any:
    COUNTED.add_(a)
    return a


def filled(a: Any) -> Any:
    out = torch.zeros(3)
    out += a
    out[0] = a[1]
    return out


def in_the_argument(a: Any) -> Any:
    a.add_(1)
    return a * a.sum().item()


def changed_then_differentiated(a: Any) -> Any:
    def f(x: Any) -> Any:
        y = x * 2
        y[0] = x[1] * x[0]
        y.mul_(x)
        return y.sum()

    return func.grad(f)(a)


@pytest.mark.parametrize("function", [
    changed_then_differentiated, lambda a: a if a.sum() > 0 else -a, lambda a: a * a.sum().item(), filled,
    lambda a: torch.tensor(a.tolist()), lambda a: a[a.argmax()],
])  # fmt: skip
def test_what_depends_on_values_runs_one_by_one(function: Any) -> None:
    same(func.vmap(function)(X), torch.stack([function(row) for row in X]))


def test_writes_that_last_happen_once() -> None:
    COUNTED.zero_()
    same(func.vmap(counting)(X), X)
    same(COUNTED, X.sum(0))
    x = X.clone()
    same(func.vmap(in_the_argument)(x), torch.stack([(row + 1) * (row + 1).sum() for row in X]))
    same(x, X + 1)


def test_gradients_through_it() -> None:
    x, w = X.clone().requires_grad_(), V.clone().requires_grad_()
    func.vmap(lambda a: (a * w).sin().sum())(x).sum().backward()
    outer, captured = x.grad, w.grad
    x.grad = w.grad = None
    (x * w).sin().sum().backward()
    same((outer, captured), (x.grad, w.grad))
    w.grad = None
    func.vmap(lambda a: (a * w).sin().sum())(X).sum().backward()
    same(w.grad, captured)
    same(func.jacrev(func.vmap(torch.sin))(X), func.jacrev(torch.sin)(X))


def test_random_numbers() -> None:
    with pytest.raises(RuntimeError, match="randomness error mode"):
        func.vmap(lambda a: a + torch.rand(3))(X)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        func.vmap(lambda a: F.dropout(a))(X)
    same_for_all = func.vmap(lambda a: torch.rand(3), randomness="same")(X)
    assert (same_for_all == same_for_all[0]).all()
    different = func.vmap(lambda a: torch.rand(3), randomness="different")(X)
    assert len({tuple(row) for row in different.tolist()}) == 4


def test_errors_of_the_function_are_its_own() -> None:
    with pytest.raises(RuntimeError, match="must match the size"):
        func.vmap(lambda a: a + torch.ones(2))(X)
    with pytest.raises(ValueError, match="must only return Tensors"):
        func.vmap(lambda a: 3)(X)
    same(X * 2, func.vmap(lambda a: a * 2)(X))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [
    "arithmetic", "reductions", "views", "products", "joining", "losses", "gradient", "hessian", "nested twice",
])  # fmt: skip
def test_results_are_pytorchs(name: str) -> None:
    oracle = pytest.importorskip("torch")
    function, *args = CASES[name]
    code, free = function.__code__, function.__globals__
    if name in ("gradient", "hessian"):
        transform = getattr(oracle.func, name.replace("gradient", "grad"))
        theirs = transform({"gradient": lambda a: (a.sin() * a).sum(), "hessian": lambda a: (a**3).sum() * a[0]}[name])
    else:
        their = {n: oracle.tensor(v.tolist()) for n, v in {"V": V, "B": B}.items()}
        names = {**free, "torch": oracle, "func": oracle.func, "F": oracle.nn.functional, **their}
        theirs = type(function)(code, names)
    wanted = oracle.func.vmap(theirs)(*(oracle.tensor(a.tolist()) for a in args))
    same(func.vmap(function)(*args), wanted)


def test_jacobians_by_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = []
    pulled = func.derivatives._Run.pulled
    monkeypatch.setattr(func.derivatives._Run, "pulled", lambda self, *args: (walks.append(1), pulled(self, *args))[1])
    x = torch.tensor([1.0, 2.0, 3.0])
    table = func.jacrev(lambda x: torch.stack([x.prod(), (x**2).sum(), x[1] * x[2]]))(x)
    assert table.tolist() == [[6, 3, 2], [2, 4, 6], [0, 3, 2]]
    assert len(walks) == 1
