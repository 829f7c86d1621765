"""Convolutions and their data gradients as kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.conv_expand import Source, each, expand
from rushlight.compiler.kernels.conv_shape import (
    CHUNK_PRODUCTS,
    FEW_POSITIONS,
    MOST_CHUNKS,
    Blocks,
    Part,
    Tiling,
    forward_part,
    register_blocks,
    three,
    tiling,
    transposed_parts,
)
from rushlight.compiler.kernels.conv_tile import Take, Weights, multiply_tile, scatter_rows
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host

Ints = tuple[int, ...]
IR = Any

LINE = 64


def aligned(n: int) -> int:
    """`n` rounded up to whole cache lines."""
    return -(-n // LINE) * LINE


@dataclass(frozen=True)
class Convolution:
    """What the code of one convolution, or of its data gradient, is made from; strides and offsets in bytes.

    Attributes
    ----------
    images, groups : sizes
    channels, outputs : channels that are summed over and that are made, of one group
    parts : one, or for a data gradient one per residue
    x : strides of image, channel, and the three dims
    plane : the result's three sizes
    weights : strides of one group's weight
    weight_group : from one group's weight to the next's
    offsets : of x, weight and bias in their buffers
    """

    images: int
    groups: int
    channels: int
    outputs: int
    parts: tuple[Part, ...]
    dtype: str
    lanes: int
    registers: int
    x: Ints
    plane: Ints
    weights: Weights
    weight_group: int
    offsets: Ints
    bias_stride: int | None

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def products(self) -> int:
        """Multiplications."""
        taps = sum(p.positions * p.taps for p in self.parts)
        return self.images * self.groups * self.channels * self.outputs * taps

    @cached_property
    def cut(self) -> Cut:
        """How the work is cut."""
        return cut(self)


@dataclass(frozen=True)
class Cut:
    """How a convolution's work is cut: chunk `i` does a range of units; a unit is a slice of the tiles of an image
    group's group of channels, for a range of blocks of output channels."""

    images: int
    image_groups: int
    slices: int
    splits: int
    chunks: int
    tilings: tuple[Tiling, ...]
    blocks: tuple[Blocks, ...]
    wide: Ints

    @property
    def units(self) -> int:
        """Units of one group of channels."""
        return self.image_groups * self.slices * self.splits


