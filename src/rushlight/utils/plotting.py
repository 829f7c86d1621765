"""Learning curves, grids of images and confusion matrices as pictures that need no plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.utils.picture import Image, Line, Picture, Point, Rectangle, Text, side_by_side

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
GRID = "#dddddd"
AXIS = "#888888"
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 44  # margins around the area of a plot


def line_plot(
    series: Mapping[str, Sequence[float]],
    *,
    x: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    title: str = "",
    xlabel: str = "",
    size: tuple[float, float] = (420, 300),
    log: bool = False,
) -> Picture:
    """Lines over a common horizontal axis, with a legend when there are several.

    Parameters
    ----------
    series : mapping of names to values
        Values that are not finite are left out of their line.
    x : sequence of numbers, or mapping of names to sequences, optional
        Places on the horizontal axis; 1, 2, 3 ... by default.
    log : bool, default False
        A vertical axis in powers of ten; values that are not positive are left out.
    """
    width, height = size
    places = {name: [float(place) for place in places_of(name, values, x)] for name, values in series.items()}
    if log:
        series = {name: [math.log10(v) if v > 0 else math.nan for v in values] for name, values in series.items()}
    finite = [float(v) for values in series.values() for v in values if math.isfinite(v)]
    horizontal = Axis([place for row in places.values() for place in row], LEFT, width - RIGHT, tight=True)
    vertical = (PowerAxis if log else Axis)(finite, height - BOTTOM, TOP)
    picture = Picture(width, height, title)
    picture.marks.extend(frame(horizontal, vertical, title, xlabel))
    rising = sum(values[-1] > (vertical.low + vertical.high) / 2 for values in series.values() if len(values))
    legend = TOP + 8 if 2 * rising <= len(series) else height - BOTTOM + 8 - 16 * len(series)
    for k, (name, values) in enumerate(series.items()):
        color = COLORS[k % len(COLORS)]
        for points in unbroken(places[name], values):
            picture.marks.append(Line(tuple((horizontal.at(a), vertical.at(b)) for a, b in points), color, 2))
        if len(series) > 1:
            y = legend + 16 * k
            picture.marks.append(Line(((width - RIGHT - 22, y), (width - RIGHT - 4, y)), color, 2))
            picture.marks.append(Text(width - RIGHT - 28, y + 4, name, anchor="end"))
    return picture


def learning_curves(history: Mapping[str, Sequence[float]], *, xlabel: str = "epoch", title: str = "") -> Picture:
    """One panel for each quantity: names that end in the same word share a panel.

    Examples
    --------
    >>> history = {"loss": [2.0, 1.0], "train accuracy": [0.5, 0.8], "test accuracy": [0.4, 0.7]}
    >>> picture = learning_curves(history)
    >>> [mark.text for mark in picture.marks if "accuracy" in getattr(mark, "text", "")]
    ['accuracy', 'train accuracy', 'test accuracy']
    """
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in history.items():
        panels.setdefault(name.split()[-1], {})[name] = values
    drawn = [line_plot(lines, title=quantity, xlabel=xlabel) for quantity, lines in panels.items()]
    return side_by_side(drawn, title or "learning curves")


def image_grid(images: Any, labels: Sequence[object] | None = None, *, columns: int = 8, size: float = 64) -> Picture:
    """Images [N, H, W], [N, 1, H, W] or [N, 3, H, W] in rows, scaled together to black ... white, with labels below."""
    pixels = bytes_of(images)
    cell = size + 6
    row = cell + (16 if labels is not None else 0)
    picture = Picture(columns * cell + 6, math.ceil(len(pixels) / columns) * row + 6, "images")
    for k, image in enumerate(pixels):
        x, y = 6 + k % columns * cell, 6 + k // columns * row
        picture.marks.append(Image(x, y, size, size, image))
        if labels is not None:
            picture.marks.append(Text(x + size / 2, y + size + 13, str(labels[k]), anchor="middle"))
    return picture


def confusion_counts(targets: Any, predictions: Any, classes: int | None = None) -> np.ndarray[Any, Any]:
    """counts[t, p]: how many samples of class t were predicted as p.

    Examples
    --------
    >>> confusion_counts([0, 1, 1], [0, 1, 0]).tolist()
    [[1, 0], [1, 1]]
    """
    true, guess = array_of(targets).ravel(), array_of(predictions).ravel()
    n = classes if classes is not None else int(max(true.max(), guess.max())) + 1
    return np.bincount(true.astype(np.int64) * n + guess.astype(np.int64), minlength=n * n).reshape(n, n)


def confusion_matrix(
    targets: Any, predictions: Any, names: Sequence[str] | None = None, *, size: float = 34
) -> Picture:
    """Counts of true against predicted classes as shaded squares, each row shaded by its share of the class."""
    counts = confusion_counts(targets, predictions, len(names) if names is not None else None)
    names = [str(k) for k in range(len(counts))] if names is None else names
    margin = 32 + 7 * max(map(len, names))
    side = margin + size * len(counts)
    picture = Picture(side + 10, side + 10, "confusion matrix")
    picture.marks.append(Text(side / 2 + margin / 2, 14, "predicted", anchor="middle"))
    picture.marks.append(Text(4, 14, "true"))
    for i, row in enumerate(counts):
        y = margin + i * size
        picture.marks.append(Text(margin - 6, y + size / 2 + 4, names[i], anchor="end"))
        picture.marks.append(Text(y + size / 2, margin - 6, names[i], anchor="middle"))
        for j, count in enumerate(row):
            share = count / max(1, row.sum())
            fill = "#{:02x}{:02x}{:02x}".format(*(round(255 - (255 - end) * share) for end in (31, 119, 180)))
            x = margin + j * size
            picture.marks.append(Rectangle(x, y, size - 1, size - 1, fill))
            ink = "#ffffff" if share > 0.5 else "#333333"
            picture.marks.append(Text(x + size / 2, y + size / 2 + 4, str(count), 11, "middle", ink))
    return picture


def places_of(
    name: str, values: Sequence[float], x: Sequence[float] | Mapping[str, Sequence[float]] | None
) -> Sequence[float]:
    """The places of one line on the horizontal axis."""
    if isinstance(x, Mapping):
        return x[name]
    return x if x is not None else range(1, len(values) + 1)


class Axis:
    """Maps values to places between `start` and `end`, with round tick values."""

    def __init__(self, values: Sequence[float], start: float, end: float, tight: bool = False) -> None:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.step = round_step((high - low) / (8 if tight else 5))
        if tight:
            self.step = max(1.0, self.step) if all(v == int(v) for v in values) else self.step
        else:
            low, high = self.step * math.floor(low / self.step), self.step * math.ceil(high / self.step)
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Multiples of the step within the axis."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [k * self.step for k in range(first, last + 1)]

    def text(self, value: float) -> str:
        """What stands at a tick."""
        return tick_text(value)


class PowerAxis(Axis):
    """An axis of decimal logarithms; its ticks show the numbers themselves."""

    def text(self, value: float) -> str:
        """What stands at a tick."""
        return f"{10.0**value:.3g}"


def round_step(width: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def frame(horizontal: Axis, vertical: Axis, title: str, xlabel: str) -> list[Line | Text]:
    """Grid, tick labels, title and axis label."""
    left, right, bottom, top = horizontal.start, horizontal.end, vertical.start, vertical.end
    marks: list[Line | Text] = [Text((left + right) / 2, top - 14, title, 14, "middle")]
    for value in vertical.ticks():
        y = vertical.at(value)
        marks.append(Line(((left, y), (right, y)), GRID))
        marks.append(Text(left - 6, y + 4, vertical.text(value), 11, "end"))
    for value in horizontal.ticks():
        x = horizontal.at(value)
        marks.append(Line(((x, bottom), (x, bottom + 4)), AXIS))
        marks.append(Text(x, bottom + 17, horizontal.text(value), 11, "middle"))
    marks.append(Line(((left, top), (left, bottom), (right, bottom)), AXIS))
    marks.append(Text((left + right) / 2, bottom + 35, xlabel, anchor="middle"))
    return marks


def tick_text(value: float) -> str:
    """A tick value without the noise of binary fractions."""
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def unbroken(places: Sequence[float], values: Sequence[float]) -> list[list[Point]]:
    """The runs of finite values, as points."""
    runs: list[list[Point]] = [[]]
    for place, value in zip(places, values, strict=False):
        if math.isfinite(value):
            runs[-1].append((place, float(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def array_of(values: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of a Tensor, an array or nested sequences."""
    return np.asarray(values.detach() if hasattr(values, "detach") else values)


def bytes_of(images: Any) -> np.ndarray[Any, Any]:
    """Images as bytes [N, H, W] or [N, H, W, 3], the smallest value black and the largest white."""
    array = array_of(images).astype(np.float64)
    if array.ndim == 4:
        array = array[:, 0] if array.shape[1] == 1 else array.transpose(0, 2, 3, 1)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
        raise ValueError(f"image_grid: expected [N, H, W], [N, 1, H, W] or [N, 3, H, W], received {np.shape(images)}")
    low, high = (array.min(), array.max()) if array.size else (0.0, 1.0)
    return np.round((array - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
