"""Kernels of recurrent layers against the bodies of the ops, and whole layers compiled and at eager sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.backends import threads
from rushlight.compiler import eager, program, target
from rushlight.compiler.access import resolve
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Call, Graph
from rushlight.compiler.interpret import run_call
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.kernels import recurrent_lowering
from rushlight.compiler.schedule import schedule
from rushlight.ops import native, rnn, rnn_packed
from rushlight.spec import Spec
from tests.compiler.buffers import run_fenced
from tests.compiler.steps import check

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")

KINDS = ("lstm", "gru", "tanh", "relu")
F32, F64 = np.float32, np.float64

# steps, batch, input size, features: around the widths of vectors and blocks, and one of everything
SIZES = [
    (3, 5, 7, 9), (1, 1, 3, 2), (4, 17, 5, 33), (2, 32, 6, 30),
    (3, 16, 4, 7), (2, 3, 1, 1), (1, 9, 2, 58), (2, 8, 3, 16),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _any_size(monkeypatch):
    monkeypatch.setattr(recurrent_lowering, "FEWEST", 1)


def call_of(name: str, arrays: list[Any], params: dict[str, Any], ops: Any = rnn) -> tuple[Call, dict[Any, Any]]:
    """A graph's call on arrays (None where an operand is absent), and the arrays by value."""
    graph, known, values = Graph(), {}, []
    for a in arrays:
        strides = None if a is None or a.flags.c_contiguous else a.strides
        values.append(None if a is None else graph.input(Spec(a.shape, a.dtype), strides=strides))
        if a is not None:
            known[values[-1]] = a
    graph.call(getattr(ops, name), tuple(values), params)
    return graph.calls[0], known


def assert_close(found: Any, right: Any) -> None:
    """Equal but for rounding."""
    tolerance = (2e-5 if right.dtype == F32 else 1e-12) * max(1.0, float(np.abs(right).max()))
    np.testing.assert_allclose(found, right.reshape(found.shape), rtol=0, atol=tolerance)


def compare(name: str, arrays: list[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    """Fails unless the kernels of an op give what its body gives, which is returned."""
    call, known = call_of(name, arrays, params)
    given = dict(known)
    kernels = recurrent_lowering.SEEDS[name](call, resolve)
    assert kernels is not None
    run_fenced(kernels, known)
    expected = run_call(call, lambda v: given[v])
    for value, right in zip(call.results, expected, strict=True):
        assert_close(known[value], right)
    again = dict(given)
    run_fenced(kernels, again, seed=1)
    assert all(again[v].tobytes() == known[v].tobytes() for v in call.results)
    return expected


def compare_program(name: str, arrays: list[Any], params: dict[str, Any], guard: str = "after") -> tuple[Any, ...]:
    """The same for a planned program, with pages around each array that nobody may touch."""
    call, known = call_of(name, arrays, params)
    graph = Graph(list(known), [call], list(call.results))
    steps = schedule(graph)
    assert not any(isinstance(s, HostCall) for s in steps)
    expected = run_call(call, lambda v: known[v])
    for found, right in zip(program.build(graph, steps, guard=guard)(*known.values()), expected, strict=True):
        assert_close(found, right)
    return expected


class Drawn:
    """Random operands of a layer."""

    def __init__(self, kind: str, sizes: tuple[int, ...], dtype: Any, seed: int = 0) -> None:
        self.random, self.dtype = np.random.default_rng(seed), dtype
        steps, batch, inputs, features = sizes
        rows = {"lstm": 4, "gru": 3}.get(kind, 1) * features
        self.state = (batch, features)
        self.out = (steps, batch, features)
        self.x = self((steps, batch, inputs))
        self.weights = self((rows, inputs)), self((rows, features))
        self.biases = self((rows,)), self((rows,))

    def __call__(self, shape: tuple[int, ...]) -> Any:
        return (self.random.standard_normal(shape) * 0.5).astype(self.dtype)


def both_ways(
    kind: str, d: Drawn, reverse: bool, *, biased: bool = True, layout: Any = lambda a: a, compare: Any = compare,
    sizes: tuple[int, ...] = (),
) -> None:  # fmt: skip
    """Compare a layer and its gradient; `layout` lays out [steps, batch, features] and [batch, features].

    `sizes` are those of packed sequences.
    """
    params: dict[str, Any] = {"sizes": sizes or (d.out[1],) * d.out[0], "reverse": reverse}
    if sizes:
        d.out, d.x = (sum(sizes), d.out[2]), d((sum(sizes), d.x.shape[2]))
    states = [layout(d(d.state)) for _ in range(2 if kind == "lstm" else 1)]
    biases = d.biases if biased else (None, None)
    operands = [layout(d.x), *states, *map(layout, d.weights), *biases]
    grads = [layout(d(d.out)), *(layout(d(d.state)) for _ in states)]
    weight = layout(d.weights[1])
    if kind == "lstm":
        out = compare("lstm_layer", [*operands, None], params)
        compare("lstm_gate_grads", [*grads, states[1], weight, None, *out[3:]], params)
    elif kind == "gru":
        out = compare("gru_layer", operands, params)
        compare("gru_gate_grads", [*grads, states[0], weight, out[0], out[2]], params)
    else:
        params["use_relu"] = kind == "relu"
        out = compare("rnn_layer", operands, params)
        compare("rnn_gate_grads", [*grads, weight, out[0]], params)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind, sizes):
    both_ways(kind, Drawn(kind, sizes, F32), reverse=False)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_and_direction(kind, reverse):
    both_ways(kind, Drawn(kind, (4, 11, 3, 19), F64), reverse, biased=not reverse)


def test_reverse_single_precision():
    both_ways("lstm", Drawn("lstm", (5, 20, 6, 31), F32), reverse=True)


# batches that fall within a chunk, at its end, by whole chunks, and not at all
FALLING = [(5, 5, 3, 2, 2, 1), (17, 16, 16, 15, 4, 1, 1), (40, 33, 32, 31, 20, 16, 15, 8, 1), (3, 3)]


@pytest.mark.parametrize("sizes", FALLING)
@pytest.mark.parametrize("kind", KINDS)
def test_packed(kind, sizes):
    for reverse, features, guard in ((False, 9, "after"), (True, 33, "before"), (True, 16, "after")):
        d = Drawn(kind, (len(sizes), sizes[0], 5, features), F64 if features == 16 else F32)
        both_ways(kind, d, reverse, sizes=sizes, compare=lambda *a, g=guard: compare_program(*a, guard=g))


def batch_first(a: Any) -> Any:
    """[steps, batch, features] as a view of [batch, steps, features]; states as they are."""
    return np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) if a.ndim == 3 else a


