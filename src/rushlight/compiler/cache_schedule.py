"""Schedules on disk: what runs together was worked out once, and a later process only looks it up.

Of the graph a text is written that says all a schedule depends on; its digest, with that of this package's sources and
of the processor, names a file. The file holds no code, only numbers and names: which calls each kernel carries out,
what it reads and writes, and its key, by which its machine code is found in turn (`cache.py`). Where that is not there
any more the graph is scheduled after all, and the kernel of that key is built.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rushlight.compiler import cache
from rushlight.compiler.fuse_expand import expanded
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import HostCall, Kernel, Step
from rushlight.compiler.schedule import Schedule, schedule
from rushlight.compiler.text import DTYPES, NAMES
from rushlight.spec import Spec

# smaller graphs are scheduled in less time than a file takes
FEWEST_CALLS = 24
MOST_CONSTANT_BYTES = 1 << 20
_PLAIN = frozenset({int, float, bool, str, complex, type(None), type(Ellipsis)})


class _Unwritten(Exception):
    """There is no text for something in a graph, or for something in its schedule."""


def scheduled(graph: Graph) -> Schedule:
    """As `schedule(graph)`, from disk where it is there."""
    folder = cache.folder_in_use() if len(graph.calls) >= FEWEST_CALLS else None
    if folder is None:
        return schedule(graph)
    try:
        name = cache.digest_of("schedule\n" + canonical(graph))
    except _Unwritten:
        return schedule(graph)
    held = cache.read(folder, name)
    if held is not None:
        return _read(graph, expanded(graph), json.loads(held), {})
    made = schedule(graph)
    try:
        content = _written(graph, made)
    except _Unwritten:
        return made
    cache.write(folder, name, json.dumps(content, separators=(",", ":")).encode())
    # in this process too: the kernels as they were made hold on to much that is of no use once they are compiled
    return _read(graph, made.calls, content, {s.key: s for s in made if isinstance(s, Kernel)})


def canonical(graph: Graph) -> str:
    """All that a schedule depends on: equal texts mean that one schedule serves both graphs.

    Raises `_Unwritten` where a parameter is of a kind without a text.
    """
    writer = _Writer()
    lines = [f"{writer.made(v)} {v.strides}" for v in graph.inputs]
    lines += map(writer.call, graph.calls)
    lines.append("return " + writer.operand(graph.outputs))
    lines += [f"update {writer.operand(pair)}" for pair in graph.updates]
    return "\n".join(lines)


class _Writer:
    """Numbers values as they appear; constants are written where they are met first."""

    def __init__(self) -> None:
        self.numbers: dict[Value, int] = {}
        self.objects: dict[int, int] = {}
        self.constant_bytes = 0

    def made(self, v: Value) -> str:
        """What is known of a value that appears now."""
        self.numbers[v] = len(self.numbers)
        return f"{NAMES[v.dtype]}{v.shape}"

    def call(self, call: Call) -> str:
        """A call and what it makes."""
        operands = ",".join(map(self.operand, call.operands))
        params = self.param(call.params) if call.params else ""
        return f"{call.op.name}|{operands}|{params}|{';'.join(map(self.made, call.results))}"

    def operand(self, a: Any) -> str:
        """A value by its number, others as parameters."""
        if type(a) is Value:
            number = self.numbers.get(a)
            return f"%{number}" if number is not None else self.constant(a)
        if isinstance(a, (tuple, list)):
            return f"({','.join(map(self.operand, a))})"
        return self.param(a)

    def constant(self, v: Value) -> str:
        """A constant's elements and layout."""
        if v.data is None:
            raise _Unwritten("a value that nothing makes")
        self.constant_bytes += v.data.nbytes
        if self.constant_bytes > MOST_CONSTANT_BYTES:
            raise _Unwritten("large constants")
        return f"={self.made(v)}{v.data.strides}{v.name!r}:{v.data.tobytes().hex()}"

    def param(self, p: Any) -> str:
        """A parameter; a generator by the order in which generators appear."""
        kind = type(p)
        if kind in _PLAIN:
            return repr(p)
        if kind is tuple or kind is list:
            return f"{kind.__name__}({','.join(map(self.param, p))})"
        if kind is dict:
            return ",".join(f"{k}={self._object(v) if k == 'generator' else self.param(v)}" for k, v in p.items())
        if kind is slice:
            return f"slice({self.param((p.start, p.stop, p.step))})"
        if isinstance(p, np.dtype):
            return p.name
        if isinstance(p, tuple):
            return f"{kind.__name__}({','.join(map(self.param, p))})"
        if dataclasses.is_dataclass(p):
            return f"{kind.__name__}({self.param(tuple(getattr(p, f.name) for f in dataclasses.fields(p)))})"
        if isinstance(p, (np.number, np.bool_)):
            return f"{kind.__name__} {p!r}"
        raise _Unwritten(kind.__name__)

    def _object(self, p: Any) -> str:
        return f"@{self.objects.setdefault(id(p), len(self.objects))}"


