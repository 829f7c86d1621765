"""What a traced program did to the tensors around it, found before the trace is taken back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.trace import Boundary, Trace
from rushlight.compiler.trace_array import TraceBreak, TracedArray
from rushlight.compiler.trace_watch import UNSET, peek
from rushlight.tape import AccumulateGrad, Port, chain_of, root_of


@dataclass
class Made:
    """A tensor that each run makes anew.

    Attributes
    ----------
    kind : "output": of output number `output`; "view": a chain of views of `base`, which is another `Made`, or a tensor
        from outside; "detached": the same without the tape's knowledge; "constant": a copy of `data`
    node : what the trace left as its node: None, or a node
    """

    kind: str
    output: int = -1
    base: Any = None
    chain: tuple[Any, ...] = ()
    data: Any = None
    node: Any = None
    shares_counter: bool = False
    name: str = ""


@dataclass
class Outcome:
    """Everything that a run has to do besides running the graph.

    Attributes
    ----------
    bumps : (tensor from outside, number of changes in place)
    grads : (tensor from outside, None, the tensor that it had, or a `Made`)
    data : (tensor from outside, `Made`): its array is replaced
    flags : (tensor from outside, whether it requires a gradient now)
    entries : (optimizer, parameter, name, `Made`): new state
    settings : (container, key, position, output number): Python numbers that the program changed
    """

    graph: Graph
    outputs: list[Value] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    bumps: list[tuple[Any, int]] = field(default_factory=list)
    grads: list[tuple[Any, Any]] = field(default_factory=list)
    data: list[tuple[Any, Made]] = field(default_factory=list)
    flags: list[tuple[Any, bool]] = field(default_factory=list)
    entries: list[tuple[Any, Any, str, Made]] = field(default_factory=list)


class Reader:
    """Reads the outcome of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.outcome = Outcome(trace.graph)
        self.known: dict[int, Made] = {}
        self.roots: dict[int, Made] = {}
        self.values: dict[Value, int] = {}
        self.shown = {id(h.traced.buffer): h for h in reversed(trace.lifted.values())}

    def read(self) -> Outcome:
        """Look at everything that the log says was changed."""
        before = self.trace.log.before
        out = self.outcome
        for (name, _), (t, old) in before.items():
            new = peek(t, name)
            if name == "_data":
                self._data(t, new)
            elif name == "_grad":
                self._grad(t, old, new)
            elif name == "_node":
                self._node(t, old, new)
            elif name == "_counter" and new is not old:
                raise TraceBreak("gives a tensor the version count of another one")
        counts = {id(c): c[0] - old[0] for c, old in self.trace.log.counters.values()}
        done = set()
        for held in list(self.trace.lifted.values()):
            counter = peek(held.tensor, "_counter")
            if counter is not None and id(counter) not in done and counts.get(id(counter)):
                done.add(id(counter))
                out.bumps.append((held.tensor, counts[id(counter)]))
        for optimizer, p, name, value in self.trace.entries:
            out.entries.append((optimizer, p, name, self.tensor(value)))
        self._updates()
        return out

    def _updates(self) -> None:
        for value, buffer in self.trace.inputs.items():
            if buffer.value is not value:
                self.trace.graph.updates.append((value, buffer.value))

    def _data(self, t: Any, new: Any) -> None:
        held = self.trace.lifted.get(id(t))
        if held is None or new is held.traced:
            return
        self.outcome.data.append((t, self._of_array(new, None)))

    def _grad(self, t: Any, old: Any, new: Any) -> None:
        if new is None or new is UNSET:
            self.outcome.grads.append((t, None))
        elif self.is_outside(new):
            if new is not old:
                self.outcome.grads.append((t, new))
        else:
            self.outcome.grads.append((t, self.tensor(new)))

    def _node(self, t: Any, old: Any, new: Any) -> None:
        if new is old or type(new) is Boundary:
            return
        leaf = new is None or type(new) is AccumulateGrad
        if not leaf or old is not None and type(old) is not AccumulateGrad:
            raise TraceBreak("changes the history of a tensor from outside")
        if (new is None) is not (old is None):
            self.outcome.flags.append((t, new is not None))

    def is_outside(self, t: Any) -> bool:
        """Whether a tensor was there before the trace."""
        return id(t) not in self.trace.log.born

    # Tensors that the program made

    def tensor(self, t: Any) -> Made:
        """How a run makes a tensor."""
        found = self.known.get(id(t))
        if found is None:
            found = self.known[id(t)] = self._tensor(t)
        return found

    def _tensor(self, t: Any) -> Made:
        data, view = peek(t, "_data"), peek(t, "_view")
        node = peek(t, "_node")
        if view is not None:
            root = root_of(t)
            if all(step[0] is not None for step in chain_of(t)) and (self.is_outside(root) or node is None):
                base: Any = root if self.is_outside(root) else self.tensor(root)
                return self._add(Made("view", base=base, chain=tuple(chain_of(t)), node=node))
        made = self._of_array(data, node)
        if made.base is not None and not isinstance(made.base, Made):
            made.shares_counter = peek(t, "_counter") is peek(made.base, "_counter")
        return made

    def _of_array(self, data: Any, node: Any) -> Made:
        if not isinstance(data, TracedArray):
            if type(data) is not np.ndarray:
                raise TraceBreak(f"results in a {type(data).__name__}")
            return self._add(Made("constant", data=np.array(data, copy=True), node=node))
        buffer = data.buffer
        held = self.shown.get(id(buffer))
        if held is not None:
            if held.storage.flat is None:
                return self._add(Made("detached", base=held.tensor, chain=_steps(data), node=node))
            exact = next((h for h in self.trace.lifted.values() if h.traced is data), None)
            if exact is None:
                raise TraceBreak("results in a view of memory that several tensors share")
            return self._add(Made("detached", base=exact.tensor, node=node))
        root = self.roots.get(id(buffer))
        if root is None:
            self.outcome.outputs.append(buffer.value)
            root = self.roots[id(buffer)] = self._add(Made("output", output=len(self.outcome.outputs) - 1))
            if data.parent is None:
                root.node = node
                return root
        return self._add(Made("detached", base=root, chain=_steps(data), node=node))

    def _add(self, made: Made) -> Made:
        made.name = f"m{len(self.outcome.made)}"
        self.outcome.made.append(made)
        return made

    def output(self, value: Value) -> int:
        """The number of an output of the graph."""
        number = self.values.get(value)
        if number is None:
            number = self.values[value] = len(self.outcome.outputs)
            self.outcome.outputs.append(value)
        return number


def _steps(data: TracedArray) -> tuple[Any, ...]:
    steps = []
    while data.parent is not None:
        steps.append(data.step)
        data = data.parent
    return tuple(reversed(steps))


def is_spent(node: Any) -> bool:
    """Whether a backward walk has been over the history that a node ends."""
    todo, seen = [node], set()
    while todo:
        n = todo.pop()
        n = n.node if type(n) is Port else n
        if n is None or id(n) in seen:
            continue
        seen.add(id(n))
        if n.keeps_tensors and n.saved is None and type(n) is not Port:
            return True
        todo.extend(n.edges)
    return False


def live_part(graph: Graph, extra: list[Value]) -> tuple[list[Call], set[Value]]:
    """The calls that outputs, updates and `extra` need, and all values that they read."""
    wanted: set[Value] = {*graph.outputs, *(v for _, v in graph.updates), *extra}
    calls = []
    for call in reversed(graph.calls):
        if call.has_effect or any(r in wanted for r in call.results):
            calls.append(call)
            wanted.update(call.values())
    return calls[::-1], wanted
