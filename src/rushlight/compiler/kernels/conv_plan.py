"""What the code of a convolution is made from, and how its work is cut into chunks, tiles and blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.kernels.conv_pack import Packing
from rushlight.compiler.kernels.conv_shape import (
    CHUNK_PRODUCTS,
    LONG_LINE,
    MOST_CHUNKS,
    UNIT,
    Axis,
    Blocks,
    Part,
    Tiling,
    forward_part,
    image_group,
    register_blocks,
    three,
    tiling,
    transposed_parts,
    window,
)
from rushlight.compiler.kernels.conv_tile import Weights
from rushlight.compiler.target import host

Ints = tuple[int, ...]

LINE = 64
# Weights from this size on are copied first, to lie as they are read.
PACK_BYTES = 1 << 14
# Weights from this size on had better be read once than once for every few rows of an image.
HEAVY_BYTES = 1 << 18
# Cycles of a vector that is multiplied, and of one that is copied.
STEP_CYCLES = 1.06
VECTOR_CYCLES = 5.0
# Output channels that a chunk has at least where they are dealt out first.
SPLIT_OUTPUTS = 32


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
    is_packed : whether the weight comes as `conv_pack` lays it out
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
    is_packed: bool
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

    @property
    def weight_bytes(self) -> int:
        """Bytes of one group's weight."""
        return self.outputs * self.channels * sum(p.taps for p in self.parts) * self.size

    @property
    def joints(self) -> list[list[int]]:
        """Parts whose results are neighbours in a line."""
        together = len({p.last for p in self.parts})
        return [list(range(i, i + together)) for i in range(0, len(self.parts), together)]

    @property
    def packing(self) -> Packing:
        """How the weight is laid out."""
        return Packing(
            self.groups, self.channels, self.outputs, self.parts, self.cut.blocks, self.weights, self.weight_group,
            self.offsets[1], self.dtype, self.lanes,
        )  # fmt: skip

    @cached_property
    def cut(self) -> Cut:
        """How the work is cut."""
        return cut(self)


@dataclass(frozen=True)
class Cut:
    """How a convolution's work is cut: chunk `i` does a range of units; a unit is a slice of the tiles of an image
    group's group of channels, for a range of blocks of output channels. Tilings, blocks and vectors of a block are
    those of each part; where tiles are `shared`, all parts read the same."""

    images: int
    image_groups: int
    slices: int
    splits: int
    chunks: int
    tilings: tuple[Tiling, ...]
    shared: bool
    blocks: tuple[Blocks, ...]
    wide: Ints

    @property
    def units(self) -> int:
        """Units of one group of channels."""
        return self.image_groups * self.slices * self.splits


