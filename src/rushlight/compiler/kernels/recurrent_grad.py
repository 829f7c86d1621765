"""The backward recurrence of recurrent layers: gradients of the sums before the gates, step by step, samples apart."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.access import Access, byte_strides, whole
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.microkernel import Index, Mask
from rushlight.compiler.kernels.recurrent_code import (
    IR,
    Chunk,
    Layer,
    Moment,
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
    results: tuple[Value, ...], calls: tuple[Call, ...], table: Access | None = None,
) -> list[Kernel]:  # fmt: skip
    """The kernels of a layer's backward recurrence.

    Parameters
    ----------
    x : its sizes
    g_out, g_states : gradients of the outputs, of the last state and of the last cell of an LSTM
    weight : of the state
    kept : "gates", "cells", "cell" (the first), "out", "state" (the first): what the kind of layer needs
    results : gradients of the gates (a GRU's twice: inputs, state), of the first state and cell
    table : of packed sequences
    """
    pack = packed(x, weight, turned=True)
    names = ["table", "weight", "g_out", *("g_state", "g_cell")[: len(g_states)], *kept]
    roots, where = places([table, whole(pack.writes[0]), g_out, *g_states, *kept.values()])
    known = {name: place for name, place in zip(names, where, strict=True) if place is not None}
    at = [Place(len(roots) + i, 0, byte_strides(v.shape, x.size)) for i, v in enumerate(results)]
    space = _space(x)

    build = builder(x, len(roots) + len(results), space, lambda part: _Backward(part, known, at).write())
    main = Kernel(
        name=f"{x.kind} gradient {x.steps}x{x.batch}x{x.features}", key=f"recurrent gradient {x} {known} {at}",
        build=build, reads=roots, writes=results, chunks=x.chunks, workspace=space * x.chunks, calls=calls,
        flops=2 * x.all_rows * x.gates * x.features * x.features,
    )  # fmt: skip
    return [pack, main]


def _space(x: Layer) -> int:
    """Bytes of a chunk: the gradients of the state and the cell, three states, the gradients of one step's gates."""
    return 5 * x.state_bytes + x.room(x.gates * x.features)


class _Backward:
    """One chunk's way back through all steps."""

    def __init__(self, part: Chunk, known: dict[str, Place], results: list[Place]) -> None:
        code, x = part.code, part.x
        self.part, self.code, self.x = part, code, x
        self.known, self.results = known, results
        self.state, self.cell, self.now, self.earlier, self.first = (
            code.at(part.space, k * x.state_bytes) for k in range(5)
        )
        self.gates = code.at(part.space, 5 * x.state_bytes)
        if "table" in known:
            part.packed_by(known["table"])

    def write(self) -> None:
        """The whole chunk."""
        part, x = self.part, self.x
        part.take(self.known["g_state"], self.state)
        if x.kind == "lstm":
            part.take(self.known["g_cell"], self.cell)
            part.take(self.known["cell"], self.earlier)
        elif x.kind == "gru" and x.is_packed:
            part.take(self.known["state"], self.first)
        self.code.loop(part.steps, self.step)
        part.give(self.state, self.results[-2 if x.kind == "lstm" else -1])
        if x.kind == "lstm":
            part.give(self.cell, self.results[-1])

    def step(self, k: Index) -> tuple[()]:
        """One step, the last first."""
        code, x, part = self.code, self.x, self.part
        i = code.sub(code.sub(part.steps, 1), k)
        now = part.moment(i)
        before, is_first = part.moment_before(i)
        part.take(self.known["g_out"], self.state, now, add=True)
        if x.kind in ("tanh", "relu"):
            part.take(self.known["out"], self.now, now)
        if x.kind == "gru":
            self.states(is_first, before)
        earlier = self.cells(is_first, before) if x.kind == "lstm" else (self.earlier, x.lanes * x.size)

        def unit(u: Index) -> tuple[()]:
            at = code.at(earlier[0], code.mul(u, earlier[1]))
            GATE_GRADIENTS[x.kind](self, now, u, self.from_first(before, u, code.load(at, self.within(now, before))))
            return ()

        code.loop(x.features, unit)
        code.loop(-(-x.features // x.rows), lambda index: self.block(index, now))
        return ()

    def within(self, now: Moment, before: Moment) -> Mask:
        """The lanes that have what the step before left."""
        return before.mask if self.x.is_packed else now.mask

    def from_first(self, before: Moment, unit: Index, found: IR) -> Lanes:
        """What the step before left; in lanes of packed sequences that begin now, the first state or cell."""
        if not self.x.is_packed or self.x.kind not in ("lstm", "gru"):
            return self.part.lanes(found)
        first = self.earlier if self.x.kind == "lstm" else self.first
        return self.part.kept(before, self.part.lanes(found), self.part.state(first, unit))

    def states(self, is_first: Any, before: Moment) -> None:
        """The states before a step, as far as there are any."""
        part = self.part
        if self.x.is_packed:
            part.take(self.known["out"], self.earlier, before)
            return
        self.code.when(
            is_first,
            lambda: part.take(self.known["state"], self.earlier),
            lambda: part.take(self.known["out"], self.earlier, before),
        )

    def cells(self, is_first: Any, before: Moment) -> tuple[IR, Index]:
        """Where the cells before a step lie, and the bytes from feature to feature."""
        code, x = self.code, self.x
        kept = self.part.in_gates(self.array("cells"), x.features, before, 0)
        own, wide = x.lanes * x.size, code.mul(before.size, x.size)
        if x.is_packed:
            return kept, wide
        if isinstance(is_first, bool):
            return (self.earlier, own) if is_first else (kept, wide)
        pick = code.b.select
        return pick(is_first, self.earlier, kept), pick(is_first, code.value(own), code.value(wide))

    def block(self, index: Index, now: Moment) -> tuple[()]:
        """The product that leads to the step before, for one block of features."""
        code, x = self.code, self.x
        weight = self.array("weight")

        def write(count: int) -> None:
            first = code.mul(index, x.rows)
            targets = [self.part.state(self.state, code.add(first, r)) for r in range(count)]
            start = [code.load(p) if x.kind == "gru" else code.zero for p in targets]
            depth = x.gates * x.features
            sums = product(code, weight, self.gates, index, depth, (count, x.rows), start)
            for p, v in zip(targets, sums, strict=True):
                code.store(self.part.kept(now, self.part.lanes(v), p).value, p)

        over_blocks(code, index, x.features, x.rows, write)
        return ()

    def array(self, name: str) -> IR:
        """Where an operand without gaps begins."""
        place = self.known[name]
        return self.code.at(self.part.arrays[place.slot], place.offset)

    def load(self, base: IR, unit: Index) -> Lanes:
        """A feature's vector of a state."""
        return self.part.lanes(self.code.load(self.part.state(base, unit)))

    def kept(self, name: str, rows: int, now: Moment, row: Index) -> Lanes:
        """What the forward pass kept."""
        at = self.part.in_gates(self.array(name), rows, now, row)
        return self.part.lanes(self.code.load(at, now.mask))

    def put(self, row: Index, value: Lanes) -> None:
        """A gate's gradient, for the product."""
        self.code.store(value.value, self.part.state(self.gates, row))

    def hand(self, result: int, now: Moment, row: Index, value: Lanes) -> None:
        """A gate's gradient, to [gates, steps * batch]."""
        code, x = self.code, self.x
        place = code.add(code.add(code.mul(row, x.all_rows), now.start), self.part.first)
        at = code.at(self.part.arrays[self.results[result].slot], code.mul(place, x.size))
        code.store(value.value, at, now.mask)


def _lstm(w: _Backward, now: Moment, unit: Index, before: Lanes) -> None:
    code, size = w.code, w.x.features
    i, f, g, o = (w.kept("gates", 4 * size, now, code.add(unit, k * size)) for k in range(4))
    squashed = tanh(w.kept("cells", size, now, unit))
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
        w.put(row, grad)
        w.hand(0, now, row, grad)
    at = w.part.state(w.cell, unit)
    code.store(w.part.kept(now, d_cell * f, at).value, at)


def _gru(w: _Backward, now: Moment, unit: Index, before: Lanes) -> None:
    code, size = w.code, w.x.features
    r, z, new, hidden = (w.kept("gates", 4 * size, now, code.add(unit, k * size)) for k in range(4))
    d = w.load(w.state, unit)
    d_new = d * (1.0 - z) * (1.0 - new * new)
    d_update = d * (before - new) * z * (1.0 - z)
    d_reset = d_new * hidden * r * (1.0 - r)
    for k, (of_input, of_state) in enumerate(((d_reset, d_reset), (d_update, d_update), (d_new, d_new * r))):
        row = code.add(unit, k * size)
        w.put(row, of_state)
        w.hand(0, now, row, of_input)
        w.hand(1, now, row, of_state)
    at = w.part.state(w.state, unit)
    code.store(w.part.kept(now, d * z, at).value, at)


def _tanh(w: _Backward, now: Moment, unit: Index, before: Lanes) -> None:
    h = w.load(w.now, unit)
    _plain(w, now, unit, w.load(w.state, unit) * (1.0 - h * h))


def _relu(w: _Backward, now: Moment, unit: Index, before: Lanes) -> None:
    h, d = w.load(w.now, unit), w.load(w.state, unit)
    _plain(w, now, unit, d * (h > 0.0).astype(d.dtype))


def _plain(w: _Backward, now: Moment, unit: Index, grad: Lanes) -> None:
    w.put(unit, grad)
    w.hand(0, now, unit, grad)


GATE_GRADIENTS = {"lstm": _lstm, "gru": _gru, "tanh": _tanh, "relu": _relu}
"""The gradients of a feature's sums, by kind of layer; the state's gradient keeps what bypasses the product."""
