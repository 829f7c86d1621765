"""Arguments, results and errors of the sampling functions."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight as t

Draw = Callable[[], Any]


@pytest.mark.parametrize("function", [t.rand, t.randn])
def test_forms_of_a_size(function: Callable[..., Any]) -> None:
    for made in (
        function(2, 3), function((2, 3)), function([2, 3]), function(t.Size([2, 3])), function(size=(2, 3)),
        function(np.int64(2), t.tensor(3)), function(2, 3, out=t.empty(5)),
    ):  # fmt: skip
        assert made.shape == (2, 3) and made.dtype is t.float32
    assert function(()).shape == ()
    assert function(4, dtype=t.float64, device="cpu", layout=t.strided, pin_memory=False).dtype is t.float64
    leaf = function(2, requires_grad=True)
    assert leaf.requires_grad and leaf.is_leaf
    target = t.empty(2)
    assert function(2, out=target) is target


def test_default_dtype_is_followed() -> None:
    t.set_default_dtype(t.float64)
    assert t.rand(1).dtype is t.randn(1).dtype is t.normal(0, 1, (1,)).dtype is t.float64


def test_randint_forms() -> None:
    for made in (
        t.randint(5, (3,)),
        t.randint(0, 5, [3]),
        t.randint(high=5, size=(3,)),
        t.randint(low=1, high=5, size=(3,)),
    ):
        assert made.shape == (3,) and made.dtype is t.int64 and bool(((made >= 0) & (made < 5)).all())
    assert t.randint(2, (4,), dtype=t.bool).dtype is t.bool
    assert t.randint(5, (2,), out=t.empty(0)).dtype is t.float32
    assert t.randint(t.tensor(5), (2,)).shape == (2,)


def test_like_functions_take_shape_dtype_and_strides() -> None:
    turned = t.zeros(2, 3, dtype=t.float64).t()
    for function in (t.rand_like, t.randn_like, lambda x, **k: t.randint_like(x, 9, **k)):
        assert function(turned).stride() == (1, 3) and function(turned).dtype is t.float64
        assert function(turned, dtype=t.float32).dtype is t.float32
        assert function(turned, memory_format=t.contiguous_format).stride() == (2, 1)
        assert function(turned, requires_grad=True).requires_grad
        assert function(t.zeros(1).expand(3, 4)).stride() == (4, 1)
    assert not t.rand_like(t.zeros(2, requires_grad=True)).requires_grad


def test_ranges_hold() -> None:
    x = t.empty(4000).uniform_(-3, 2)
    assert -3 <= float(x.min()) < -2.9 and 1.9 < float(x.max()) < 2
    assert 0 <= float(t.rand(4000, dtype=t.float16).min()) and float(t.rand(4000, dtype=t.float16).max()) < 1
    ints = t.empty(4000, dtype=t.int32).random_(-4, 7)
    assert sorted(set(ints.tolist())) == list(range(-4, 7))
    assert sorted(t.randperm(1000).tolist()) == list(range(1000))


@pytest.mark.parametrize(
    ("draw", "mean", "std"),
    [
        (lambda n: t.rand(n), 0.5, 12**-0.5),
        (lambda n: t.randn(n), 0.0, 1.0),
        (lambda n: t.empty(n).normal_(3, 2), 3.0, 2.0),
        (lambda n: t.empty(n).exponential_(2), 0.5, 0.5),
        (lambda n: t.empty(n).geometric_(0.25), 4.0, 12**0.5),
        (lambda n: t.empty(n).log_normal_(0, 0.5), 1.1331, 0.6039),
        (lambda n: t.empty(n).bernoulli_(0.2), 0.2, 0.4),
        (lambda n: t.poisson(t.full((n,), 4.0)), 4.0, 2.0),
        (lambda n: t.poisson(t.full((n,), 25.0)), 25.0, 5.0),
        (lambda n: t.binomial(t.full((n,), 40.0), t.full((n,), 0.7)), 28.0, 8.4**0.5),
        (lambda n: t._standard_gamma(t.full((n,), 0.7)), 0.7, 0.7**0.5),
    ],
)
def test_moments(draw: Callable[[int], Any], mean: float, std: float) -> None:
    n = 20000
    x = draw(n).double()
    assert abs(float(x.mean()) - mean) < 5 * std / n**0.5
    assert float(x.std()) == pytest.approx(std, rel=0.06)


def test_multinomial_follows_the_weights() -> None:
    drawn = t.multinomial(t.tensor([1.0, 0.0, 3.0]), 8000, replacement=True)
    assert drawn.dtype is t.int64
    counts = [int((drawn == k).sum()) for k in range(3)]
    assert counts[1] == 0 and counts[0] / 8000 == pytest.approx(0.25, abs=0.03)
    assert t.multinomial(t.ones(2, 5), 3).shape == (2, 3)
    assert sorted(t.multinomial(t.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]
    assert t.multinomial(t.ones(0, 3), 1).shape == (0, 1)


def test_normal_overloads_broadcast_and_promote() -> None:
    assert t.normal(t.zeros(2, 1), t.ones(3)).shape == (2, 3)
    assert t.normal(t.zeros(2, dtype=t.float64), t.ones(2)).dtype is t.float64
    assert t.normal(t.tensor([5.0, 6.0]), t.zeros(2)).tolist() == [5.0, 6.0]
    assert t.normal(mean=2.0, std=t.zeros(2)).tolist() == [2.0, 2.0]


def test_in_place_draws_return_self_and_count_as_changes() -> None:
    x = t.empty(3)
    before = x._version
    for draw in (x.uniform_, x.normal_, x.exponential_, x.cauchy_, x.log_normal_, x.random_, x.bernoulli_):
        assert draw() is x
    assert x.geometric_(0.5) is x
    assert x._version == before + 8


def test_draws_into_a_view_write_its_base() -> None:
    base = t.zeros(4, 4)
    base[1:3, ::2].uniform_(1, 2)
    assert int((base > 0).sum()) == 4


def test_gradients_of_draws_are_zero() -> None:
    p = t.full((3,), 0.5, requires_grad=True)
    drawn = t.bernoulli(p)
    assert type(drawn.grad_fn).__name__ == "BernoulliBackward0"
    (drawn.sum() + t.poisson(p).sum()).backward()
    assert p.grad.tolist() == [0, 0, 0]
    x = t.ones(3, requires_grad=True)
    y = x * 2
    y.uniform_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_a_leaf_may_be_filled_without_grad_only() -> None:
    leaf = t.empty(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        leaf.normal_()
    with t.no_grad():
        assert leaf.normal_() is leaf and leaf.requires_grad


def test_out_of_other_dtype_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"dtype Float does not match dtype of out parameter \(Double\)"):
        t.rand(2, out=t.empty(0, dtype=t.float64), dtype=t.float32)


ERRORS: list[tuple[Draw, type[Exception], str]] = [
    (lambda: t.rand(), TypeError, "rand() received an invalid combination of arguments - got ()"),
    (lambda: t.rand(2.5), TypeError, "rand(): argument 'size' (position 1) must be tuple of ints, not float"),
    (lambda: t.rand(-1), RuntimeError, "Trying to create tensor with negative dimension -1: [-1]"),
    (lambda: t.rand([2, "a"]), TypeError, "argument 'size' failed to unpack the object at pos 2"),
    (lambda: t.rand(2, foo=1), TypeError, "rand() received an invalid combination of arguments - got (int, foo=int)"),
    (lambda: t.rand(2, dtype=t.int64), NotImplementedError, "\"check_uniform_bounds\" not implemented for 'Long'"),
    (lambda: t.randn(2, dtype=t.bool), NotImplementedError, "\"normal_kernel_cpu\" not implemented for 'Bool'"),
    (lambda: t.rand(2, generator=5), TypeError, "argument 'generator' must be torch.Generator, not int"),
    (lambda: t.rand(2, device="cuda"), RuntimeError, "NVIDIA"),
    (lambda: t.randint(5), TypeError, "randint() received an invalid combination of arguments - got (int)"),
    (lambda: t.randint(5, 10), TypeError, "randint(): argument 'size' (position 2) must be tuple of ints, not int"),
    (lambda: t.randint(1.5, (2,)), TypeError, "randint(): argument 'high' (position 1) must be int, not float"),
    (lambda: t.randint(5, 3, (2,)), RuntimeError, "'from' to be less than 'to', but got from=5 >= to=3"),
    (lambda: t.randint(0, 300, (2,), dtype=t.uint8), RuntimeError, "to - 1 is out of bounds for unsigned char"),
    (lambda: t.randint(0, 2**63, (2,)), ValueError, "Overflow when unpacking long long"),
    (lambda: t.randint(5, (2,), requires_grad=True), RuntimeError, "Only Tensors of floating point and complex dtype"),
    (lambda: t.randperm(-1), RuntimeError, "negative dimension -1"),
    (lambda: t.randperm(2.0), TypeError, "randperm(): argument 'n' (position 1) must be int, not float"),
    (lambda: t.randperm(3000, dtype=t.float16), RuntimeError, "n cannot be greater than 2049 for Half type."),
    (
        lambda: t.randperm(300, dtype=t.uint8),
        RuntimeError,
        "value cannot be converted to type uint8_t without overflow",
    ),
    (lambda: t.normal(0, 1), TypeError, "normal() received an invalid combination of arguments - got (int, int)"),
    (lambda: t.normal(t.zeros(2), -1.0), RuntimeError, "normal expects std >= 0.0, but found std -1"),
    (lambda: t.normal(t.zeros(2), t.tensor([-1.0, 1])), RuntimeError, "normal expects all elements of std >= 0.0"),
    (lambda: t.normal(t.zeros(3), t.ones(4)), RuntimeError, "tensor a (3) must match the size of tensor b (4)"),
    (lambda: t.bernoulli(t.tensor([2.0])), RuntimeError, "Expected p_in >= 0 && p_in <= 1 to be true"),
    (lambda: t.bernoulli(t.tensor([1])), NotImplementedError, "\"bernoulli_tensor_cpu_p_\" not implemented for 'Long'"),
    (lambda: t.empty(3).bernoulli_(2.0), RuntimeError, "bernoulli_ expects p to be in [0, 1], but got p=2"),
    (lambda: t.empty(3).bernoulli_(t.zeros(2)), RuntimeError, "The expanded size of the tensor (3) must match"),
    (lambda: t.multinomial(t.ones(2), 3), RuntimeError, "n_sample > prob_dist.size(-1) samples without replacement"),
    (lambda: t.multinomial(t.tensor([1]), 1), RuntimeError, "only supports floating-point dtypes for input, got: Long"),
    (lambda: t.multinomial(t.ones(2), 0), RuntimeError, "cannot sample n_sample <= 0 samples"),
    (lambda: t.multinomial(t.ones(2, 2, 2), 1), RuntimeError, "prob_dist must be 1 or 2 dim"),
    (
        lambda: t.multinomial(t.zeros(3), 1),
        RuntimeError,
        "invalid multinomial distribution (sum of probabilities <= 0)",
    ),
    (lambda: t.multinomial(t.tensor([-1.0, 2]), 1), RuntimeError, "contains either `inf`, `nan` or element < 0"),
    (lambda: t.multinomial(t.tensor([-1.0, 2]), 2, True), RuntimeError, "encountering probability entry < 0"),
    (
        lambda: t.multinomial(t.ones(3), 2, out=t.empty(0)),
        RuntimeError,
        "multinomial expects Long tensor out, got: Float",
    ),
    (lambda: t.poisson(t.tensor([-1.0])), RuntimeError, "invalid Poisson rate, expected rate to be non-negative"),
    (lambda: t.poisson(t.tensor([1])), NotImplementedError, "\"poisson_cpu\" not implemented for 'Long'"),
    (lambda: t.empty(3).uniform_(2, 1), RuntimeError, "found from=2 > to=1"),
    (lambda: t.empty(3).uniform_("a"), TypeError, "uniform_(): argument 'from' (position 1) must be float, not str"),
    (lambda: t.empty(3).uniform_(from_=1), TypeError, "uniform_() got an unexpected keyword argument 'from_'"),
    (
        lambda: t.empty(3).uniform_(-3e38, 3e38),
        RuntimeError,
        "uniform_ expects to-from <= std::numeric_limits<Float>::max()",
    ),
    (lambda: t.empty(3, dtype=t.float16).uniform_(-7e4, 1), RuntimeError, "from is out of bounds for c10::Half"),
    (
        lambda: t.empty(1, 3).expand(2, 3).uniform_(),
        RuntimeError,
        "more than one element of the written-to tensor refers",
    ),
    (lambda: t.empty(3).normal_(0, -1), RuntimeError, "normal expects std >= 0.0, but found std -1"),
    (lambda: t.empty(3).random_(5, 3), RuntimeError, "but got from=5 >= to=3"),
    (
        lambda: t.empty(3).random_(1.5),
        TypeError,
        "random_() received an invalid combination of arguments - got (float)",
    ),
    (lambda: t.empty(3, dtype=t.float16).random_(0, 70000), RuntimeError, "to - 1 is out of bounds for c10::Half"),
    (lambda: t.empty(3).exponential_(0), RuntimeError, "exponential_ expects lambda > 0.0, but found lambda=0"),
    (
        lambda: t.empty(3, dtype=t.int64).exponential_(),
        RuntimeError,
        "dtype must be a floating point but you specified Long",
    ),
    (lambda: t.empty(3).geometric_(1), RuntimeError, "geometric_ expects p to be in (0, 1), but got p=1"),
    (lambda: t.empty(3).geometric_(), TypeError, 'geometric_() missing 1 required positional arguments: "p"'),
    (lambda: t.empty(3).cauchy_(0, -1), RuntimeError, "cauchy_ expects sigma > 0.0, but found sigma=-1"),
    (lambda: t.empty(3).log_normal_(1, 0), RuntimeError, "log_normal_ expects std > 0.0, but found std=0"),
    (lambda: t.rand_like(5), TypeError, "rand_like(): argument 'input' (position 1) must be Tensor, not int"),
    (lambda: t.binomial(t.tensor([5]), t.tensor([0.5])), ValueError, "only supports floating-point dtypes for count"),
    (lambda: t.manual_seed("a"), ValueError, "invalid literal for int()"),
    (lambda: t.manual_seed(2**64), ValueError, "Overflow when unpacking long long"),
    (lambda: t.set_rng_state([1]), TypeError, "expected a torch.ByteTensor, but got list"),
]


@pytest.mark.parametrize(("draw", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors(draw: Draw, error: type[Exception], message: str) -> None:
    state = t.get_rng_state()
    with pytest.raises(error) as caught:
        draw()
    assert message in str(caught.value)
    assert t.equal(t.get_rng_state(), state), "a refused draw moved the stream"


def test_a_float_range_beyond_exact_integers_warns() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.empty(3).random_(2**25)
    assert "to - 1 is out of bounds [-(2^24), 2^24]" in str(caught[0].message)


def test_module_functions_act_on_the_default_generator() -> None:
    assert isinstance(t.default_generator, t.Generator) and t.random.default_generator is t.default_generator
    assert t.manual_seed(42) is t.default_generator and t.initial_seed() == t.random.initial_seed() == 42
    assert t.manual_seed("12").initial_seed() == 12
    assert t.manual_seed(1.7).initial_seed() == 1
    assert t.manual_seed(t.tensor(3)).initial_seed() == 3
    assert t.seed() == t.initial_seed()
    state = t.get_rng_state()
    first = t.rand(3)
    t.set_rng_state(state)
    assert t.equal(t.rand(3), first)


def test_fork_rng_restores_the_stream() -> None:
    t.manual_seed(0)
    expected = t.rand(4)
    t.manual_seed(0)
    with t.random.fork_rng():
        t.manual_seed(99)
        t.randn(3)
    with t.random.fork_rng(enabled=False):
        first = t.rand(1)
    assert t.equal(t.cat([first, t.rand(3)]), expected)
    with pytest.raises(ZeroDivisionError), t.random.fork_rng(devices=[]):
        t.rand(1)
        raise ZeroDivisionError
    assert t.equal(t.rand(1), t.rand(0)) is False


def test_a_seed_from_the_environment(run_python: Any) -> None:
    code = "import rushlight as t; print(t.initial_seed(), t.rand(1).item())"
    shown = {run_python("-c", code, RUSHLIGHT_SEED="0").stdout for _ in range(2)}
    assert shown == {"0 0.49625658988952637\n"}
    assert len({run_python("-c", code).stdout for _ in range(2)}) == 2
