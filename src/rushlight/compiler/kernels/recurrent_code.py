"""What the kernels of recurrent layers share: their cut, the weight in the order of their blocks, states turned around.

A chunk takes some samples through all steps, one sample a lane, and waits for no other. A block multiplies rows of the
weight, number by number, with vectors of the state [features, lanes]; the gates follow on the numbers of the block.
Outside, states lie [batch, features] and gates [steps, gates, batch].

Of packed sequences, whose batch falls from step to step, the sizes of the steps are data, so that one kernel serves all
lengths: a table [2, steps] holds them and the first row of each step. A chunk goes as far as its longest sequence;
lanes whose sequence has ended, or has not begun, keep their state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry
from rushlight.compiler.kernels.microkernel import Code, Index, Mask, Operands, multiply
from rushlight.compiler.lanes import Namespace
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host
from rushlight.spec import Spec

IR = Any
LINE = 64
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
"""Gates of each kind of layer."""


@dataclass(frozen=True)
class Layer:
    """The sizes of a layer, and the block of its kernels.

    Attributes
    ----------
    kind : of GATES
    steps, batch, features : sizes
    reverse : whether the last step comes first
    dtype : name
    lanes : samples of a chunk
    units : features of a block forward, where each has a row for every gate
    rows : features of a block backward, where each has one row
    total : rows that there is room for, of packed sequences; otherwise 0
    """

    kind: str
    steps: int
    batch: int
    features: int
    reverse: bool
    dtype: str
    lanes: int
    units: int
    rows: int
    total: int = 0

    @property
    def is_packed(self) -> bool:
        """Whether the sizes of the steps are data."""
        return self.total > 0

    @property
    def all_rows(self) -> int:
        """Rows of all steps."""
        return self.total or self.steps * self.batch

    @property
    def gates(self) -> int:
        """Rows of the weight for each feature."""
        return GATES[self.kind]

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def chunks(self) -> int:
        """Chunks of samples."""
        return -(-self.batch // self.lanes)

    @property
    def state_bytes(self) -> int:
        """A state of a chunk, [features, lanes], with room for whole squares."""
        return self.square_room(self.features)

    def square_room(self, features: int) -> int:
        """Bytes of so many vectors, and of those that make the last square whole."""
        return self.room(-(-features // self.lanes) * self.lanes)

    def room(self, features: int) -> int:
        """Bytes of so many vectors, whole cache lines."""
        return -(-features * self.lanes * self.size // LINE) * LINE


def layer(
    kind: str, steps: int, batch: int, features: int, reverse: bool, dtype: Any, total: int = 0
) -> Layer:  # fmt: skip
    """The cut of a layer: from sizes alone."""
    machine = host()
    lanes = full = machine.lanes(dtype)
    if batch <= full and full >= 4:
        # narrower vectors where whole ones would leave samples to one core, or lanes empty
        lanes = full // 2 if batch > full // 2 else max(2, full // 4)
    room = machine.registers - 3
    units, rows = (_even(features, max(1, room // gates)) for gates in (GATES[kind], 1))
    return Layer(kind, steps, batch, features, reverse, np.dtype(dtype).name, lanes, units, rows, total)


def _even(count: int, most: int) -> int:
    """Size of parts, at most so many, that leaves the last one nearly as large."""
    return -(-count // -(-count // most))


@dataclass(frozen=True)
class Place:
    """Where an operand lies: slot, bytes from its start, strides in bytes."""

    slot: int
    offset: int
    strides: tuple[int, ...]


def places(found: list[Access | None]) -> tuple[tuple[Value, ...], list[Place | None]]:
    """The roots of some operands, each once, and where the operands lie."""
    roots = tuple(dict.fromkeys(a.root for a in found if a is not None))
    return roots, [None if a is None else Place(roots.index(a.root), a.offset, a.strides) for a in found]


# The recurrent weight in the order in which blocks read it


def packed(x: Layer, weight: Access, *, turned: bool) -> Kernel:
    """The weight [gates * features, features] as blocks: for each number of the sum, its factors for all rows.

    Rows are a block's gates and features, gate by gate; `turned`, the features that the weight's columns are of.
    """
    gates, units = (1, x.rows) if turned else (x.gates, x.units)
    blocks = -(-x.features // units)
    depth = x.features * (x.gates if turned else 1)
    row, step = reversed(weight.strides) if turned else weight.strides
    out = Value(Spec((blocks * depth * gates * units,), weight.dtype), name="packed weight")

    def build(module: Any, name: str) -> None:
        code, slots, chunk = entry(module, name, np.dtype(x.dtype), x.lanes)
        source = code.at(code.b.load(slots, typ=ir.PointerType()), weight.offset)
        to = address(code, slots, 1)
        to = code.at(to, code.mul(chunk, depth * gates * units * code.size))
        source = code.at(source, code.mul(chunk, units * row))

        def block(count: int) -> None:
            def line(k: Index) -> tuple[()]:
                at, target = code.at(source, code.mul(k, step)), code.at(to, code.mul(k, gates * units * code.size))
                for i in range(gates * count):
                    g, u = divmod(i, count)
                    number = code.load_number(code.at(at, (g * x.features + u) * row))
                    code.b.store(number, code.at(target, i * code.size))
                return ()

            code.loop(depth, line)

        over_blocks(code, chunk, x.features, units, block)
        code.b.ret_void()

    return Kernel(
        name=f"pack weight {x.gates * x.features}x{x.features}",
        key=f"recurrent weight {x} {turned} {weight.offset} {weight.strides}",
        build=build, reads=(weight.root,), writes=(out,), chunks=blocks,
    )  # fmt: skip


def over_blocks(code: Code, index: Index, features: int, units: int, block: Callable[[int], None]) -> None:
    """Write the code of a block for whole ones and for a smaller last one."""
    rest, last = features % units, features // units
    if not rest:
        block(units)
    elif not last:
        block(rest)
    else:
        is_last = code.b.icmp_signed("==", code.value(index), code.value(last))
        code.when(is_last, lambda: block(rest), lambda: block(units))


def product(
    code: Code, weight: IR, vectors: IR, index: Index, depth: int, sizes: tuple[int, int], start: list[IR]
) -> list[IR]:
    """The sums of one block: `sizes` are its rows, and the rows that each block has room for."""
    rows, pitch = sizes
    line, wide = pitch * code.size, code.lanes * code.size
    at = code.at(weight, code.mul(index, depth * line))
    block = Operands(at, [r * code.size for r in range(rows)], vectors, [0], [(depth, line, wide)])
    return multiply(code, block, start, sets=max(1, min(8 // rows, depth)))


# One chunk's work


@dataclass(frozen=True)
class Moment:
    """A step.

    Attributes
    ----------
    step : which
    start, size : its first row, and its samples
    count, mask : those of the chunk, and their lanes
    """

    step: Index
    start: Index
    size: Index
    count: Index
    mask: Mask


class Chunk:
    """Writes what both directions need for one chunk's samples.

    Attributes
    ----------
    first : the first sample
    all : its samples, as a step that all take part in
    steps : how many it goes through
    space : its part of the workspace
    """

    def __init__(self, code: Code, x: Layer, slots: IR, chunk: IR, arrays: int, space: int) -> None:
        self.code, self.x = code, x
        pointer = ir.PointerType()
        self.arrays = [code.b.load(code.at(slots, 8 * i), typ=pointer) for i in range(arrays)]
        space_start = code.b.load(code.at(slots, 8 * arrays), typ=pointer)
        self.space = code.at(space_start, code.mul(chunk, space))
        self.square = code.room(x.lanes * x.lanes)
        self.first: Index = code.mul(chunk, x.lanes)
        whole = x.batch % x.lanes == 0
        count: Index = x.lanes if whole else code.least(x.lanes, code.sub(x.batch, self.first))
        self.all = Moment(0, 0, x.batch, count, None if whole else code.mask(count))
        self.steps: Index = x.steps
        self.table: IR = None

    def lanes(self, value: IR) -> Lanes:
        """A vector as lanes."""
        return Lanes(self.code.emitter, value, self.code.dtype, self.code.lanes)

    def packed_by(self, place: Place) -> None:
        """Take the sizes of the steps from a table."""
        code, x = self.code, self.x
        self.table = code.at(self.arrays[place.slot], place.offset)

        def count(t: Index, found: IR) -> tuple[IR]:
            longer = code.b.icmp_signed(">", self._entry(0, t), code.value(self.first))
            return (code.b.add(found, code.b.zext(longer, code.i64)),)

        (self.steps,) = code.loop(x.steps, count, [code.value(0)])

    def _entry(self, row: int, t: Index) -> IR:
        at = self.code.at(self.table, self.code.mul(self.code.add(t, row * self.x.steps), 8))
        return self.code.b.load(at, typ=self.code.i64)

    def moment(self, i: Index) -> Moment:
        """The step that comes as the i-th."""
        code, x = self.code, self.x
        t = code.sub(code.sub(self.steps, 1), i) if x.reverse else i
        if not x.is_packed:
            return Moment(t, code.mul(t, x.batch), x.batch, self.all.count, self.all.mask)
        size = self._entry(0, t)
        return self._of_packed(t, size, code.sub(size, self.first))

    def moment_before(self, i: Index) -> tuple[Moment, Any]:
        """The step before the i-th, and whether there is none: then it has no samples, and another step's place."""
        code, x = self.code, self.x
        if isinstance(i, int):
            return self.moment(max(i - 1, 0)), i == 0
        is_first = code.b.icmp_signed("==", i, code.value(0))
        before = self.moment(code.b.select(is_first, i, code.value(code.sub(i, 1))))
        if x.is_packed:
            count = code.b.select(is_first, code.value(0), before.count)
            before = self._of_packed(before.step, before.size, count)
        return before, is_first

    def _of_packed(self, t: Index, size: Index, count: Index) -> Moment:
        code = self.code
        count = code.least(self.x.lanes, count)
        none = code.b.icmp_signed("<", count, code.value(0))
        count = code.b.select(none, code.value(0), count)
        return Moment(t, self._entry(1, t), size, count, code.mask(count))

    def state(self, base: IR, feature: Index) -> IR:
        """The address of a feature's vector in a state of the workspace."""
        return self.code.at(base, self.code.mul(feature, self.x.lanes * self.x.size))

    def kept(self, now: Moment, new: Lanes, old: IR) -> Lanes:
        """`new`, and `old` (a vector in memory) in the lanes that have no such step."""
        if not self.x.is_packed:
            return new
        return self.lanes(self.code.b.select(now.mask, new.value, self.code.load(old)))

    def in_gates(self, base: IR, rows: int, now: Moment, row: Index) -> IR:
        """The address of this chunk's samples in [steps, rows, batch]."""
        code = self.code
        place = code.add(code.add(code.mul(now.start, rows), code.mul(row, now.size)), self.first)
        return code.at(base, code.mul(place, self.x.size))

    def at(self, place: Place, now: Moment | None = None) -> IR:
        """The address of this chunk's first sample in [batch, features], or in a step of [steps, batch, features]."""
        code = self.code
        first = self.first if now is None or not self.x.is_packed else code.add(self.first, now.start)
        offset = code.add(code.mul(first, place.strides[-2]), place.offset)
        if now is not None and not self.x.is_packed:
            offset = code.add(offset, code.mul(now.step, place.strides[0]))
        return code.at(self.arrays[place.slot], offset)

    def take(
        self, place: Place, state: IR, now: Moment | None = None, *, add: bool = False, features: int = 0
    ) -> None:  # fmt: skip
        """Turn [batch, features] into a state, or add it to one."""
        code, x = self.code, self.x
        source, of = self.at(place, now), now or self.all
        along, across = place.strides[-1], place.strides[-2]
        features = features or x.features

        def put(feature: Index, v: IR) -> None:
            target = self.state(state, feature)
            code.store(code.b.fadd(code.load(target), v) if add else v, target)

        def feature(u: Index) -> tuple[()]:
            at = code.at(source, code.mul(u, along))
            if across == x.size:
                put(u, code.load(at, of.mask))
            elif across == 0:
                put(u, self._in_lanes(code.spread(code.load_number(at)), of))
            else:
                steps = code.emitter.sequence(range(x.lanes), np.dtype(np.int64))
                lanes = code.lanes_of(of.mask)
                put(u, code.emitter.gather(at, steps, code.dtype, lanes, scale=across).value)
            return ()

        if along != x.size or across in (0, x.size):
            code.loop(features, feature)
            return

        def square(u: Index) -> tuple[()]:
            at = code.at(source, code.mul(u, along))
            wide = self._features(u, features)
            code.transpose(
                self.square,
                lambda r: code.load(code.at(at, code.mul(r, across)), self._within(r, wide, of)),
                lambda r, v: put(code.add(u, r), v),
            )
            return ()

        code.loop(features, square, step=x.lanes)

    def _in_lanes(self, v: IR, of: Moment) -> IR:
        """A vector with 0 where packed sequences have no such step."""
        return self.code.b.select(of.mask, v, self.code.zero) if self.x.is_packed and of.mask is not None else v

    def _features(self, u: Index, features: int) -> Index:
        """Features from `u` on, at most a vector."""
        lanes = self.x.lanes
        return lanes if features % lanes == 0 else self.code.least(lanes, self.code.sub(features, u))

    def _within(self, sample: Index, wide: Index, of: Moment) -> Mask:
        """The lanes of so many features, none for a sample that there is not."""
        code = self.code
        if of.mask is not None:
            inside = code.b.icmp_signed("<", code.value(sample), code.value(of.count))
            wide = code.b.select(inside, code.value(wide), code.value(0))
        return code.mask(wide)

    def give(self, state: IR, place: Place, now: Moment | None = None) -> None:
        """Turn a state into row-major [batch, features]."""
        code, x = self.code, self.x
        target, of = self.at(place, now), now or self.all

        def square(u: Index) -> tuple[()]:
            wide = self._features(u, x.features)
            at = code.at(target, code.mul(u, x.size))

            def store(r: Index, v: IR) -> None:
                code.store(v, code.at(at, code.mul(r, place.strides[-2])), self._within(r, wide, of))

            code.transpose(self.square, lambda r: code.load(self.state(state, code.add(u, r))), store)
            return ()

        code.loop(x.features, square, step=x.lanes)


def builder(x: Layer, arrays: int, space: int, write: Callable[[Chunk], None]) -> Callable[[Any, str], None]:
    """What adds a kernel of `arrays` operands to a module, its body written by `write`."""

    def build(module: Any, name: str) -> None:
        code, slots, chunk = entry(module, name, np.dtype(x.dtype), x.lanes)
        write(Chunk(code, x, slots, chunk, arrays, space))
        code.b.ret_void()

    return build


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e**-x)."""
    out: Lanes = 1.0 / (Namespace(x.emitter).exp(-x) + 1.0)
    return out


def tanh(x: Lanes) -> Lanes:
    """Hyperbolic tangent."""
    return Namespace(x.emitter).tanh(x)
