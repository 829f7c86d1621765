"""Recurrent layers, one op per layer and direction over the whole sequence.

`sizes` are the batch sizes of the steps (equal for a dense batch, falling for packed sequences); the input is
[steps, batch, features], or the rows of packed sequences, step after step. The forward pass is one op. The backward
pass is one for the recurrence, which gives the gradients of the gates ([gates, rows]), and products of those for all
steps at once. A gradient that is differentiated again runs the backward recurrence as ops instead, from the layer's
operands alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.backends import numpy_rnn as kernel
from rushlight.ops import native, rnn_packed
from rushlight.ops.elementwise import gt, relu, sigmoid, tanh
from rushlight.ops.kinds import Array, composite, opaque
from rushlight.ops.linear import cat, clone, getitem_slice, reshape, split, sum, t
from rushlight.ops.matmul import addmm, mm
from rushlight.spec import Spec, spec_of

Sizes = tuple[int, ...]


def sum_of(sizes: Sizes) -> int:
    """Number of rows of all steps."""
    return int(np.sum(sizes))


def _half(x: Any) -> bool:
    return bool(x.dtype.itemsize == 2)


def _kept_dtype(x: Spec) -> Any:
    """The dtype of what is kept for the backward pass."""
    return np.dtype(np.float32) if _half(x) else x.dtype


def _wide(*arrays: Any) -> Any:
    return [None if a is None else a.astype(np.float32) if _half(a) else a for a in arrays]


def _narrowed(grads: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    return tuple(None if a is None else a.astype(x.dtype) for a in grads) if _half(x) else grads


def _flat(x: Any) -> Any:
    """Steps and batch as one dim."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _as_rows(x: Any) -> Any:
    """`_flat` of operands of any kind."""
    shape = spec_of(x).shape
    return x if len(shape) == 2 else reshape(x, (-1, shape[-1]))


