"""Convolutions and their data gradients as kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import bounds, entry, part_of
from rushlight.compiler.kernels.conv_batch import BatchWriter
from rushlight.compiler.kernels.conv_batch_plan import Batch, describe_batch
from rushlight.compiler.kernels.conv_batch_plan import cost as batch_cost
from rushlight.compiler.kernels.conv_batch_plan import workspace as batch_workspace
from rushlight.compiler.kernels.conv_batch_turn import turn_kernel
from rushlight.compiler.kernels.conv_expand import Source, each, expand
from rushlight.compiler.kernels.conv_pack import pack_kernel, packed_weights
from rushlight.compiler.kernels.conv_plan import (
    Convolution,
    cost,
    describe,
    is_direct,
    scratch_bytes,
    scratch_row,
    tile_bytes,
    workspace,
)
from rushlight.compiler.kernels.conv_results import Arguments, Results
from rushlight.compiler.kernels.conv_shape import Reading, own, within_window
from rushlight.compiler.kernels.conv_tile import (
    Weights,
    each_block,
    first_of,
    first_tap,
    join_rows,
    multiply_block,
    own_weights,
    scatter_rows,
)
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.microkernel import Code, Index, Mask

Ints = tuple[int, ...]
IR = Any


# What images in the lanes must be cheaper by.
MARGIN = 0.93


def conv_kernel(
    x: Access, weight: Access, bias: Access | None, out: Value, geometry: Geometry, groups: int = 1, *,
    transposed: bool = False, epilogue: Epilogue | None = None, calls: tuple[Call, ...] = (),
) -> list[Kernel]:  # fmt: skip
    """The kernels of a convolution, or of its transpose: the last makes the result, one before it packs the weight.

    Parameters
    ----------
    x : [N, C, *size], of the transpose [N, O, *output size]
    weight : [O, C/groups, *kernel]
    bias : one number per channel of the result
    out : the result, row-major
    geometry : of the convolution (the transpose makes its input)
    epilogue : what follows on the result's elements, its inputs such as `can_fuse` admits; its outputs are written
        instead of `out`
    calls : the graph's calls that the convolution itself carries out
    """
    c = plan(x, weight, bias, geometry, groups, transposed)
    before, reads = packed(c, x, weight)
    own = reads + ((bias.root,) if bias else ())
    reads = own
    if epilogue is not None:
        reads += tuple(a.root for a in epilogue.inputs)
        calls += epilogue.calls
    kind = "transposed convolution" if transposed else "convolution"
    main = Kernel(
        name=f"{kind} {_sizes(x.shape)} * {_sizes(weight.shape)}" + _followers(epilogue),
        key=f"conv {c} {c.cut}{'' if epilogue is None else _layout(epilogue)}",
        build=lambda module, name: build(module, name, c, epilogue),
        reads=reads,
        writes=(out,) if epilogue is None else epilogue.outputs,
        calls=calls,
        inplace=() if epilogue is None else _inplace(own, epilogue, reads),
        chunks=c.cut.chunks,
        workspace=(batch_workspace(c) if isinstance(c, Batch) else workspace(c)) * c.cut.chunks,
        flops=2 * x.shape[0] * math.prod(weight.shape) * math.prod(geometry.output_size),
    )
    return [*before, main]


def packed(c: Convolution | Batch, x: Access, weight: Access) -> tuple[list[Kernel], tuple[Value, ...]]:
    """The kernels that lay out input and weight where the main kernel wants them so, and what it reads."""
    before, reads = [], [x.root, weight.root]
    if isinstance(c, Batch) and c.cut.turned:
        before.append(turn_kernel(c, x))
        reads[0] = before[-1].writes[0]
    if c.is_packed:
        before.append(pack_kernel(c.packing, weight))
        reads[1] = before[-1].writes[0]
    return before, tuple(reads)


def plan(
    x: Access, weight: Access, bias: Access | None, geometry: Geometry, groups: int, transposed: bool
) -> Convolution | Batch:
    """The cheaper of the two ways to do it."""
    plain = describe(x, weight, bias, geometry, groups, transposed)
    batch = describe_batch(x, weight, bias, geometry, groups, transposed)
    if batch is None:
        return plain
    most = MARGIN * cost(plain) * batch.images / batch.image_groups
    # the products alone say it for most
    return batch if batch.products <= most and batch_cost(batch, batch.cut) <= most else plain


def _inplace(own: tuple[Value, ...], e: Epilogue, reads: tuple[Value, ...]) -> tuple[tuple[int, int], ...]:
    """An output may take the memory of an epilogue's operand that nothing else reads: both are at the same place."""
    apart = set(own)
    apart |= {a.root for a in e.inputs if not a.is_whole or math.prod(a.root.shape) != math.prod(e.outputs[0].shape)}
    return tuple(
        (w, r)
        for w, value in enumerate(e.outputs)
        for r, root in enumerate(reads)
        if root not in apart and root.dtype == value.dtype
    )


