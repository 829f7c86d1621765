"""Attention and transformers beside PyTorch's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import rushlight
from tests.nn.dense import TOLERANCE, compare, copy_weights, numbers, tensors_of, torch

F, nn = rushlight.nn.functional, rushlight.nn
needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")


@needs_torch
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (1, 3)])
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float", "batched"])
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_scaled_dot_product_attention(lead, mask, spread):
    rng = np.random.default_rng(1)
    operands = {
        name: rng.standard_normal((*lead, *s)) * spread**0.5
        for name, s in (("q", (5, 4)), ("k", (6, 4)), ("v", (6, 3)))
    }
    allowed = rng.random((*lead, 5, 6) if mask == "batched" else (5, 6)) > 0.4
    allowed[..., 2, :] = False
    operands["m"] = allowed if mask in ("bool", "batched") else rng.standard_normal((5, 6))

    def compute(lib, q, k, v, m):
        attn = None if mask in ("none", "causal") else m
        return lib.F.scaled_dot_product_attention(q, k, v, attn, is_causal=mask == "causal")

    compare(compute, operands)
    compare(compute, operands, "float32", scale=50 if spread > 1 else 1)


@needs_torch
def test_attention_options():
    rng = np.random.default_rng(2)
    operands = {name: rng.standard_normal((2, 4, 5, 6)) for name in "qkv"}
    compare(lambda lib, q, k, v: lib.F.scaled_dot_product_attention(q, k, v, scale=0.3), operands)
    compare(lambda lib, q, k, v: lib.F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True), operands)
    compare(lambda lib, q, k, v: lib.F.scaled_dot_product_attention(q, k[:1], v[:, :1]), operands)
    compare(
        lambda lib, q, k, v: lib.F.scaled_dot_product_attention(q, k, v, dropout_p=0.4), operands, "float32", seed=3
    )
    half = {name: a[:, :2] for name, a in operands.items()}
    compare(lambda lib, q, k, v: lib.F.scaled_dot_product_attention(q, k, v, is_causal=True), half, "bfloat16", scale=2)


def test_large_batches_are_worked_through_in_parts(monkeypatch):
    from rushlight.backends import numpy_attention

    q = [rushlight.randn(3, 2, 8, 4, requires_grad=True) for _ in range(3)]
    whole = F.scaled_dot_product_attention(*q, is_causal=True)
    first = rushlight.autograd.grad(whole.sum(), q)
    monkeypatch.setattr(numpy_attention, "PARALLEL", 1)
    parts = F.scaled_dot_product_attention(*q, is_causal=True)
    np.testing.assert_allclose(whole.detach().numpy(), parts.detach().numpy(), 1e-6, 1e-7)
    for a, b in zip(first, rushlight.autograd.grad(parts.sum(), q), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-5, 1e-6)


def test_second_derivatives():
    q, k, v = (rushlight.randn(2, 3, 2, dtype=rushlight.float64, requires_grad=True) for _ in range(3))
    mask = rushlight.randn(3, 3, dtype=rushlight.float64, requires_grad=True)
    assert rushlight.autograd.gradgradcheck(
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), (q, k, v, mask)
    )
    assert rushlight.autograd.gradgradcheck(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v)
    )


def pair(make, dtype="float64"):
    """The module on both sides with the same weights, in evaluation mode."""
    made = []
    for module in (rushlight, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append(make(module.nn, getattr(module, dtype)).eval())
    copy_weights(*made)
    return made


def run(modules, call, arrays, dtype="float64", scale=1.0):
    """Equal results and gradients of `call(module, lib, *inputs)`."""
    results, leaves = [], []
    for module, lib in zip(modules, (rushlight, torch), strict=True):
        given = [lib.tensor(a.tolist(), dtype=getattr(lib, dtype)).reshape(a.shape).requires_grad_() for a in arrays]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = [t for t in tensors_of(call(module, lib, *given)) if t is not None]
        results.append(out)
        leaves.append(given)
        total = sum((t * t).sum() for t in out)
        total.backward()
    rtol, atol = (x * scale for x in TOLERANCE[dtype])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol * 10, atol * 10)
    for a, b in zip(*leaves, strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(numbers(a.grad), numbers(b.grad), rtol * 100, atol * 100)
    for (name, p), (_, q) in zip(modules[0].named_parameters(), modules[1].named_parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if q.grad is not None:
            np.testing.assert_allclose(numbers(p.grad), numbers(q.grad), rtol * 100, atol * 100, err_msg=name)


HEADS = [
    {},
    {"bias": False},
    {"kdim": 3, "vdim": 5},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3},
]


@needs_torch
@pytest.mark.parametrize("options", HEADS)
@pytest.mark.parametrize("call", ["weights", "all weights", "plain", "masked", "padded", "both"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead_attention(options, call, batch_first):
    rng = np.random.default_rng(3)
    sizes = (8, options.get("kdim", 8), options.get("vdim", 8))
    arrays = [
        rng.standard_normal((2, n, size) if batch_first else (n, 2, size))
        for n, size in zip((4, 5, 5), sizes, strict=True)
    ]
    modules = pair(lambda n, d: n.MultiheadAttention(8, 2, batch_first=batch_first, dtype=d, **options))
    masked = rng.random((4, 5)) < 0.3
    masked[:, 0] = False
    padded = np.array([[False] * 5, [False, False, False, True, True]])

    def forward(m, lib, q, k, v):
        mask, padding = lib.tensor(masked.tolist()), lib.tensor(padded.tolist())
        given = {
            "weights": {},
            "all weights": {"average_attn_weights": False},
            "plain": {"need_weights": False},
            "masked": {"attn_mask": mask},
            "padded": {"key_padding_mask": padding, "need_weights": False},
            "both": {"attn_mask": mask, "key_padding_mask": padding},
        }[call]
        return m(q, k, v, **given)

    run(modules, forward, arrays)


@needs_torch
def test_self_attention_of_one_sequence_and_of_each_head_its_own_mask():
    rng = np.random.default_rng(4)
    modules = pair(lambda n, d: n.MultiheadAttention(8, 2, dtype=d))
    run(modules, lambda m, lib, x: m(x, x, x), [rng.standard_normal((5, 8))])
    run(
        modules,
        lambda m, lib, x: m(x, x, x, key_padding_mask=lib.tensor([False, True, False, False, True])),
        [rng.standard_normal((5, 8))],
    )
    mask = rng.standard_normal((6, 5, 5))
    run(
        modules,
        lambda m, lib, x: m(x, x, x, attn_mask=lib.tensor(mask.tolist(), dtype=x.dtype)),
        [rng.standard_normal((5, 3, 8))],
    )
    run(
        modules,
        lambda m, lib, x, y: m(x, y, y, need_weights=False),
        [rng.standard_normal((5, 3, 8)), rng.standard_normal((4, 3, 8))],
    )


@needs_torch
def test_dropout_of_attention_weights_follows_pytorchs_stream():
    modules = pair(lambda n, d: n.MultiheadAttention(8, 2, dropout=0.4, dtype=d), "float32")
    x = np.random.default_rng(5).standard_normal((5, 3, 8))
    for need_weights in (True, False):

        def forward(m, lib, x, need_weights=need_weights):
            lib.manual_seed(1)
            return m.train()(x, x, x, need_weights=need_weights)

        run(modules, forward, [x], "float32", 10)


LAYERS = [{}, {"norm_first": True}, {"batch_first": True, "activation": "gelu"}, {"bias": False}]


@needs_torch
@pytest.mark.parametrize("options", LAYERS)
def test_encoder_and_decoder_layers(options):
    rng = np.random.default_rng(6)
    x, memory = rng.standard_normal((4, 3, 8)), rng.standard_normal((4, 3, 8))
    make = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.3, **options}
    steps = 3 if options.get("batch_first") else 4

    def causal(lib):
        return lib.nn.Transformer.generate_square_subsequent_mask(steps, dtype=lib.float64)

    encoder = pair(lambda n, d: n.TransformerEncoderLayer(**make, dtype=d))
    run(encoder, lambda m, lib, x: m(x), [x])
    run(encoder, lambda m, lib, x: m(x, src_mask=causal(lib), is_causal=True), [x])
    decoder = pair(lambda n, d: n.TransformerDecoderLayer(**make, dtype=d))
    run(decoder, lambda m, lib, x, y: m(x, y, tgt_mask=causal(lib)), [x, memory])

    def training(m, lib, x):
        lib.manual_seed(2)
        return m.train()(x)

    run(pair(lambda n, d: n.TransformerEncoderLayer(**make, dtype=d), "float32"), training, [x], "float32", 20)


@needs_torch
@pytest.mark.parametrize("options", LAYERS)
def test_whole_transformer(options):
    rng = np.random.default_rng(7)
    modules = pair(lambda n, d: n.Transformer(8, 2, 2, 2, 12, dtype=d, **options))
    arrays = [rng.standard_normal((4, 4, 8)), rng.standard_normal((4, 4, 8))]

    def forward(m, lib, src, tgt):
        mask = m.generate_square_subsequent_mask(4, dtype=src.dtype)
        padding = lib.tensor([[False] * 4, [False, False, True, True], [False] * 4, [False] * 4])
        return m(src, tgt, tgt_mask=mask, src_key_padding_mask=padding), m(src, tgt)

    run(modules, forward, arrays)


@needs_torch
@pytest.mark.parametrize(
    "padded",
    [
        [[False] * 4, [False, False, True, True]],
        [[False, False, False, True], [False, False, True, True]],
        [[True, False, False, False]] * 2,
    ],
)
def test_padding_is_left_out_in_inference_as_pytorch_does(padded):
    modules = pair(
        lambda n, d: n.TransformerEncoder(n.TransformerEncoderLayer(8, 2, 12, batch_first=True, dtype=d), 2), "float32"
    )
    x = np.random.default_rng(8).standard_normal((2, 4, 8)).tolist()
    out = []
    for m, lib in zip(modules, (rushlight, torch), strict=True):
        with lib.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out.append(m(lib.tensor(x), src_key_padding_mask=lib.tensor(padded)).numpy())
    np.testing.assert_allclose(*out, 1e-4, 1e-5)


@needs_torch
def test_adaptive_softmax():
    rng = np.random.default_rng(9)
    modules = pair(lambda n, d: n.AdaptiveLogSoftmaxWithLoss(6, 20, [4, 10], div_value=2.0, head_bias=True, dtype=d))
    target = [0, 5, 19, 3, 11, 9]
    run(modules, lambda m, lib, x: tuple(m(x, lib.tensor(target))), [rng.standard_normal((6, 6))])
    run(modules, lambda m, lib, x: tuple(m(x, lib.tensor(7))), [rng.standard_normal(6)])
    run(modules, lambda m, lib, x: m.log_prob(x), [rng.standard_normal((6, 6))])
    x = rng.standard_normal((30, 6)).tolist()
    ours, theirs = (
        m.predict(lib.tensor(x, dtype=lib.float64)).tolist() for m, lib in zip(modules, (rushlight, torch), strict=True)
    )
    assert ours == theirs


def test_known_values():
    q = rushlight.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    v = rushlight.tensor([[[2.0], [4.0]]])
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, q, v)[0, :, 0].numpy(), [2.6604769, 3.3395231], 1e-6)
    np.testing.assert_allclose(
        F.scaled_dot_product_attention(q, q, v, is_causal=True)[0, :, 0].numpy(), [2.0, 3.3395231], 1e-6
    )
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0.0, -float("inf"), -float("inf")], [0.0, 0.0, -float("inf")], [0.0, 0.0, 0.0]]


def test_heads_must_divide_the_size():
    with pytest.raises(AssertionError, match="embed_dim must be divisible by num_heads"):
        nn.Transformer(d_model=10, nhead=3)
