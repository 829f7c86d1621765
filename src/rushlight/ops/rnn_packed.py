"""Recurrences over rows, step after step, with the sizes of the steps as data: one kernel serves all lengths.

The sizes of the steps and their first rows lie in a table [2, room]; rows lie in buffers that have room for more, so
that few kernels serve all batches. The layers of `rnn.py` use these ops for packed sequences, and for dense batches of
more different lengths than are worth a kernel of their own.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from rushlight.backends import numpy_rnn as kernel
from rushlight.ops import native
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

Sizes = tuple[int, ...]
# Least number of the inputs' shares of the gates: with fewer, the calls around the kernels cost more than they save.
FLOOR = 1 << 15
LINE = 16


def _room(rows: int) -> int:
    """Rows to make room for: a quarter of a power of two more at most, an odd number of cache lines of float32."""
    step = max(LINE, 1 << max(rows.bit_length() - 3, 0))
    return (-(-rows // step) * step) | LINE


@functools.lru_cache(maxsize=16)
def _table(sizes: Sizes, room: int) -> Any:
    table = np.zeros((2, room), np.int64)
    table[0, : len(sizes)] = sizes
    np.cumsum(sizes[:-1], out=table[1, 1 : len(sizes)])
    return table


def _with_room(rows: Any, room: int) -> Any:
    out = np.empty((room, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


def _sizes(table: Any) -> Sizes:
    return tuple(table[0][table[0] > 0].tolist())


def _layer_spec(
    share: Spec, table: Spec, h0: Spec, c0: Spec | None, w_hh: Spec, b_ih: Spec | None, b_hh: Spec | None, kind: str,
    reverse: bool,
) -> tuple[Spec, ...]:  # fmt: skip
    rows, size = share.shape[0], h0.shape[1]
    out, gates = Spec((rows, size), share.dtype), Spec((4 * size * rows,), share.dtype)
    if kind == "lstm":
        return out, h0, h0, gates, Spec((size * rows,), share.dtype)
    return (out, h0, gates) if kind == "gru" else (out, h0)


@opaque(spec=_layer_spec)
def packed_layer(
    xp: Any, share: Array, table: Array, h0: Array, c0: Array | None, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, kind: str, reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """A layer of a kind ("lstm", "gru", "tanh", "relu") from the inputs' share [room, gates] of the sums; results as
    the layer's op has them, with room behind."""
    sizes = _sizes(table)
    rows = sum(sizes)
    given = share[:rows], h0, np.eye(share.shape[1], dtype=share.dtype), w_hh, b_ih, b_hh
    how: dict[str, Any] = {"sizes": sizes, "reverse": reverse}
    if kind == "lstm":
        made: tuple[Any, ...] = kernel.lstm_forward(*given[:2], c0, *given[2:], None, **how)
    elif kind == "gru":
        made = kernel.gru_forward(*given, **how)
    else:
        made = kernel.rnn_forward(*given, **how, relu=kind == "relu")
    room, behind = share.shape[0], share.shape[0] - rows
    return (
        _with_room(made[0], room),
        *(a if a.ndim == 2 else np.concatenate((a, np.zeros(a.size // rows * behind, a.dtype))) for a in made[1:]),
    )


def _grads_spec(
    g_out: Spec, table: Spec, g_h: Spec, g_c: Spec | None, h0: Spec | None, c0: Spec | None, w_hh: Spec,
    out: Spec | None, gates: Spec | None, cells: Spec | None, kind: str, reverse: bool,
) -> tuple[Spec, ...]:  # fmt: skip
    made = Spec((w_hh.shape[0], g_out.shape[0]), g_out.dtype)
    if kind == "lstm":
        return made, g_h, g_h
    return (made, made, g_h) if kind == "gru" else (made, g_h)


@opaque(spec=_grads_spec)
def packed_gate_grads(
    xp: Any, g_out: Array, table: Array, g_h: Array, g_c: Array | None, h0: Array | None, c0: Array | None,
    w_hh: Array, out: Array | None, gates: Array | None, cells: Array | None, kind: str, reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of the sums before the gates of such a layer, [gates, room], and of the first state and cell."""
    sizes = _sizes(table)
    rows = sum(sizes)
    how: dict[str, Any] = {"sizes": sizes, "reverse": reverse}
    used = None if out is None else out[:rows]
    if kind == "lstm":
        made = kernel.lstm_backward(g_out[:rows], g_h, g_c, c0, w_hh, None, gates=gates, cells=cells, **how)
    elif kind == "gru":
        made = kernel.gru_backward(g_out[:rows], g_h, h0, w_hh, used, gates=gates, **how)
    else:
        made = kernel.rnn_backward(g_out[:rows], g_h, w_hh, used, relu=kind == "relu", **how)
    room = ((0, 0), (0, g_out.shape[0] - rows))
    count = len(made) - (2 if kind == "lstm" else 1)
    return (*(np.pad(a, room) for a in made[:count]), *made[count:])


def _run(op: Any, arrays: tuple[Any, ...], kind: str, reverse: bool) -> Any:
    given = tuple([None if a is None else np.ascontiguousarray(a) for a in arrays])
    body = functools.partial(op, kind=kind, reverse=reverse)
    return native.run((op.name, kind, reverse), body, given, body)


def forward(
    kind: str, x: Any, states: tuple[Any, Any], weights: tuple[Any, ...], sizes: Sizes, reverse: bool
) -> tuple[Any, ...] | None:
    """The results of a layer's op on rows `x`, by kernels; None where they do not pay.

    `states` are the first state, and cell or None; `weights` those of inputs and state, then their biases. What is kept
    for the backward pass has room behind.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    rows = x.shape[0]
    if rows * w_hh.shape[0] < FLOOR or not native.is_on():
        return None
    room = _room(rows)
    share = np.empty((room, w_ih.shape[0]), x.dtype)
    np.dot(x, w_ih.T, out=share[:rows])
    made = _run(packed_layer, (share, _table(sizes, room), *states, w_hh, b_ih, b_hh), kind, reverse)
    return None if made is native.MISSING else (made[0][:rows].copy(), *made[1:])


def backward(
    kind: str, g_out: Any, g_states: tuple[Any, Any], states: tuple[Any, Any], w_hh: Any,
    kept: tuple[Any, Any, Any], sizes: Sizes, reverse: bool,
) -> tuple[Any, ...] | None:  # fmt: skip
    """The results of an op of gate gradients, by kernels; `kept` are outputs, gates and cells, None if not needed."""
    rows, (out, gates, cells) = g_out.shape[0], kept
    room, size = _room(rows), w_hh.shape[1]
    large = [(gates, 4 * size * room), (cells, size * room)]
    if rows * w_hh.shape[0] < FLOOR or any(a is not None and a.size != n for a, n in large):
        return None
    outputs = None if out is None else _with_room(out, room)
    given = _with_room(g_out, room), _table(sizes, room), *g_states, *states, w_hh, outputs, gates, cells
    made = _run(packed_gate_grads, given, kind, reverse)
    if made is native.MISSING:
        return None
    return tuple([a[:, :rows] if a.shape[1] == room and a.shape[0] == len(w_hh) else a for a in made])
