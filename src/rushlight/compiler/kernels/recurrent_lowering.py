"""Graph calls of recurrent layers as kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rushlight.compiler.access import Access, whole
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.conv_lowering import Resolve, accesses
from rushlight.compiler.kernels.recurrent import forward_kernels, recurrence_kernels
from rushlight.compiler.kernels.recurrent_code import Layer, layer
from rushlight.compiler.kernels.recurrent_grad import backward_kernels
from rushlight.spec import Spec

# Steps times samples from which on it pays to bring the weight into the order of the blocks.
FEWEST = 33
I64 = np.dtype(np.int64)


def _layer(kind: str, x: Access, features: int, call: Call) -> tuple[Layer, Access | None] | None:
    """The layer, and the table of packed sequences; None for very few samples."""
    rows = math.prod(x.shape[:-1])
    if rows < FEWEST or x.dtype.itemsize < 4:
        return None
    sizes, reverse = call.params["sizes"], call.params["reverse"]
    if len(x.shape) == 3:
        return layer(kind, *x.shape[:2], features, reverse, x.dtype), None
    table = Value(Spec((2, len(sizes)), I64), data=np.array([sizes, np.cumsum((0, *sizes[:-1]))]), name="step sizes")
    return layer(kind, len(sizes), sizes[0], features, reverse, x.dtype, rows), whole(table)


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
    return forward_kernels(made[0], x, before, (w_ih, w_hh), biases, call.results, (call,), made[1])


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
    return backward_kernels(made[0], g_out, g_states, weight, given, call.results, (call,), made[1])


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


# Packed sequences whose sizes are data


def packed_layer(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`packed_layer`."""
    found, table = _beside_table(call, resolve)
    if found is None or table is None:
        return None
    share, h0, c0, w_hh, *biases = found
    assert share is not None and h0 is not None and w_hh is not None
    states = [h0] if c0 is None else [h0, c0]
    made = _of_table(call, table, h0, share)
    return recurrence_kernels(made, share, states, w_hh, biases, call.results, (call,), table)


def packed_gradient(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`packed_gate_grads`."""
    found, table = _beside_table(call, resolve)
    if found is None or table is None:
        return None
    g_out, g_state, g_cell, state, cell, weight, out, gates, cells = found
    assert g_out is not None and g_state is not None and weight is not None
    states = [g_state] if g_cell is None else [g_state, g_cell]
    kept = {"cell": cell, "state": state, "out": out, "gates": gates, "cells": cells}
    given = {name: a for name, a in kept.items() if a is not None}
    made = _of_table(call, table, g_state, g_out)
    return backward_kernels(made, g_out, states, weight, given, call.results, (call,), table)


def _beside_table(call: Call, resolve: Resolve) -> tuple[list[Access | None] | None, Access | None]:
    """The operands but the second, and that one, the table."""
    first, table, *others = call.operands
    return accesses((first, *others), resolve), resolve(table)


def _of_table(call: Call, table: Access, state: Access, rows: Access) -> Layer:
    kind, reverse = call.params["kind"], call.params["reverse"]
    batch, features = state.shape
    return layer(kind, table.shape[1], batch, features, reverse, state.dtype, rows.shape[0])


SEEDS: dict[str, Callable[[Call, Resolve], list[Kernel] | None]] = {
    "lstm_layer": lstm, "gru_layer": gru, "rnn_layer": rnn,
    "packed_layer": packed_layer, "packed_gate_grads": packed_gradient,
    "lstm_gate_grads": lstm_gradient, "gru_gate_grads": gru_gradient, "rnn_gate_grads": rnn_gradient,
}  # fmt: skip
"""Op name to what makes its kernels."""