def image_group(images: int, positions: int) -> int:
    """Images that share a tile: several where one has few positions."""
    if positions >= FEW_POSITIONS:
        return 1
    most = min(images, -(-2 * FEW_POSITIONS // positions))
    return next(n for n in range(most, 0, -1) if images % n == 0 or n == 1)


def cut(c: Convolution) -> Cut:
    """Images first, then rows, then output channels are dealt out, by sizes alone."""
    images = image_group(c.images, max(p.positions for p in c.parts))
    image_groups = -(-c.images // images)
    wanted = max(1, min(MOST_CHUNKS, c.products // CHUNK_PRODUCTS))
    slices = 1
    if image_groups * c.groups < wanted:
        rows = max(p.rows.out for p in c.parts)
        slices = min(rows, -(-wanted // (image_groups * c.groups)))
    tilings = tuple(tiling(p, c.channels, images, c.size, slices) for p in c.parts)
    slices = min(slices, max(t.tiles for t in tilings))
    blocks, wide = [], []
    for t in tilings:
        b, w = register_blocks(c.outputs, t.rows * t.images * t.part.plane, c.lanes, c.registers)
        blocks.append(b)
        wide.append(w)
    units = image_groups * c.groups * slices
    splits = min(max(b.count for b in blocks), -(-wanted // units)) if units < wanted else 1
    chunks = min(units * splits, wanted)
    return Cut(images, image_groups, slices, splits, chunks, tilings, tuple(blocks), tuple(wide))


def describe(x: Access, weight: Access, bias: Access | None, g: Geometry, groups: int, transposed: bool) -> Convolution:
    """The convolution that `conv_kernel` is asked for."""
    size, kernel, made, *steps = (g.input_size, g.kernel_size, g.output_size, g.stride, g.padding, g.dilation)
    if transposed:
        parts = transposed_parts(made, kernel, size, *steps)
        channels, outputs = weight.shape[0] // groups, weight.shape[1]
        by_output, by_channel = weight.strides[1], weight.strides[0]
        group = channels * by_channel
    else:
        parts = (forward_part(size, kernel, made, *steps),)
        channels, outputs = weight.shape[1], weight.shape[0] // groups
        by_output, by_channel = weight.strides[0], weight.strides[1]
        group = outputs * by_output
    return Convolution(
        images=x.shape[0], groups=groups, channels=channels, outputs=outputs, parts=parts, dtype=x.dtype.name,
        lanes=host().lanes(x.dtype), registers=host().registers,
        x=(*x.strides[:2], *three(x.strides[2:], 0)), plane=three(size if transposed else made, 1),
        weights=Weights(by_output, by_channel, three(weight.strides[2:], 0)), weight_group=group,
        offsets=(x.offset, weight.offset, bias.offset if bias else 0),
        bias_stride=bias.strides[0] if bias else None,
    )  # fmt: skip


def conv_kernel(
    x: Access, weight: Access, bias: Access | None, out: Value, geometry: Geometry, groups: int = 1, *,
    transposed: bool = False, epilogue: Epilogue | None = None, calls: tuple[Call, ...] = (),
) -> Kernel:  # fmt: skip
    """The kernel of a convolution, or of its transpose.

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
    c = describe(x, weight, bias, geometry, groups, transposed)
    reads = (x.root, weight.root) + ((bias.root,) if bias else ())
    if epilogue is not None:
        reads += tuple(a.root for a in epilogue.inputs)
        calls += epilogue.calls
    kind = "transposed convolution" if transposed else "convolution"
    return Kernel(
        name=f"{kind} {_sizes(x.shape)} * {_sizes(weight.shape)}",
        key=f"conv {c} {c.cut}{'' if epilogue is None else _layout(epilogue)}",
        build=lambda module, name: build(module, name, c, epilogue),
        reads=reads,
        writes=(out,) if epilogue is None else epilogue.outputs,
        calls=calls,
        inplace=() if epilogue is None else _inplace((x, weight, bias), epilogue, reads),
        chunks=c.cut.chunks,
        workspace=workspace(c) * c.cut.chunks,
        flops=2 * c.products,
    )


def _inplace(own: tuple[Access | None, ...], e: Epilogue, reads: tuple[Value, ...]) -> tuple[tuple[int, int], ...]:
    """An output may take the memory of an epilogue's operand that nothing else reads: both are at the same place."""
    apart = {a.root for a in own if a is not None}
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


def _sizes(shape: Ints) -> str:
    return "x".join(map(str, shape))


def scratch_row(c: Convolution, i: int) -> int:
    """Bytes of a block's results of one output channel, where they are spread out afterwards."""
    t, across = c.cut.tilings[i], c.cut.wide[i] * c.lanes
    return -(-t.rows * t.images * t.part.plane // across) * across * c.size


def is_direct(c: Convolution, i: int) -> bool:
    """Whether results of a part go to the result's memory as they are: its positions are runs of it."""
    t = c.cut.tilings[i]
    return t.part.is_whole and t.images == 1


def tile_bytes(c: Convolution, i: int) -> int:
    """Bytes of a tile's input, with room for the last block's vectors beyond its positions."""
    return aligned(c.cut.tilings[i].bytes + (c.cut.wide[i] + 1) * c.lanes * c.size)


def scratch_bytes(c: Convolution, i: int) -> int:
    """Bytes of a block's scratch."""
    if is_direct(c, i):
        return 0
    return aligned(c.cut.blocks[i].most * scratch_row(c, i) + c.lanes * c.size)


def workspace(c: Convolution) -> int:
    """Bytes of one chunk's workspace: the parts take turns."""
    return max(tile_bytes(c, i) + scratch_bytes(c, i) for i in range(len(c.parts)))


class Writer:
    """The code of one convolution's function."""

    def __init__(self, code: Code, c: Convolution, epilogue: Epilogue | None, slots: IR, chunk: IR) -> None:
        self.code, self.c, self.epilogue = code, c, epilogue
        inputs = epilogue.inputs if epilogue else ()
        own = 3 if c.bias_stride is not None else 2
        outputs = len(epilogue.outputs) if epilogue else 1
        count = own + len(inputs) + outputs
        addresses = [code.b.load(code.at(slots, 8 * i), typ=ir.PointerType()) for i in range(count + 1)]
        self.x, self.w, *bias = (code.at(p, o) for p, o in zip(addresses[:own], c.offsets, strict=False))
        self.bias = bias[0] if bias else None
        self.operands = [code.at(p, a.offset) for p, a in zip(addresses[own:], inputs, strict=False)]
        self.outputs = addresses[own + len(inputs) : count]
        self.space = code.at(addresses[count], code.mul(chunk, workspace(c)))
        self.chunk = chunk

    def write(self) -> None:
        """The units of a chunk."""
        code, k = self.code, self.c.cut
        total = k.units * self.c.groups
        low = code.divide(code.mul(self.chunk, total), k.chunks)[0]
        high = code.divide(code.mul(code.add(self.chunk, 1), total), k.chunks)[0]
        each(code, code.sub(high, low), lambda i: self.unit(code.add(low, i)))

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
        w = code.at(self.w, code.mul(group, c.weight_group))
        bias = None if self.bias is None else code.at(self.bias, code.mul(group, c.outputs * (c.bias_stride or 0)))
        for i in range(len(c.parts)):
            self.part(i, Source(x, c.x), w, bias, (first, count), code.mul(group, c.outputs), piece, split)

    def part(
        self,
        i: int,
        x: Source,
        w: IR,
        bias: IR,
        images: tuple[Index, Index],
        channel: Index,
        piece: Index,
        split: Index,
    ) -> None:
        """The tiles of one part that belong to a slice, for `images` (first, count) from an output channel on."""
        code, k = self.code, self.c.cut
        t = k.tilings[i]
        low = code.divide(code.mul(piece, t.tiles), k.slices)[0]
        high = code.divide(code.mul(code.add(piece, 1), t.tiles), k.slices)[0]

        def tile(j: Index) -> None:
            first = code.mul(code.add(low, j), t.rows)
            even = t.part.rows.out % t.rows == 0
            rows = t.rows if even else code.least(t.rows, code.sub(t.part.rows.out, first))
            if t.part.taps:
                expand(code, t, x, self.space, first, rows, images[1])
            self.results(i, w, bias, images, channel, first, rows, split)

        each(code, code.sub(high, low), tile)

    def results(
        self, i: int, w: IR, bias: IR, image_range: tuple[Index, Index], channel_base: Index, first: Index, rows: Index,
        split: Index,
    ) -> None:  # fmt: skip
        """The products of one tile."""
        image, images = image_range
        code, c, k = self.code, self.c, self.c.cut
        t, blocks, wide = k.tilings[i], k.blocks[i], k.wide[i]
        low = code.divide(code.mul(split, blocks.count), k.splits)[0]
        high = code.divide(code.mul(code.add(split, 1), blocks.count), k.splits)[0]
        direct = is_direct(c, i)
        scratch = code.at(self.space, tile_bytes(c, i))
        row = t.images * t.part.plane

        def start(channel: Index, count: int) -> list[IR]:
            if bias is None:
                return [code.zero] * count
            step = c.bias_stride or 0
            return [
                code.spread(code.load_number(code.at(bias, code.mul(code.add(channel, r), step)))) for r in range(count)
            ]

        def finish(channel: Index, count: int) -> Take:
            def to_result(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
                self.put(v, image, n, code.add(channel_base, code.add(channel, r)), code.add(p, begin), mask)

            def to_scratch(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
                place = code.add(code.mul(r, scratch_row(c, i)), code.mul(p, c.size))
                code.store(v, code.at(scratch, place))

            return to_result if direct else to_scratch

        def after(channel: Index, count: int) -> None:
            def take(v: IR, r: Index, n: Index, p: Index, mask: Mask) -> None:
                self.put(v, image, n, code.add(channel_base, code.add(channel, r)), p, mask)

            if not direct:
                scatter_rows(code, t, scratch, scratch_row(c, i), count, first, rows, images, c.plane[1:], take)

        begin = code.mul(first, t.part.plane)
        multiply_tile(
            code, t, c.weights, blocks, wide, (low, high), code.mul(rows, row), self.space, w, start, finish, after
        )

    def put(self, v: IR, image: Index, n: Index, channel: Index, position: Index, mask: Mask) -> None:
        """Write results that are neighbours in memory, or what the epilogue makes of them."""
        code, c = self.code, self.c
        plane = math.prod(c.plane)
        place = code.add(code.mul(code.add(image, n), c.groups * c.outputs), channel)
        place = code.add(code.mul(place, plane), position)
        if self.epilogue is None:
            code.store(v, code.at(self.outputs[0], code.mul(place, c.size)), mask)
            return
        lanes = Lanes(code.emitter, v, code.dtype, code.lanes)
        where = code.lanes_of(mask)
        operands = [
            self.operand(a, p, code.add(image, n), channel, position, where)
            for a, p in zip(self.epilogue.inputs, self.operands, strict=True)
        ]
        results = self.epilogue.emit(code.emitter, lanes, operands)
        for out, pointer, value in zip(results, self.outputs, self.epilogue.outputs, strict=True):
            code.emitter.store(out, code.at(pointer, code.mul(place, value.dtype.itemsize)), where)

    def operand(self, a: Access, pointer: IR, image: Index, channel: Index, position: Index, where: Any) -> Lanes:
        """Numbers of an epilogue's operand."""
        code = self.code
        at = code.add(code.mul(image, a.strides[0]), code.mul(channel, a.strides[1]))
        if not any(a.strides[2:]):
            one = code.emitter.load(code.at(pointer, at), a.dtype, 1)
            return code.emitter.splat(one, code.lanes)
        at = code.add(at, code.mul(position, a.dtype.itemsize))
        return code.emitter.load(code.at(pointer, at), a.dtype, code.lanes, where)


def can_fuse(a: Access) -> bool:
    """Whether an epilogue may read `a`, broadcast to the result's shape: whole planes, or one number for each."""
    sizes, strides = a.shape[2:], a.strides[2:]
    if not any(strides):
        return True
    runs = [math.prod(sizes[i + 1 :]) * a.dtype.itemsize for i in range(len(sizes))]
    return all(n == 1 or s == run for n, s, run in zip(sizes, strides, runs, strict=True))


def build(module: Any, name: str, c: Convolution, epilogue: Epilogue | None) -> None:
    """Add the function of a convolution to a module."""
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)])
    fn = ir.Function(module, kind, name)
    builder = ir.IRBuilder(fn.append_basic_block("entry"))
    code = Code(builder, c.dtype, c.lanes)
    Writer(code, c, epilogue, *fn.args).write()
    builder.ret_void()
