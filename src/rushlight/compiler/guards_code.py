"""The function that a trace becomes: checks, what is bound where, the run, and what is put where afterwards.

It is one straight line of generated Python, because it is the price of every call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any

import numpy as np

from rushlight.compiler.guards import PLAIN, Guards, Names, Test, same
from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_array import TraceBreak, TracedArray
from rushlight.compiler.trace_backward import Lazy, replay_class
from rushlight.compiler.trace_number import TracedNumber
from rushlight.compiler.trace_outcome import Made, Outcome, Reader, is_spent
from rushlight.dtypes import get_default_dtype
from rushlight.modes import ACTIVE, state
from rushlight.ops.linear import storage_array
from rushlight.tape import AccumulateGrad, Node, Port, Variable, freed_error, record, wrap

MISS = object()


class Spent(Node):
    """The node of a result whose history the program has walked and released."""

    __slots__ = ()
    ordinary = False

    def __init__(self) -> None:
        self.edges = ()
        self.saved = None
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None

    def pull(self, g: Any) -> Any:
        raise freed_error()

    pull_graph = pull

    def check(self) -> None:
        raise freed_error()


_SPENT: dict[str, type[Spent]] = {}


def spent_node(name: str) -> Spent:
    """A spent node that prints as `name`."""
    cls = _SPENT.get(name)
    if cls is None:
        cls = _SPENT[name] = type(name, (Spent,), {"__slots__": ()})
    return cls()


class Results:
    """Python source that rebuilds what the traced function returned."""

    def __init__(self, names: Names, reader: Reader, sources: dict[int, str], outside: dict[int, Any]) -> None:
        self.names = names
        self.reader = reader
        self.sources = sources
        self.outside = outside
        self.numbers: list[int] = []

    def source(self, value: Any) -> str:
        """Source of one result."""
        if isinstance(value, Variable):
            return self.tensor(value)
        if isinstance(value, TracedNumber):
            number = self.reader.output(value.read())
            return f"o[{number}].item()"
        if isinstance(value, TracedArray):
            raise TraceBreak("returns an array instead of a tensor")
        if isinstance(value, PLAIN) or id(value) in self.outside:
            return self.names.add(value)
        if type(value) in (tuple, list):
            inner = "".join(f"{self.source(v)}, " for v in value)
            return f"({inner})" if type(value) is tuple else f"[{inner}]"
        if isinstance(value, dict):
            inner = ", ".join(f"{self.names.add(k)}: {self.source(v)}" for k, v in value.items())
            return f"{{{inner}}}" if type(value) is dict else f"{self.names.add(type(value))}({{{inner}}})"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return f"{self.names.add(type(value))}({', '.join(map(self.source, value))})"
        if isinstance(value, tuple):
            return self.names.add(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = ", ".join(f"{k!r}: {self.source(v)}" for k, v in vars(value).items())
            return f"rebuilt({self.names.add(type(value))}, {{{inner}}})"
        if isinstance(value, type) or callable(value) and not hasattr(value, "__dict__"):
            return self.names.add(value)
        raise TraceBreak(f"returns a {type(value).__name__} made in the function")

    def tensor(self, t: Any) -> str:
        """Source of a tensor."""
        if self.reader.is_outside(t):
            return self.sources.get(id(t)) or self.names.add(t)
        return self.reader.tensor(t).name


def rebuilt(cls: Any, fields: dict[str, Any]) -> Any:
    """An instance of a dataclass with the given fields."""
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def chained(array: Any, chain: Any) -> Any:
    """An array seen through a chain of views."""
    for op, params, index in chain:
        array = op.eager((array,), dict(params))
        array = array if index is None else array[index]
    return array


def viewed(t: Any, chain: Any) -> Any:
    """A tensor seen through a chain of views, with the history they give."""
    for op, params, index in chain:
        t = record(op, (t,), dict(params))
        t = t if index is None else t[index]
    return t


class Writer:
    """Writes the function of one trace."""

    def __init__(self, names: Names, guards: Guards, trace: Trace, outcome: Outcome) -> None:
        self.names = names
        self.guards = guards
        self.trace = trace
        self.outcome = outcome
        self.sources = {i: source for i, (_, source, _) in guards.arguments.items()}
        self.lines: list[str] = []
        self.tests: list[Test] = []
        self.grads = {id(g): t for t, g in trace.first_grads.values() if g is not None}
        self.backward: Any = None
        self.rebinds: list[tuple[str, str]] = []
        self.layouts: list[tuple[str, Any, str]] = []
        self.labels = self._labelled()
        self.shown: dict[int, list[Any]] = {}
        for h in trace.lifted.values():
            self.shown.setdefault(id(h.traced.buffer), []).append(h)
        self.input_of = {id(buffer): value for value, buffer in trace.inputs.items()}
        self.grad_of = {id(made): t for t, made in outcome.grads if isinstance(made, Made)}

    def source_of(self, t: Any) -> str:
        """Source of a tensor from outside."""
        found = self.sources.get(id(t))
        if found is None and id(t) in self.grads and id(t) not in self.guards.tensors:
            return f"{self.source_of(self.grads[id(t)])}._grad"
        return found or self.names.add(t)

    # Checks of tensors

    def tensor_checks(self) -> None:
        """Tests of what the program knows of tensors besides their arrays."""
        for t, source, path in self.guards.arguments.values():
            kind = self.names.add(type(t))
            self.tests.append((f"type({source}) is {kind}", f"the type of {path}"))
        for t, grad in self.trace.first_grads.values():
            wanted = "is" if grad is None else "is not"
            self.tests.append((f"{self.source_of(t)}.grad {wanted} None", f"whether {self.label(t)} has a gradient"))
        self._node_checks()

    def _node_checks(self) -> None:
        boundaries = self.trace.boundaries
        tensors = {i: h.tensor for i, h in self.trace.lifted.items()}
        tensors.update({i: t for i, (t, _, _) in self.guards.arguments.items()})
        plain, leaves = [], []
        held = {id(v) for opt in self.guards.optimizers for state in opt.state.values() for v in state.values()}
        for i, t in tensors.items():
            source = self.source_of(t)
            if i in boundaries or t._node is not None and type(t._node) is not AccumulateGrad:
                test = f"{source}._node is not None and type({source}._node) is not {self.names.add(AccumulateGrad)}"
            elif t._node is None:
                test = f"{source}._node is None"
                if i not in self.sources and id(t) not in self.grads:
                    if i not in held:
                        plain.append(t)
                    continue
            elif i in self.sources:
                test = f"type({source}._node) is {self.names.add(AccumulateGrad)} and {source}._node.hooks is None"
                if t._node.hooks is not None:
                    raise TraceBreak("takes an argument with hooks")
            elif id(t) in self.grads:
                test = f"{source}._node is {self.names.add(t._node)}"
            else:
                leaves.append(t)
                continue
            self.tests.append((test, f"requires_grad of {self.label(t)}"))
            if i in self.sources:
                view = "None" if t._view is None else "not None"
                self.tests.append((f"{source}._view is {view}", f"whether {self.label(t)} is a view"))
        if leaves:
            self._leaf_checks(leaves)
        if plain:
            self.tests.append((f"not any(map(node_of, {self.names.add(plain)}))", "requires_grad of a tensor"))

    def _leaf_checks(self, leaves: list[Any]) -> None:
        """Tests that parameters have the nodes and hooks that they had."""
        nodes = [t._node for t in leaves]
        hooks = [n.hooks for n in nodes]
        held = self.names.add(nodes)
        test = f"all(map(is_, map(node_of, {self.names.add(leaves)}), {held}))"
        self.tests.append((test, "requires_grad of a parameter"))
        test = f"all(map(is_, map(hooks_at, {held}), {self.names.add(hooks)}))"
        self.tests.append((test, "the hooks of a parameter"))
        for h in hooks:
            if h is not None:
                self.tests.append((f"{self.names.add(h)}.count == {h.count}", "the hooks of a parameter"))
                for table in (h.tensor, h.accumulated):
                    self.tests.append((f"len({self.names.add(table)}) == {len(table)}", "the hooks of a parameter"))

    def label(self, t: Any) -> str:
        """A tensor in words."""
        found = self.labels.get(id(t))
        if found is None and id(t) in self.grads:
            return f"the gradient of {self.label(self.grads[id(t)])}"
        return found or "a tensor"

    def _labelled(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for module in self.guards.modules:
            root = module.parts[0][0]
            for name, t in (*root.named_parameters(), *root.named_buffers()):
                found.setdefault(id(t), name)
        found.update((i, path) for i, (_, _, path) in self.guards.arguments.items())
        return found

    # The run

    def bind_lines(self, inputs: list[Any]) -> list[Any]:
        """Lines that bind inputs; returns for each input what is bound at first."""
        first: list[Any] = []
        for i, buffer in enumerate(inputs):
            kind = buffer.source[0]
            first.append(getattr(self, f"_bind_{kind}")(i, buffer))
        return first

    def _bind_tensor(self, i: int, buffer: Any) -> Any:
        t = buffer.source[1]
        held = self.shown[id(buffer)]
        for k, h in enumerate(held):
            self.lines.append(f"a = {self.source_of(h.tensor)}._data")
            self.layouts.append((f"{self.source_of(h.tensor)}._data", h.array, self.label(h.tensor)))
            if k == 0:
                self.lines.append(f"if a is not last[{i}]:")
                self.lines.append(f"    if not rebind({i}, a): return MISS")
            else:
                self.lines.append(f"if a is not last[{i}] and not alike(a, last[{i}]): return MISS")
        if buffer.value is not self.input_of[id(buffer)] and any(id(h.tensor) in self.sources for h in held):
            self.lines.append(f"if not apart({i}): return MISS")
        return self.trace.lifted[id(t)].array

    def _bind_flat(self, i: int, buffer: Any) -> Any:
        owner = buffer.source[1]
        for h in self.trace.lifted.values():
            if h.storage.owner is owner:
                if self.sources.get(id(h.tensor), "").startswith(("args", "kwargs")):
                    raise TraceBreak("changes memory that several arguments share")
                self.tests.append((f"{self.source_of(h.tensor)}._data is {self.names.add(h.array)}",
                                   f"the memory of {self.label(h.tensor)}"))  # fmt: skip
        flat = owner.reshape(-1) if owner.flags.c_contiguous else owner.T.reshape(-1)
        return flat if flat.dtype == buffer.value.dtype else flat.view(buffer.value.dtype)

    def _bind_number(self, i: int, buffer: Any) -> Any:
        _, container, key, position = buffer.source
        name = self.names.add(container)
        source = f"{name}[{key!r}]" + ("" if position is None else f"[{position}]")
        first = container[key] if position is None else container[key][position]
        cell = np.array(first, np.float64)
        test = f"v {'!=' if first else '=='} 0"
        self.lines.append(f"v = {source}")
        self.lines.append(f"if v is not last[{i}]:")
        self.lines.append(f"    if type(v) is not float or not {test}: return MISS")
        self.lines.append(f"    {self.names.add(cell)}[()] = v")
        self.lines.append(f"    last[{i}] = v")
        return (cell, first)

    def _bind_argument(self, i: int, buffer: Any) -> Any:
        _, source, first = buffer.source
        cell = np.array(first, buffer.value.dtype)
        self.lines.append(f"v = {source}")
        self.lines.append(f"if v is not last[{i}]:")
        self.lines.append(f"    {self.names.add(cell)}[()] = last[{i}] = v")
        return (cell, first)

    def output_lines(self) -> None:
        """Lines that give each output an array, and after the run make tensors of them."""
        out = self.outcome
        users: dict[int, Made] = {m.output: m for m in out.made if m.kind == "output"}
        for k in range(len(out.outputs)):
            made = users.get(k)
            spec = out.outputs[k].spec
            if made is None:
                self.lines.append(f"if o[{k}] is None:")
                self.lines.append(f"    o[{k}] = a = empty({spec.shape!r}, {self.names.add(spec.dtype)})")
                self.lines.append(f"    set_output({k}, a)")
                continue
            name = made.name
            self.lines.append(f"{name} = held[{k}]")
            owner = self.grad_of.get(id(made))
            mine = "" if owner is None else f" + ({self.source_of(owner)}._grad is {name})"
            seen = f"getrefcount({name}) > 3{mine} or getrefcount({name}._data) > limit[{k}]"
            self.lines.append(f"if {name} is None or {name}._data is not o[{k}] or {seen}:")
            self.lines.append(f"    held[{k}] = {name} = fresh({k}, {spec.shape!r}, {self.names.add(spec.dtype)})")

    def bump_lines(self) -> None:
        """Lines that count changes in place."""
        for t, count in self.outcome.bumps:
            self.lines.append(f"{self.source_of(t)}._counter[0] += {count}")

    def after_lines(self, result: str) -> None:
        """Lines that put everything where the eager program would have put it."""
        out = self.outcome
        for made in out.made:
            self._make(made)
        for t, made in out.data:
            self.lines.append(f"{self.source_of(t)}._data = {made.name}._data")
        for t, flag in out.flags:
            self.lines.append(f"{self.source_of(t)}.requires_grad = {flag}")
        for t, grad in out.grads:
            source = "None" if grad is None else grad.name if isinstance(grad, Made) else self.source_of(grad)
            self.lines.append(f"{self.source_of(t)}._grad = {source}")
        for optimizer, p, name, made in out.entries:
            self.lines.append(f"{self.names.add(optimizer)}.state[{self.names.add(p)}][{name!r}] = {made.name}")
            if made.output >= 0:
                self.lines.append(f"held[{made.output}] = None")
        if self.rebinds:
            self.lines.append(f"result = {result}")
            self.lines.append(f"new = ({''.join(f'{source}, ' for _, source in self.rebinds)})")
            self.lines += [f"{place}.put(new[{i}])" for i, (place, _) in enumerate(self.rebinds)]
            result = "result"
        for given, named in self.trace.prints:
            self.lines.append(f"print(*{self.names.add(given)}, **{self.names.add(named)})")
        self.lines.append(f"return {result}")

    def _node_of(self, made: Made) -> str:
        """Source of the node of a result whose history the program made."""
        if self.backward is not None:
            for i, t in enumerate(self.backward.alive):
                if t._node is made.node:
                    return "replay" if len(self.backward.alive) == 1 else f"Port(replay, {i})"
        if not is_spent(made.node):
            raise TraceBreak("leaves a gradient with a history")
        last = made.node.node if isinstance(made.node, Port) else made.node
        return self.names.add(spent_node(last.name()))

    def replay_lines(self, inputs: dict[Any, int], saved: dict[Any, int], lazy: Lazy) -> None:
        """Lines that make the node of the second program, with what it needs of this run."""
        backward = self.backward
        kept, counts = [], []
        for v in backward.kept:
            if v in saved:
                kept.append(f"o[{saved[v]}]")
                continue
            kept.append(f"last[{inputs[v]}]")
            t = self.source_of(self.trace.inputs[v].source[1])
            counts.append(f"({t}, {t}._counter, {t}._counter and {t}._counter[0])")
        edges = "".join(f"{self.source_of(t)}._node, " for t in backward.targets)
        last = backward.alive[0]._node
        cls = self.names.add(replay_class((last.node if isinstance(last, Port) else last).name()))
        specs = self.names.add(tuple(v.spec for v in backward.tangents))
        self.lines.append(
            f"replay = {cls}({self.names.add(lazy)}, ({edges}), [{', '.join(kept)}], [{', '.join(counts)}], {specs})"
        )
        self.lines += [f"o[{k}] = None" for k in saved.values()]

    def _make(self, made: Made) -> None:
        node = None
        if made.node is not None and not isinstance(made.node, AccumulateGrad):
            node = self._node_of(made)
        if made.kind == "output":
            self.lines.append(f"{made.name}._node = {node}")
            if isinstance(made.node, AccumulateGrad):
                self.lines.append(f"{made.name}.requires_grad = True")
            return
        if made.kind == "constant":
            self.lines.append(f"{made.name} = wrap({self.names.add(made.data)}.copy())")
        else:
            base = made.base.name if isinstance(made.base, Made) else self.source_of(made.base)
            chain = self.names.add(made.chain)
            if made.kind == "view":
                self.lines.append(f"{made.name} = viewed({base}, {chain})")
                return
            self.lines.append(f"{made.name} = wrap(chained({base}._data, {chain}))")
            if made.shares_counter:
                self.lines.append(f"{made.name}._counter = {base}._counter")
        if node is not None:
            self.lines.append(f"{made.name}._node = {node}")
        elif isinstance(made.node, AccumulateGrad):
            self.lines.append(f"{made.name}.requires_grad = True")


class Bound:
    """A program and the arrays it is bound to; its methods are what the generated function calls."""

    def __init__(self, program: Any, first: list[Any]) -> None:
        self.program = program
        self.last: list[Any] = []
        self.held: list[Any] = [None] * len(program.output_specs)
        self.outputs: list[Any] = [None] * len(program.output_specs)
        self.limit = [0] * len(program.output_specs)
        for i, array in enumerate(first):
            if isinstance(array, tuple):
                array, value = array
                self.last.append(value)
            else:
                self.last.append(array)
            program.bind(i, array)

    def rebind(self, i: int, array: Any) -> bool:
        """Use another array as input `i`, if it is laid out alike."""
        if not alike(array, self.last[i]):
            return False
        self.program.bind(i, array)
        self.last[i] = array
        return True

    def apart(self, i: int) -> bool:
        """Whether input `i`, which is written to, shares no memory with another input."""
        mine = storage_array(self.last[i])
        return all(k == i or type(a) is not np.ndarray or storage_array(a) is not mine for k, a in enumerate(self.last))

    def fresh(self, k: int, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new tensor for output `k`."""
        t = wrap(np.empty(shape, dtype))
        self.outputs[k] = t._data
        self.program.set_output(k, t._data)
        self.limit[k] = getrefcount(t._data)
        return t