def cut(c: Convolution) -> Cut:
    """Images first, then rows or output channels are dealt out, by sizes alone."""
    largest = max(c.parts, key=lambda p: p.positions * p.taps)
    images = image_group(c.images, largest, c.channels, c.lanes, c.weight_bytes >= HEAVY_BYTES)
    image_groups = -(-c.images // images)
    wanted = max(1, min(MOST_CHUNKS, c.products // CHUNK_PRODUCTS))
    needed = -(-wanted // (image_groups * c.groups))
    splits = 1
    if c.weight_bytes >= HEAVY_BYTES:
        # each range of output channels copies the input anew: half as many pieces
        needed = -(-needed // 2)
        splits = min(needed, max(1, c.outputs // SPLIT_OUTPUTS))
    slices = min(max(p.rows.out for p in c.parts), -(-needed // splits))
    tilings = tuple(tiling(p, c.channels, images, c.size, slices, c.lanes) for p in c.parts)
    over = window(c.parts)
    shared = False
    if over is not None:
        common = tiling(over, c.channels, images, c.size, slices, c.lanes)
        shared = common.passes == 1
        tilings = (common,) * len(c.parts) if shared else tilings
    slices = min(slices, max(t.tiles for t in tilings))
    blocks, wide = [], []
    for t in tilings:
        line = t.part.last.out if t.lines else 0
        b, w = register_blocks(c.outputs, t.rows * t.images * t.part.plane, c.lanes, c.registers, line)
        blocks.append(b)
        wide.append(w)
    splits = min(max(b.count for b in blocks), max(splits, -(-needed // slices)))
    chunks = min(image_groups * c.groups * slices * splits, wanted)
    return Cut(images, image_groups, slices, splits, chunks, tilings, shared, tuple(blocks), tuple(wide))


def cost(c: Convolution) -> float:
    """Cycles of an image of one group."""
    total = 0.0
    tilings = c.cut.tilings[:1] if c.cut.shared else c.cut.tilings
    for t in tilings:
        part = t.part
        lines = (part.rows.out + t.tiles * part.rows.span) * part.middle.out * (1 if t.lines else part.spread)
        total += VECTOR_CYCLES * lines * -(-(t.line.out if t.lines else part.last.out) // c.lanes) * c.channels
    for part, t, wide in zip(c.parts, c.cut.tilings, c.cut.wide, strict=True):
        across = wide * c.lanes
        vectors = t.tiles * -(-t.rows * t.images * t.part.plane // across) * wide / t.images
        made = part.rows.out * part.middle.out * -(-part.last.out // c.lanes)
        each = VECTOR_CYCLES * (1 if c.cut.shared else part.last.out_every) * (1 if t.images == 1 else 2)
        made += part.rows.out * part.middle.out * c.cut.shared
        total += STEP_CYCLES * vectors * part.taps * c.channels * c.outputs + each * made * c.outputs
    return total


def flattened(parts: tuple[Part, ...], strides: Ints, size: int) -> tuple[tuple[Part, ...], Ints, Ints] | None:
    """A convolution by one tap as one over long lines, with the strides and sizes to match; None where it is none."""
    dims = parts[0].axes
    sizes = tuple(a.source for a in dims)
    if len(parts) > 1 or any((a.source, a.taps, a.step, a.base) != (a.out, 1, 1, 0) for a in dims):
        return None
    steps = (sizes[1] * sizes[2] * size, sizes[2] * size, size)
    if any(n != 1 and s != step for n, s, step in zip(sizes, strides[2:], steps, strict=True)):
        return None
    positions = math.prod(sizes)
    rows = next(r for r in range(-(-positions // LONG_LINE), positions + 1) if positions % r == 0)
    line = positions // rows
    if line < sizes[2]:
        return None
    part = Part(Axis(rows, rows, 1), UNIT, Axis(line, line, 1))
    return (part,), (*strides[:2], line * size, 0, size), (rows, 1, line)


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
    x_steps: Ints = (*x.strides[:2], *three(x.strides[2:], 0))
    plane: Ints = three(size if transposed else made, 1)
    flat = flattened(parts, x_steps, x.dtype.itemsize)
    if flat is not None:
        parts, x_steps, plane = flat
    return Convolution(
        images=x.shape[0], groups=groups, channels=channels, outputs=outputs, parts=parts, dtype=x.dtype.name,
        lanes=host().lanes(x.dtype), registers=host().registers,
        x=x_steps, plane=plane,
        weights=Weights(by_output, by_channel, three(weight.strides[2:], 0)), weight_group=group,
        is_packed=math.prod(weight.shape) * x.dtype.itemsize >= PACK_BYTES,
        offsets=(x.offset, weight.offset, bias.offset if bias else 0),
        bias_stride=bias.strides[0] if bias else None,
    )  # fmt: skip


def scratch_row(c: Convolution, i: int) -> int:
    """Bytes of a block's results of one output channel, where they are spread out afterwards."""
    t, across = c.cut.tilings[i], c.cut.wide[i] * c.lanes
    return -(-t.rows * t.images * t.part.plane // across) * across * c.size


def is_direct(c: Convolution, i: int) -> bool:
    """Whether results of a part go to the result's memory as they are: finished, and its positions are runs of it."""
    t = c.cut.tilings[i]
    return c.parts[i].is_whole and t.images == 1 and t.passes == 1


def tile_bytes(c: Convolution, i: int) -> int:
    """Bytes of a tile's input, with room for the last block's vectors beyond its positions."""
    t, across = c.cut.tilings[i], (c.cut.wide[i] + 1) * c.lanes
    beyond = (across // t.part.last.out + 1) * t.row if t.lines else 0
    return aligned(t.bytes + beyond + across * c.size)


def scratch_bytes(c: Convolution, i: int) -> int:
    """Bytes of the results that wait: of a block, or of a range of blocks where channels are summed over in passes."""
    if is_direct(c, i):
        return 0
    blocks = c.cut.blocks[i]
    count = 1 if c.cut.tilings[i].passes == 1 else -(-blocks.count // c.cut.splits)
    return aligned(count * blocks.most * scratch_row(c, i) + c.lanes * c.size)


def workspace(c: Convolution) -> int:
    """Bytes of one chunk's workspace: the parts take turns."""
    count = len(c.parts) if c.cut.shared else 1
    return max(tile_bytes(c, i) + count * scratch_bytes(c, i) for i in range(len(c.parts)))