def _like_input(grads: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    """The gradients with the first in the shape of the input."""
    shape = spec_of(x).shape
    return grads if grads[0] is None or len(shape) == 2 else (reshape(grads[0], shape), *grads[1:])


def _rows(x: Any, start: int, stop: int) -> Any:
    return getitem_slice(x, (slice(start, stop),))


def _columns(x: Any, parts: int) -> tuple[Any, ...]:
    size = spec_of(x).shape[1] // parts
    return tuple(split(x, (size,) * parts, 1))


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    out = mm(x, t(weight))
    return out if bias is None else out + bias


class _Recurrence:
    """The steps of a recurrence over rows of ops' operands: states by batch row, kept whole between steps."""

    def __init__(self, sizes: Sizes, reverse: bool) -> None:
        self.order = list(kernel.steps(sizes, reverse))

    @staticmethod
    def take(state: Any, n: int) -> Any:
        """The state of the first `n` sequences."""
        return state if spec_of(state).shape[0] == n else _rows(state, 0, n)

    @staticmethod
    def put(state: Any, new: Any, n: int) -> Any:
        """`state` with the first `n` sequences at `new`."""
        batch = spec_of(state).shape[0]
        return new if batch == n else cat([new, _rows(state, n, batch)], 0)

    def gather(self, pieces: list[Any]) -> Any:
        """Pieces in the order of the recurrence as rows in the order of the steps."""
        placed = sorted(zip((start for start, _ in self.order), pieces, strict=True), key=lambda pair: pair[0])
        return cat([piece for _, piece in placed], 0)


def _gradients_of_products(
    g_inputs: Any, g_hidden: Any, x: Any, before: Any, w_ih: Any, dh: Any, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    """Gradients of x, h0, w_ih, w_hh, b_ih, b_hh from those of the gates, in rows."""
    return (
        mm(g_inputs, w_ih) if needs[0] else None,
        dh,
        mm(t(g_inputs), x) if needs[2] else None,
        mm(t(g_hidden), before) if needs[3] else None,
        sum(g_inputs, 0) if needs[4] else None,
        sum(g_hidden, 0) if needs[5] else None,
    )


@opaque(spec=lambda out, h0, sizes, reverse: out)
def states_before(xp: Any, out: Array, h0: Array, sizes: Sizes, reverse: bool) -> Array:
    """The state that each row started from."""
    return kernel.previous(out, h0, sizes, reverse)


def _is_recorded(*operands: Any) -> bool:
    """Whether the backward pass is itself recorded, to be differentiated again."""
    return any(getattr(a, "op_rank", 0) > 1 for a in operands)


def _run(gradients: Callable[..., tuple[Any, ...]], key: tuple[Any, ...], operands: Any) -> tuple[Any, ...]:
    """`gradients` of operands, of large arrays as one program where there is one; `key` says what it is."""
    if native.pays(key[0], operands):
        out = native.run(key, gradients, tuple(operands), gradients)
        if out is not native.MISSING:
            return tuple(out)
    return gradients(*operands)


def _of_products(
    g_inputs: Any, g_hidden: Any, x: Any, h0: Any, out: Any, w_ih: Any, sizes: Sizes, reverse: bool,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of x, w_ih, w_hh, b_ih, b_hh from those of the gates, [gates, rows]."""
    b_ih = _total(g_inputs) if needs[3] else None
    b_hh = None if not needs[4] else clone(b_ih) if g_hidden is g_inputs and b_ih is not None else _total(g_hidden)
    x_grad = mm(t(g_inputs), w_ih) if needs[0] else None
    return (
        x_grad if x_grad is None or len(x.shape) == 2 else reshape(x_grad, tuple(x.shape)),
        mm(g_inputs, _as_rows(x)) if needs[1] else None,
        _of_recurrent_weight(g_hidden, h0, _as_rows(out), sizes, reverse) if needs[2] else None,
        b_ih,
        b_hh,
    )


def _total(g: Any) -> Any:
    """The sum over all rows; of arrays without a kernel, whose number of rows may be another in each batch."""
    return np.add.reduce(g, 1) if type(g) is np.ndarray else sum(g, 1)


def _of_recurrent_weight(g_hidden: Any, h0: Any, out: Any, sizes: Sizes, reverse: bool) -> Any:
    n, rows = sizes[0], sum_of(sizes)
    if len(set(sizes)) > 1:
        return mm(g_hidden, states_before(out, h0, sizes, reverse))
    if len(sizes) == 1:
        return mm(g_hidden, h0)
    first, after = (rows - n, 0) if reverse else (0, n)
    start = mm(getitem_slice(g_hidden, (slice(None), slice(first, first + n))), h0)
    later = getitem_slice(g_hidden, (slice(None), slice(after, after + rows - n)))
    return addmm(start, later, _rows(out, n - after, rows - after))


# tanh or relu


def _rnn_spec(
    x: Spec, h0: Spec, w_ih: Spec, w_hh: Spec, b_ih: Spec | None, b_hh: Spec | None,
    sizes: Sizes, reverse: bool, use_relu: bool,
) -> tuple[Spec, Spec]:  # fmt: skip
    return Spec((*x.shape[:-1], h0.shape[1]), x.dtype), h0


def _rnn_gates_spec(
    g_out: Spec, g_h: Spec, w_hh: Spec, out: Spec, sizes: Sizes, reverse: bool, use_relu: bool
) -> tuple[Spec, Spec]:
    return Spec((w_hh.shape[0], sum_of(sizes)), g_out.dtype), g_h


@opaque(spec=_rnn_gates_spec)
def rnn_gate_grads(
    xp: Any, g_out: Array, g_h: Array, w_hh: Array, out: Array, sizes: Sizes, reverse: bool, use_relu: bool
) -> tuple[Array, Array]:
    """Gradients of the sums before tanh or relu, [features, rows], and of the first state."""
    kind, none = "relu" if use_relu else "tanh", (None, None)
    made = rnn_packed.backward(kind, _flat(g_out), (g_h, None), none, w_hh, (_flat(out), *none), sizes, reverse)
    if made is not None:
        return made[0], made[1]
    return kernel.rnn_backward(_flat(g_out), g_h, w_hh, _flat(out), sizes=sizes, reverse=reverse, relu=use_relu)


def _rnn_grads(
    g: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, out: Any,
    sizes: Sizes, reverse: bool, use_relu: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    if _is_recorded(*g, x, w_hh):
        rows = _as_rows(g[0]), g[1], _as_rows(x)
        grads = rnn_layer_grad(*rows, h0, w_ih, w_hh, b_ih, b_hh, _as_rows(out[0]), sizes, reverse, use_relu, needs)
        return _like_input(grads, x)

    def gradients(g_out: Any, g_h: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, states: Any) -> tuple[Any, ...]:
        gates, dh = rnn_gate_grads(g_out, g_h, w_hh, states, sizes, reverse, use_relu)
        of_x, *rest = _of_products(gates, gates, x, h0, states, w_ih, sizes, reverse, (needs[0], *needs[2:]))
        return of_x, dh, *rest

    wide = _wide(*g, x, h0, w_ih, w_hh, out[0])
    return _narrowed(_run(gradients, ("rnn_gate_grads", sizes, reverse, use_relu, needs), wide), x)


@opaque(spec=_rnn_spec, joint=_rnn_grads, name="StackBackward0")
def rnn_layer(
    xp: Any, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: Sizes, reverse: bool, use_relu: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """h = tanh(w_ih @ x + b_ih + w_hh @ h + b_hh) over all steps: every state, and the last of each sequence."""
    if _half(x):
        out, h = rnn_layer(*_wide(x, h0, w_ih, w_hh, b_ih, b_hh), sizes, reverse, use_relu)
        return out.astype(x.dtype), h.astype(x.dtype)
    weights, kind = (w_ih, w_hh, b_ih, b_hh), "relu" if use_relu else "tanh"
    made = rnn_packed.forward(kind, _flat(x), (h0, None), weights, sizes, reverse)
    if made is not None:
        return made[0].reshape(*x.shape[:-1], -1), made[1]
    out, h = kernel.rnn_forward(_flat(x), h0, w_ih, w_hh, b_ih, b_hh, sizes=sizes, reverse=reverse, relu=use_relu)
    return out.reshape(*x.shape[:-1], out.shape[-1]), h


@composite()
def rnn_layer_grad(
    g_out: Array, g_h: Array, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    out: Array, sizes: Sizes, reverse: bool, use_relu: bool, needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:  # fmt: skip
    """Gradients of rnn_layer."""
    steps = _Recurrence(sizes, reverse)
    h, states, before = h0, [], []
    for start, n in steps.order:
        previous = steps.take(h, n)
        z = _affine(_rows(x, start, start + n), w_ih, b_ih) + _affine(previous, w_hh, b_hh)
        new = relu(z) if use_relu else tanh(z)
        before.append(previous)
        states.append(new)
        h = steps.put(h, new, n)
    dh, gates = g_h, []
    for (start, n), new in zip(reversed(steps.order), reversed(states), strict=True):
        d = steps.take(dh, n) + _rows(g_out, start, start + n)
        gate = d * gt(new, 0) if use_relu else d * (1 - new * new)
        gates.append(gate)
        dh = steps.put(dh, mm(gate, w_hh), n)
    g_gates = steps.gather(gates[::-1])
    return _gradients_of_products(g_gates, g_gates, x, steps.gather(before), w_ih, dh, needs)


# Long short-term memory


def _lstm_spec(
    x: Spec, h0: Spec, c0: Spec, w_ih: Spec, w_hh: Spec, b_ih: Spec | None, b_hh: Spec | None, w_hr: Spec | None,
    sizes: Sizes, reverse: bool,
) -> tuple[Spec, ...]:  # fmt: skip
    rows, size = sum_of(sizes), c0.shape[1]
    return (
        Spec((*x.shape[:-1], h0.shape[1]), x.dtype),
        h0,
        c0,
        Spec((4 * size * rows,), _kept_dtype(x)),
        Spec((size * rows,), _kept_dtype(x)),
    )


def _lstm_gates_spec(
    g_out: Spec, g_h: Spec, g_c: Spec, c0: Spec, w_hh: Spec, w_hr: Spec | None, gates: Spec, cells: Spec,
    sizes: Sizes, reverse: bool,
) -> tuple[Spec, ...]:  # fmt: skip
    made = Spec((w_hh.shape[0], sum_of(sizes)), g_out.dtype), g_h, g_c
    return made if w_hr is None else (*made, w_hr)


@opaque(spec=_lstm_gates_spec)
def lstm_gate_grads(
    xp: Any, g_out: Array, g_h: Array, g_c: Array, c0: Array, w_hh: Array, w_hr: Array | None, gates: Array,
    cells: Array, sizes: Sizes, reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of the sums before the gates, [4 * features, rows], of the first state and cell, and of `w_hr`."""
    if w_hr is None:
        kept = None, gates, cells
        made = rnn_packed.backward("lstm", _flat(g_out), (g_h, g_c), (None, c0), w_hh, kept, sizes, reverse)
        if made is not None:
            return made
    given = _flat(g_out), g_h, g_c, c0, w_hh, w_hr
    return kernel.lstm_backward(*given, gates=gates, cells=cells, sizes=sizes, reverse=reverse)


def _lstm_grads(
    g: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, out: Any,
    sizes: Sizes, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    if _is_recorded(*g, x, w_hh):
        rows, kept = (_as_rows(g[0]), *g[1:3], _as_rows(x)), (_as_rows(out[0]), *out[3:])
        grads = lstm_layer_grad(*rows, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, *kept, sizes, reverse, needs)
        return _like_input(grads, x)

    def gradients(
        g_out: Any,
        g_h: Any,
        g_c: Any,
        x: Any,
        h0: Any,
        c0: Any,
        w_ih: Any,
        w_hh: Any,
        w_hr: Any,
        states: Any,
        *kept: Any,
    ) -> tuple[Any, ...]:
        gates, dh, dc, *projection = lstm_gate_grads(g_out, g_h, g_c, c0, w_hh, w_hr, *kept, sizes, reverse)
        wanted = (needs[0], *needs[3:7])
        of_x, *rest = _of_products(gates, gates, x, h0, states, w_ih, sizes, reverse, wanted)
        return of_x, dh, dc, *rest, projection[0] if projection else None

    wide = _wide(*g[:3], x, h0, c0, w_ih, w_hh, w_hr, *out[:1], *out[3:])
    return _narrowed(_run(gradients, ("lstm_gate_grads", sizes, reverse, needs), wide), x)


@opaque(spec=_lstm_spec, joint=_lstm_grads, name="MkldnnRnnLayerBackward0")
def lstm_layer(
    xp: Any, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    w_hr: Array | None, sizes: Sizes, reverse: bool,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """Long short-term memory over all steps.

    Gives every output, the last output and cell of each sequence, and for the backward pass gates and cells.
    S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", 1997; the projection `w_hr` is H. Sak et al.'s, 2014.
    """
    if _half(x):
        got = lstm_layer(*_wide(x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr), sizes, reverse)
        out, h, c = (o.astype(x.dtype) for o in got[:3])
        return out, h, c, got[3], got[4]
    if w_hr is None:
        made = rnn_packed.forward("lstm", _flat(x), (h0, c0), (w_ih, w_hh, b_ih, b_hh), sizes, reverse)
        if made is not None:
            return made[0].reshape(*x.shape[:-1], -1), made[1], made[2], made[3], made[4]
    given = _flat(x), h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr
    out, *others = kernel.lstm_forward(*given, sizes=sizes, reverse=reverse)
    return out.reshape(*x.shape[:-1], out.shape[-1]), others[0], others[1], others[2], others[3]


def _lstm_steps(steps: _Recurrence, x: Any, h0: Any, c0: Any, weights: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """(i, f, g, o, tanh(cell), cell before, output before) of each step."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    h, c, kept = h0, c0, []
    for start, n in steps.order:
        h_before, c_before = steps.take(h, n), steps.take(c, n)
        z = _affine(_rows(x, start, start + n), w_ih, b_ih) + _affine(h_before, w_hh, b_hh)
        i, f, g, o = _columns(z, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        cell = f * c_before + i * g
        squashed = tanh(cell)
        m = o * squashed
        kept.append((i, f, g, o, squashed, c_before, h_before))
        h = steps.put(h, m if w_hr is None else mm(m, t(w_hr)), n)
        c = steps.put(c, cell, n)
    return kept


@composite()
def lstm_layer_grad(
    g_out: Array, g_h: Array, g_c: Array, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array,
    b_ih: Array | None, b_hh: Array | None, w_hr: Array | None, out: Array, gates: Array, cells: Array,
    sizes: Sizes, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:  # fmt: skip
    """Gradients of lstm_layer."""
    steps = _Recurrence(sizes, reverse)
    kept = _lstm_steps(steps, x, h0, c0, (w_ih, w_hh, b_ih, b_hh, w_hr))
    dh, dc, gate_grads, output_grads = g_h, g_c, [], []
    for (start, n), (i, f, g, o, squashed, c_before, _) in zip(reversed(steps.order), reversed(kept), strict=True):
        d = steps.take(dh, n) + _rows(g_out, start, start + n)
        output_grads.append(d)
        if w_hr is not None:
            d = mm(d, w_hr)
        dcell = steps.take(dc, n) + d * o * (1 - squashed * squashed)
        gate = cat(
            [
                dcell * g * (i * (1 - i)),
                dcell * c_before * (f * (1 - f)),
                dcell * i * (1 - g * g),
                d * squashed * (o * (1 - o)),
            ],
            1,
        )
        gate_grads.append(gate)
        dh = steps.put(dh, mm(gate, w_hh), n)
        dc = steps.put(dc, dcell * f, n)
    g_gates = steps.gather(gate_grads[::-1])
    before = steps.gather([k[6] for k in kept])
    grads = _gradients_of_products(g_gates, g_gates, x, before, w_ih, dh, (*needs[:2], *needs[3:7]))
    w_hr_grad = None
    if w_hr is not None and needs[7]:
        w_hr_grad = mm(t(steps.gather(output_grads[::-1])), steps.gather([k[3] * k[4] for k in kept]))
    return (grads[0], grads[1], dc, *grads[2:], w_hr_grad)


# Gated recurrent unit


def _gru_spec(
    x: Spec, h0: Spec, w_ih: Spec, w_hh: Spec, b_ih: Spec | None, b_hh: Spec | None, sizes: Sizes, reverse: bool
) -> tuple[Spec, ...]:
    rows, size = sum_of(sizes), h0.shape[1]
    return Spec((*x.shape[:-1], size), x.dtype), h0, Spec((4 * size * rows,), _kept_dtype(x))


def _gru_gates_spec(
    g_out: Spec, g_h: Spec, h0: Spec, w_hh: Spec, out: Spec, gates: Spec, sizes: Sizes, reverse: bool
) -> tuple[Spec, Spec, Spec]:
    made = Spec((w_hh.shape[0], sum_of(sizes)), g_out.dtype)
    return made, made, g_h


@opaque(spec=_gru_gates_spec)
def gru_gate_grads(
    xp: Any, g_out: Array, g_h: Array, h0: Array, w_hh: Array, out: Array, gates: Array, sizes: Sizes, reverse: bool
) -> tuple[Array, Array, Array]:
    """Gradients of the input's and of the state's share of the sums before the gates, [3 * features, rows] each, and
    of the first state."""
    kept = _flat(out), gates, None
    made = rnn_packed.backward("gru", _flat(g_out), (g_h, None), (h0, None), w_hh, kept, sizes, reverse)
    if made is not None:
        return made[0], made[1], made[2]
    given = _flat(g_out), g_h, h0, w_hh, _flat(out)
    return kernel.gru_backward(*given, gates=gates, sizes=sizes, reverse=reverse)


def _gru_grads(
    g: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, out: Any,
    sizes: Sizes, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    if _is_recorded(*g, x, w_hh):
        rows, kept = (_as_rows(g[0]), g[1], _as_rows(x)), (_as_rows(out[0]), out[2])
        grads = gru_layer_grad(*rows, h0, w_ih, w_hh, b_ih, b_hh, *kept, sizes, reverse, needs)
        return _like_input(grads, x)

    def gradients(
        g_out: Any, g_h: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, states: Any, kept: Any
    ) -> tuple[Any, ...]:
        inputs, hidden, dh = gru_gate_grads(g_out, g_h, h0, w_hh, states, kept, sizes, reverse)
        of_x, *rest = _of_products(inputs, hidden, x, h0, states, w_ih, sizes, reverse, (needs[0], *needs[2:]))
        return of_x, dh, *rest

    wide = _wide(*g[:2], x, h0, w_ih, w_hh, out[0], out[2])
    return _narrowed(_run(gradients, ("gru_gate_grads", sizes, reverse, needs), wide), x)


@opaque(spec=_gru_spec, joint=_gru_grads, name="StackBackward0")
def gru_layer(
    xp: Any, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: Sizes, reverse: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Gated recurrent unit over all steps: every state, the last of each sequence, and gates for the backward pass.

    K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, with the reset gate applied
    after the product.
    """
    if _half(x):
        out, h, gates = gru_layer(*_wide(x, h0, w_ih, w_hh, b_ih, b_hh), sizes, reverse)
        return out.astype(x.dtype), h.astype(x.dtype), gates
    made = rnn_packed.forward("gru", _flat(x), (h0, None), (w_ih, w_hh, b_ih, b_hh), sizes, reverse)
    if made is not None:
        return made[0].reshape(*x.shape[:-1], -1), made[1], made[2]
    out, h, gates = kernel.gru_forward(_flat(x), h0, w_ih, w_hh, b_ih, b_hh, sizes=sizes, reverse=reverse)
    return out.reshape(*x.shape[:-1], out.shape[-1]), h, gates


@composite()
def gru_layer_grad(
    g_out: Array, g_h: Array, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    out: Array, gates: Array, sizes: Sizes, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:  # fmt: skip
    """Gradients of gru_layer."""
    steps = _Recurrence(sizes, reverse)
    h, kept = h0, []
    for start, n in steps.order:
        previous = steps.take(h, n)
        x_r, x_z, x_n = _columns(_affine(_rows(x, start, start + n), w_ih, b_ih), 3)
        h_r, h_z, h_n = _columns(_affine(previous, w_hh, b_hh), 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        candidate = tanh(x_n + r * h_n)
        kept.append((r, z, candidate, h_n, previous))
        h = steps.put(h, candidate + z * (previous - candidate), n)
    dh, input_grads, hidden_grads = g_h, [], []
    for (start, n), (r, z, candidate, h_n, previous) in zip(reversed(steps.order), reversed(kept), strict=True):
        d = steps.take(dh, n) + _rows(g_out, start, start + n)
        d_candidate = d * (1 - z) * (1 - candidate * candidate)
        d_update = d * (previous - candidate) * (z * (1 - z))
        d_reset = d_candidate * h_n * (r * (1 - r))
        hidden = cat([d_reset, d_update, d_candidate * r], 1)
        input_grads.append(cat([d_reset, d_update, d_candidate], 1))
        hidden_grads.append(hidden)
        dh = steps.put(dh, d * z + mm(hidden, w_hh), n)
    g_inputs, g_hidden = steps.gather(input_grads[::-1]), steps.gather(hidden_grads[::-1])
    return _gradients_of_products(g_inputs, g_hidden, x, steps.gather([k[4] for k in kept]), w_ih, dh, needs)