def alike(a: Any, b: Any) -> bool:
    """Whether two arrays have one layout."""
    return type(a) is np.ndarray and a.shape == b.shape and a.dtype == b.dtype and a.strides == b.strides


def compiled_function(names: Names, tests: list[Test], lines: list[str], bound: Bound) -> Callable[[Any, Any], Any]:
    """`call(args, kwargs)`: the result, or MISS where the trace does not hold."""
    body = "\n    ".join(lines)
    return _defined(names, tests, "MISS", body, {
        "last": bound.last, "held": bound.held, "o": bound.outputs, "limit": bound.limit, "rebind": bound.rebind,
        "apart": bound.apart, "fresh": bound.fresh, "run": bound.program.run, "set_output": bound.program.set_output,
    })  # fmt: skip


def compiled_tests(names: Names, tests: list[Test]) -> Callable[[Any, Any], bool]:
    """`call(args, kwargs)`: whether all tests hold."""
    return _defined(names, tests, "False", "return True", {})


def _defined(names: Names, tests: list[Test], miss: str, body: str, space: dict[str, Any]) -> Callable[[Any, Any], Any]:
    wanted = "\n            and ".join(test for test, _ in tests) or "True"
    source = f"""def call(args, kwargs):
    try:
        if not ({wanted}):
            return {miss}
    except MISSING:
        return {miss}
    {body}
"""
    space = {**names.space, **SPACE, **space}
    # The source is made of paths and constants' names, never of data.
    exec(compile(source, "<compiled step>", "exec"), space)
    function: Callable[[Any, Any], Any] = space["call"]
    function.source = source  # type: ignore[attr-defined]
    return function