def _layout(e: Epilogue) -> str:
    """Says what an epilogue's code depends on."""
    inputs = [(a.offset, a.shape, a.strides, a.dtype.name) for a in e.inputs]
    return f" {e.key} {inputs} {[v.dtype.name for v in e.outputs]}"


def _followers(e: Epilogue | None) -> str:
    return "" if e is None else " + " + " ".join(call.op.name for call in e.calls)


def _sizes(shape: Ints) -> str:
    return "x".join(map(str, shape))


class Writer:
    """The code of one convolution's function."""

    def __init__(self, code: Code, c: Convolution, epilogue: Epilogue | None, slots: IR, chunk: IR) -> None:
        self.code, self.c = code, c
        given = Arguments(code, slots, c.offsets, c.bias_stride is not None, epilogue)
        self.x, self.w, self.bias = given.x, given.w, given.bias
        self.results = Results(code, given, epilogue, c.groups * c.outputs, math.prod(c.plane))
        self.space = code.at(given.space, code.mul(chunk, workspace(c)))
        self.chunk = chunk

    def write(self) -> None:
        """The units of a chunk."""
        code, k = self.code, self.c.cut
        total = k.units * self.c.groups
        low, count = part_of(code, total, k.chunks, self.chunk)
        each(code, count, lambda i: self.unit(code.add(low, i)))

    def unit(self, n: Index) -> None:
        """One image group, group of channels, slice of tiles and range of output channels."""
        code, c, k = self.code, self.c, self.c.cut
        n, split = code.divide(n, k.splits)
        n, piece = code.divide(n, k.slices)
        images, group = code.divide(n, c.groups)
        first = code.mul(images, k.images)
        count = k.images if c.images % k.images == 0 else code.least(k.images, code.sub(c.images, first))
        x = code.at(self.x, code.mul(first, c.x[0]))
        x = code.at(x, code.mul(group, c.channels * c.x[1]))
        bias = None if self.bias is None else code.at(self.bias, code.mul(group, c.outputs * (c.bias_stride or 0)))
        for i in range(1 if k.shared else len(c.parts)):
            self.part(i, Source(x, c.x), group, bias, (first, count), piece, split)

    def part(
        self, i: int, x: Source, group: Index, bias: IR, images: tuple[Index, Index], piece: Index, split: Index
    ) -> None:
        """The tiles of one part that belong to a slice, for `images` (first, count)."""
        code, k = self.code, self.c.cut
        t = k.tilings[i]
        low, count = part_of(code, t.tiles, k.slices, piece)

        def tile(j: Index) -> None:
            first = code.mul(code.add(low, j), t.rows)
            even = t.part.rows.out % t.rows == 0
            rows = t.rows if even else code.least(t.rows, code.sub(t.part.rows.out, first))
            Tile(self, i, group, bias, images, (first, rows), split).write(x)

        each(code, count, tile)

    def weights(self, i: int, group: Index, first: Index, rows: int) -> tuple[IR, Weights]:
        """Where a block's weights lie, of a part, and how."""
        code, c = self.code, self.c
        part = c.parts[i]
        if c.is_packed:
            block = code.add(code.mul(group, c.outputs), first)
            at = code.mul(block, c.channels * part.taps * c.size)
            return code.at(code.at(self.w, c.packing.part(i)), at), packed_weights(part, rows, c.size)
        at = code.add(code.mul(group, c.weight_group), code.mul(first, c.weights.output))
        return code.at(code.at(self.w, at), first_tap(part, c.weights)), own_weights(part, c.weights)


