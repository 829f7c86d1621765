"""Activations beside PyTorch's: values, gradients, half precision, in-place forms."""

from __future__ import annotations

import numpy as np
import pytest

import rushlight
from tests.nn.dense import compare, library, torch

F = rushlight.nn.functional
needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")

SIMPLE = [
    ("relu", {}),
    ("relu6", {}),
    ("elu", {"alpha": 0.7}),
    ("selu", {}),
    ("celu", {"alpha": 0.5}),
    ("silu", {}),
    ("mish", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("hardswish", {}),
    ("hardsigmoid", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("rrelu", {"lower": 0.1, "upper": 0.4}),
    ("threshold", {"threshold": 0.2, "value": -3.0}),
]
OTHERS = [
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("softplus", {}),
    ("softplus", {"beta": 3.0, "threshold": 1.5}),
    ("logsigmoid", {}),
    ("softsign", {}),
    ("tanhshrink", {}),
    ("softshrink", {"lambd": 0.8}),
    ("hardshrink", {"lambd": 0.8}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("softmax", {"dim": -1}),
    ("softmax", {"dim": 0}),
    ("log_softmax", {"dim": 1}),
    ("softmin", {"dim": 1}),
    ("glu", {"dim": 1}),
]
DTYPES = ["float64", "float32", "float16", "bfloat16"]


def points(rng):
    """Ordinary values and both sides of every kink."""
    special = np.array([-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 21.0, -21.0, 0.25])
    return np.concatenate([special, rng.standard_normal(36) * 3]).reshape(6, 8)


@needs_torch
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), SIMPLE + OTHERS)
def test_value_and_gradient(name, params, dtype):
    x = points(np.random.default_rng(1))
    if name == "hardsigmoid" or dtype != "float64":
        x = x + 1e-3 * (x == 0)  # PyTorch's own kernels differ by the rounding of 1/6 and by the side of kinks
    compare(
        lambda lib, x: getattr(lib.F, name)(x, **params),
        {"x": x},
        dtype,
        scale=1000.0 if dtype == "float64" and "hards" in name else 1.0,
    )


@needs_torch
@pytest.mark.parametrize(("name", "params"), SIMPLE)
def test_in_place(name, params):
    def compute(lib, x):
        y = x * 1
        out = getattr(lib.F, name)(y, **params, inplace=True)
        assert out is y
        return out

    compare(compute, {"x": points(np.random.default_rng(2))}, scale=1000.0 if "hards" in name else 1.0)


@needs_torch
@pytest.mark.parametrize("name", ["relu_", "elu_", "selu_", "celu_", "hardtanh_", "leaky_relu_", "rrelu_"])
def test_underscore_forms(name):
    compare(lambda lib, x: getattr(lib.F, name)(x * 1), {"x": points(np.random.default_rng(3))})


@needs_torch
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("count", [1, None])
def test_prelu(shape, count):
    rng = np.random.default_rng(4)
    channels = shape[1] if len(shape) > 1 else 1
    operands = {"x": rng.standard_normal(shape), "weight": rng.standard_normal(count or channels)}
    compare(lambda lib, x, weight: lib.F.prelu(x, weight), operands)


@needs_torch
@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_random_slopes_and_gumbel_noise_follow_pytorchs_stream(shape):
    x = np.random.default_rng(5).standard_normal(shape)
    compare(lambda lib, x: lib.F.rrelu(x, 0.1, 0.9, training=True), {"x": x}, "float32", seed=3)
    for hard in (False, True):
        compare(lambda lib, x, hard=hard: lib.F.gumbel_softmax(x, 0.7, hard), {"x": x}, "float32", seed=3)


@needs_torch
@pytest.mark.parametrize(
    "x", [[1e4, 0.0, -1e4], [float("inf"), 1.0, 0.0], [-float("inf"), 1.0, 0.0], [float("nan"), 1.0, 0.0]]
)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_extreme_scores(name, x):
    compare(lambda lib, const_x: getattr(lib.F, name)(const_x, dim=0), {"const_x": np.array(x)}, "float32")


@needs_torch
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_softmax_without_dim_warns_and_chooses_as_pytorch(shape):
    x = np.random.default_rng(6).standard_normal(shape)
    for module in (rushlight, torch):
        with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
            library(module).F.softmax(module.tensor(x.tolist()))
    compare(lambda lib, x: lib.F.softmax(x), {"x": x})
    compare(lambda lib, x: lib.F.softmax(x, dim=-1, dtype=lib.t.float64), {"x": x}, "float32")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.relu(x), [0.0, 0.0, 2.0]),
        (lambda x: F.gelu(x), [-0.158655, 0.0, 1.954500]),
        (lambda x: F.elu(x), [-0.632121, 0.0, 2.0]),
        (lambda x: F.selu(x), [-1.111331, 0.0, 2.101402]),
        (lambda x: F.silu(x), [-0.268941, 0.0, 1.761594]),
        (lambda x: F.mish(x), [-0.303401, 0.0, 1.943959]),
        (lambda x: F.softplus(x), [0.313262, 0.693147, 2.126928]),
        (lambda x: F.hardswish(x), [-0.333333, 0.0, 1.666667]),
        (lambda x: F.logsigmoid(x), [-1.313262, -0.693147, -0.126928]),
        (lambda x: F.softmax(x, 0), [0.042010, 0.114195, 0.843795]),
        (lambda x: F.log_softmax(x, 0), [-3.169846, -2.169846, -0.169846]),
    ],
)
def test_known_values(function, expected):
    np.testing.assert_allclose(function(rushlight.tensor([-1.0, 0.0, 2.0])).numpy(), expected, 1e-5, 1e-6)


def test_integers_keep_their_dtype_where_pytorch_keeps_it():
    x = rushlight.tensor([-2, 0, 9])
    assert F.relu(x).tolist() == [0, 0, 9]
    assert F.relu6(x).tolist() == [0, 0, 6]
    assert F.relu6(x).dtype is rushlight.int64
    assert F.threshold(x, 1, 5).tolist() == [5, 5, 9]


def test_gradient_of_a_gradient():
    x = rushlight.tensor([-1.3, 0.4, 2.1], dtype=rushlight.float64, requires_grad=True)
    for function in (
        F.gelu,
        F.silu,
        F.mish,
        F.softplus,
        F.elu,
        F.logsigmoid,
        lambda x: F.softmax(x, 0),
        lambda x: F.log_softmax(x, 0),
    ):
        assert rushlight.autograd.gradgradcheck(function, (x,))