def fortran(a: Any) -> Any:
    """Features far apart, samples side by side."""
    return np.asfortranarray(a.swapaxes(0, -1)).swapaxes(0, -1) if a.ndim == 3 else np.asfortranarray(a)


def spread(a: Any) -> Any:
    """Every second feature of a wider array."""
    return np.repeat(a, 2, -1)[..., ::2]


@pytest.mark.parametrize("layout", [batch_first, fortran])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_layouts(kind, layout):
    both_ways(kind, Drawn(kind, (3, 18, 5, 21), F32), reverse=True, layout=layout)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_layouts_with_gaps(kind):
    both_ways(kind, Drawn(kind, (3, 18, 5, 21), F32), reverse=False, layout=spread, compare=compare_program)


def test_expanded_gradient():
    d = Drawn("lstm", (3, 6, 4, 10), F32)
    one = np.broadcast_to(np.ones((), F32), d.out)
    params = {"sizes": (6,) * 3, "reverse": False}
    out = compare("lstm_layer", [d.x, d(d.state), d(d.state), *d.weights, *d.biases, None], params)
    states = [np.broadcast_to(np.zeros((), F32), d.state)] * 2
    compare_program("lstm_gate_grads", [one, *states, d(d.state), d.weights[1], None, *out[3:]], params)


def test_narrow_vectors():
    for host in target.narrower():
        with target.use(host):
            for kind in ("lstm", "gru", "relu"):
                both_ways(kind, Drawn(kind, (2, 10, 3, 14), F32), reverse=False)


def test_nan_and_infinity_pass_through():
    d = Drawn("relu", (3, 4, 2, 5), F32)
    d.x[1, 2, 0] = np.nan
    d.x[0, 1, 1] = np.inf
    call, known = call_of("rnn_layer", [d.x, d(d.state), *d.weights, *d.biases],
                          {"sizes": (4,) * 3, "reverse": False, "use_relu": True})  # fmt: skip
    expected = run_call(call, lambda v: known[v])
    run_fenced(recurrent_lowering.SEEDS["rnn_layer"](call, resolve), known)
    np.testing.assert_array_equal(np.isnan(known[call.results[0]]), np.isnan(expected[0]))


