"""Drawings of the graph behind a tensor, and of a module, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rushlight.nn.module import Module
from rushlight.tape import Variable
from rushlight.utils.diagram import Box, laid_out
from rushlight.utils.picture import Picture

OP, LEAF, RESULT, MODULE = "#dbe9f6", "#fde5c8", "#d5efd5", "#e8e0f0"


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
            return laid_out(_module_boxes(what, limit), f"modules of {type(what).__name__}")
        labels.update(what.named_parameters())
        labels.update({f"input {i}": x for i, x in enumerate(inputs) if isinstance(x, Variable)})
        results = _tensors(what(*inputs))
        title = f"graph of {type(what).__name__}"
    else:
        results, title = _tensors(what), "graph"
    results = [t for t in results if t._node is not None]
    if not results:
        raise ValueError("draw: the tensor has no graph; it needs requires_grad=True somewhere, outside of no_grad")
    return laid_out(_graph_boxes(results, labels, limit), title)


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
