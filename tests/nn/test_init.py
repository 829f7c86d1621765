"""nn.init: the same numbers as PyTorch, the errors, and what the formulas promise."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest

import rushlight

Fill = Callable[[Any, Any], Any]
FILLS: dict[str, Fill] = {
    "uniform_": lambda i, w: i.uniform_(w, -0.3, 0.7),
    "normal_": lambda i, w: i.normal_(w, 0.1, 0.01),
    "constant_": lambda i, w: i.constant_(w, 0.3),
    "ones_": lambda i, w: i.ones_(w),
    "zeros_": lambda i, w: i.zeros_(w),
    "xavier_uniform_": lambda i, w: i.xavier_uniform_(w, gain=i.calculate_gain("relu")),
    "xavier_normal_": lambda i, w: i.xavier_normal_(w, 1.3),
    "kaiming_uniform_": lambda i, w: i.kaiming_uniform_(w, a=math.sqrt(5)),
    "kaiming_uniform_out": lambda i, w: i.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal_": lambda i, w: i.kaiming_normal_(w, mode="fan_out", nonlinearity="tanh"),
    "trunc_normal_": lambda i, w: i.trunc_normal_(w, std=0.02),
    "trunc_normal_near": lambda i, w: i.trunc_normal_(w, 0.0, 1.0, -1.0, 0.5),
}
SHAPES = [(3, 5), (8, 16), (4, 3, 3), (6, 2, 3, 3), (2, 3, 2, 2, 2)]
# blake2b of the float32 bytes over SHAPES after manual_seed(7), from PyTorch 2.13
GOLDEN = {
    "uniform_": "2d95b4fcb8be7e4b",
    "normal_": "0e8ff396179e0430",
    "constant_": "322b4085843747a5",
    "ones_": "f29b23d0a55fad89",
    "zeros_": "abc4d20aeeaca47d",
    "xavier_uniform_": "89f70bc4b1ecba0d",
    "xavier_normal_": "f3c5045ca8e0fb98",
    "kaiming_uniform_": "6bedde663338f512",
    "kaiming_uniform_out": "2725b649be28bd21",
    "kaiming_normal_": "03cfbc52e266eb67",
    "trunc_normal_": "e405431409ef4e25",
    "trunc_normal_near": "2f493df73a76cf8d",
}


def fill(t: Any, name: str, dtype: str = "float32") -> list[Any]:
    t.manual_seed(7)
    return [FILLS[name](t.nn.init, t.empty(shape, dtype=getattr(t, dtype))) for shape in SHAPES]


def digest(tensors: list[Any]) -> str:
    return hashlib.blake2b(b"".join(w.numpy().tobytes() for w in tensors), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", FILLS)
def test_equal_to_recorded_numbers(name: str) -> None:
    assert digest(fill(rushlight, name)) == GOLDEN[name]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", FILLS)
def test_equal_to_torch(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    for ours, theirs in zip(fill(rushlight, name, dtype), fill(torch, name, dtype), strict=True):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()
    assert rushlight.get_rng_state().numpy().tobytes() == torch.get_rng_state().numpy().tobytes()


def test_truncation_far_from_the_mean_draws_uniforms_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    results = []
    for t in (rushlight, torch):
        t.manual_seed(1)
        with pytest.warns(UserWarning, match="mean is more than 2 std from"):
            results.append(t.nn.init.trunc_normal_(t.empty(50, 7), -3.0, 1.0, 0.0, 2.0))
        results[-1] = results[-1].tolist()
    assert results[0] == results[1]


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (6, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = rushlight.nn.init.orthogonal_(rushlight.empty(shape, dtype=rushlight.float64), gain=2.0)
    flat = w.reshape(shape[0], -1)
    small = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    assert rushlight.allclose(small, 4 * rushlight.eye(len(small), dtype=rushlight.float64))
    torch = pytest.importorskip("torch")
    for t in (rushlight, torch):
        t.manual_seed(3)
    ours, theirs = (t.nn.init.orthogonal_(t.empty(shape, dtype=t.float64)) for t in (rushlight, torch))
    assert rushlight.allclose(ours, rushlight.from_numpy(theirs.numpy()))


def test_sparse() -> None:
    w = rushlight.nn.init.sparse_(rushlight.empty(10, 6), sparsity=0.25)
    assert ((w == 0).sum(0) == 3).all()
    torch = pytest.importorskip("torch")
    for t in (rushlight, torch):
        t.manual_seed(3)
    ours, theirs = (
        t.nn.init.sparse_(t.empty(10, 6), 0.25, generator=t.Generator()).tolist() for t in (rushlight, torch)
    )
    assert ours == theirs


def test_eye_and_dirac() -> None:
    init, empty = rushlight.nn.init, rushlight.empty
    assert init.eye_(empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    w = init.dirac_(empty(4, 2, 3, 3), groups=2)
    x = rushlight.rand(1, 4, 5, 5)
    assert rushlight.equal(rushlight.nn.functional.conv2d(x, w, padding=1, groups=2), x)
    assert init.dirac_(empty(2, 3, 4)).nonzero().tolist() == [[0, 0, 2], [1, 1, 2]]
    assert init.dirac_(empty(1, 1, 3, 3, 3)).nonzero().tolist() == [[0, 0, 1, 1, 1]]


def test_parameters_are_filled_in_place_without_recording() -> None:
    w = rushlight.nn.Parameter(rushlight.empty(4, 4))
    for function in (rushlight.nn.init.normal_, rushlight.nn.init.eye_, rushlight.nn.init.orthogonal_):
        assert function(w) is w
        assert w.is_leaf and w.requires_grad and w.grad_fn is None


def test_generator_argument() -> None:
    def drawn(seed: int) -> Any:
        return rushlight.nn.init.kaiming_normal_(
            rushlight.empty(3, 4), generator=rushlight.Generator().manual_seed(seed)
        )

    before = rushlight.get_rng_state()
    assert rushlight.equal(drawn(1), drawn(1)) and not rushlight.equal(drawn(1), drawn(2))
    assert rushlight.equal(before, rushlight.get_rng_state())


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [
        ("linear", None, 1), ("conv_transpose3d", None, 1), ("sigmoid", None, 1), ("tanh", None, 5 / 3),
        ("relu", None, math.sqrt(2)), ("leaky_relu", None, math.sqrt(2 / 1.0001)), ("leaky_relu", 2, math.sqrt(0.4)),
        ("selu", None, 0.75),
    ],
)  # fmt: skip
def test_gains(name: str, param: float | None, gain: float) -> None:
    assert rushlight.nn.init.calculate_gain(name, param) == gain


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, e: i.calculate_gain("swish"), "Unsupported nonlinearity swish"),
        (lambda i, e: i.calculate_gain("leaky_relu", True), "negative_slope True not a valid number"),
        (
            lambda i, e: i.xavier_uniform_(e(3)),
            "fan in and fan out can not be computed for tensor",
        ),
        (lambda i, e: i.kaiming_normal_(e(3, 3), mode="in"), "mode in not supported, please use one of"),
        (lambda i, e: i.eye_(e(3)), "only tensors with 2 dimensions are supported"),
        (lambda i, e: i.sparse_(e(3), 0.1), "only tensors with 2 dimensions are supported"),
        (lambda i, e: i.dirac_(e(3, 3)), "only tensors with 3, 4, or 5 dimensions are supported"),
        (lambda i, e: i.dirac_(e(3, 3, 3), 2), "dim 0 must be divisible by groups"),
        (lambda i, e: i.orthogonal_(e(3)), "only tensors with 2 or more dimensions are supported"),
    ],
)
def test_errors(call: Fill, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(rushlight.nn.init, rushlight.empty)
    assert message.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    "old",
    ["uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "eye"],
)
def test_deprecated_names_warn_and_do_the_same(old: str) -> None:
    rushlight.manual_seed(0)
    expected = getattr(rushlight.nn.init, old + "_")(rushlight.empty(4, 4))
    rushlight.manual_seed(0)
    with pytest.warns(FutureWarning, match=f"`nn.init.{old}` is now deprecated in favor of `nn.init.{old}_`"):
        assert rushlight.equal(getattr(rushlight.nn.init, old)(rushlight.empty(4, 4)), expected)


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_empty_tensors_warn(name: str) -> None:
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        getattr(rushlight.nn.init, name)(rushlight.empty(0, 3))
