"""A graph as text, one line per value with the user's line, and back.

    %0: f32[256, 10] = input(name='x')
    %1: f32[10] = input(strides=(8,))
    %2: f32[256, 10] = add(%0, %1)                    # train.py:12
    %3: f32[256], %4: i64[256] = max_dim(%2, dim=1, keepdim=False)
    return %3
    update %1 = %1

Operands come first, then static parameters by name. What has no text (index arrays, generators, large constants)
stands as `@0`, `@1` ... into a table of objects beside the text.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import Kernel, Step
from rushlight.dtypes import ALL
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from rushlight.tape.where import place

_SHORT = {"float": "f", "int": "i", "uint": "u", "complex": "c", "bfloat": "bf", "bool": "bool"}
_LARGE = 16  # a constant of more elements goes into the table
_COMMENT = 54  # the column of the user's line


def _short_name(kind: Any) -> str:
    letters: str = kind.name.rstrip("0123456789")
    digits: str = kind.name[len(letters) :]
    return _SHORT.get(letters, letters) + digits


DTYPES = {_short_name(d.np): d.np for d in ALL if d.np is not None}
NAMES = {kind: name for name, kind in reversed(DTYPES.items())}


def text(graph: Graph) -> str:
    """The text of `graph`, without what only a table can hold."""
    return listing(graph)[0]


def listing(graph: Graph) -> tuple[str, tuple[Any, ...]]:
    """The text of `graph` and the table of objects that `@k` in it mean."""
    writer = _Writer()
    lines = [writer.input(v) for v in graph.inputs]
    for call in graph.calls:
        lines += writer.constants(call.values())
        lines.append(writer.call(call))
    lines += writer.constants(graph.kept())
    if graph.outputs:
        lines.append("return " + ", ".join(writer.name(v) for v in graph.outputs))
    lines += [f"update {writer.name(target)} = {writer.name(v)}" for target, v in graph.updates]
    return "\n".join(lines) + "\n", tuple(writer.objects)


def steps_text(steps: Sequence[Step]) -> str:
    """Kernels, and calls that NumPy runs, one line each with the ops that they carry out."""
    lines = []
    for step in steps:
        if isinstance(step, Kernel):
            ops = " ".join(call.op.name for call in step.calls)
            lines.append(f"{step.name}: {ops}; {_count(step.chunks, 'chunk')}, {step.workspace} bytes of workspace")
        else:
            lines.append(f"NumPy: {step.call.op.name}")
    return "\n".join(lines) + "\n"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


class _Writer:
    """Numbers values in the order in which they are named."""

    def __init__(self) -> None:
        self.numbers: dict[Value, int] = {}
        self.objects: list[Any] = []
        self.places: dict[int, int] = {}

    def name(self, v: Value) -> str:
        """`%7`."""
        return f"%{self.numbers.setdefault(v, len(self.numbers))}"

    def head(self, v: Value) -> str:
        """`%7: f32[2, 3]`."""
        return f"{self.name(v)}: {NAMES[v.dtype]}{list(v.shape)}"

    def input(self, v: Value) -> str:
        """The line of an input."""
        known = {"name": v.name} if v.name else {}
        parts = [f"{k}={p!r}" for k, p in known.items()]
        parts += [f"strides={v.strides!r}"] if v.strides is not None else []
        return f"{self.head(v)} = input({', '.join(parts)})"

    def constants(self, values: Iterator[Value]) -> list[str]:
        """Lines of the constants among `values` that have none yet."""
        return [
            f"{self.head(v)} = constant({self.array(v.data)})"
            for v in values
            if v.is_constant and v not in self.numbers
        ]

    def array(self, data: Any) -> str:
        """The elements of a small array, a place in the table for a large one."""
        if data.size > _LARGE or data.dtype.kind == "V":
            return self.param(data)
        return self.param(data.tolist())

    def call(self, call: Call) -> str:
        """The line of a call."""
        parts = [self.operand(a) for a in call.operands]
        parts += [f"{k}={self.param(p)}" for k, p in call.params.items()]
        line = f"{', '.join(map(self.head, call.results))} = {call.op.name}({', '.join(parts)})"
        if call.where is None:
            return line
        path, _, number = place(call.where).rpartition(":")
        return f"{line:<{_COMMENT}}  # {Path(path).name}:{number}"

    def operand(self, a: Any) -> str:
        """A value by its number; others as parameters."""
        if isinstance(a, Value):
            return self.name(a)
        if isinstance(a, (tuple, list)):
            return f"[{', '.join(map(self.operand, a))}]"
        return self.param(a)

    def param(self, p: Any) -> str:
        """A Python value as an expression that `parse` reads."""
        if p is None or p is Ellipsis or type(p) in (bool, int, str):
            return repr(p)
        if type(p) in (float, complex):
            return _number(p)
        if type(p) is slice:
            return f"slice({self.param(p.start)}, {self.param(p.stop)}, {self.param(p.step)})"
        if type(p) is list:
            return f"[{', '.join(map(self.param, p))}]"
        if type(p) is tuple:
            return f"({', '.join(map(self.param, p))}{',' * (len(p) == 1)})"
        if isinstance(p, np.dtype) and p in NAMES:
            return NAMES[p]
        return f"@{self._place(p)}"

    def _place(self, p: Any) -> int:
        if id(p) not in self.places:
            self.places[id(p)] = len(self.objects)
            self.objects.append(p)
        return self.places[id(p)]


def _number(p: Any) -> str:
    if type(p) is complex:
        return f"complex({_number(p.real)}, {_number(p.imag)})"
    if math.isfinite(p):
        return repr(p)
    return "nan" if p != p else "inf" if p > 0 else "-inf"


_HEAD = re.compile(r"%(\d+): (\w+)\[([\d, ]*)\]")
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|([%@])(\d+)""")
_SAFE = {"slice": slice, "complex": complex}
_WORDS = {**DTYPES, "nan": math.nan, "inf": math.inf, "Ellipsis": Ellipsis}