class Tile:
    """One tile of a part, for a range of blocks of output channels."""

    def __init__(
        self, writer: Writer, i: int, group: Index, bias: IR, images: tuple[Index, Index], rows: tuple[Index, Index],
        split: Index,
    ) -> None:  # fmt: skip
        self.writer, self.i, self.group, self.bias = writer, i, group, bias
        self.code, self.c = writer.code, writer.c
        code, k = self.code, self.c.cut
        self.image, self.images = images
        self.first, self.rows = rows
        self.tiling, self.blocks = k.tilings[i], k.blocks[i]
        self.low, self.high = bounds(code, self.blocks.count, k.splits, split)
        self.scratch = code.at(writer.space, tile_bytes(self.c, i))
        self.row = scratch_row(self.c, i)

    def write(self, x: Source) -> None:
        """Its products, and what becomes of them."""
        t, code = self.tiling, self.code
        if self.c.cut.shared:
            expand(code, t, x, self.writer.space, self.first, self.rows, self.images)
            self.blocks_of(self.joined)
            return
        if t.passes == 1:
            if t.part.taps:
                expand(code, t, x, self.writer.space, self.first, self.rows, self.images)
            self.products(0, self.bias_of, self.finish, self.after)
            return
        base = first_of(code, self.blocks, self.low)
        count = code.sub(first_of(code, self.blocks, self.high), base)
        self.fill(base, count)

        def one(n: Index) -> None:
            from_channel = code.at(x.pointer, code.mul(n, t.channels * x.channel))
            expand(code, t, Source(from_channel, self.c.x), self.writer.space, self.first, self.rows, self.images)
            self.products(code.mul(n, t.channels), self.held(base), self.hold(base), lambda first, rows: None)

        each(code, t.passes, one)
        self.spread(base, count)

    def blocks_of(self, body: Callable[[Index, int], None]) -> None:
        """The blocks of the range."""
        code = self.code
        each(
            code, code.sub(self.high, self.low),
            lambda b: each_block(code, self.blocks, code.add(self.low, b), body),
        )  # fmt: skip

    def products(self, channel: Index, start: Any, finish: Any, after: Any) -> None:
        """Add the products of the tile's channels, from `channel` on."""

        def block(first: Index, rows: int) -> None:
            pointer, laid = self.writer.weights(self.i, self.group, first, rows)
            w = self.code.at(pointer, self.code.mul(channel, laid.channel)), laid
            ahead = self.ahead(first, rows) if is_direct(self.c, self.i) else lambda p: None
            self.multiply(own(self.tiling.part), w, rows, start(first, rows), finish(first, rows), ahead)
            after(first, rows)

        self.blocks_of(block)

    def ahead(self, first: Index, rows: int, part: int = 0, parts: int = 1) -> Callable[[Index], None]:
        """What asks for the memory of a block's results before they are there; of several parts, each for some."""
        code, c, t = self.code, self.c, self.tiling
        channel = code.add(code.mul(self.group, c.outputs), first)
        begin = code.add(code.mul(self.first, t.part.plane * parts), part * t.rows * t.part.plane)

        def before(p: Index) -> None:
            for r, v in itertools.product(range(rows), range(c.cut.wide[self.i])):
                at = code.add(code.add(begin, p), v * code.lanes)
                self.writer.results.ahead(self.image, code.add(channel, r), at)

        return before

    def multiply(
        self, read: Reading, weights: tuple[IR, Weights], rows: int, start: Any, take: Any, before: Any
    ) -> None:
        """The products of a block."""
        t, code = self.tiling, self.code
        positions = code.mul(self.rows, t.images * t.part.plane)
        wide, space = self.c.cut.wide[self.i], self.writer.space
        multiply_block(code, t, read, weights, rows, wide, positions, space, start, take, before)

    def joined(self, first: Index, rows: int) -> None:
        """A block of output channels of all parts, which share the tile."""
        code, c = self.code, self.c
        sources = [code.at(self.scratch, i * scratch_bytes(c, i)) for i in range(len(c.parts))]
        for i, source in enumerate(sources):
            if c.parts[i].taps:
                self.keep(i, first, rows, source)
        channel = code.add(code.mul(self.group, c.outputs), first)

        def take(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
            self.writer.results.put(v, code.add(self.image, n), code.add(channel, r), p, mask)

        def empty(r: Index) -> IR:
            return self.bias_of(code.add(first, r), 1)(0, 0)

        parts = [[(c.parts[i], sources[i]) for i in joint] for joint in c.joints]
        span = (self.first, self.rows)
        join_rows(code, self.tiling, parts, self.row, rows, span, self.images, c.plane[1:], empty, take)

    def keep(self, i: int, first: Index, rows: int, source: IR) -> None:
        """The products of a part go to `source`."""
        code, c = self.code, self.c

        def take(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
            code.store(v, code.at(source, code.add(code.mul(r, self.row), code.mul(p, c.size))))

        weights = self.writer.weights(i, self.group, first, rows)
        read = within_window(c.parts[i], self.tiling.part)
        simple = self.tiling.images == 1 and all(part.taps for part in c.parts)
        ahead = self.ahead(first, rows, i, len(c.parts)) if simple else lambda p: None
        self.multiply(read, weights, rows, self.bias_of(first, rows), take, ahead)

    def bias_of(self, first: Index, count: int) -> Callable[[int, Index], IR]:
        """What accumulators of a block hold at first."""
        code, step = self.code, self.c.bias_stride or 0
        if self.bias is None:
            return lambda r, p: code.zero
        at = [code.at(self.bias, code.mul(code.add(first, r), step)) for r in range(count)]
        held = [code.spread(code.load_number(pointer)) for pointer in at]
        return lambda r, p: held[r]

    def finish(self, first: Index, count: int) -> Any:
        """What takes the results of a block."""
        code, c = self.code, self.c
        channel = code.add(code.mul(self.group, c.outputs), first)
        begin = code.mul(self.first, self.tiling.part.plane)

        def to_result(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
            image = code.add(self.image, n)
            self.writer.results.put(v, image, code.add(channel, r), code.add(p, begin), mask)

        def to_scratch(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
            code.store(v, self.waiting(r, p))

        return to_result if is_direct(c, self.i) else to_scratch

    def after(self, first: Index, count: int) -> None:
        """Behind each block: its results go where they belong."""
        if not is_direct(self.c, self.i):
            self.spread(first, count)

    def spread(self, first: Index, count: Index) -> None:
        """Results that wait, of so many output channels, go where they belong."""
        code, c = self.code, self.c
        channel = code.add(code.mul(self.group, c.outputs), first)

        def take(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
            self.writer.results.put(v, code.add(self.image, n), code.add(channel, r), p, mask)

        rows = (self.first, self.rows)
        scatter_rows(code, self.tiling, self.scratch, self.row, count, rows, self.images, c.plane[1:], take)

    def waiting(self, r: Index, p: Index) -> IR:
        """Where results wait: row of the scratch, position of the tile."""
        code = self.code
        return code.at(self.scratch, code.add(code.mul(r, self.row), code.mul(p, self.c.size)))

    def fill(self, base: Index, count: Index) -> None:
        """Let the sums of output channels from `base` on begin with the bias."""
        code = self.code

        def channel(r: Index) -> None:
            value = self.bias_of(code.add(base, r), 1)(0, 0)
            vectors = self.row // (code.lanes * code.size)
            each(code, vectors, lambda v: code.store(value, self.waiting(r, code.mul(v, code.lanes))))

        each(code, count, channel)

    def held(self, base: Index) -> Any:
        """What accumulators hold at first: the sums of earlier passes."""
        code = self.code

        def start(first: Index, count: int) -> Callable[[int, Index], IR]:
            return lambda r, p: code.load(self.waiting(code.add(code.sub(first, base), r), p))

        return start

    def hold(self, base: Index) -> Any:
        """What takes the sums of a pass."""
        code = self.code

        def finish(first: Index, count: int) -> Any:
            def store(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
                code.store(v, self.waiting(code.add(code.sub(first, base), r), p))

            return store

        return finish


def can_fuse(a: Access) -> bool:
    """Whether an epilogue may read `a`, broadcast to the result's shape: whole planes, or one number for each."""
    sizes, strides = a.shape[2:], a.strides[2:]
    if not any(strides):
        return True
    runs = [math.prod(sizes[i + 1 :]) * a.dtype.itemsize for i in range(len(sizes))]
    return all(n == 1 or s == run for n, s, run in zip(sizes, strides, runs, strict=True))


def build(module: Any, name: str, c: Convolution | Batch, epilogue: Epilogue | None) -> None:
    """Add the function of a convolution to a module."""
    code, *given = entry(module, name, c.dtype, c.lanes)
    writer = BatchWriter(code, c, epilogue, *given) if isinstance(c, Batch) else Writer(code, c, epilogue, *given)
    writer.write()
    code.b.ret_void()
