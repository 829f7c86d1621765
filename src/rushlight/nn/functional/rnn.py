"""Stacks of recurrent layers, and single recurrent steps, on given weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rushlight.dtypes import float32
from rushlight.errors import ShapeError, explain
from rushlight.functions import arithmetic as A
from rushlight.functions.shape import cat, chunk, stack, transpose, unbind
from rushlight.modes import ACTIVE, state
from rushlight.nn.functional.activation import relu
from rushlight.nn.functional.dense import linear
from rushlight.nn.functional.dropping import dropout
from rushlight.ops import rnn as ops
from rushlight.tape import Variable, record

Sizes = tuple[int, ...]


GATES = {"LSTM": 4, "GRU": 3}


def _check_layer(mode: str, x: Any, states: Sequence[Any], weights: Sequence[Any], batch: int) -> None:
    """Raise unless shapes fit one another: kernels go by those of the weights and of the first step."""
    w_ih, w_hh, b_ih, b_hh, w_hr = (None if w is None else tuple(w.shape) for w in weights)
    rows, out = w_hh if w_hh is not None and len(w_hh) == 2 else (0, 0)
    hidden = rows // GATES.get(mode, 1)
    wanted = [
        ("weight of the inputs", w_ih, (rows, x.shape[-1])),
        ("weight of the state", w_hh, (hidden * GATES.get(mode, 1), out if w_hr is not None else hidden)),
        ("bias of the inputs", b_ih, (rows,)),
        ("bias of the state", b_hh, (rows,)),
        ("weight of the projection", w_hr, (out, hidden)),
        ("hidden state", tuple(states[0].shape), (batch, out)),
        ("cell state", tuple(states[-1].shape), (batch, hidden if mode == "LSTM" else out)),
    ]
    for what, shape, expected in wanted:
        if shape is not None and shape != expected:
            raise explain(
                ShapeError(f"Expected the {what} of a recurrent layer to be {list(expected)}, got {list(shape)}"),
                received=f"input {list(x.shape)}, weights {w_ih} and {w_hh}",
            )


def _one_layer(mode: str, x: Any, states: Sequence[Any], weights: Sequence[Any], sizes: Sizes, reverse: bool) -> Any:
    """Outputs and last states of one layer in one direction; `weights` are w_ih, w_hh, b_ih, b_hh, w_hr."""
    _check_layer(mode, x, states, weights, sizes[0])
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    params: dict[str, Any] = {"sizes": sizes, "reverse": reverse}
    if mode == "LSTM":
        out = record(ops.lstm_layer, (x, states[0], states[1], w_ih, w_hh, b_ih, b_hh, w_hr), params)
        return out[0], out[1:3]
    operands = (x, states[0], w_ih, w_hh, b_ih, b_hh)
    if mode == "GRU":
        out = record(ops.gru_layer, operands, params)
    else:
        out = record(ops.rnn_layer, operands, {**params, "use_relu": mode == "RNN_RELU"})
    return out[0], out[1:2]


def _check_packed(sizes: Sizes, rows: int) -> None:
    """Raise unless packed rows can have these batch sizes: kernels go by them."""
    if sum(sizes) != rows or sizes[-1] < 1 or any(a < b for a, b in pairwise(sizes)):
        raise explain(
            ShapeError(f"batch_sizes of a packed sequence must be positive, fall, and add up to its {rows} rows"),
            received=f"batch_sizes {list(sizes)}, which add up to {sum(sizes)}",
            fix="torch.nn.utils.rnn.pack_padded_sequence makes a packed sequence from lengths",
        )


def run_layers(
    mode: str, x: Any, states: Sequence[Any], weights: Sequence[Sequence[Any]], sizes: Sizes, p: float, training: bool,
    bidirectional: bool,
) -> tuple[Any, tuple[Any, ...]]:  # fmt: skip
    """All layers over a whole sequence.

    Parameters
    ----------
    mode : {"LSTM", "GRU", "RNN_TANH", "RNN_RELU"}
    x : Tensor[steps, batch, size], or the rows of packed sequences
    states : sequence of Tensor[layers * directions, batch, size]
        First states: h, and c for "LSTM".
    weights : sequence of (w_ih, w_hh, b_ih, b_hh, w_hr)
        For each layer and direction, None for those that are not there.
    sizes : tuple of int
        Batch size of each step.
    p : float
        Probability of dropping outputs between layers when training.

    Returns
    -------
    outputs, last states
    """
    if ACTIVE and state.autocast is not None:
        # PyTorch's GRU has no lower form: its gates are computed so, and added to a state of the input's dtype.
        policy = "float32" if mode == "GRU" and x.dtype is float32 else "lower"
        given = (mode, x, states, weights, sizes, p, training, bidirectional)
        return state.autocast.call(policy, run_layers, given, {})
    if x.dim() == 2:
        _check_packed(sizes, x.size(0))
    directions = 2 if bidirectional else 1
    first = [unbind(s, 0) for s in states]
    last: list[list[Any]] = [[] for _ in states]
    for layer in range(len(weights) // directions):
        outputs = []
        for direction in range(directions):
            i = layer * directions + direction
            out, ends = _one_layer(mode, x, [s[i] for s in first], weights[i], sizes, direction == 1)
            outputs.append(out)
            for kept, end in zip(last, ends, strict=True):
                kept.append(end)
        x = outputs[0] if directions == 1 else cat(outputs, -1)
        if p and training and (layer + 1) * directions < len(weights):
            x = dropout(x, p, True)
    return x, tuple(stack(kept, 0) for kept in last)


def _grouped(params: Sequence[Any], has_biases: bool, projected: bool) -> list[tuple[Any, ...]]:
    """The flat list of weights, by layer and direction."""
    count = 2 + 2 * has_biases + projected
    groups = []
    for i in range(0, len(params), count):
        part = list(params[i : i + count])
        w_hr = part.pop() if projected else None
        b_ih, b_hh = part[2:4] if has_biases else (None, None)
        groups.append((part[0], part[1], b_ih, b_hh, w_hr))
    return groups


def _whole(
    mode: str, input: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, p: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Any, tuple[Any, ...]]:  # fmt: skip
    states = tuple(hx) if mode == "LSTM" else (hx,)
    x = transpose(input, 0, 1) if batch_first else input
    steps, batch = x._data.shape[:2]
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    projected = mode == "LSTM" and states[0]._data.shape[2] != states[1]._data.shape[2]
    weights = _grouped(params, has_biases, projected)
    out, last = run_layers(mode, x, states, weights, (batch,) * steps, p, train, bidirectional)
    return (transpose(out, 0, 1) if batch_first else out), last


def lstm(
    input: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Long short-term memory on given weights: outputs, last h, last c."""
    out, (h, c) = _whole("LSTM", input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return out, h, c


def _plain(mode: str) -> Any:
    def function(
        input: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        out, last = _whole(mode, input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
        return out, last[0]

    function.__name__ = function.__qualname__ = mode.lower()
    function.__doc__ = f"Recurrent layers of mode {mode} on given weights: outputs and last states."
    return function


gru, rnn_tanh, rnn_relu = map(_plain, ("GRU", "RNN_TANH", "RNN_RELU"))


# Single steps


def _check_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, which: int = 0) -> None:
    x, h = input._data.shape, hx._data.shape
    if x[-1] != w_ih._data.shape[1]:
        raise explain(
            ShapeError(f"input has inconsistent input_size: got {x[-1]} expected {w_ih._data.shape[1]}"),
            expected=f"input [batch, {w_ih._data.shape[1]}]",
            received=tuple(x),
        )
    if len(x) == 1 and len(h) == 2:
        raise ShapeError(f"hidden{which} has inconsistent hidden_size: got {h[0]}, expected {w_hh._data.shape[1]}")
    if h[-1] != w_hh._data.shape[1]:
        raise ShapeError(f"hidden{which} has inconsistent hidden_size: got {h[-1]}, expected {w_hh._data.shape[1]}")
    if len(x) == 2 and x[0] != h[0]:
        raise ShapeError(f"Input batch size {x[0]} doesn't match hidden{which} batch size {h[0]}")


def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> tuple[Any, Any]:
    """One step of long short-term memory: the new h and c."""
    if isinstance(hx, Variable):
        raise TypeError("lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor")
    h, c = hx
    _check_cell(input, h, w_ih, w_hh)
    gates = linear(input, w_ih, b_ih) + linear(h, w_hh, b_hh)
    i, f, g, o = chunk(gates, 4, -1)
    c = A.sigmoid(f) * c + A.sigmoid(i) * A.tanh(g)
    return A.sigmoid(o) * A.tanh(c), c


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a gated recurrent unit: the new h."""
    _check_cell(input, hx, w_ih, w_hh)
    x_r, x_z, x_n = chunk(linear(input, w_ih, b_ih), 3, -1)
    h_r, h_z, h_n = chunk(linear(hx, w_hh, b_hh), 3, -1)
    r, z = A.sigmoid(x_r + h_r), A.sigmoid(x_z + h_z)
    n = A.tanh(x_n + r * h_n)
    return (hx - n) * z + n


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """tanh of one recurrent step."""
    _check_cell(input, hx, w_ih, w_hh)
    return A.tanh(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """relu of one recurrent step."""
    _check_cell(input, hx, w_ih, w_hh)
    return relu(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))
