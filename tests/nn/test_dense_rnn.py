"""Recurrent layers beside PyTorch's over randomly drawn configurations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import rushlight
from tests.nn.dense import TOLERANCE, copy_weights, numbers, tensors_of, torch

nn = rushlight.nn
needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")


def layers(kind, options, dtype):
    """The layer on both sides with the same weights."""
    made = []
    for module in (rushlight, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.manual_seed(0)
            made.append(getattr(module.nn, kind)(**options, dtype=getattr(module, dtype)))
    copy_weights(*made)
    return made


def both(arrays, dtype):
    """The arrays as leaves on both sides."""
    return [
        [m.tensor(a.tolist(), dtype=getattr(m, dtype)).reshape(a.shape).requires_grad_() for a in arrays]
        for m in (rushlight, torch)
    ]


def check(modules, leaves, results, dtype):
    """Equal results, then equal gradients of a random combination of them, for leaves and weights."""
    rtol, atol = TOLERANCE[dtype]
    rng = np.random.default_rng(0)
    totals = [0, 0]
    for a, b in zip(*map(tensors_of, results), strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol * 10, atol * 10)
        if b.requires_grad:
            weight = rng.standard_normal(tuple(b.shape)).tolist()
            for k, (m, t) in enumerate(((rushlight, a), (torch, b))):
                totals[k] = totals[k] + (t * m.tensor(weight, dtype=t.dtype).reshape(t.shape)).sum()
    for total in totals:
        total.backward()
    for a, b in zip(leaves[0], leaves[1], strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            np.testing.assert_allclose(numbers(a.grad), numbers(b.grad), rtol * 40, atol * 40)
    for (name, p), (_, q) in zip(modules[0].named_parameters(), modules[1].named_parameters(), strict=True):
        np.testing.assert_allclose(numbers(p.grad), numbers(q.grad), rtol * 40, atol * 40, err_msg=name)


def drawn(seed):
    """A random configuration: kind, options, sizes."""
    rng = np.random.default_rng(seed)
    kind = ["RNN", "LSTM", "GRU"][seed % 3]
    options = {
        "input_size": int(rng.integers(1, 5)),
        "hidden_size": int(rng.integers(3, 6)),
        "num_layers": int(rng.integers(1, 4)),
        "bias": bool(rng.integers(0, 4)),
        "batch_first": bool(rng.integers(0, 2)),
        "bidirectional": bool(rng.integers(0, 2)),
    }
    if kind == "LSTM" and rng.integers(0, 2):
        options["proj_size"] = 2
    if kind == "RNN" and rng.integers(0, 2):
        options["nonlinearity"] = "relu"
    return rng, kind, options


def first_states(rng, kind, options, batch):
    """Arrays of first states, [layers, batch, size] or without the batch."""
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    lead = (rows,) if batch is None else (rows, batch)
    h = rng.standard_normal((*lead, options.get("proj_size") or options["hidden_size"]))
    return [h, rng.standard_normal((*lead, options["hidden_size"]))] if kind == "LSTM" else [h]


def hx_of(kind, states):
    """First states as the layer takes them."""
    return None if not states else tuple(states) if kind == "LSTM" else states[0]


@needs_torch
@pytest.mark.parametrize("seed", range(24))
def test_dense_batches(seed):
    rng, kind, options = drawn(seed)
    dtype = ["float64", "float32"][seed % 2]
    steps, batch = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    batched = bool(rng.integers(0, 4))
    shape = ((batch, steps) if options["batch_first"] else (steps, batch)) if batched else (steps,)
    arrays = [rng.standard_normal((*shape, options["input_size"]))]
    if rng.integers(0, 2):
        arrays += first_states(rng, kind, options, batch if batched else None)
    modules, leaves = layers(kind, options, dtype), both(arrays, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's remark on projections
        results = [m(given[0], hx_of(kind, given[1:])) for m, given in zip(modules, leaves, strict=True)]
    check(modules, leaves, results, dtype)


@needs_torch
@pytest.mark.parametrize("seed", range(12))
def test_packed_sequences(seed):
    rng, kind, options = drawn(seed + 100)
    options["batch_first"] = False
    lengths = rng.integers(1, 6, 4)
    ordered = bool(seed % 2)
    lengths = np.sort(lengths)[::-1].copy() if ordered else lengths
    arrays = [rng.standard_normal((int(lengths.max()), 4, options["input_size"]))]
    if rng.integers(0, 2):
        arrays += first_states(rng, kind, options, 4)
    modules, leaves = layers(kind, options, "float64"), both(arrays, "float64")
    results = []
    for m, lib, given in zip(modules, (rushlight, torch), leaves, strict=True):
        tools = lib.nn.utils.rnn
        packed = tools.pack_padded_sequence(given[0], lib.tensor(lengths.tolist()), enforce_sorted=ordered)
        out, last = m(packed, hx_of(kind, given[1:]))
        results.append((tools.pad_packed_sequence(out), last))
    check(modules, leaves, results, "float64")


@needs_torch
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_dropout_between_layers_follows_pytorchs_stream(kind):
    options = {
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 3,
        "dropout": 0.4,
        "bidirectional": True,
        "batch_first": True,
    }
    modules, leaves = (
        layers(kind, options, "float32"),
        both([np.random.default_rng(1).standard_normal((2, 5, 3))], "float32"),
    )
    results = []
    for m, lib, given in zip(modules, (rushlight, torch), leaves, strict=True):
        lib.manual_seed(7)
        results.append(m(given[0]))
    check(modules, leaves, results, "float32")
    modules[0].eval(), modules[1].eval()
    np.testing.assert_allclose(
        modules[0](leaves[0][0])[0].detach().numpy(), modules[1](leaves[1][0])[0].detach().numpy(), 1e-5, 1e-6
    )


@needs_torch
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (3,)])
@pytest.mark.parametrize("given_state", [True, False])
def test_cells(kind, bias, shape, given_state):
    rng = np.random.default_rng(2)
    modules = layers(kind, {"input_size": 3, "hidden_size": 4, "bias": bias}, "float64")
    arrays = [rng.standard_normal(shape)]
    if given_state:
        arrays += [rng.standard_normal((*shape[:-1], 4)) for _ in range(2 if kind == "LSTMCell" else 1)]
    leaves = both(arrays, "float64")
    results = [
        m(given[0], hx_of("LSTM" if kind == "LSTMCell" else "", given[1:]))
        for m, given in zip(modules, leaves, strict=True)
    ]
    if not given_state:
        for m in modules:  # PyTorch gives the recurrent weight a zero gradient too
            m.weight_hh.grad = None
    check(modules, leaves, results, "float64")


@needs_torch
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_functions_of_the_top_namespace(kind):
    rng = np.random.default_rng(3)
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    arrays = [
        rng.standard_normal(s)
        for s in ((5, 2, 3), (1, 2, 4), (1, 2, 4), (gates * 4, 3), (gates * 4, 4), (gates * 4,), (gates * 4,))
    ]
    results = []
    for lib, given in zip((rushlight, torch), both(arrays, "float64"), strict=True):
        hx = (given[1], given[2]) if kind == "lstm" else given[1]
        whole = getattr(lib, kind)(given[0], hx, given[3:], True, 1, 0.0, False, False, False)
        state = tuple(s[0] for s in hx) if kind == "lstm" else hx[0]
        results.append((whole, getattr(lib, kind + "_cell")(given[0][0], state, *given[3:])))
    for a, b in zip(*map(tensors_of, results), strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), 1e-9, 1e-11)


@needs_torch
def test_half_precision():
    for dtype in ("float16", "bfloat16"):
        modules, leaves = (
            layers("LSTM", {"input_size": 3, "hidden_size": 4}, dtype),
            both([np.random.default_rng(4).standard_normal((4, 2, 3))], dtype),
        )
        a, b = (m(given[0])[0] for m, given in zip(modules, leaves, strict=True))
        assert a.dtype is getattr(rushlight, dtype)
        np.testing.assert_allclose(numbers(a), numbers(b), 0.05, 0.02)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {"proj_size": 2}),
        ("LSTM", {"bidirectional": True}),
        ("GRU", {}),
        ("RNN", {}),
        ("RNN", {"nonlinearity": "relu"}),
    ],
)
def test_second_derivatives(kind, options):
    m = getattr(nn, kind)(1, 2 if "proj_size" not in options else 3, **options).double()
    x = rushlight.randn(2, 2, 1, dtype=rushlight.float64, requires_grad=True)

    def compute(x, *weights):  # the leaves are the layer's own, changed in place by the check
        return m(x)[0]

    assert rushlight.autograd.gradcheck(compute, (x, *m.parameters()))
    assert rushlight.autograd.gradgradcheck(compute, (x, *m.parameters()))


def test_packed_equals_one_by_one():
    m = nn.GRU(3, 4, bidirectional=True)
    sequences = [rushlight.randn(n, 3) for n in (5, 2, 3)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    out, last = m(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(out)
    for i, s in enumerate(sequences):
        alone, h = m(s)
        np.testing.assert_allclose(padded[: len(s), i].detach().numpy(), alone.detach().numpy(), 1e-5, 1e-6)
        np.testing.assert_allclose(last[:, i].detach().numpy(), h.detach().numpy(), 1e-5, 1e-6)


def filled(m):
    """Weights that are sines of their positions."""
    with rushlight.no_grad():
        for k, p in enumerate(m.parameters()):
            p.copy_(rushlight.sin(rushlight.arange(p.numel(), dtype=rushlight.float32) + k).reshape(p.shape) * 0.5)
    return m


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("LSTM", [0.210396, 0.133868]), ("GRU", [0.109572, 0.369974]), ("RNN", [0.851467, -0.539226])],
)
def test_known_values(kind, expected):
    out, _ = filled(getattr(nn, kind)(3, 2))(rushlight.cos(rushlight.arange(24.0)).reshape(4, 2, 3))
    np.testing.assert_allclose(out[-1, 0].detach().numpy(), expected, atol=2e-5)


def test_a_reversed_run_equals_running_the_reversed_sequence():
    m = nn.LSTM(3, 4, bidirectional=True)
    single = nn.LSTM(3, 4)
    with rushlight.no_grad():
        for name, p in single.named_parameters():
            p.copy_(getattr(m, name + "_reverse"))
    x = rushlight.randn(5, 2, 3)
    both_ways = m(x)[0][..., 4:]
    alone = single(x.flip(0))[0].flip(0)
    np.testing.assert_allclose(both_ways.detach().numpy(), alone.detach().numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize("sizes", [[40, 80, 120, 160], [200, -40, 240], [40, 0, 360], [200, 100], []])
def test_batch_sizes_that_cannot_be(sizes):
    rows = rushlight.randn(400, 64, requires_grad=True)
    packed = rushlight.nn.utils.rnn.PackedSequence(rows, rushlight.tensor(sizes, dtype=rushlight.int64))
    with pytest.raises((RuntimeError, IndexError), match=r"batch_sizes of a packed sequence|out of bounds"):
        rushlight.nn.LSTM(64, 64)(packed)


WEIGHTS = [(256, 64), (256, 64), (256,), (256,)]


@pytest.mark.parametrize(
    ("x", "h", "c", "weights", "what"),
    [
        ((20, 40, 64), (1, 20, 64), (1, 40, 64), WEIGHTS, "hidden state"),
        ((20, 40, 64), (1, 40, 64), (1, 20, 64), WEIGHTS, "cell state"),
        ((20, 40, 60), (1, 40, 64), (1, 40, 64), WEIGHTS, "weight of the inputs"),
        ((20, 40, 64), (1, 40, 64), (1, 40, 64), [*WEIGHTS[:2], (250,), (256,)], "bias of the inputs"),
        ((20, 40, 64), (1, 40, 64), (1, 40, 64), [(256, 64), (256, 60), (256,), (256,)], "weight of the state"),
    ],
)
def test_weights_and_states_that_do_not_fit(x, h, c, weights, what):
    state = rushlight.zeros(h), rushlight.zeros(c)
    with pytest.raises(RuntimeError, match=f"Expected the {what} of a recurrent layer to be"):
        rushlight.lstm(
            rushlight.randn(x), state, [rushlight.randn(w) for w in weights], True, 1, 0.0, True, False, False
        )