def parse(source: str, objects: Sequence[Any] = ()) -> Graph:
    """The graph that `source` describes; `objects` is the table that `listing` gave with it.

    Raises
    ------
    ValueError
        Naming the line that cannot be read.
    """
    reader = _Reader(objects)
    for number, line in enumerate(source.splitlines(), 1):
        line = _without_comment(line).strip()
        try:
            if line:
                reader.line(line)
        except (ValueError, SyntaxError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"line {number}: {line!r}: {type(error).__name__}: {error}") from error
    return reader.graph


def _without_comment(line: str) -> str:
    """The part before `#`, but not inside a string."""
    quote = ""
    for i, c in enumerate(line):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == "#":
            return line[:i]
    return line


def _as_name(found: re.Match[str]) -> str:
    """`V_7` for `%7`, `T_2` for `@2`; strings stay."""
    return f"{'V' if found[1] == '%' else 'T'}_{found[2]}" if found[1] else found[0]


class _Reader:
    """Builds the graph line by line."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self.graph = Graph()
        self.objects = objects
        self.values: dict[int, Value] = {}

    def line(self, line: str) -> None:
        """Read one line."""
        if line.startswith("return "):
            self.graph.outputs = [self.value(t) for t in line[7:].split(", ")]
        elif line.startswith("update "):
            target, v = line[7:].split(" = ")
            self.graph.updates.append((self.value(target), self.value(v)))
        else:
            heads, body = line.split(" = ", 1)
            self.definition(_HEAD.findall(heads), body)

    def value(self, name: str) -> Value:
        """The value named `%7`."""
        return self.values[int(name.strip()[1:])]

    def definition(self, heads: list[tuple[str, str, str]], body: str) -> None:
        """An input, a constant or a call."""
        specs = [Spec(tuple(int(n) for n in s.split(",") if n.strip()), DTYPES[d]) for _, d, s in heads]
        tree = ast.parse(_TOKEN.sub(_as_name, body), mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError("expected `op(operands, parameter=value)`")
        positional = tuple(map(self.read, tree.args))
        named = {str(k.arg): self.read(k.value) for k in tree.keywords}
        made = self.make(tree.func.id, positional, named, specs)
        if [tuple(v.spec) for v in made] != [tuple(s) for s in specs]:
            raise ValueError(f"{tree.func.id} gives {[v.spec for v in made]}")
        self.values.update({int(number): v for (number, _, _), v in zip(heads, made, strict=True)})

    def make(self, name: str, operands: tuple[Any, ...], params: dict[str, Any], specs: list[Spec]) -> list[Value]:
        """The values that one line defines."""
        if name == "input":
            return [self.graph.input(specs[0], strides=params.get("strides"), name=params.get("name", ""))]
        if name == "constant":
            return [Value(specs[0], data=np.asarray(operands[0], specs[0].dtype).reshape(specs[0].shape))]
        operands = tuple(tuple(a) if isinstance(a, list) else a for a in operands)
        made = self.graph.call(OPS[name], operands, params)
        return list(made) if isinstance(made, tuple) else [made]

    def read(self, node: ast.expr) -> Any:
        """A value, an object of the table, or a Python value."""
        if isinstance(node, ast.Name):
            kind, _, number = node.id.partition("_")
            if kind == "V":
                return self.values[int(number)]
            return self.objects[int(number)] if kind == "T" else _WORDS[node.id]
        if isinstance(node, ast.Tuple):
            return tuple(map(self.read, node.elts))
        if isinstance(node, ast.List):
            return [self.read(e) for e in node.elts]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return _SAFE[node.func.id](*map(self.read, node.args))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.read(node.operand)
        return ast.literal_eval(node)
