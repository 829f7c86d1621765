"""Copying a convolution's weight into the order in which its blocks of output channels read it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import each
from rushlight.compiler.kernels.conv_shape import MOST_CHUNKS, Blocks, Part
from rushlight.compiler.kernels.conv_tile import Weights, each_block, first_tap, own_weights
from rushlight.compiler.kernels.microkernel import Code, Index
from rushlight.spec import Spec

IR = Any

# Numbers that one turn of a loop copies.
UNROLLED_COPIES = 64
# Bytes below which a chunk is not worth handing to another core.
CHUNK_BYTES = 1 << 16


def packed_weights(part: Part, rows: int, size: int) -> Weights:
    """Strides in a packed block of `rows` output channels: [channel][tap][output channel]."""
    line = part.last.taps * rows * size
    return Weights(size, part.taps * rows * size, (part.middle.taps * line, line, rows * size))


@dataclass(frozen=True)
class Packing:
    """What is packed: sizes of one group, the parts of a window and the blocks of output channels of each; bytes from
    the buffer's start to the weight and from group to group."""

    groups: int
    channels: int
    outputs: int
    parts: tuple[Part, ...]
    blocks: tuple[Blocks, ...]
    weights: Weights
    group: int
    offset: int
    dtype: str
    lanes: int

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    def part(self, i: int) -> int:
        """Bytes from the start of the packed weight to that of a part."""
        taps = sum(p.taps for p in self.parts[:i])
        return self.groups * self.outputs * self.channels * taps * self.size


def pack_kernel(c: Packing, weight: Access) -> Kernel:
    """The kernel that lays out a weight, part after part, group after group, block after block."""
    count = math.prod(weight.shape)
    packed = Value(Spec((count,), weight.dtype), name="packed weight")
    blocks = max(b.count for b in c.blocks) * c.groups
    chunks = max(1, min(MOST_CHUNKS, blocks, count * c.size // CHUNK_BYTES))
    return Kernel(
        name=f"weight {'x'.join(map(str, weight.shape))} packed",
        key=f"conv pack {c} {chunks}",
        build=lambda module, name: build(module, name, c, chunks),
        reads=(weight.root,),
        writes=(packed,),
        chunks=chunks,
    )


def build(module: Any, name: str, c: Packing, chunks: int) -> None:
    """Add the function that packs a weight to a module."""
    code, slots, chunk = entry(module, name, c.dtype, c.lanes)
    w, out = (address(code, slots, i) for i in range(2))
    w = code.at(w, c.offset)
    for i, part in enumerate(c.parts):
        if part.taps:
            _pack_part(code, c, i, w, code.at(out, c.part(i)), (chunk, chunks))
    code.b.ret_void()


def _pack_part(code: Code, c: Packing, i: int, w: IR, out: IR, chunk: tuple[Index, int]) -> None:
    part, blocks = c.parts[i], c.blocks[i]
    n, chunks = chunk
    low, count = part_of(code, blocks.count * c.groups, chunks, n)
    w = code.at(w, first_tap(part, c.weights))

    def one(j: Index) -> None:
        group, number = code.divide(code.add(low, j), blocks.count)
        source = code.at(w, code.mul(group, c.group))
        target = code.at(out, code.mul(group, c.outputs * c.channels * part.taps * c.size))

        def block(first: Index, rows: int) -> None:
            from_block = code.at(source, code.mul(first, c.weights.output))
            to_block = code.at(target, code.mul(first, c.channels * part.taps * c.size))
            _pack_block(code, c, part, rows, from_block, to_block)

        each_block(code, blocks, number, block)

    each(code, count, one)


def _pack_block(code: Code, c: Packing, part: Part, rows: int, source: IR, target: IR) -> None:
    own, packed = own_weights(part, c.weights), packed_weights(part, rows, c.size)

    def copy(a: IR, b: IR) -> None:
        for i in range(rows):
            code.b.store(code.load_number(code.at(a, i * own.output)), code.at(b, i * c.size), align=c.size)

    def channel(n: Index) -> None:
        a, b = code.at(source, code.mul(n, own.channel)), code.at(target, code.mul(n, packed.channel))

        def row(d: Index) -> None:
            def middle(m: Index) -> None:
                def tap(k: Index) -> None:
                    here = [
                        code.at(pointer, code.add(code.add(code.mul(d, s[0]), code.mul(m, s[1])), code.mul(k, s[2])))
                        for pointer, s in ((a, own.taps), (b, packed.taps))
                    ]
                    copy(*here)

                if part.last.taps * rows <= UNROLLED_COPIES:
                    for k in range(part.last.taps):
                        tap(k)
                else:
                    each(code, part.last.taps, tap)

            each(code, part.middle.taps, middle)

        each(code, part.rows.taps, row)

    each(code, c.channels, channel)
