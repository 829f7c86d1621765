"""Drawings of the graph behind a tensor, and of a module, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rushlight.nn.module import Module
from rushlight.tape import Variable
from rushlight.utils.picture import Line, Mark, Picture, Rectangle, Text

OP, LEAF, RESULT, MODULE = "#dbe9f6", "#fde5c8", "#d5efd5", "#e8e0f0"
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


def draw(what: Any, *inputs: Any, names: Mapping[str, Any] | None = None, limit: int = 1000) -> Picture:
    """Draw the graph that autograd recorded for a tensor, or a module.

    Parameters
    ----------
    what : Tensor or Module
        Of a module without inputs its submodules are drawn, with inputs the graph of its result.
    inputs
        What to call the module with.
    names : mapping of names to tensors, optional
        Labels of leaves; a module's parameters have theirs.
    limit : int
        Largest number of nodes that is drawn.

    Returns
    -------
    Picture
        Shown by notebooks; `save("graph.svg")` writes it.

    Raises
    ------
    ValueError
        If the tensor has no graph, or one of more than `limit` nodes.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.draw((x * 2).sum(), names={"x": x}).svg().count("<rect")
    5
    """
    labels = dict(names or {})
    if isinstance(what, Module):
        if not inputs:
            return _laid_out(_module_boxes(what, limit), f"modules of {type(what).__name__}")
        labels.update(what.named_parameters())
        labels.update({f"input {i}": x for i, x in enumerate(inputs) if isinstance(x, Variable)})
        results = _tensors(what(*inputs))
        title = f"graph of {type(what).__name__}"
    else:
        results, title = _tensors(what), "graph"
    results = [t for t in results if t._node is not None]
    if not results:
        raise ValueError("draw: the tensor has no graph; it needs requires_grad=True somewhere, outside of no_grad")
    return _laid_out(_graph_boxes(results, labels, limit), title)


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Variable):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


def _graph_boxes(results: list[Any], labels: dict[str, Any], limit: int) -> list[Box]:
    """A box for each node that leads to the results, and for the results."""
    known = {id(t): name for name, t in labels.items()}
    boxes: dict[Any, Box] = {}
    todo = [_start(t) for t in results]
    found = list(todo)
    while todo:
        node = todo.pop()
        if node in boxes:
            continue
        boxes[node] = Box(_label(node, known), LEAF if hasattr(node, "variable") else OP)
        if len(boxes) > limit:
            raise ValueError(f"draw: the graph has more than {limit} nodes; pass limit= to draw larger ones")
        todo.extend(source for source, _ in node.next_functions if source is not None)
    for node, box in boxes.items():
        box.sources = [boxes[source] for source, _ in node.next_functions if source is not None]
    ends = [
        Box(("result", _shape(t._data.shape)), RESULT, [boxes[node]]) for t, node in zip(results, found, strict=True)
    ]
    return [*boxes.values(), *ends]


def _start(t: Any) -> Any:
    return t.grad_fn if t.grad_fn is not None else t._node


def _label(node: Any, known: dict[int, str]) -> tuple[str, ...]:
    leaf = getattr(node, "variable", None)
    if leaf is not None:
        return (known.get(id(leaf), "leaf"), _shape(leaf._data.shape))
    return (node.name().removesuffix("0").removesuffix("Backward"),)


def _shape(shape: Any) -> str:
    return str(list(shape))


def _module_boxes(model: Module, limit: int) -> list[Box]:
    """A box for each module under the one that holds it."""
    boxes: dict[str, Box] = {}
    for name, module in model.named_modules():
        if len(boxes) >= limit:
            raise ValueError(f"draw: there are more than {limit} modules; pass limit= to draw more")
        own = sum(p.numel() for p in module.parameters(recurse=False))
        lines = [name.rpartition(".")[2] or "model", type(module).__name__]
        box = Box((*lines, f"{own:,} parameters") if own else tuple(lines), MODULE)
        if name:
            box.sources = [boxes[name.rpartition(".")[0]]]
        boxes[name] = box
    return list(boxes.values())


def _laid_out(boxes: list[Box], title: str) -> Picture:
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
