"""The programs of examples/ with their training step compiled: the source is rewritten, the programs stay as they are.

In the loop that calls `backward`, the statements from the first that deals with the loss to the last update become a
function; what they assign is handed back.
"""

from __future__ import annotations

import ast
from pathlib import Path

HEADER = """
import atexit
import torch
_parts = []
def _compiled(part):
    _parts.append(torch.compile(part))
    return _parts[-1]
def _report():
    for part in _parts:
        print("traces", len(part.traces), "eager", len(part.eager_cases))
atexit.register(_report)
"""
UPDATES = ("optimizer.step", "opt.step", ".add_(", "-=")


def compiled(program: Path) -> str:
    """The source of a program with its training step compiled."""
    tree = ast.parse(program.read_text(encoding="utf-8"))
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        loop = _training_loop(function)
        if loop is not None:
            at = 1 if ast.get_docstring(function) else 0
            function.body.insert(at, _taken_out(loop))
    first = next(k for k, node in enumerate(tree.body) if not _is_first(node))
    header = ast.parse(f"__file__ = {str(program)!r}\n{HEADER}").body
    tree.body[first:first] = header
    return ast.unparse(ast.fix_missing_locations(tree))


def _is_first(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) or isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_backward(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).endswith(".backward()")


def _training_loop(function: ast.FunctionDef) -> ast.For | None:
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    return next((loop for loop in loops if any(map(_is_backward, loop.body))), None)


def _taken_out(loop: ast.For) -> ast.FunctionDef:
    """Replace the step in a loop's body by a call of a function, and give the function."""
    texts = [ast.unparse(node) for node in loop.body]
    start = next(k for k, t in enumerate(texts) if "zero_grad" in t or "loss" in t or "backward" in t)
    stop = 1 + max(k for k, t in enumerate(texts) if _is_backward(loop.body[k]) or any(u in t for u in UPDATES))
    part = loop.body[start:stop]
    before = _names(loop.body[:start], ast.Store) | _names([loop.target], ast.Store)
    assigned = _names(part, ast.Store)
    inward = _read_first(part, set()) & assigned
    taken = sorted((before | inward) & _names(part, ast.Load))
    given = sorted(assigned)
    source = f"@_compiled\ndef _step({', '.join(taken)}):\n    return {', '.join(given) or 'None'}\n"
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body[:0] = part
    values = [f"locals().get({name!r})" if name in inward else name for name in taken]
    call = f"{', '.join(given) or '_'} = _step({', '.join(values)})"
    loop.body[start:stop] = ast.parse(call).body
    return function


def _names(nodes: list[ast.stmt] | list[ast.expr], kind: type[ast.expr_context]) -> set[str]:
    return {
        n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, kind)
    }  # fmt: skip


def _read_first(part: list[ast.stmt], seen: set[str]) -> set[str]:
    """Names that are read before being assigned in `part`; what it assigns is added to `seen`."""
    found: set[str] = set()
    for node in part:
        bodies = [getattr(node, name, []) for name in ("body", "orelse")]
        heads = [getattr(node, name) for name in ("value", "test", "iter") if getattr(node, name, None)]
        found |= _names(heads if isinstance(node, ast.Assign) or any(bodies) else [node], ast.Load) - seen
        if isinstance(node, ast.AugAssign):
            found |= _names([node.target], ast.Store) - seen
        if isinstance(node, ast.For):
            seen |= _names([node.target], ast.Store)
        for body in bodies:
            found |= _read_first(body, seen)
        seen |= _names([node], ast.Store)
    return found
