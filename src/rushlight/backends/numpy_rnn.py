"""Whole-sequence kernels of recurrent layers, forward and backward, in NumPy.

Sequences lie in rows, step after step: step `t` owns `sizes[t]` consecutive rows of `x` (all sizes are equal for a
dense batch; they fall for packed sequences, whose step `t` holds the first `sizes[t]` of the batch). Inside, states
are kept with the batch last, [features, batch]: the gates of a step are then contiguous, and the product with the
recurrent weight is twice as fast as the other way around.

One product serves the inputs of all steps; only the recurrence loops. Backward, it gives the gradients of the gates,
[gates, rows]; the weights' gradients are products of those. What the backward pass needs lies in flat buffers, step
after step, because steps may have different sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = Any


def steps(sizes: Sequence[int], reverse: bool) -> Iterator[tuple[int, int]]:
    """(first row, number of rows) of each step in the order of the recurrence."""
    starts = [0]
    for n in sizes[:-1]:
        starts.append(starts[-1] + n)
    pairs = list(zip(starts, sizes, strict=True))
    return iter(reversed(pairs) if reverse else pairs)


def _inputs(x: Array, w_ih: Array, *biases: Array | None) -> Array:
    """The input's share of all gates of all steps: [gates, rows]."""
    gates = np.dot(w_ih, x.T)
    for b in biases:
        if b is not None:
            gates += b[:, None]
    return gates


def _state(h0: Array) -> Array:
    return np.array(h0.T, order="C", copy=True)  # a copy also where the transpose is contiguous: it is overwritten


def _sigmoid_in_place(z: Array) -> None:
    z *= 0.5
    np.tanh(z, z)
    z *= 0.5
    z += 0.5


def previous(out: Array, h0: Array, sizes: Sequence[int], reverse: bool) -> Array:
    """The state each row started from, [rows, features]."""
    previous = np.empty((out.shape[0], h0.shape[1]), out.dtype)
    last_start, last_n = 0, 0
    for start, n in steps(sizes, reverse):
        if last_n < n:
            previous[start + last_n : start + n] = h0[last_n:n]
        shared = min(last_n, n)
        previous[start : start + shared] = out[last_start : last_start + shared]
        last_start, last_n = start, n
    return previous


