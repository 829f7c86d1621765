"""Boxes with arrows between them, laid out in rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from rushlight.utils.picture import Line, Mark, Picture, Rectangle, Text

CHARACTER, PADDING = 6.6, 16.0  # width of a letter of size 11; space beside a label
BOX, GAP_X, GAP_Y, MARGIN = 34.0, 18.0, 34.0, 20.0


@dataclass(eq=False)
class Box:
    """A node of a drawing: lines of text, a colour, and the boxes that feed it."""

    lines: tuple[str, ...]
    fill: str
    sources: list[Box] = field(default_factory=list)
    layer: int = 0
    x: float = 0.0

    @property
    def width(self) -> float:
        """Wide enough for the longest line."""
        return max(map(len, self.lines)) * CHARACTER + PADDING


def laid_out(boxes: list[Box], title: str) -> Picture:
    """Boxes in rows by their distance from what nothing feeds, each near the middle of what feeds it."""
    rows: list[list[Box]] = []
    for box in _in_order(boxes):
        box.layer = 1 + max((source.layer for source in box.sources), default=-1)
        while len(rows) <= box.layer:
            rows.append([])
        rows[box.layer].append(box)
    _pull_down_leaves(rows, boxes)
    heights = [BOX + 13.0 * (max((len(box.lines) for box in row), default=1) - 1) for row in rows]
    widths = [sum(box.width + GAP_X for box in row) - GAP_X for row in rows]
    width = max([*widths, 6.0 * len(title)]) + 2 * MARGIN
    tops = [MARGIN + sum(heights[:i]) + GAP_Y * i for i in range(len(rows))]
    for row, used in zip(rows, widths, strict=True):
        row.sort(key=lambda box: sum(s.x for s in box.sources) / len(box.sources) if box.sources else width / 2)
        left = (width - used) / 2
        for box in row:
            box.x = left + box.width / 2
            left += box.width + GAP_X
    picture = Picture(width, tops[-1] + heights[-1] + MARGIN, title)
    for box in boxes:
        for source in box.sources:
            picture.marks.extend(_arrow(source, box, tops, heights))
    for box in boxes:
        picture.marks.extend(_drawn(box, tops[box.layer], heights[box.layer]))
    return picture


def _in_order(boxes: list[Box]) -> list[Box]:
    """Each box after all that feed it, without recursion."""
    ordered: dict[Box, None] = {}
    for start in boxes:
        stack = [(start, False)]
        while stack:
            box, done = stack.pop()
            if done:
                ordered[box] = None
            elif box not in ordered:
                stack.append((box, True))
                stack.extend((source, False) for source in box.sources if source not in ordered)
    return list(ordered)


def _pull_down_leaves(rows: list[list[Box]], boxes: list[Box]) -> None:
    """Leaves stand just above what uses them first, so that lines stay short."""
    first: dict[Box, int] = {}
    for box in boxes:
        for source in box.sources:
            first[source] = min(first.get(source, box.layer), box.layer)
    for box in [box for box in rows[0] if first.get(box, 0) > 1]:
        rows[0].remove(box)
        box.layer = first[box] - 1
        rows[box.layer].append(box)


def _arrow(source: Box, box: Box, tops: list[float], heights: list[float]) -> list[Mark]:
    start = (source.x, tops[source.layer] + heights[source.layer])
    end = (box.x, tops[box.layer])
    head = Line(((end[0] - 4, end[1] - 6), end, (end[0] + 4, end[1] - 6)), "#666666", 1)
    return [Line((start, end), "#999999", 1), head]


def _drawn(box: Box, top: float, height: float) -> list[Mark]:
    marks: list[Mark] = [Rectangle(box.x - box.width / 2, top, box.width, height, box.fill)]
    first = top + height / 2 + 4 - 6.5 * (len(box.lines) - 1)
    for i, line in enumerate(box.lines):
        marks.append(Text(box.x, first + 13 * i, line, size=11, anchor="middle"))
    return marks
