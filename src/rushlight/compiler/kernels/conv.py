"""Convolutions and their data gradients as kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access, whole
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Value
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
from rushlight.compiler.kernels.conv_tile import Finish, Weights, multiply_tile, scatter_rows
from rushlight.compiler.kernels.microkernel import Code, Index, Mask

Ints = tuple[int, ...]
IR = Any

LINE = 64


def vector_lanes(dtype: Any) -> int:
    """Elements of a vector register."""
    return int(64 // np.dtype(dtype).itemsize)


def vector_registers() -> int:
    """Vector registers."""
    return 32


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
    x, out : strides of image, channel, and the three dims
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
    out: Ints
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


def describe(x: Access, weight: Access, bias: Access | None, out: Access, g: Geometry, groups: int, transposed: bool) -> Convolution:
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
        lanes=vector_lanes(x.dtype), registers=vector_registers(),
        x=(*x.strides[:2], *three(x.strides[2:], 0)), out=(*out.strides[:2], *three(out.strides[2:], 0)),
        weights=Weights(by_output, by_channel, three(weight.strides[2:], 0)), weight_group=group,
        offsets=(x.offset, weight.offset, bias.offset if bias else 0),
        bias_stride=bias.strides[0] if bias else None,
    )  # fmt: skip


def conv_kernel(
    x: Access, weight: Access, bias: Access | None, out: Value, geometry: Geometry, groups: int = 1, *,
    transposed: bool = False,
) -> Kernel:  # fmt: skip
    """The kernel of a convolution, or of its transpose.

    Parameters
    ----------
    x : [N, C, *size], of the transpose [N, O, *output size]
    weight : [O, C/groups, *kernel]
    bias : one number per channel of the result
    out : the result, row-major
    geometry : of the convolution (the transpose makes its input)
    """
    c = describe(x, weight, bias, whole(out), geometry, groups, transposed)
    reads = (x.root, weight.root) + ((bias.root,) if bias else ())
    kind = "transposed convolution" if transposed else "convolution"
    return Kernel(
        name=f"{kind} {_sizes(x.shape)} * {_sizes(weight.shape)}",
        key=f"conv {c}",
        build=lambda module, name: build(module, name, c),
        reads=reads,
        writes=(out,),
        chunks=c.cut.chunks,
        workspace=workspace(c) * c.cut.chunks,
        flops=2 * c.products,
    )


def _sizes(shape: Ints) -> str:
    return "x".join(map(str, shape))


def scratch_row(c: Convolution, i: int) -> int:
    """Bytes of a block's results of one output channel, where they are spread out afterwards."""
    t, across = c.cut.tilings[i], c.cut.wide[i] * c.lanes
    return -(-t.rows * t.images * t.part.plane // across) * across * c.size


def is_direct(c: Convolution, i: int) -> bool:
    """Whether results of a part go to the result's memory as they are: its positions are runs of it."""
    t = c.cut.tilings[i]
    dims = zip((t.part.rows, t.part.middle, t.part.last), c.out[2:], strict=True)
    runs = t.part.plane * c.size, t.part.last.out * c.size, c.size
    plain = all(a.out == 1 or s == run for (a, s), run in zip(dims, runs, strict=True))
    return t.part.is_whole and t.images == 1 and plain


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

    def __init__(self, code: Code, c: Convolution, slots: IR, chunk: IR) -> None:
        self.code, self.c = code, c
        count = 3 if c.bias_stride is not None else 2
        addresses = [code.b.load(code.at(slots, 8 * i), typ=ir.PointerType()) for i in range(count + 2)]
        offsets = c.offsets[:count]
        self.x, self.w, *bias = (code.at(p, o) for p, o in zip(addresses, offsets, strict=False))
        self.bias = bias[0] if bias else None
        self.out = addresses[count]
        self.space = code.at(addresses[count + 1], code.mul(chunk, workspace(c)))
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
        out = code.at(self.out, code.mul(first, c.out[0]))
        out = code.at(out, code.mul(group, c.outputs * c.out[1]))
        w = code.at(self.w, code.mul(group, c.weight_group))
        bias = None if self.bias is None else code.at(self.bias, code.mul(group, c.outputs * (c.bias_stride or 0)))
        for i in range(len(c.parts)):
            self.part(i, Source(x, c.x), w, bias, out, count, piece, split)

    def part(self, i: int, x: Source, w: IR, bias: IR, out: IR, images: Index, piece: Index, split: Index) -> None:
        """The tiles of one part that belong to a slice."""
        code, k = self.code, self.c.cut
        t = k.tilings[i]
        low = code.divide(code.mul(piece, t.tiles), k.slices)[0]
        high = code.divide(code.mul(code.add(piece, 1), t.tiles), k.slices)[0]

        def tile(j: Index) -> None:
            first = code.mul(code.add(low, j), t.rows)
            even = t.part.rows.out % t.rows == 0
            rows = t.rows if even else code.least(t.rows, code.sub(t.part.rows.out, first))
            if t.part.taps:
                expand(code, t, x, self.space, first, rows, images)
            self.results(i, w, bias, out, images, first, rows, split)

        each(code, code.sub(high, low), tile)

    def results(
        self, i: int, w: IR, bias: IR, out: IR, images: Index, first: Index, rows: Index, split: Index
    ) -> None:
        """The products of one tile."""
        code, c, k = self.code, self.c, self.c.cut
        t, blocks, wide = k.tilings[i], k.blocks[i], k.wide[i]
        low = code.divide(code.mul(split, blocks.count), k.splits)[0]
        high = code.divide(code.mul(code.add(split, 1), blocks.count), k.splits)[0]
        direct = is_direct(c, i)
        scratch = code.at(self.space, tile_bytes(c, i))
        begin = code.mul(first, t.part.plane * c.size)

        def start(channel: Index, count: int) -> list[IR]:
            if bias is None:
                return [code.zero] * count
            step = c.bias_stride or 0
            return [
                code.spread(code.load_number(code.at(bias, code.mul(code.add(channel, r), step)))) for r in range(count)
            ]

        def finish(channel: Index, count: int) -> Finish:
            plane = code.at(code.at(out, code.mul(channel, c.out[1])), begin)

            def to_result(v: IR, r: Index, offset: Index, mask: Mask) -> None:
                code.store(v, code.at(code.at(plane, offset), code.mul(r, c.out[1])), mask)

            def to_scratch(v: IR, r: Index, offset: Index, mask: Mask) -> None:
                code.store(v, code.at(code.at(scratch, offset), code.mul(r, scratch_row(c, i))))

            return to_result if direct else to_scratch

        def after(channel: Index, count: int) -> None:
            if direct:
                return
            plane = code.at(out, code.mul(channel, c.out[1]))

            def store(v: IR, r: Index, offset: Index, mask: Mask) -> None:
                code.store(v, code.at(code.at(plane, offset), code.mul(r, c.out[1])), mask)

            scatter_rows(code, t, scratch, scratch_row(c, i), count, first, rows, images, c.out, store)

        row = t.images * t.part.plane
        multiply_tile(
            code, t, c.weights, blocks, wide, (low, high), code.mul(rows, row), self.space, w, start, finish, after
        )


def build(module: Any, name: str, c: Convolution) -> None:
    """Add the function of a convolution to a module."""
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)])
    fn = ir.Function(module, kind, name)
    builder = ir.IRBuilder(fn.append_basic_block("entry"))
    code = Code(builder, c.dtype, c.lanes)
    Writer(code, c, *fn.args).write()
    builder.ret_void()