def checker(
    names: Names, tests: list[Test], layouts: Sequence[tuple[str, Any, str]] = ()
) -> Callable[[Any, Any], list[str]]:
    """A function that says what the failing tests, or else the arrays of another layout, are about."""
    space = {**names.space, **SPACE}
    known = [(source, (a.shape, a.dtype, a.strides), about) for source, a, about in layouts]

    def holds(test: str, args: Any, kwargs: Any) -> bool:
        try:
            return bool(eval(test, space, {"args": args, "kwargs": kwargs}))
        except MISSING:
            return False

    def failing(args: Any, kwargs: Any) -> list[str]:
        found = [about if isinstance(about, str) else about() for test, about in tests if not holds(test, args, kwargs)]
        if found:
            return found
        for source, before, about in known:
            a = eval(source, space, {"args": args, "kwargs": kwargs})
            difference = _difference((a.shape, a.dtype, a.strides), before)
            if difference is not None:
                found.append(f"{difference[0]} of {about}: {difference[1]}, was {difference[2]}")
        return found

    return failing


def _difference(now: Any, before: Any) -> tuple[str, Any, Any] | None:
    for what, new, old in zip(("shape", "dtype", "strides"), now, before, strict=True):
        if new != old:
            return what, new, old
    return None


MISSING = (LookupError, AttributeError, TypeError, ValueError, RuntimeError)
SPACE = {
    "MISS": MISS, "MISSING": MISSING, "alike": alike, "same": same,
    "node_of": attrgetter("_node"), "hooks_at": attrgetter("hooks"), "is_": is_, "chain": chain,
    "getrefcount": getrefcount,
    "wrap": wrap, "chained": chained, "viewed": viewed, "rebuilt": rebuilt, "empty": np.empty, "Port": Port,
    "state": state, "ACTIVE": ACTIVE, "default_dtype": get_default_dtype,
}  # fmt: skip