def rnn_forward(
    x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    *, sizes: Sequence[int], reverse: bool, relu: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu. Returns every state and the last one of each sequence."""
    inputs = _inputs(x, w_ih, b_ih, b_hh)
    h = _state(h0)
    out = np.empty((x.shape[0], h.shape[0]), inputs.dtype)
    for start, n in steps(sizes, reverse):
        rows = slice(start, start + n)
        z = np.dot(w_hh, h[:, :n])
        z += inputs[:, rows]
        if relu:
            np.maximum(z, 0, out=z)
        else:
            np.tanh(z, z)
        h[:, :n] = z
        out[rows] = z.T
    return out, np.ascontiguousarray(h.T)


def rnn_backward(
    g_out: Array, g_h: Array, w_hh: Array, out: Array, *, sizes: Sequence[int], reverse: bool, relu: bool
) -> tuple[Array, Array]:
    """Gradients of the sums before tanh or relu, and of h0."""
    g_gates = np.empty((w_hh.shape[0], out.shape[0]), out.dtype)
    dh = _state(g_h)
    for start, n in steps(sizes, not reverse):
        rows = slice(start, start + n)
        d = dh[:, :n]
        d += g_out[rows].T
        h = out[rows].T
        slope = (h > 0) if relu else 1 - h * h
        np.multiply(d, slope, out=g_gates[:, rows])
        dh[:, :n] = np.dot(w_hh.T, g_gates[:, rows])
    return g_gates, np.ascontiguousarray(dh.T)


def lstm_forward(
    x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    w_hr: Array | None, *, sizes: Sequence[int], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """Long short-term memory with gates i, f, g, o.

    Returns every output, the last output and cell of each sequence, and for the backward pass the gates and cells
    of all steps, flat.
    """
    inputs = _inputs(x, w_ih, b_ih, b_hh)
    rows_total, size = x.shape[0], c0.shape[1]
    h, c = _state(h0), _state(c0)
    out = np.empty((rows_total, h.shape[0]), inputs.dtype)
    gates = np.empty(4 * size * rows_total, inputs.dtype)
    cells = np.empty(size * rows_total, inputs.dtype)
    for start, n in steps(sizes, reverse):
        rows = slice(start, start + n)
        z = gates[4 * size * start : 4 * size * (start + n)].reshape(4 * size, n)
        np.dot(w_hh, h[:, :n], out=z)
        z += inputs[:, rows]
        _sigmoid_in_place(z[: 2 * size])
        np.tanh(z[2 * size : 3 * size], z[2 * size : 3 * size])
        _sigmoid_in_place(z[3 * size :])
        cell = cells[size * start : size * (start + n)].reshape(size, n)
        np.multiply(z[size : 2 * size], c[:, :n], out=cell)
        cell += z[:size] * z[2 * size : 3 * size]
        c[:, :n] = cell
        m = np.tanh(cell)
        m *= z[3 * size :]
        if w_hr is not None:
            m = np.dot(w_hr, m)
        h[:, :n] = m
        out[rows] = m.T
    return out, np.ascontiguousarray(h.T), np.ascontiguousarray(c.T), gates, cells


def lstm_backward(
    g_out: Array, g_h: Array, g_c: Array, c0: Array, w_hh: Array, w_hr: Array | None,
    *, gates: Array, cells: Array, sizes: Sequence[int], reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of the sums before the gates, of h0 and c0, and of w_hr where there is one."""
    size, total = c0.shape[1], g_out.shape[0]
    g_gates = np.empty((4 * size, total), g_out.dtype)
    rows_projected = 0 if w_hr is None else total
    projected = np.empty((size, rows_projected), g_out.dtype)
    g_projected = np.empty((g_out.shape[1], rows_projected), g_out.dtype)
    dh, dc = _state(g_h), _state(g_c)
    for (start, n), before in _with_previous_cell(sizes, reverse, cells, c0):
        rows = slice(start, start + n)
        z = gates[4 * size * start : 4 * size * (start + n)].reshape(4 * size, n)
        i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
        t = np.tanh(cells[size * start : size * (start + n)].reshape(size, n))
        d = dh[:, :n]
        d += g_out[rows].T
        if w_hr is not None:
            g_projected[:, rows] = d
            np.multiply(o, t, out=projected[:, rows])
            d = np.dot(w_hr.T, d)
        d_out = g_gates[:, rows]
        _lstm_gate_gradients(d_out, d, dc[:, :n], i, f, g, o, t, before, size)
        dh[:, :n] = np.dot(w_hh.T, d_out)
    made = g_gates, np.ascontiguousarray(dh.T), np.ascontiguousarray(dc.T)
    return made if w_hr is None else (*made, np.dot(g_projected, projected.T))


def _lstm_gate_gradients(
    d_gates: Array, d: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, t: Array, before: Array, size: int
) -> None:
    """Fill `d_gates` for one step from `d` (of the output before projection) and turn `dc` into the step before's."""
    slope = d * o
    dc += slope
    slope *= t
    slope *= t
    dc -= slope
    work = d * t
    work *= o
    np.multiply(work, 1 - o, out=d_gates[3 * size :])
    np.multiply(dc, g, out=work)
    work *= i
    np.multiply(work, 1 - i, out=d_gates[:size])
    np.multiply(dc, before, out=work)
    work *= f
    np.multiply(work, 1 - f, out=d_gates[size : 2 * size])
    np.multiply(dc, i, out=work)
    np.multiply(work, 1 - g * g, out=d_gates[2 * size : 3 * size])
    dc *= f


def _with_previous_cell(
    sizes: Sequence[int], reverse: bool, cells: Array, c0: Array
) -> Iterator[tuple[tuple[int, int], Array]]:
    """The steps from last to first, each with the cells it started from."""
    size = c0.shape[1]
    order = list(steps(sizes, not reverse))
    first = _state(c0)
    for step, (start, n) in enumerate(order):
        if step + 1 == len(order):
            yield (start, n), first[:, :n]
            continue
        before_start, before_n = order[step + 1]
        before = cells[size * before_start : size * (before_start + before_n)].reshape(size, before_n)
        if before_n >= n:
            yield (start, n), before[:, :n]
        else:
            yield (start, n), np.concatenate((before, first[:, before_n:n]), 1)


def gru_forward(
    x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    *, sizes: Sequence[int], reverse: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Gated recurrent unit with gates r, z, n, the reset gate applied to the hidden share of n.

    Returns every state, the last one of each sequence, and for the backward pass r, z, n and the hidden share of n
    of all steps, flat.
    """
    inputs = _inputs(x, w_ih, b_ih)
    rows_total, size = x.shape[0], h0.shape[1]
    h = _state(h0)
    out = np.empty((rows_total, size), inputs.dtype)
    gates = np.empty(4 * size * rows_total, inputs.dtype)
    for start, n in steps(sizes, reverse):
        rows = slice(start, start + n)
        z = gates[4 * size * start : 4 * size * (start + n)].reshape(4 * size, n)
        hidden = np.dot(w_hh, h[:, :n])
        if b_hh is not None:
            hidden += b_hh[:, None]
        np.add(hidden[: 2 * size], inputs[: 2 * size, rows], out=z[: 2 * size])
        _sigmoid_in_place(z[: 2 * size])
        z[3 * size :] = hidden[2 * size :]
        candidate = z[2 * size : 3 * size]
        np.multiply(z[:size], hidden[2 * size :], out=candidate)
        candidate += inputs[2 * size :, rows]
        np.tanh(candidate, candidate)
        new = h[:, :n] - candidate
        new *= z[size : 2 * size]
        new += candidate
        h[:, :n] = new
        out[rows] = new.T
    return out, np.ascontiguousarray(h.T), gates


def gru_backward(
    g_out: Array, g_h: Array, h0: Array, w_hh: Array, out: Array,
    *, gates: Array, sizes: Sequence[int], reverse: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Gradients of the input's and of the state's share of the sums before the gates, and of h0."""
    size = h0.shape[1]
    g_inputs = np.empty((3 * size, out.shape[0]), out.dtype)
    g_hidden = np.empty_like(g_inputs)
    before = previous(out, h0, sizes, reverse)
    dh = _state(g_h)
    for start, n in steps(sizes, not reverse):
        rows = slice(start, start + n)
        gate = gates[4 * size * start : 4 * size * (start + n)].reshape(4 * size, n)
        r, z, c, hidden = gate[:size], gate[size : 2 * size], gate[2 * size : 3 * size], gate[3 * size :]
        d = dh[:, :n]
        d += g_out[rows].T
        d_candidate = d * (1 - z)
        d_candidate *= 1 - c * c
        d_update = d * (before[rows].T - c)
        d_update *= z
        d_update *= 1 - z
        d_reset = d_candidate * hidden
        d_reset *= r
        d_reset *= 1 - r
        step = g_hidden[:, rows]
        step[:size], step[size : 2 * size] = d_reset, d_update
        np.multiply(d_candidate, r, out=step[2 * size :])
        g_inputs[: 2 * size, rows] = step[: 2 * size]
        g_inputs[2 * size :, rows] = d_candidate
        d *= z
        d += np.dot(w_hh.T, step)
    return g_inputs, g_hidden, np.ascontiguousarray(dh.T)
