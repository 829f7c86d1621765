"""The backward recurrence of recurrent layers: gradients of the sums before the gates, step by step, samples apart."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.access import Access, byte_strides, whole
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.microkernel import Index
from rushlight.compiler.kernels.recurrent_code import (
    IR,
    Chunk,
    Layer,
    Place,
    builder,
    over_blocks,
    packed,
    places,
    product,
    tanh,
)
from rushlight.compiler.lanes_core import Lanes


def backward_kernels(
    x: Layer, g_out: Access, g_states: list[Access], weight: Access, kept: dict[str, Access],
    results: tuple[Value, ...], calls: tuple[Call, ...],
) -> list[Kernel]:  # fmt: skip
    """The kernels of a layer's backward recurrence.

    Parameters
    ----------
    x : its sizes
    g_out, g_states : gradients of the outputs, of the last state and of the last cell of an LSTM
    weight : of the state
    kept : "gates", "cells", "cell" (the first), "out", "state" (the first): what the kind of layer needs
    results : gradients of the gates (a GRU's twice: inputs, state), of the first state and cell
    """
    pack = packed(x, weight, turned=True)
    names = ["weight", "g_out", *("g_state", "g_cell")[: len(g_states)], *kept]
    roots, where = places([whole(pack.writes[0]), g_out, *g_states, *kept.values()])
    known = {name: place for name, place in zip(names, where, strict=True) if place is not None}
    at = [Place(len(roots) + i, 0, byte_strides(v.shape, x.size)) for i, v in enumerate(results)]
    space = _space(x)

    build = builder(x, len(roots) + len(results), space, lambda part: _Backward(part, known, at).write())
    main = Kernel(
        name=f"{x.kind} gradient {x.steps}x{x.batch}x{x.features}", key=f"recurrent gradient {x} {known} {at}",
        build=build, reads=roots, writes=results, chunks=x.chunks, workspace=space * x.chunks, calls=calls,
        flops=2 * x.steps * x.batch * x.gates * x.features * x.features,
    )  # fmt: skip
    return [pack, main]


def _space(x: Layer) -> int:
    """Bytes of a chunk: the gradients of the state and the cell, two states, the gradients of one step's gates."""
    return 4 * x.state_bytes + x.room(x.gates * x.features)


class _Backward:
    """One chunk's way back through all steps."""

    def __init__(self, part: Chunk, known: dict[str, Place], results: list[Place]) -> None:
        code, x = part.code, part.x
        self.part, self.code, self.x = part, code, x
        self.known, self.results = known, results
        self.state, self.cell, self.now, self.earlier = (code.at(part.space, k * x.state_bytes) for k in range(4))
        self.gates = code.at(part.space, 4 * x.state_bytes)

    def write(self) -> None:
        """The whole chunk."""
        part, x = self.part, self.x
        part.take(self.known["g_state"], self.state)
        if x.kind == "lstm":
            part.take(self.known["g_cell"], self.cell)
            part.take(self.known["cell"], self.earlier)
        self.code.loop(x.steps, self.step)
        part.give(self.state, self.results[-2 if x.kind == "lstm" else -1])
        if x.kind == "lstm":
            part.give(self.cell, self.results[-1])

    def step(self, k: Index) -> tuple[()]:
        """One step, the last first."""
        code, x, part = self.code, self.x, self.part
        i = code.sub(x.steps - 1, k)
        t, before = part.step(i), part.step(code.sub(i, 1))
        is_first = i == 0 if isinstance(i, int) else code.b.icmp_signed("==", i, code.value(0))
        part.take(self.known["g_out"], self.state, t, add=True)
        if x.kind in ("tanh", "relu"):
            part.take(self.known["out"], self.now, t)
        if x.kind == "gru":
            code.when(
                is_first,
                lambda: part.take(self.known["state"], self.earlier),
                lambda: part.take(self.known["out"], self.earlier, before),
            )
        earlier = self.cells(is_first, before) if x.kind == "lstm" else (self.earlier, x.lanes * x.size)

        def unit(u: Index) -> tuple[()]:
            at = code.at(earlier[0], code.mul(u, earlier[1]))
            GATE_GRADIENTS[x.kind](self, t, u, at)
            return ()

        code.loop(x.features, unit)
        code.loop(-(-x.features // x.rows), self.block)
        return ()

    def cells(self, is_first: Any, before: Index) -> tuple[IR, Index]:
        """Where the cells before a step lie, and the bytes from feature to feature."""
        code, x = self.code, self.x
        own, wide = x.lanes * x.size, x.batch * x.size
        if isinstance(is_first, bool):
            before = 0 if is_first else before
        else:
            before = code.b.select(is_first, code.value(0), code.value(before))
        kept = self.part.in_gates(self.array("cells"), x.features, before, 0)
        if isinstance(is_first, bool):
            return (self.earlier, own) if is_first else (kept, wide)
        pick = code.b.select
        return pick(is_first, self.earlier, kept), pick(is_first, code.value(own), code.value(wide))

    def block(self, index: Index) -> tuple[()]:
        """The product that leads to the step before, for one block of features."""
        code, x = self.code, self.x
        weight = self.array("weight")

        def write(count: int) -> None:
            first = code.mul(index, x.rows)
            targets = [self.part.state(self.state, code.add(first, r)) for r in range(count)]
            start = [code.load(p) if x.kind == "gru" else code.zero for p in targets]
            depth = x.gates * x.features
            for p, v in zip(
                targets, product(code, weight, self.gates, index, depth, (count, x.rows), start), strict=True
            ):
                code.store(v, p)

        over_blocks(code, index, x.features, x.rows, write)
        return ()

    def array(self, name: str) -> IR:
        """Where an operand without gaps begins."""
        place = self.known[name]
        return self.code.at(self.part.arrays[place.slot], place.offset)

    def load(self, base: IR, unit: Index) -> Lanes:
        """A feature's vector of a state."""
        return self.part.lanes(self.code.load(self.part.state(base, unit)))

    def kept(self, name: str, rows: int, t: Index, row: Index) -> Lanes:
        """What the forward pass kept."""
        at = self.part.in_gates(self.array(name), rows, t, row)
        return self.part.lanes(self.code.load(at, self.part.mask))

    def put(self, t: Index, row: Index, value: Lanes) -> None:
        """A gate's gradient, for the product."""
        self.code.store(value.value, self.part.state(self.gates, row))

    def hand(self, result: int, t: Index, row: Index, value: Lanes) -> None:
        """A gate's gradient, to [gates, steps * batch]."""
        code, x = self.code, self.x
        place = code.add(code.mul(code.add(code.mul(row, x.steps), t), x.batch), self.part.first)
        at = code.at(self.part.arrays[self.results[result].slot], code.mul(place, x.size))
        code.store(value.value, at, self.part.mask)


def _lstm(w: _Backward, t: Index, unit: Index, earlier: IR) -> None:
    code, size = w.code, w.x.features
    i, f, g, o = (w.kept("gates", 4 * size, t, code.add(unit, k * size)) for k in range(4))
    squashed = tanh(w.kept("cells", size, t, unit))
    before = w.part.lanes(code.load(earlier, w.part.mask))
    d = w.load(w.state, unit)
    d_cell = w.load(w.cell, unit) + d * o * (1.0 - squashed * squashed)
    grads = (
        d_cell * g * i * (1.0 - i),
        d_cell * before * f * (1.0 - f),
        d_cell * i * (1.0 - g * g),
        d * squashed * o * (1.0 - o),
    )
    for k, grad in enumerate(grads):
        row = code.add(unit, k * size)
        w.put(t, row, grad)
        w.hand(0, t, row, grad)
    code.store((d_cell * f).value, w.part.state(w.cell, unit))


def _gru(w: _Backward, t: Index, unit: Index, earlier: IR) -> None:
    code, size = w.code, w.x.features
    r, z, new, hidden = (w.kept("gates", 4 * size, t, code.add(unit, k * size)) for k in range(4))
    before = w.part.lanes(code.load(earlier, w.part.mask))
    d = w.load(w.state, unit)
    d_new = d * (1.0 - z) * (1.0 - new * new)
    d_update = d * (before - new) * z * (1.0 - z)
    d_reset = d_new * hidden * r * (1.0 - r)
    for k, (of_input, of_state) in enumerate(((d_reset, d_reset), (d_update, d_update), (d_new, d_new * r))):
        row = code.add(unit, k * size)
        w.put(t, row, of_state)
        w.hand(0, t, row, of_input)
        w.hand(1, t, row, of_state)
    code.store((d * z).value, w.part.state(w.state, unit))


def _tanh(w: _Backward, t: Index, unit: Index, earlier: IR) -> None:
    h = w.load(w.now, unit)
    _plain(w, t, unit, w.load(w.state, unit) * (1.0 - h * h))


def _relu(w: _Backward, t: Index, unit: Index, earlier: IR) -> None:
    h, d = w.load(w.now, unit), w.load(w.state, unit)
    _plain(w, t, unit, d * (h > 0.0).astype(d.dtype))


def _plain(w: _Backward, t: Index, unit: Index, grad: Lanes) -> None:
    w.put(t, unit, grad)
    w.hand(0, t, unit, grad)


GATE_GRADIENTS = {"lstm": _lstm, "gru": _gru, "tanh": _tanh, "relu": _relu}
"""The gradients of a feature's sums, by kind of layer; the state's gradient keeps what bypasses the product."""
