"""Recurrent layers over all their steps: one product for the inputs, then the recurrence, samples apart."""

from __future__ import annotations

from dataclasses import replace

from rushlight.compiler.access import Access, byte_strides, whole
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.matmul import matmul_kernel
from rushlight.compiler.kernels.microkernel import Index
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
    sigmoid,
    tanh,
)
from rushlight.compiler.lanes import Namespace
from rushlight.compiler.lanes_core import Lanes
from rushlight.spec import Spec


def forward_kernels(
    x: Layer, inputs: Access, states: list[Access], weights: tuple[Access, Access], biases: list[Access | None],
    results: tuple[Value, ...], calls: tuple[Call, ...], table: Access | None = None,
) -> list[Kernel]:  # fmt: skip
    """The kernels of a layer.

    Parameters
    ----------
    x : its sizes
    inputs : [steps, batch, input size], or the rows of packed sequences
    states : first state, and cell of an LSTM
    weights : of the inputs and of the state
    biases : of the inputs and of the state
    results : as the op has them
    table : of packed sequences
    """
    of_inputs, of_state = weights
    rows = x.gates * x.features
    name = f"inputs of {x.kind} {x.steps}x{x.batch}x{rows}"
    if table is None:
        share = Value(Spec((x.steps, rows, x.batch), inputs.dtype), name="input share")
        first = matmul_kernel(of_inputs, _turned(inputs), share, name=name)
    else:
        share = Value(Spec((x.total, rows), inputs.dtype), name="input share")
        first = matmul_kernel(inputs, _turned(of_inputs), share, name=name)
    return [first, *recurrence_kernels(x, whole(share), states, of_state, biases, results, calls, table)]


def recurrence_kernels(
    x: Layer, share: Access, states: list[Access], weight: Access, biases: list[Access | None],
    results: tuple[Value, ...], calls: tuple[Call, ...], table: Access | None,
) -> list[Kernel]:  # fmt: skip
    """The kernels that go through the steps, where the inputs' share of the gates is known.

    It is [steps, gates, batch], or [rows, gates] of packed sequences.
    """
    pack = packed(x, weight, turned=False)
    found: list[Access | None] = [table, share, whole(pack.writes[0]), *states, *biases]
    roots, where = places(found)
    at = [Place(len(roots) + i, 0, byte_strides(v.shape, x.size)) for i, v in enumerate(results)]
    space = _space(x)

    build = builder(x, len(roots) + len(results), space, lambda part: _Forward(part, where, at).write())
    main = Kernel(
        name=f"{x.kind} {x.steps}x{x.batch}x{x.features}", key=f"recurrent {x} {where} {at}", build=build, reads=roots,
        writes=results, chunks=x.chunks, workspace=space * x.chunks, calls=calls,
        inplace=((len(results) - 2, roots.index(share.root)),) if x.kind == "lstm" and not x.is_packed else (),
        flops=2 * x.all_rows * x.gates * x.features * x.features,
    )  # fmt: skip
    return [pack, main]


def _turned(x: Access) -> Access:
    """The last two dims in the other order."""
    *lead, i, j = range(len(x.shape))
    order = (*lead, j, i)
    return replace(x, shape=tuple(x.shape[k] for k in order), strides=tuple(x.strides[k] for k in order))


def _space(x: Layer) -> int:
    """Bytes of a chunk: the state before and after a step, the cell, the numbers of a block, a packed step's share."""
    share = x.square_room(x.gates * x.features) if x.is_packed else 0
    return 3 * x.state_bytes + x.room(x.gates * x.units) + share