# The file


def _known(graph: Graph, calls: list[Call]) -> list[Value]:
    """All values of a graph and of its expanded calls, in an order that follows from the graph."""
    values = dict.fromkeys(graph.inputs)
    for call in calls:
        values.update(dict.fromkeys(call.values()))
        values.update(dict.fromkeys(call.results))
    values.update(dict.fromkeys(graph.kept()))
    return list(values)


def _written(graph: Graph, made: Schedule) -> dict[str, Any]:
    places = {id(c): i for i, c in enumerate(made.calls)}
    numbers = {v: i for i, v in enumerate(_known(graph, made.calls))}
    keys: dict[str, int] = {}
    fresh: list[Any] = []

    def number(v: Value) -> int:
        if v not in numbers:
            if v.call is not None or v.data is not None or v.strides is not None:
                raise _Unwritten("a value that only the scheduler knows")
            numbers[v] = len(numbers)
            fresh.append([v.shape, NAMES[v.dtype], v.name])
        return numbers[v]

    def place(call: Call) -> int:
        if id(call) not in places:
            raise _Unwritten("a call that only the scheduler knows")
        return places[id(call)]

    def step(s: Step) -> Any:
        if isinstance(s, HostCall):
            return place(s.call)
        key = keys.setdefault(s.key, len(keys))
        reads, writes = list(map(number, s.reads)), list(map(number, s.writes))
        return [s.name, key, reads, writes, s.chunks, s.workspace, list(map(place, s.calls)), s.inplace, s.flops]

    steps = list(map(step, made))
    reasons = [[place(a), place(b), why] for a, b, why in made.reasons]
    return {"steps": steps, "keys": list(keys), "values": fresh, "reasons": reasons}


def _read(graph: Graph, calls: list[Call], held: dict[str, Any], made: dict[str, Kernel]) -> Schedule:
    """The steps that a file describes; `made` are kernels that can be built, by their keys."""
    values = _known(graph, calls)
    values += [Value(Spec(tuple(shape), DTYPES[kind]), name=name) for shape, kind, name in held["values"]]
    keys, builders = held["keys"], _Builders(graph, made)

    def step(s: Any) -> Step:
        if isinstance(s, int):
            return HostCall(calls[s])
        name, number, reads, writes, chunks, workspace, carried, inplace, flops = s
        key = keys[number]
        return Kernel(
            name, key, builders.of(key), _chosen(values, reads), _chosen(values, writes), chunks, workspace,
            _chosen(calls, carried), tuple((w, r) for w, r in inplace), flops,
        )  # fmt: skip

    out = Schedule(map(step, held["steps"]))
    out.reasons = [(calls[a], calls[b], why) for a, b, why in held["reasons"]]
    return out


def _chosen(items: list[Any], at: Iterable[int]) -> tuple[Any, ...]:
    return tuple([items[i] for i in at])


class _Builders:
    """What builds the kernels of a graph; it is scheduled once more where their machine code is gone.

    Attributes
    ----------
    made : kernels not built yet
    """

    def __init__(self, graph: Graph, made: dict[str, Kernel]) -> None:
        self.graph = graph
        self.made = made

    def of(self, key: str) -> Callable[[Any, str], None]:
        """What builds the kernel of that key."""
        return lambda module, name: self._taken(key).build(module, name)

    def _taken(self, key: str) -> Kernel:
        if key not in self.made:
            self.made.update((s.key, s) for s in schedule(self.graph) if isinstance(s, Kernel))
        return self.made.pop(key)
