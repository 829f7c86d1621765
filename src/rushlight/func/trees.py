"""Nested tuples, lists and dicts of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """All values of a nested structure, in order."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in leaves(value)]
    return [] if tree is None else [tree]


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """A structure like `tree` with other values."""
    if isinstance(tree, dict):
        return type(tree)((k, rebuilt(v, values)) for k, v in tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[rebuilt(v, values) for v in tree])
    if isinstance(tree, (list, tuple)):
        return type(tree)([rebuilt(v, values) for v in tree])
    return None if tree is None else next(values)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """A structure like `tree` with `function` applied to every value."""
    return rebuilt(tree, iter([function(leaf) for leaf in leaves(tree)]))