class _Forward:
    """One chunk's way through all steps."""

    def __init__(self, part: Chunk, where: list[Place | None], results: list[Place]) -> None:
        x = part.x
        self.part, self.code, self.x = part, part.code, x
        self.results = results
        table, share, weight, *states = where[: 4 + (x.kind == "lstm")]
        assert share is not None and weight is not None
        self.share_place = share
        self.share, self.weight = part.arrays[share.slot], part.arrays[weight.slot]
        self.states = [s for s in states if s is not None]
        self.biases = where[-2:]
        self.cell = part.code.at(part.space, 2 * x.state_bytes)
        self.block = part.code.at(part.space, 3 * x.state_bytes)
        if table is not None:
            part.packed_by(table)
            self.share = part.code.at(self.block, x.room(x.gates * x.units))

    def write(self) -> None:
        """The whole chunk."""
        part, code, x = self.part, self.code, self.x
        part.take(self.states[0], part.space)
        if x.kind == "lstm":
            part.take(self.states[1], self.cell)
        code.loop(part.steps, self.step)
        part.give(self.turn(part.steps), self.results[1])
        if x.kind == "lstm":
            part.give(self.cell, self.results[2])

    def turn(self, i: Index) -> IR:
        """Where the state before step i lies."""
        if isinstance(i, int):
            return self.code.at(self.part.space, i % 2 * self.x.state_bytes)
        odd = self.code.b.and_(i, self.code.value(1))
        return self.code.at(self.part.space, self.code.mul(odd, self.x.state_bytes))

    def step(self, i: Index) -> tuple[()]:
        """One step."""
        code, x = self.code, self.x
        before, after = self.turn(i), self.turn(code.add(i, 1))
        now = self.part.moment(i)
        if x.is_packed:
            self.part.take(self.share_place, self.share, now, features=x.gates * x.features)

        def block(index: Index) -> tuple[()]:
            over_blocks(code, index, x.features, x.units, lambda count: self.units(now, index, count, before, after))
            return ()

        code.loop(-(-x.features // x.units), block)
        self.part.give(after, self.results[0], now)
        return ()

    def units(self, now: Moment, index: Index, count: int, before: IR, after: IR) -> None:
        """The features of one block: their sums, then their gates."""
        code, x = self.code, self.x
        first = code.mul(index, x.units)
        start = [self.start(now, g, code.add(first, u)) for g in range(x.gates) for u in range(count)]
        sizes = x.gates * count, x.gates * x.units
        sums = product(code, self.weight, before, index, x.features, sizes, start)
        for r, v in enumerate(sums):
            code.store(v, self.part.state(self.block, r))

        def unit(u: Index) -> tuple[()]:
            z = [self.load(self.part.state(self.block, code.add(u, g * count))) for g in range(x.gates)]
            new = GATED[x.kind](self, now, code.add(first, u), z, before)
            u = code.add(first, u)
            code.store(self.part.kept(now, new, self.part.state(before, u)).value, self.part.state(after, u))
            return ()

        code.loop(count, unit)

    def start(self, now: Moment, gate: int, unit: Index) -> IR:
        """What a sum starts from: the input's share and the biases; a GRU's new state has only the state's bias."""
        code = self.code
        row = code.add(unit, gate * self.x.features)
        if self.x.kind == "gru" and gate == 2:
            return self.bias(1, row) or code.zero
        out = self.input_share(now, row)
        for bias in (self.bias(0, row), self.bias(1, row)):
            out = out if bias is None else code.b.fadd(out, bias)
        return out

    def input_share(self, now: Moment, row: Index) -> IR:
        """The input's share of a row of gates."""
        rows = self.x.gates * self.x.features
        if self.x.is_packed:
            return self.code.load(self.part.state(self.share, row))
        return self.code.load(self.part.in_gates(self.share, rows, now, row), now.mask)

    def bias(self, i: int, row: Index) -> IR | None:
        """A bias in all lanes."""
        code, place = self.code, self.biases[i]
        if place is None:
            return None
        at = code.at(self.part.arrays[place.slot], code.add(place.offset, code.mul(row, place.strides[0])))
        return code.spread(code.load_number(at))

    def load(self, pointer: IR) -> Lanes:
        """A vector of the workspace."""
        return self.part.lanes(self.code.load(pointer))

    def keep(self, result: int, rows: int, now: Moment, row: Index, value: Lanes) -> None:
        """Store a row for the backward pass."""
        at = self.part.in_gates(self.part.arrays[self.results[result].slot], rows, now, row)
        self.code.store(value.value, at, now.mask)


def _lstm(w: _Forward, now: Moment, unit: Index, z: list[Lanes], before: IR) -> Lanes:
    size = w.x.features
    i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), tanh(z[2]), sigmoid(z[3])
    at = w.part.state(w.cell, unit)
    cell = w.part.kept(now, f * w.load(at) + i * g, at)
    w.code.store(cell.value, at)
    for k, gate in enumerate((i, f, g, o)):
        w.keep(3, 4 * size, now, w.code.add(unit, k * size), gate)
    w.keep(4, size, now, unit, cell)
    out: Lanes = o * tanh(cell)
    return out


def _gru(w: _Forward, now: Moment, unit: Index, z: list[Lanes], before: IR) -> Lanes:
    size, code = w.x.features, w.code
    r, u, hidden = sigmoid(z[0]), sigmoid(z[1]), z[2]
    row = code.add(unit, 2 * size)
    share = w.input_share(now, row)
    bias = w.bias(0, row)
    share = w.part.lanes(share if bias is None else code.b.fadd(share, bias))
    new = tanh(r * hidden + share)
    for k, kept in enumerate((r, u, new, hidden)):
        w.keep(2, 4 * size, now, code.add(unit, k * size), kept)
    out: Lanes = (w.load(w.part.state(before, unit)) - new) * u + new
    return out


def _tanh(w: _Forward, now: Moment, unit: Index, z: list[Lanes], before: IR) -> Lanes:
    return tanh(z[0])


def _relu(w: _Forward, now: Moment, unit: Index, z: list[Lanes], before: IR) -> Lanes:
    return Namespace(w.code.emitter).maximum(z[0], 0.0)


GATED = {"lstm": _lstm, "gru": _gru, "tanh": _tanh, "relu": _relu}
"""What follows on the sums of a feature, by kind of layer: gives its new state."""
