"""Dense layers beside PyTorch's: repr, state dicts, default initialisation, copies, what they compute."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import rushlight
from tests.nn.dense import compare, copy_weights, numbers, torch

nn = rushlight.nn
needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")

LAYERS = """
Identity(); Identity(5, unused=3); Linear(3, 4); Linear(3, 4, bias=False); Linear(0, 2); Bilinear(2, 3, 4)
LazyLinear(4); Threshold(.1, 20); Threshold(.1, 20, True); ReLU(); ReLU(True); RReLU(); RReLU(.1, .2, True)
Hardtanh(); Hardtanh(-2, 2, True); ReLU6(); ReLU6(True); Sigmoid(); Hardsigmoid(); Hardsigmoid(True); Tanh()
SiLU(); SiLU(True); Mish(); Mish(True); Hardswish(); ELU(); ELU(.5, True); CELU(); SELU(); SELU(True); GLU()
GELU(); GELU('tanh'); Hardshrink(); LeakyReLU(); LeakyReLU(.2, True); LogSigmoid(); Softplus(); Softshrink()
PReLU(); PReLU(3, .1); Softsign(); Tanhshrink(); Softmin(1); Softmax(); Softmax(1); Softmax2d()
LogSoftmax(dim=-1); CELU(.5, True); MultiheadAttention(4, 2)
MultiheadAttention(4, 2, bias=False, add_bias_kv=True, kdim=3); L1Loss(); NLLLoss(); NLLLoss(T.ones(3))
PoissonNLLLoss(); GaussianNLLLoss(); KLDivLoss(); MSELoss(); BCELoss(); BCELoss(T.ones(2))
BCEWithLogitsLoss(); CTCLoss(); BCEWithLogitsLoss(T.ones(2), pos_weight=T.ones(2)); HingeEmbeddingLoss()
MultiLabelMarginLoss(); SmoothL1Loss(); HuberLoss(); SoftMarginLoss(); CrossEntropyLoss()
CrossEntropyLoss(T.ones(3), label_smoothing=.1); LinearCrossEntropyLoss(3, 4)
LinearCrossEntropyLoss(3, 4, out_features=(2,), bias=True); MultiLabelSoftMarginLoss(); CosineEmbeddingLoss()
MarginRankingLoss(); MultiMarginLoss(); MultiMarginLoss(weight=T.ones(3)); TripletMarginLoss()
TripletMarginWithDistanceLoss(); Dropout(); Dropout(.2, True); Dropout1d(); Dropout2d(); Dropout3d()
AlphaDropout(); FeatureAlphaDropout(); Embedding(4, 3); EmbeddingBag(4, 3)
Embedding(4, 3, padding_idx=-2, max_norm=1., norm_type=1., scale_grad_by_freq=True, sparse=True)
EmbeddingBag(4, 3, mode='sum', padding_idx=1, max_norm=1., norm_type=3., include_last_offset=True)
RNN(3, 4); RNN(3, 4, 2, 'relu', False, True, .1, True); LSTM(3, 4, proj_size=2); GRU(3, 4, batch_first=True)
LSTM(input_size=3, hidden_size=4, num_layers=2, bidirectional=True, proj_size=2); RNNCell(3, 4)
RNNCell(3, 4, False, 'relu'); LSTMCell(3, 4); GRUCell(3, 4, bias=False); PairwiseDistance()
CosineSimilarity(); Flatten(); Flatten(0, 2); Unflatten(1, (2, 3)); AdaptiveLogSoftmaxWithLoss(4, 20, [5, 10])
AdaptiveLogSoftmaxWithLoss(4, 20, [5, 10], div_value=2., head_bias=True); TransformerEncoderLayer(4, 2, 6)
TransformerDecoderLayer(4, 2, 6, norm_first=True, bias=False); Transformer(4, 2, 1, 2, 6)
TransformerEncoder(T.nn.TransformerEncoderLayer(4, 2, 6), 2, T.nn.LayerNorm(4))
TransformerDecoder(T.nn.TransformerDecoderLayer(4, 2, 6), 2)
"""
LIST = [text.strip() for text in LAYERS.replace("\n", ";").split(";") if text.strip()]


def made(module, text):
    """The layer that `text` describes, from seed 0."""
    module.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(f"T.nn.{text}", {"T": module})


@needs_torch
@pytest.mark.parametrize("text", LIST)
def test_repr_keys_and_first_weights_are_pytorchs(text):
    ours, theirs = made(rushlight, text), made(torch, text)
    assert repr(ours) == repr(theirs)
    for kind in ("named_parameters", "named_buffers"):
        assert [n for n, _ in getattr(ours, kind)()] == [n for n, _ in getattr(theirs, kind)()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    if "Lazy" not in text:
        for p, q in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert tuple(p.shape) == tuple(q.shape)
            np.testing.assert_allclose(numbers(p), numbers(q), 1e-6, 1e-7)
    assert rushlight.rand(3).tolist() == pytest.approx(torch.rand(3).tolist())


@needs_torch
def test_every_public_dense_name_exists():
    public = [
        n for n in dir(torch.nn) if isinstance(getattr(torch.nn, n), type) and n not in ("LinearCrossEntropyOptions",)
    ]
    missing = [n for n in public if not hasattr(nn, n)]
    dense = (
        "Loss",
        "RNN",
        "LSTM",
        "GRU",
        "Transformer",
        "Dropout",
        "Linear",
        "Embedding",
        "LU",
        "Sigmoid",
        "Soft",
        "Tanh",
        "Distance",
    )
    assert [n for n in missing if any(part in n for part in dense)] == []


@pytest.mark.parametrize("text", [t for t in LIST if "Lazy" not in t])
def test_layers_can_be_copied_pickled_and_converted(text):
    layer = made(rushlight, text)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        for p, q in zip(other.parameters(), layer.parameters(), strict=True):
            assert p is not q
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert all(p.dtype is rushlight.float64 for p in layer.double().parameters())


ELEMENTWISE = [
    t
    for t in LIST
    if t.split("(")[0]
    in (
        "Threshold",
        "ReLU",
        "Hardtanh",
        "ReLU6",
        "Sigmoid",
        "Hardsigmoid",
        "Tanh",
        "SiLU",
        "Mish",
        "Hardswish",
        "ELU",
        "CELU",
        "SELU",
        "GLU",
        "GELU",
        "Hardshrink",
        "LeakyReLU",
        "LogSigmoid",
        "Softplus",
        "Softshrink",
        "PReLU",
        "Softsign",
        "Tanhshrink",
        "Softmin",
        "Softmax",
        "LogSoftmax",
        "RReLU",
        "Identity",
        "Flatten",
        "Unflatten",
    )
]


@needs_torch
@pytest.mark.parametrize("text", ELEMENTWISE)
def test_layers_compute_what_pytorchs_do(text):
    width = 3 if text.startswith("PReLU(3") else 6

    def compute(lib, x):
        layer = made(lib.t, text).to(lib.t.float32)
        lib.t.manual_seed(1)
        return layer(x * 1)

    shape = (4, width, 2) if "Flatten(0" in text else (4, width)
    compare(compute, {"x": np.random.default_rng(1).standard_normal(shape)}, "float32")


LOSSES = [
    ("L1Loss()", "yy"),
    ("MSELoss()", "yy"),
    ("SmoothL1Loss(beta=.5)", "yy"),
    ("HuberLoss(delta=.5)", "yy"),
    ("SoftMarginLoss()", "ys"),
    ("KLDivLoss(reduction='batchmean')", "yp"),
    ("BCELoss()", "pp"),
    ("BCEWithLogitsLoss(T.ones(4), pos_weight=T.ones(4) * 2)", "yp"),
    ("PoissonNLLLoss(full=True)", "yp"),
    ("GaussianNLLLoss()", "yyp"),
    ("NLLLoss(T.ones(4) * 2, ignore_index=1)", "yl"),
    ("CrossEntropyLoss(label_smoothing=.1)", "yl"),
    ("CrossEntropyLoss(reduction='sum')", "yl"),
    ("MultiMarginLoss(2, .5)", "yl"),
    ("HingeEmbeddingLoss(.5)", "ys"),
    ("MultiLabelSoftMarginLoss()", "yp"),
    ("MarginRankingLoss(.5)", "yys"),
    ("TripletMarginLoss(swap=True)", "yyy"),
    ("TripletMarginWithDistanceLoss()", "yyy"),
    ("MultiLabelMarginLoss()", "ym"),
    ("CosineEmbeddingLoss(.1)", "yyk"),
    ("LinearCrossEntropyLoss(4, 5)", "yl"),
]


@needs_torch
@pytest.mark.parametrize(("text", "kinds"), LOSSES)
def test_loss_layers(text, kinds):
    rng = np.random.default_rng(2)
    makers = {
        "y": lambda: rng.standard_normal((3, 4)),
        "p": lambda: rng.uniform(0.1, 0.9, (3, 4)),
        "s": lambda: np.sign(rng.standard_normal((3, 4))),
        "l": lambda: rng.integers(0, 4, 3),
        "m": lambda: np.array([[1, -1, 0, 0], [0, 2, -1, 0], [3, 2, 1, 0]]),
        "k": lambda: np.array([1, -1, 1]),
    }
    operands = {("const_" if k in "s" else "") + f"{k}{i}": makers[k]() for i, k in enumerate(kinds)}
    compare(lambda lib, **given: made(lib.t, text)(*given.values()), operands, "float32", scale=5)


@needs_torch
def test_bilinear_and_lazy_layers():
    rng = np.random.default_rng(3)
    compare(
        lambda lib, x, y: made(lib.t, "Bilinear(2, 3, 4)")(x, y),
        {"x": rng.standard_normal((5, 2)), "y": rng.standard_normal((5, 3))},
        "float32",
    )

    def lazy(lib, x):
        layer = made(lib.t, "LazyLinear(4)")
        lib.t.manual_seed(5)
        out = layer(x)
        assert type(layer).__name__ == "Linear"
        return out, layer.weight, layer.bias

    compare(lazy, {"x": rng.standard_normal((5, 7))}, "float32")


@needs_torch
def test_weights_of_pytorch_load_key_for_key():
    for text in ("LSTM(3, 4, 2, bidirectional=True)", "Transformer(4, 2, 1, 1, 6)", "MultiheadAttention(4, 2)"):
        ours, theirs = made(rushlight, text), made(torch, text)
        state = {k: rushlight.tensor(v.numpy()) for k, v in theirs.state_dict().items()}
        assert str(ours.load_state_dict(state)) == "<All keys matched successfully>"
        copy_weights(ours, theirs)


def test_flatten_and_unflatten():
    x = rushlight.zeros(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Unflatten(1, (1, -1))(x).shape == (2, 1, 3, 4)
    assert nn.Flatten()(x).data_ptr() == x.data_ptr()
    with pytest.raises(TypeError, match="unflattened_size must be a tuple of ints, but found type int"):
        nn.Unflatten(1, 3)
    with pytest.raises(TypeError, match="element of type float at pos 1"):
        nn.Unflatten(1, (3, 2.0))
