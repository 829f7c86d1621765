"""Turning numbers around: from images of positions to positions of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_batch_plan import Batch, merges
from rushlight.compiler.kernels.conv_expand import each, prefetch
from rushlight.compiler.kernels.conv_shape import MOST_CHUNKS
from rushlight.compiler.kernels.microkernel import Code, Index
from rushlight.spec import Spec

IR = Any

# Bytes that input is asked for ahead of being turned around.
AHEAD = 256
# Bytes below which a chunk is not worth handing to another core.
CHUNK_BYTES = 1 << 16


def turn_run(code: Code, c: Batch, room: IR, image: Index, source: IR, target: IR, count: Index) -> None:
    """Copy a run of `count` positions of the images from `image` on; `source` is where the run of image 0 starts."""

    def square(p: Index) -> Sequence[IR]:
        mask = None if isinstance(count, int) and count % code.lanes == 0 else code.mask(code.sub(count, p))
        here = code.at(source, code.mul(p, c.size))
        there = code.at(target, code.mul(p, c.vector))

        def load(i: Index) -> IR:
            # beyond the last image: the last once more, whose results nobody takes
            at = code.add(image, i)
            if c.images % code.lanes:
                at = code.least(at, c.images - 1)
            place = code.at(here, code.mul(at, c.x[0]))
            prefetch(code, code.at(place, AHEAD))
            return code.load(place, mask)

        code.transpose(room, load, lambda i, v: code.store(v, code.at(there, code.mul(i, c.vector))))
        return ()

    code.loop(count, square, (), code.lanes)


def turn_kernel(c: Batch, x: Access) -> Kernel:
    """The kernel that turns the whole input around: [vector of images][channel][position][image]."""
    channels = c.channels * c.groups
    numbers = (c.image_groups * channels * c.turned_channel + c.lanes * c.vector) // c.size
    turned = Value(Spec((numbers,), x.dtype), name="packed input")
    pieces = max(1, min(channels, MOST_CHUNKS, -(-MOST_CHUNKS // c.image_groups), numbers * c.size // CHUNK_BYTES))
    layout = (c.images, channels, c.source_plane, c.x, c.turned_channel, c.dtype, c.lanes, x.offset, pieces)
    return Kernel(
        name=f"input {'x'.join(map(str, x.shape))} packed",
        key=f"conv turn {layout}",
        build=lambda module, name: build(module, name, c, channels, pieces),
        reads=(x.root,),
        writes=(turned,),
        chunks=c.image_groups * pieces,
    )


def build(module: Any, name: str, c: Batch, channels: int, pieces: int) -> None:
    """Add the function that turns an input around to a module."""
    code, slots, chunk = entry(module, name, c.dtype, c.lanes)
    room = code.room(code.lanes * code.lanes)
    x, out = (address(code, slots, i) for i in range(2))
    group, piece = code.divide(chunk, pieces)
    low, count = part_of(code, channels, pieces, piece)
    image = code.mul(group, c.lanes)
    source = code.at(code.at(x, c.offsets[0]), code.mul(low, c.x[1]))
    target = code.at(out, code.mul(code.add(code.mul(group, channels), low), c.turned_channel))
    if merges(c):
        turn_run(code, c, room, image, source, target, code.mul(count, c.source_plane))
    else:

        def channel(n: Index) -> None:
            here, there = code.at(source, code.mul(n, c.x[1])), code.at(target, code.mul(n, c.turned_channel))
            turn_run(code, c, room, image, here, there, c.source_plane)

        each(code, count, channel)
    code.b.ret_void()
