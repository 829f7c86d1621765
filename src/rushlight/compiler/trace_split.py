"""A function whose end needs values in Python: the statements before run as a program, the others as they are.

`step` of

    def step(x):
        loss = ...
        opt.step()
        return float(loss)

becomes a function that calls a compiled one for the first two statements. Both are made of the user's source, with its
globals, its closure and its line numbers.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable
from typing import Any

PART = "_compiled_part"
# Functions whose meaning depends on the frame that calls them.
BOUND_TO_FRAMES = {"locals", "vars", "globals", "exec", "eval", "dir", "super", "breakpoint"}
CHANGING = {
    "append",
    "extend",
    "insert",
    "add",
    "update",
    "setdefault",
    "pop",
    "clear",
    "remove",
    "write",
    "appendleft",
}
# Calls of these need no compiler.
LIGHT = {
    "float", "int", "bool", "str", "print", "len", "round", "min", "max", "sum", "abs", "isinstance", "format", "item",
    "tolist", "detach", "cpu", "numpy", "get_last_lr", "add_scalar", "log", "info", "debug", "flush", "get", "items",
    "keys", "values", "join", "set_postfix", "set_description", "perf_counter", "time", "list", "dict",
    "tuple", "set", "sorted", "range", "enumerate", "zip", "get_scale", *CHANGING,
}  # fmt: skip
MOST_TRIES = 3


class Halves:
    """A function cut in two.

    Attributes
    ----------
    first : a function of the arguments in `taken`: the statements before the cut; returns what the others read
    whole : `whole(compiled first)` gives the function
    """

    def __init__(self, first: Callable[..., Any], taken: list[str], whole: Callable[[Any], Callable[..., Any]]) -> None:
        self.first = first
        self.taken = taken
        self.whole = whole


def body_of(fn: Any) -> ast.FunctionDef | None:
    """The source of a function as a tree with its true line numbers; None where there is none."""
    code = fn.__code__
    try:
        lines, start = inspect.getsourcelines(code)
        (tree,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    if not isinstance(tree, ast.FunctionDef) or tree.name != fn.__name__:
        return None
    ast.increment_lineno(tree, start - 1)
    return tree


def line_in(fn: Any, error: BaseException) -> int | None:
    """The line of a function at which an exception passed through it."""
    found = None
    for e in (error, error.__cause__):
        trace = None if e is None else e.__traceback__
        while trace is not None and found is None:
            if trace.tb_frame.f_code is fn.__code__:
                found = trace.tb_lineno
            trace = trace.tb_next
    return found


def places(fn: Any, line: int | None) -> list[int]:
    """Where to try to cut: at the statement that holds `line`, else at those that may change something in Python."""
    tree = body_of(fn)
    if tree is None or not _is_plain(tree) or not _is_code_of(tree, fn):
        return []
    if line is not None:
        return [k for k, s in enumerate(tree.body) if k and s.lineno <= line <= (s.end_lineno or s.lineno)]
    free = {name for s in tree.body if isinstance(s, (ast.Nonlocal, ast.Global)) for name in s.names}
    found = [k for k, s in enumerate(tree.body) if k and any(_changes(n, free) for n in ast.walk(s))]
    return found[::-1][:MOST_TRIES]


def cut(fn: Any, at: int, is_bound: bool) -> Halves | None:
    """Cut a function before statement `at` of its body; None where that may change what it does.

    The first half of a bound method is to be bound likewise.
    """
    tree = body_of(fn)
    if tree is None:
        return None
    before, after = tree.body[:at], tree.body[at:]
    stops = (ast.Return, ast.Break, ast.Continue)
    if any(isinstance(n, stops) for s in before for n in _own(s)):
        return None
    declared = [s for s in before if isinstance(s, (ast.Nonlocal, ast.Global))]
    outer = {name for s in tree.body if isinstance(s, (ast.Nonlocal, ast.Global)) for name in s.names}
    arguments = [a.arg for a in _arguments(tree)]
    bound = arguments[:1] if is_bound else []
    stored = {n for s in before for n in _bound(s)} - outer
    wanted = {n for s in after for n in _names(s, (ast.Load, ast.Del))} | {
        n.target.id
        for s in after
        for n in ast.walk(s)
        if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
    }
    live = sorted(wanted & stored)
    if not stored.isdisjoint(bound) or not set(live) <= {n for s in before for n in _assigned(s)}:
        return None
    taken = [a for a in arguments[len(bound) :] if a in {n for s in before for n in _names(s, (ast.Load,))} | stored]
    used = {n for s in before for n in _names(s, (ast.Load, ast.Store, ast.Del))}
    mine = [s for s in map(_among(used), before) if s is not None]
    first = _function(
        tree, _plain_arguments([*bound, *taken]), mine + _parsed(f"return ({''.join(n + ', ' for n in live)})")
    )
    call = (
        f"({''.join(n + ', ' for n in live)}) = {PART}({', '.join(taken)})" if live else f"{PART}({', '.join(taken)})"
    )
    rest = _function(tree, tree.args, declared + _parsed(call) + after)
    return Halves(_made(fn, first, {}), taken, lambda part: _made(fn, rest, {PART: part}))


def _is_plain(tree: ast.FunctionDef) -> bool:
    """Whether nothing in the function depends on its frame or its class."""
    for n in ast.walk(tree):
        if isinstance(n, (ast.Yield, ast.YieldFrom, ast.Await)):
            return False
        name = n.id if isinstance(n, ast.Name) else n.attr if isinstance(n, ast.Attribute) else ""
        if name in BOUND_TO_FRAMES and isinstance(n, ast.Name) or name.startswith("__") and not name.endswith("__"):
            return False
    return True


def _is_code_of(tree: ast.FunctionDef, fn: Any) -> bool:
    """Whether the source is still what the function was made of."""
    made = _made(fn, _function(tree, tree.args, tree.body), {})
    return bool(_marks(made.__code__) == _marks(fn.__code__))


def _marks(code: Any) -> Any:
    """What two compilations of one source have in common."""
    inner = [_marks(c) if isinstance(c, types.CodeType) else (type(c), c) for c in code.co_consts]
    lines = {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}
    return code.co_names, code.co_varnames, code.co_freevars, inner, lines


def is_light(fn: Any, at: int) -> bool:
    """Whether the statements from the cut on seem to look at values only, rather than to compute tensors."""
    tree = body_of(fn)
    for n in ast.walk(ast.Module(tree.body[at:] if tree else [], [])):
        if isinstance(n, ast.Call):
            f = n.func
            name = f.attr if isinstance(f, ast.Attribute) else f.id if isinstance(f, ast.Name) else ""
            if name not in LIGHT and not (name == "step" and "sched" in ast.unparse(f)):
                return False
        elif isinstance(n, ast.While) or isinstance(n, ast.BinOp) and isinstance(n.op, ast.MatMult):
            return False
    return True


def _among(used: set[str]) -> Callable[[ast.stmt], ast.stmt | None]:
    """Leaves declarations of names in `used` only."""

    def kept(statement: ast.stmt) -> ast.stmt | None:
        if not isinstance(statement, (ast.Nonlocal, ast.Global)):
            return statement
        names = [name for name in statement.names if name in used]
        return ast.copy_location(type(statement)(names), statement) if names else None

    return kept


def _own(node: ast.AST) -> Iterable[ast.AST]:
    """All nodes of a statement but those of functions inside it; loops keep their own breaks."""
    if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        for n in _own(child):
            if not (isinstance(node, (ast.For, ast.While)) and isinstance(n, (ast.Break, ast.Continue))):
                yield n


def _changes(node: ast.AST, free: set[str]) -> bool:
    """Whether a node may change something that outlives the call."""
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        return isinstance(node.ctx, (ast.Store, ast.Del))
    if isinstance(node, ast.Name):
        return isinstance(node.ctx, ast.Store) and node.id in free
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING


def _arguments(tree: ast.FunctionDef) -> list[ast.arg]:
    a = tree.args
    return [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)]


def _names(node: ast.AST, kinds: tuple[Any, ...]) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, kinds)}


def _bound(statement: ast.stmt) -> set[str]:
    """All names that a statement may bind."""
    found = _names(statement, (ast.Store, ast.Del))
    for n in ast.walk(statement):
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            found.add(n.name)
        elif isinstance(n, ast.alias):
            found.add((n.asname or n.name).partition(".")[0])
        elif isinstance(n, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and n.name:
            found.add(n.name)
    return found


def _assigned(statement: ast.stmt) -> set[str]:
    """Names that a statement surely assigns."""
    if isinstance(statement, ast.With):
        inside: set[str] = set().union(*map(_assigned, statement.body))
        return inside | {n for item in statement.items for n in _names(item, (ast.Store,))}
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return _names(statement, (ast.Store,))
    if isinstance(statement, ast.If) and statement.orelse:
        parts = [set().union(*map(_assigned, part)) for part in (statement.body, statement.orelse)]
        return parts[0] & parts[1]
    return {statement.name} if isinstance(statement, ast.FunctionDef) else set()


def _parsed(source: str) -> list[ast.stmt]:
    return ast.parse(source).body


def _plain_arguments(names: list[str]) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[], args=[ast.arg(n) for n in names], vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None,
        defaults=[],
    )  # fmt: skip


def _function(tree: ast.FunctionDef, arguments: ast.arguments, body: list[ast.stmt]) -> ast.FunctionDef:
    bare = ast.arguments(
        posonlyargs=arguments.posonlyargs, args=arguments.args, vararg=arguments.vararg,
        kwonlyargs=arguments.kwonlyargs, kw_defaults=[None] * len(arguments.kwonlyargs), kwarg=arguments.kwarg,
        defaults=[],
    )  # fmt: skip
    for a in (*bare.posonlyargs, *bare.args, *bare.kwonlyargs, bare.vararg, bare.kwarg):
        if a is not None:
            a.annotation = None
    made = ast.FunctionDef(tree.name, bare, body, [], None, None)
    return ast.copy_location(made, tree)


def _made(fn: Any, tree: ast.FunctionDef, extra: dict[str, Any]) -> Callable[..., Any]:
    """A function with the globals, the closure and, for the same arguments, the defaults of `fn`."""
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    cells.update((name, types.CellType(value)) for name, value in extra.items())
    outer = ast.FunctionDef(
        "_outer", _plain_arguments(sorted(cells)), [tree, ast.Return(ast.Name(tree.name, ast.Load()))], [], None, None
    )
    module = ast.fix_missing_locations(ast.Module([ast.copy_location(outer, tree)], []))
    code: Any = builtins.compile(module, fn.__code__.co_filename, "exec", dont_inherit=True)
    for name in ("_outer", tree.name):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, fn.__globals__, fn.__name__, None, closure)
    made.__qualname__ = fn.__qualname__
    if len(made.__code__.co_varnames) and made.__code__.co_argcount == fn.__code__.co_argcount and extra:
        made.__defaults__, made.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return made
