"""Linear maps, look-ups, distances and dropout beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import rushlight
from tests.nn.dense import compare, torch

F, nn = rushlight.nn.functional, rushlight.nn
needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")
DTYPES = ["float64", "float32", "float16", "bfloat16"]


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


@needs_torch
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 2, 2, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias, dtype):
    x, w, b = draw(1, shape, (4, 3), (4,))
    compare(lambda lib, x, w, b: lib.F.linear(x, w, b if bias else None), {"x": x, "w": w, "b": b}, dtype)


@needs_torch
def test_linear_of_unusual_forms():
    x, w, b = draw(2, (5, 3), (4, 3), (5, 4))
    compare(lambda lib, x, w: lib.F.linear(x, w[0]), {"x": x, "w": w})
    compare(lambda lib, x, w: lib.F.linear(x[0], w[0], w.sum()), {"x": x, "w": w})
    compare(lambda lib, x, w, b: lib.F.linear(x, w, b), {"x": x, "w": w, "b": b})
    compare(lambda lib, x, w, b: lib.F.linear(x, w, b[0, :1]), {"x": x, "w": w, "b": b})
    compare(lambda lib, x, w, b: lib.F.linear(x.T.reshape(5, 3).T[:, :3].T, w, b[0]), {"x": x, "w": w, "b": b})
    compare(lambda lib, x, w: lib.F.linear(x.reshape(1, 3, 5).transpose(1, 2), w), {"x": x, "w": w})


def test_names_of_the_nodes_are_pytorchs():
    layer, plain = nn.Linear(3, 2), nn.Linear(3, 2, bias=False)
    names = [m(rushlight.ones(s)).grad_fn.name() for m in (layer, plain) for s in ((4, 3), (2, 4, 3), (3,))]
    assert names == [
        "AddmmBackward0",
        "ViewBackward0",
        "ViewBackward0",
        "MmBackward0",
        "UnsafeViewBackward0",
        "SqueezeBackward4",
    ]
    assert layer(rushlight.ones(4, 3)).grad_fn.next_functions[0][0].variable is layer.bias


@needs_torch
@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_bilinear(shape):
    x, y, w, b = draw(3, (*shape, 2), (*shape, 3), (4, 2, 3), (4,))
    compare(lambda lib, x, y, w, b: lib.F.bilinear(x, y, w, b), {"x": x, "y": y, "w": w, "b": b})


@needs_torch
@pytest.mark.parametrize(
    "index",
    [
        np.array(2),
        np.array([1, 2, 1, 0]),
        np.array([[0, 3], [3, 3]]),
        np.zeros((0,), np.int64),
        np.zeros((2, 0), np.int64),
    ],
)
@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"padding_idx": -1}, {"scale_grad_by_freq": True}])
def test_embedding(index, options):
    compare(lambda lib, i, w: lib.F.embedding(i, w, **options), {"i": index, "w": draw(4, (4, 3))[0]})
    compare(lambda lib, i, w: lib.F.embedding(i.int(), w, **options), {"i": index, "w": draw(4, (4, 3))[0]}, "float32")


@needs_torch
@pytest.mark.parametrize("rows", [5, 400])
@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_gradient_of_many_indices(rows, dtype):
    rng = np.random.default_rng(5)
    operands = {"i": rng.integers(0, rows, (7, 50)), "w": rng.standard_normal((rows, 3))}
    compare(lambda lib, i, w: lib.F.embedding(i, w), operands, dtype, scale=20 if dtype == "bfloat16" else 1)


@needs_torch
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
def test_max_norm_changes_the_table(norm):
    def compute(lib, i, const_w):
        out = lib.F.embedding(i, const_w, max_norm=0.9, norm_type=norm)
        bag = lib.F.embedding_bag(i[None], const_w, max_norm=0.5, norm_type=norm)
        return out, bag, const_w

    compare(compute, {"i": np.array([0, 2, 2]), "const_w": draw(6, (4, 3))[0]})


@needs_torch
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"scale_grad_by_freq": True}])
def test_embedding_bag(mode, options):
    if mode == "max" and "scale_grad_by_freq" in options:
        pytest.skip("PyTorch refuses")
    rng = np.random.default_rng(7)
    operands = {"i": rng.integers(0, 5, 8), "o": np.array([0, 3, 3, 6]), "w": rng.standard_normal((5, 3))}
    compare(lambda lib, i, o, w: lib.F.embedding_bag(i, w, o, mode=mode, **options), operands)
    compare(lambda lib, i, o, w: lib.F.embedding_bag(i.reshape(2, 4), w, mode=mode, **options), operands)
    operands["o"] = np.array([0, 3, 8])
    compare(lambda lib, i, o, w: lib.F.embedding_bag(i, w, o, mode=mode, include_last_offset=True, **options), operands)
    if mode == "sum":
        operands["s"] = rng.standard_normal(8)
        compare(
            lambda lib, i, o, w, s: lib.F.embedding_bag(i, w, o[:2], mode=mode, per_sample_weights=s, **options),
            operands,
        )


@needs_torch
def test_one_hot():
    compare(lambda lib, i: lib.F.one_hot(i), {"i": np.array([[0, 2], [1, 4]])})
    compare(lambda lib, i: lib.F.one_hot(i, 7), {"i": np.array(3)})


@needs_torch
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.5, float("inf")])
def test_distances(p):
    x, y = draw(8, (5, 3), (5, 3))
    compare(lambda lib, x, y: lib.F.pairwise_distance(x, y, p, keepdim=p == 2), {"x": x, "y": y})
    compare(lambda lib, x, y: lib.nn.PairwiseDistance(p)(x, y[0]), {"x": x, "y": y})
    if p >= 1:
        compare(lambda lib, x: lib.F.pdist(x, p), {"x": x})


@needs_torch
def test_cosine_similarity():
    x, y = draw(9, (5, 3), (5, 3))
    for dim in (0, 1, -1):
        compare(lambda lib, x, y, dim=dim: lib.F.cosine_similarity(x, y, dim), {"x": x, "y": y})
    compare(lambda lib, x, y: lib.nn.CosineSimilarity(eps=1e-2)(x, y[:1]), {"x": x, "y": y})
    compare(lambda lib, x, y: lib.F.cosine_similarity(x * 0, y), {"x": x, "y": y})


DROPOUTS = [
    ("dropout", (4, 5)),
    ("dropout", ()),
    ("dropout1d", (3, 4, 5)),
    ("dropout1d", (4, 5)),
    ("dropout2d", (3, 4, 2, 2)),
    ("dropout3d", (2, 3, 2, 2, 2)),
    ("dropout3d", (3, 2, 2, 2)),
    ("alpha_dropout", (4, 5)),
    ("feature_alpha_dropout", (3, 4, 2)),
]


@needs_torch
@pytest.mark.parametrize(("name", "shape"), DROPOUTS)
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_dropout_follows_pytorchs_stream(name, shape, p):
    (x,) = draw(10, shape)
    compare(lambda lib, x: getattr(lib.F, name)(x, p, training=True), {"x": x}, "float32", seed=11)
    compare(lambda lib, x: getattr(lib.F, name)(x * 1, p, training=True, inplace=True), {"x": x}, "float32", seed=11)
    compare(lambda lib, x: getattr(lib.F, name)(x * 1, p, training=False), {"x": x}, "float32")


@needs_torch
def test_dropout_draws_in_the_order_of_memory():
    (x,) = draw(12, (4, 6))
    compare(lambda lib, x: lib.F.dropout(x.T, 0.5), {"x": x}, "float32", seed=5)
    compare(lambda lib, x: lib.F.dropout(x.reshape(2, 3, 4).permute(2, 0, 1), 0.5), {"x": x}, "float64", seed=5)


@needs_torch
@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"])
def test_dropout_layers(name):
    shape = (2, 3, 4, 4) if name == "Dropout2d" else (2, 3, 4)

    def compute(lib, x):
        layer = getattr(lib.nn, name)(0.4)
        return layer(x), layer.eval()(x)

    compare(compute, {"x": draw(13, shape)[0]}, "float32", seed=1)


def test_known_values_without_pytorch():
    rushlight.manual_seed(0)
    assert F.dropout(rushlight.ones(12)).tolist() == [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0]
    table = rushlight.arange(6.0).reshape(3, 2)
    assert F.embedding(rushlight.tensor([2, 0]), table).tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert F.embedding_bag(rushlight.tensor([0, 1, 2]), table, rushlight.tensor([0, 2]), mode="sum").tolist() == [
        [2.0, 4.0],
        [4.0, 5.0],
    ]
    assert F.one_hot(rushlight.tensor([1, 0])).tolist() == [[0, 1], [1, 0]]
    assert F.linear(rushlight.ones(1, 2), table, rushlight.ones(3)).tolist() == [[2.0, 6.0, 10.0]]
    assert F.cosine_similarity(rushlight.tensor([[3.0, 4.0]]), rushlight.tensor([[4.0, 3.0]])).item() == pytest.approx(
        0.96
    )


def test_linear_error_computes_the_fix():
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(64x28 and 784x10\)") as caught:
        F.linear(rushlight.zeros(64, 1, 28, 28).squeeze(1)[:, 0], rushlight.zeros(10, 784))
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(784, 10)(rushlight.zeros(32, 28, 28))
    note = caught.value.__notes__[0]
    assert "input.flatten(1) has shape [32, 784]" in note
    assert "input [..., 784]" in note


def test_embedding_index_error_names_the_range():
    with pytest.raises(IndexError, match="index out of range in self") as caught:
        nn.Embedding(10, 3)(rushlight.tensor([3, 10]))
    assert "from 0 to 9" in caught.value.__notes__[0]


def test_from_pretrained_shares_and_freezes():
    table = rushlight.arange(6.0).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert layer.weight.data_ptr() == table.data_ptr()
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    assert nn.EmbeddingBag.from_pretrained(table, mode="max").mode == "max"


def test_second_derivatives():
    x, w, b = (rushlight.randn(*s, dtype=rushlight.float64, requires_grad=True) for s in ((2, 4, 3), (5, 3), (5,)))
    assert rushlight.autograd.gradgradcheck(F.linear, (x, w, b))
    table = rushlight.randn(4, 3, dtype=rushlight.float64, requires_grad=True)
    index = rushlight.tensor([0, 2, 2])
    assert rushlight.autograd.gradgradcheck(lambda t: F.embedding(index, t) ** 2, (table,))
    p, q = (rushlight.randn(3, 2, dtype=rushlight.float64, requires_grad=True) for _ in range(2))
    assert rushlight.autograd.gradgradcheck(lambda p, q: F.cosine_similarity(p, q), (p, q))
