"""Sizes of a convolution as its kernels see them: which input positions meet which taps, and how the work is cut.

Forward and data gradient are one computation. Output position `o` of tap `k` reads source position
`o*step + k*reach + base` in every dim; for the data gradient of a convolution with stride the outputs fall into one
part per residue, each of which meets taps of its own and has step 1. Derived here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Ints = tuple[int, ...]

# Pieces of work that a kernel is cut into at most; each has workspace of its own, so that it stays in its core's cache.
MOST_CHUNKS = 16
# Multiplications below which a piece is not worth handing to another core.
CHUNK_PRODUCTS = 1 << 19
# What a tile's expanded input may take of the second-level cache.
TILE_BYTES = 3 << 17
# Positions of a tile that waste little of vectors and let weights be read often enough once they are in the cache.
TILE_POSITIONS = 256
MOST_POSITIONS = 512
# Channels times taps that are summed over at once at least, where channels are summed over in passes.
PASS_TAPS = 128
# What copying a short line costs, in multiplications of vectors.
LINE_CYCLES = 12
# Positions of a line of a convolution by one tap.
LONG_LINE = 512


@dataclass(frozen=True)
class Axis:
    """One dim: output position `o` and tap `k` meet at source position `o*step + k*reach + base`.

    Attributes
    ----------
    source, out, taps : sizes
    step, reach, base : the map above
    tap_first, tap_every : tap `k` is tap `tap_first + k*tap_every` of the weight
    out_first, out_every : position `o` is position `out_first + o*out_every` of the result
    """

    source: int
    out: int
    taps: int
    step: int = 1
    reach: int = 1
    base: int = 0
    tap_first: int = 0
    tap_every: int = 1
    out_first: int = 0
    out_every: int = 1

    @property
    def period(self) -> int:
        """Taps whose numbers differ by this read rows of the same residue."""
        return self.step // math.gcd(self.step, self.reach)

    @property
    def phases(self) -> int:
        """Residues of rows that taps read."""
        return max(1, min(self.period, self.taps))

    @property
    def shift(self) -> int:
        """Rows of one residue between neighbouring taps that read it."""
        return self.period * self.reach // self.step

    @property
    def span(self) -> int:
        """Rows of one residue that the taps reach beyond the first."""
        return max(0, -(-self.taps // self.period) - 1) * abs(self.shift)

    @property
    def low(self) -> int:
        """Where the first row that any tap reads lies, relative to the first tap's."""
        return min(0, max(0, -(-self.taps // self.period) - 1) * self.shift)


UNIT = Axis(1, 1, 1)


def forward_axis(size: int, kernel: int, out: int, stride: int, padding: int, dilation: int) -> Axis:
    """A dim of a convolution."""
    return Axis(size, out, kernel, stride, dilation, -padding)


def transposed_axes(size: int, kernel: int, out: int, stride: int, padding: int, dilation: int) -> list[Axis]:
    """The parts of a dim of a convolution's transpose, from `size` positions to `out`."""
    period = stride // math.gcd(stride, dilation)
    parts = []
    for residue in range(min(stride, out)):
        count = -(-(out - residue) // stride)
        first = [k for k in range(min(period, kernel)) if (residue + padding - k * dilation) % stride == 0]
        if not first:
            parts.append(Axis(size, count, 0, out_first=residue, out_every=stride))
            continue
        taps = -(-(kernel - first[0]) // period)
        base = (residue + padding - first[0] * dilation) // stride
        reach = -(period * dilation // stride)
        parts.append(Axis(size, count, taps, 1, reach, base, first[0], period, residue, stride))
    return parts


def three(dims: Sequence[Any], fill: Any) -> tuple[Any, Any, Any]:
    """Values of 1 to 3 dims as rows, middle and last: rows are what tiles are cut from."""
    dims = tuple(dims)
    if len(dims) == 1:
        return (fill, fill, dims[0])
    return (dims[0], fill, dims[1]) if len(dims) == 2 else (dims[0], dims[1], dims[2])


@dataclass(frozen=True)
class Part:
    """The outputs of one residue: rows, middle and last dim. Taps of the middle and last dim are laid out side by side,
    so that a tap of one channel is one run of positions."""

    rows: Axis
    middle: Axis
    last: Axis

    @cached_property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The dims."""
        return self.rows, self.middle, self.last

    @property
    def taps(self) -> int:
        """Taps of the whole window."""
        return math.prod(a.taps for a in self.axes)

    @property
    def spread(self) -> int:
        """Copies of the input: taps of all dims but the first."""
        return self.middle.taps * self.last.taps

    @property
    def plane(self) -> int:
        """Positions of one row."""
        return self.middle.out * self.last.out

    @property
    def positions(self) -> int:
        """Positions of one image."""
        return self.rows.out * self.plane

    @property
    def is_whole(self) -> bool:
        """Whether it makes the result alone, in order."""
        return all(a.out_every == 1 for a in self.axes)


def forward_part(size: Ints, kernel: Ints, out: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Part:
    """A convolution's only part."""
    axes = [forward_axis(*dims) for dims in zip(size, kernel, out, stride, padding, dilation, strict=True)]
    return Part(*three(axes, UNIT))


def transposed_parts(
    size: Ints, kernel: Ints, out: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[Part, ...]:
    """The parts of a convolution's transpose."""
    axes = [transposed_axes(*dims) for dims in zip(size, kernel, out, stride, padding, dilation, strict=True)]
    return tuple(Part(*three(dims, UNIT)) for dims in itertools.product(*axes))


def window(parts: Sequence[Part]) -> Part | None:
    """All that the parts of a transpose read, as a window of its own; None where little of it is read twice."""
    axes = [_span([p.axes[i] for p in parts if p.taps], [p.axes[i].out for p in parts]) for i in range(3)]
    rows, middle, last = axes
    if len(parts) == 1 or rows is None or middle is None or last is None:
        return None
    return Part(rows, middle, last)


def _span(axes: list[Axis], outs: list[int]) -> Axis | None:
    ends = [end for a in set(axes) for end in (a.base, a.base + (a.taps - 1) * a.reach)]
    if not ends:
        return None
    taps = max(ends) + 1 - min(ends)
    return Axis(axes[0].source, max(outs), taps, 1, 1, min(ends)) if taps <= sum(a.taps for a in set(axes)) else None


@dataclass(frozen=True)
class Reading:
    """A part's taps as those of the part that a tile is laid out for: tap `k` of a dim is its tap `first + k*every`."""

    part: Part
    maps: tuple[tuple[int, int], ...]

    def tap(self, dim: int, k: Any) -> Any:
        """The tile's tap, of a number that is known."""
        first, every = self.maps[dim]
        return first + k * every


def own(part: Part) -> Reading:
    """What reads a tile that is laid out for itself."""
    return Reading(part, ((0, 1),) * 3)


def within_window(part: Part, whole: Part) -> Reading:
    """What reads a tile that is laid out for a window over all parts."""
    maps = tuple((a.base - b.base, a.reach) for a, b in zip(part.axes, whole.axes, strict=True))
    return Reading(part, maps)


@dataclass(frozen=True)
class Tiling:
    """How one part of an image group is cut into tiles of rows, and how a tile's input lies in the workspace:
    [channel][tap of middle and last dim][residue][row][image][position]. `channels` are those of one of `passes`.

    With `lines` a row is kept once, as wide as its taps reach, and the last dim's taps are shifts within it: that needs
    rows of whole vectors.
    """

    part: Part
    channels: int
    images: int
    size: int
    tiles: int
    passes: int = 1
    lines: bool = False

    @property
    def rows(self) -> int:
        """Most output rows of a tile."""
        return -(-self.part.rows.out // self.tiles)

    @property
    def row(self) -> int:
        """Bytes of a row."""
        if self.lines:
            return self.line.out * self.size
        return self.images * self.part.plane * self.size

    @property
    def line(self) -> Axis:
        """A line that holds what all taps of the last dim read."""
        last = self.part.last
        reach = (last.taps - 1) * last.reach
        return Axis(last.source, last.out + abs(reach), 1, 1, 1, last.base + min(0, reach))

    @property
    def shift(self) -> tuple[int, int]:
        """Bytes from a line's start to where the last dim's first tap reads, and from one such tap to the next."""
        last = self.part.last
        if self.lines:
            return -min(0, (last.taps - 1) * last.reach) * self.size, last.reach * self.size
        return 0, self.tap

    @property
    def phase(self) -> int:
        """Bytes of the rows of one residue."""
        return (self.rows + self.part.rows.span) * self.row

    @property
    def tap(self) -> int:
        """Bytes from one tap of the middle and last dim to the next."""
        return self.part.rows.phases * self.phase

    @property
    def channel(self) -> int:
        """Bytes of one channel."""
        return (1 if self.lines else self.part.spread) * self.tap

    @property
    def bytes(self) -> int:
        """Bytes of a tile's input."""
        return self.channels * self.channel


def tiling(part: Part, channels: int, images: int, size: int, least: int, lanes: int) -> Tiling:
    """Tiles that fit the cache, at least `least` of them where there are as many rows.

    Where they would have few positions, channels are summed over in passes, fewer at a time.
    """
    lines = keeps_lines(part, images, lanes)
    tiles = min(least, part.rows.out)
    row = images * part.plane
    most = min(-(-part.rows.out // tiles), max(1, MOST_POSITIONS // row))

    def rows_of(count: int) -> int:
        per_row = count * part.rows.phases * (row if lines else part.spread * row) * size
        return min(most, TILE_BYTES // max(1, per_row) - part.rows.span)

    wanted = min(most, -(-TILE_POSITIONS // row))
    least_channels = max(1, PASS_TAPS // max(1, part.taps))
    passes = 1
    for n in range(1, channels // least_channels + 1):
        if channels % n == 0:
            passes = n
            if rows_of(channels // n) >= wanted:
                break
    channels //= passes
    tiles = -(-part.rows.out // max(1, rows_of(channels)))
    tiles = -(-part.rows.out // -(-part.rows.out // max(tiles, min(least, part.rows.out))))
    return Tiling(part, channels, images, size, tiles, passes, lines)


def keeps_lines(part: Part, images: int, lanes: int) -> bool:
    """Whether a tile keeps whole lines: they are made of whole vectors that taps may shift."""
    last, middle = part.last, part.middle
    alone = images == 1 and middle.out == middle.taps == 1
    return alone and last.step == 1 and last.taps > 1 and last.out % lanes == 0


def image_group(images: int, part: Part, channels: int, lanes: int, heavy: bool) -> int:
    """Images that share a tile, by what vectors waste, how often heavy weights are read, and what sharing costs: lines
    copied one by one."""
    positions = part.positions
    copies = LINE_CYCLES * lanes / (max(1, channels * part.taps) * part.last.out)

    def cost(n: int) -> float:
        waste = -(-n * positions // lanes) * lanes / (n * positions)
        return waste + (64 if heavy else 3) / (n * positions) + (copies if n > 1 else 0)

    most = max(1, min(images, MOST_POSITIONS // positions))
    return min((n for n in range(1, most + 1) if images % n == 0), key=cost)


@dataclass(frozen=True)
class Blocks:
    """`total` rows cut into `big` blocks of `most` rows followed by blocks of one row fewer."""

    total: int
    count: int

    @property
    def most(self) -> int:
        """Rows of a big block."""
        return -(-self.total // self.count)

    @property
    def big(self) -> int:
        """Number of big blocks."""
        return self.count - (self.most * self.count - self.total)


def register_blocks(rows: int, positions: int, lanes: int, registers: int, line: int = 0) -> tuple[Blocks, int]:
    """Blocks of output channels and vectors of positions per block, by what loads, multiplications and waste cost.

    With lines of so many positions, blocks are whole lines or parts of one.
    """
    best: tuple[float, Blocks, int] | None = None
    vectors = -(-positions // lanes)
    for wide in range(1, min(vectors, 8) + 1):
        if line and wide * lanes % line and line % (wide * lanes):
            continue
        across = -(-vectors // wide)
        most = (registers - 1 - wide) // wide
        for count in range(-(-rows // most), -(-rows // most) + 3) if most > 0 else ():
            if count > rows:
                continue
            blocks = Blocks(rows, count)
            cost = across * sum(
                n * _block_cost(size, wide)
                for n, size in ((blocks.big, blocks.most), (count - blocks.big, blocks.most - 1))
            )
            cost *= 1.0 if blocks.big == count else 1.12  # code for two sizes
            if best is None or cost < best[0]:
                best = (cost, blocks, wide)
    assert best is not None
    return best[1], best[2]


def _block_cost(rows: int, vectors: int) -> float:
    """Cycles of one step of a block: products and, at half weight, the loads beside them; short blocks wait."""
    products, loads = rows * vectors, rows + 1.5 * vectors
    return max(products, loads, 8.0) + 0.1 * loads + 0.5