def test_same_bits_for_any_number_of_threads():
    d = Drawn("lstm", (6, 40, 5, 37), F32)
    arrays = [d.x, d(d.state), d(d.state), *d.weights, *d.biases]
    graph = Graph()
    values = [graph.input(Spec(a.shape, a.dtype)) for a in arrays]
    graph.outputs = list(graph.call(rnn.lstm_layer, (*values, None), {"sizes": (40,) * 6, "reverse": False}))
    steps = schedule(graph)
    assert not any(isinstance(s, HostCall) for s in steps)
    found, before = [], threads.get_num_threads()
    try:
        for n in (1, 2, 3):
            threads.set_num_threads(n)
            found.append(b"".join(a.tobytes() for a in program.build(graph, steps)(*arrays)))
    finally:
        threads.set_num_threads(before)
    assert len(set(found)) == 1


@pytest.mark.parametrize("guard", ["after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_access_outside(kind, guard):
    def guarded(*given: Any) -> Any:
        return compare_program(*given, guard=guard)

    both_ways(kind, Drawn(kind, (3, 21, 5, 13), F32), reverse=False, compare=guarded)


# Whole layers


def training(make: Any, shape: tuple[int, ...]) -> Any:
    """A step of a layer with everything that has a gradient."""

    def build() -> Any:
        net = make()
        x = torch.randn(shape).requires_grad_()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def step() -> Any:
            optimizer.zero_grad()
            out, last = net(x)
            ends = last if isinstance(last, tuple) else (last,)
            loss = (out * out).mean() + sum(s.sin().mean() for s in ends)
            loss.backward()
            optimizer.step()
            return loss, x.grad.clone()

        return step, net

    return build


LAYERS = {
    "lstm": lambda: torch.nn.LSTM(6, 10, batch_first=True),
    "lstm_stack": lambda: torch.nn.LSTM(6, 10, num_layers=2, bidirectional=True),
    "lstm_projected": lambda: torch.nn.LSTM(6, 10, proj_size=4),
    "gru": lambda: torch.nn.GRU(6, 10, num_layers=2, bidirectional=True, batch_first=True),
    "rnn": lambda: torch.nn.RNN(6, 10, nonlinearity="relu", bias=False),
    "rnn_tanh": lambda: torch.nn.RNN(6, 10, bidirectional=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_training_step(name):
    fn = check(training(LAYERS[name], (5, 7, 6)), calls=3)
    hosts = [s.call.op.name for t in fn.traces for s in t.steps if isinstance(s, HostCall)]
    if name != "lstm_projected":
        assert not [h for h in hosts if "layer" in h or "gate" in h], hosts


def test_compiled_packed_sequences():
    def build() -> Any:
        net = torch.nn.LSTM(3, 5)
        x = torch.randn(4, 3, 3)

        def step() -> Any:
            net.zero_grad()
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, [4, 2, 1])
            net(packed)[0].data.pow(2).sum().backward()
            return [p.grad.clone() for p in net.parameters()]

        return step, net

    check(build, calls=2)


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN"])
def test_eager_layers_of_some_size_run_natively(mode, monkeypatch):
    torch.manual_seed(0)
    net = getattr(torch.nn, mode)(40, 96)
    x = torch.randn(9, 32, 40)

    def gradients() -> list[Any]:
        net.zero_grad()
        net(x)[0].pow(2).sum().backward()
        return [p.grad.numpy().copy() for p in net.parameters()]

    eager._programs.clear()
    eager._counts.clear()
    fast = gradients()
    made = {key[0][:2] for key, found in eager._programs.items() if found is not None}
    assert (f"{mode.lower()}_gate_grads", (32,) * 9) in made
    assert any(name == f"{mode.lower()}_layer" for name, _ in made)
    monkeypatch.setattr(native, "run", lambda *_: native.MISSING)
    for a, b in zip(fast, gradients(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * float(np.abs(b).max()))


def packed_gradients(mode: str, lengths: list[int], dtype: Any) -> list[Any]:
    """Outputs, last states and gradients of a layer over sequences of some lengths."""
    torch.manual_seed(0)
    net = getattr(torch.nn, mode)(24, 48, bidirectional=True).to(dtype)
    x = torch.randn(lengths[0], len(lengths), 24, dtype=dtype, requires_grad=True)
    out, last = net(torch.nn.utils.rnn.pack_padded_sequence(x, lengths))
    ends = last if isinstance(last, tuple) else (last,)
    ((out.data**2).sum() + sum(s.sin().sum() for s in ends)).backward()
    return [t.detach().float().numpy() for t in (out.data, *ends, x.grad, *(p.grad for p in net.parameters()))]


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN"])
def test_packed_layers_of_all_lengths_share_kernels(mode, monkeypatch):
    eager._programs.clear()
    eager._counts.clear()
    batches = [sorted((50 - (7 * k * i) % 31 for i in range(19)), reverse=True) for k in (1, 2, 3)]
    found = [packed_gradients(mode, lengths, torch.float32) for lengths in batches]
    made = [key[0] for key, native in eager._programs.items() if native is not None and "packed" in str(key[0])]
    assert len({sum(lengths) for lengths in batches}) > 1
    assert len(made) == 4, made
    monkeypatch.setattr(native, "run", lambda *_: native.MISSING)
    for lengths, arrays in zip(batches, found, strict=True):
        for a, b in zip(arrays, packed_gradients(mode, lengths, torch.float32), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * float(np.abs(b).max()))


def test_packed_ops_on_arrays():
    sizes, room = (6, 4, 1), 17
    table = np.zeros((2, 4), np.int64)
    table[:, :3] = sizes, (0, 6, 10)
    for kind in KINDS:
        d = Drawn(kind, (3, 6, 4, 5), F32)
        gates = d.weights[1].shape[0]
        c0, g_c = (d(d.state), d(d.state)) if kind == "lstm" else (None, None)
        operands = [d((room, gates)), table, d(d.state), c0, d.weights[1], *d.biases]
        out = compare_used("packed_layer", operands, {"kind": kind, "reverse": True}, 11)
        kept = [out[0] if kind != "lstm" else None, out[-1 if kind == "gru" else 3] if gates > 5 else None]
        grads = [d((room, 5)), table, d(d.state), g_c, operands[2], c0, d.weights[1], *kept]
        compare_used("packed_gate_grads", [*grads, out[-1] if kind == "lstm" else None],
                     {"kind": kind, "reverse": True}, 11)  # fmt: skip


def compare_used(name: str, arrays: list[Any], params: dict[str, Any], used: int) -> tuple[Any, ...]:
    """`compare` of an op of `rnn_packed` where there are as many rows as `used`; what lies behind is left out."""
    call, known = call_of(name, arrays, params, rnn_packed)
    kernels = recurrent_lowering.SEEDS[name](call, resolve)
    given = dict(known)
    expected = run_call(call, lambda v: given[v])
    run_fenced(kernels, known)
    for value, right in zip(call.results, expected, strict=True):
        room, found = arrays[0].shape[0], known[value]
        if found.ndim == 1:
            found, right = (a[: a.size // room * used] for a in (found, right))
        elif room in found.shape:
            cut = (slice(used),) if found.shape[0] == room else (slice(None), slice(used))
            found, right = found[cut], right[cut]
        assert_close(found, right)
    return expected


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN"])
def test_half_precision_runs_in_single(mode):
    torch.manual_seed(0)
    net = getattr(torch.nn, mode)(24, 48).to(torch.bfloat16)
    x = torch.randn(9, 20, 24)
    out, _ = net(x.to(torch.bfloat16))
    wide, _ = net.float()(x.to(torch.bfloat16).float())
    assert out.dtype is torch.bfloat16
    np.testing.assert_allclose(out.float().detach().numpy(), wide.detach().numpy(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN"])
def test_gradients_of_gradients(mode):
    torch.manual_seed(0)
    net = getattr(torch.nn, mode)(2, 3).double()
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x)[0], (x,))


def test_many_lengths_of_dense_batches_share_kernels(monkeypatch):
    monkeypatch.setattr(eager, "MOST_LENGTHS", 2)
    eager._programs.clear()
    eager._counts.clear()
    torch.manual_seed(0)
    net = torch.nn.GRU(24, 48, batch_first=True)
    found = []
    for force in (False, True):
        if force:
            monkeypatch.setattr(native, "run", lambda *_: native.MISSING)
        for steps in range(40, 46):
            net.zero_grad()
            out, _ = net(torch.arange(9.0 * steps * 24).reshape(9, steps, 24).sin())
            out.pow(2).sum().backward()
            found.append([out.detach().numpy(), *(p.grad.numpy().copy() for p in net.parameters())])
    assert eager._counts["gru_layer"] == eager._counts["gru_gate_grads"] == 2
    assert eager._counts["packed_layer", "gru"] == eager._counts["packed_gate_grads", "gru"] == 2  # of 6 lengths
    for a, b in zip(found[:6], found[6:], strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=3e-5 * float(np.abs(y).max()))
