"""Pictures made of lines, rectangles, texts and images, written as SVG without any library.

Other formats (PNG, PDF) go through matplotlib where it is installed.
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

Point = tuple[float, float]
FONT = "Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Line:
    """A polyline through `points`."""

    points: tuple[Point, ...]
    color: str = "#333333"
    width: float = 1.0

    def moved(self, dx: float, dy: float) -> Line:
        """The same line elsewhere."""
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))

    def svg(self) -> str:
        """As an SVG element."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return f'<polyline points="{points}" fill="none" stroke="{self.color}" stroke-width="{self.width:g}"/>'

    def draw(self, axes: Any) -> None:
        """On matplotlib axes that count in picture units."""
        axes.plot(*zip(*self.points, strict=True), color=self.color, linewidth=0.75 * self.width)


@dataclass(frozen=True)
class Rectangle:
    """A filled rectangle; (x, y) is its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    fill: str = "#ffffff"

    def moved(self, dx: float, dy: float) -> Rectangle:
        """The same rectangle elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def svg(self) -> str:
        """As an SVG element."""
        return (
            f'<rect x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" '
            f'fill="{self.fill}"/>'
        )

    def draw(self, axes: Any) -> None:
        """On matplotlib axes that count in picture units."""
        right, bottom = self.x + self.width, self.y + self.height
        axes.fill([self.x, right, right, self.x], [self.y, self.y, bottom, bottom], color=self.fill, linewidth=0)


@dataclass(frozen=True)
class Text:
    """One line of text whose baseline starts, is centred or ends at (x, y)."""

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = "start"
    color: str = "#333333"

    def moved(self, dx: float, dy: float) -> Text:
        """The same text elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def svg(self) -> str:
        """As an SVG element."""
        return (
            f'<text x="{self.x:.1f}" y="{self.y:.1f}" font-size="{self.size:g}" text-anchor="{self.anchor}" '
            f'fill="{self.color}">{escape(self.text)}</text>'
        )

    def draw(self, axes: Any) -> None:
        """On matplotlib axes that count in picture units."""
        side = {"start": "left", "middle": "center", "end": "right"}[self.anchor]
        axes.text(self.x, self.y, self.text, fontsize=0.75 * self.size, color=self.color, ha=side, va="baseline")


@dataclass(frozen=True, eq=False)
class Image:
    """An array of bytes [height, width] or [height, width, 3] stretched over a rectangle, pixels kept sharp."""

    x: float
    y: float
    width: float
    height: float
    pixels: Any

    def moved(self, dx: float, dy: float) -> Image:
        """The same image elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def svg(self) -> str:
        """As an SVG element that carries the pixels itself."""
        data = base64.b64encode(encode_png(self.pixels)).decode()
        return (
            f'<image x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
        )

    def draw(self, axes: Any) -> None:
        """On matplotlib axes that count in picture units."""
        extent = (self.x, self.x + self.width, self.y + self.height, self.y)
        axes.imshow(self.pixels, extent=extent, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")


Mark = Line | Rectangle | Text | Image


@dataclass(frozen=True)
class Picture:
    """Marks on a white page; shown by notebooks as it is, and saved in the format that the file name asks for."""

    width: float
    height: float
    title: str = ""
    marks: list[Mark] = field(default_factory=list)

    def svg(self) -> str:
        """The text of an SVG file.

        Examples
        --------
        >>> Picture(20, 10, marks=[Line(((0, 0), (20, 10)))]).svg().count("polyline")
        1
        """
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family={quoteattr(FONT)}>'
        page = Rectangle(0, 0, self.width, self.height)
        body = [f"<title>{escape(self.title)}</title>", *(mark.svg() for mark in (page, *self.marks))]
        return "\n".join([head, *body, "</svg>", ""])

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | Path) -> Path:
        """Write the picture to `path`: `.svg` by itself, any other format through matplotlib.

        A file that is there already is replaced at once, so that a viewer never sees half a picture.

        Raises
        ------
        ImportError
            For a format other than SVG without matplotlib.
        """
        path = Path(path)
        unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        try:
            if path.suffix == ".svg":
                unfinished.write_text(self.svg(), encoding="utf-8")
            else:
                save_with_matplotlib(self, unfinished)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path


def save_with_matplotlib(picture: Picture, path: Path) -> None:
    """Draw the marks of `picture` on one axes that fills the page, and let matplotlib write the file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"a picture as {path.suffix!r} needs matplotlib (pip install matplotlib); .svg does not"
        ) from error
    figure = Figure(figsize=(picture.width / 96, picture.height / 96), dpi=192)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    for mark in picture.marks:
        mark.draw(axes)
    axes.set_xlim(0, picture.width)
    axes.set_ylim(picture.height, 0)
    axes.axis("off")
    figure.savefig(path)


def side_by_side(pictures: Sequence[Picture], title: str = "") -> Picture:
    """One picture of several in a row."""
    joined = Picture(sum(p.width for p in pictures), max(p.height for p in pictures), title)
    left = 0.0
    for picture in pictures:
        joined.marks.extend(mark.moved(left, 0) for mark in picture.marks)
        left += picture.width
    return joined


def encode_png(pixels: Any) -> bytes:
    """A PNG file of an array of bytes, [height, width] grey, [height, width, 3 or 4] colour (PNG, ISO/IEC 15948)."""
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else {3: 2, 4: 6}[pixels.shape[2]]  # grey, RGB, RGB with opacity
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each row starts with its filter, 0 = none

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
