"""Graph calls of recurrent layers as kernels."""

from __future__ import annotations

from collections.abc import Callable

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.conv_lowering import Resolve, accesses
from rushlight.compiler.kernels.recurrent import forward_kernels
from rushlight.compiler.kernels.recurrent_code import Layer, layer
from rushlight.compiler.kernels.recurrent_grad import backward_kernels

# Steps times samples from which on it pays to bring the weight into the order of the blocks.
FEWEST = 33


def _layer(kind: str, x: Access, features: int, call: Call) -> Layer | None:
    """The layer, None for packed sequences and very few samples."""
    if len(x.shape) != 3 or x.shape[0] * x.shape[1] < FEWEST:
        return None
    return layer(kind, *x.shape[:2], features, call.params["reverse"], x.dtype)


def _kind(call: Call) -> str:
    return "relu" if call.params["use_relu"] else "tanh"


def _forward(kind: str, call: Call, resolve: Resolve, states: int) -> list[Kernel] | None:
    found = accesses(call.operands[: 5 + states], resolve)
    if found is None:
        return None
    x, *rest = found
    before, (w_ih, w_hh, *biases) = [a for a in rest[:states] if a is not None], rest[states:]
    assert x is not None and w_ih is not None and w_hh is not None
    made = _layer(kind, x, w_hh.shape[1], call)
    if made is None:
        return None
    return forward_kernels(made, x, before, (w_ih, w_hh), biases, call.results, (call,))


def lstm(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`lstm_layer` without a projection."""
    return None if call.operands[7] is not None else _forward("lstm", call, resolve, 2)


def gru(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`gru_layer`."""
    return _forward("gru", call, resolve, 1)


def rnn(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`rnn_layer`."""
    return _forward(_kind(call), call, resolve, 1)


def _backward(kind: str, call: Call, resolve: Resolve, names: tuple[str, ...]) -> list[Kernel] | None:
    found = accesses(call.operands, resolve)
    if found is None:
        return None
    given = {name: a for name, a in zip(names, found, strict=True) if a is not None}
    g_out, weight = given.pop("g_out"), given.pop("weight")
    g_states = [given.pop(name) for name in ("g_state", "g_cell") if name in given]
    made = _layer(kind, g_out, weight.shape[1], call)
    if made is None or any(not given[n].is_contiguous for n in ("gates", "cells") if n in given):
        return None
    return backward_kernels(made, g_out, g_states, weight, given, call.results, (call,))


def lstm_gradient(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`lstm_gate_grads` without a projection."""
    names = ("g_out", "g_state", "g_cell", "cell", "weight", "projection", "gates", "cells")
    return None if call.operands[5] is not None else _backward("lstm", call, resolve, names)


def gru_gradient(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`gru_gate_grads`."""
    return _backward("gru", call, resolve, ("g_out", "g_state", "state", "weight", "out", "gates"))


def rnn_gradient(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`rnn_gate_grads`."""
    return _backward(_kind(call), call, resolve, ("g_out", "g_state", "weight", "out"))


SEEDS: dict[str, Callable[[Call, Resolve], list[Kernel] | None]] = {
    "lstm_layer": lstm, "gru_layer": gru, "rnn_layer": rnn,
    "lstm_gate_grads": lstm_gradient, "gru_gate_grads": gru_gradient, "rnn_gate_grads": rnn_gradient,
}  # fmt: skip
"""Op name to what makes its kernels."""
