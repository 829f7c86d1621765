"""What every graph must satisfy, as a table of named rules, and what a pass must leave as it was.

A rule yields one sentence for each place that breaks it. Rules of `PAIRS` look at a graph before and after a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.layout import contiguous_strides
from rushlight.ops.kinds import OPS, Composite, View
from rushlight.spec import Spec
from rushlight.tape.where import place

Rule = Callable[[Graph], Iterator[str]]
PairRule = Callable[[Graph, Graph], Iterator[str]]
RULES: dict[str, Rule] = {}
PAIRS: dict[str, PairRule] = {}
_NUMBERS = (bool, int, float, complex)


class GraphError(AssertionError):
    """A graph that no stage may hand on: a mistake of the compiler, never of the user."""


def verify(graph: Graph, stage: str = "the graph", before: Graph | None = None) -> None:
    """Check `graph` against every rule; with `before`, also that the pass between them kept what it must.

    Raises
    ------
    GraphError
        Naming each broken rule, the call and the user's line.
    """
    # a rule that could stumble over what an earlier one forbids does not run after it failed
    for name, rule in RULES.items():
        _raise_if(list(rule(graph)), name, stage)
    if before is not None:
        for name, pair in PAIRS.items():
            _raise_if(list(pair(before, graph)), name, stage)


def _raise_if(found: list[str], name: str, stage: str) -> None:
    if found:
        more = f"\n  ... and {len(found) - 5} more" if len(found) > 5 else ""
        raise GraphError(f"{stage} breaks the rule {name}:\n  " + "\n  ".join(found[:5]) + more)


def _rule(check: Rule) -> Rule:
    RULES[check.__name__] = check
    return check


def _pair(check: PairRule) -> PairRule:
    PAIRS[check.__name__] = check
    return check


def _at(call: Call) -> str:
    return f"{call.op.name} of {place(call.where)}"


@_rule
def ops_are_declared(graph: Graph) -> Iterator[str]:
    """Calls are of declared ops; composites without a shape rule are taken apart by the tracer."""
    for call in graph.calls:
        if OPS.get(call.op.name) is not call.op:
            yield f"{_at(call)}: no declared op of that name"
        elif isinstance(call.op, Composite) and call.op.spec_rule is None:
            yield f"{_at(call)}: a composite must be taken apart"


@_rule
def operands_fit_the_op(graph: Graph) -> Iterator[str]:
    """As many operands as the op declares; each a value, a number or None, a tuple of those where it is variadic."""
    for call in graph.calls:
        if len(call.operands) != len(call.op.inputs):
            yield f"{_at(call)}: {len(call.operands)} operands for {call.op.inputs}"
            continue
        for i, a in enumerate(call.operands):
            several = i == call.op.variadic
            if several != isinstance(a, (tuple, list)):
                yield f"{_at(call)}: operand {call.op.inputs[i]} is {type(a).__name__}"
            for e in a if isinstance(a, (tuple, list)) else (a,):
                if e is not None and not isinstance(e, (Value, *_NUMBERS)):
                    yield f"{_at(call)}: operand {call.op.inputs[i]} holds a {type(e).__name__}"


@_rule
def views_show_a_value(graph: Graph) -> Iterator[str]:
    """A view's operand is a value: a number has no memory to show."""
    for call in graph.calls:
        if isinstance(call.op, View) and not all(isinstance(a, Value) for a in call.operands):
            yield f"{_at(call)}: its operand is {call.operands[0]!r}"


@_rule
def views_share_memory(graph: Graph) -> Iterator[str]:
    """A view's body gives arrays over the memory of its operand; a NumPy scalar, as `x[3]` gives, is a copy."""
    for call in graph.calls:
        if not isinstance(call.op, View):
            continue
        x = call.operands[0]
        strides = tuple(n * x.dtype.itemsize for n in contiguous_strides(x.shape))
        phantom = np.lib.stride_tricks.as_strided(np.empty(1, x.dtype), x.shape, strides)
        out = call.op.eager((phantom,), dict(call.params))
        if not all(isinstance(o, np.ndarray) for o in (out if isinstance(out, tuple) else (out,))):
            yield f"{_at(call)}: {call.params} gives {type(out).__name__}"


@_rule
def parameters_are_the_declared(graph: Graph) -> Iterator[str]:
    """The static parameters are exactly those that the op declares, and none is a value."""
    for call in graph.calls:
        if set(call.params) != set(call.op.static):
            yield f"{_at(call)}: parameters {sorted(call.params)}, declared {sorted(call.op.static)}"
        for name, p in call.params.items():
            if isinstance(p, Value):
                yield f"{_at(call)}: parameter {name} is a value"


@_rule
def results_know_their_call(graph: Graph) -> Iterator[str]:
    """Each result points back at the call and its place among the results."""
    for call in graph.calls:
        if not call.results:
            yield f"{_at(call)}: no results"
        for i, v in enumerate(call.results):
            if v.call is not call or v.part != i or v.data is not None:
                yield f"{_at(call)}: result {i} does not point back"


@_rule
def values_are_made_once(graph: Graph) -> Iterator[str]:
    """No input and no call stands twice."""
    seen: set[Any] = set()
    for v in graph.inputs:
        if v in seen or not v.is_input:
            yield f"{v!r}: an input stands twice or is no input"
        seen.add(v)
    for call in graph.calls:
        if call in seen:
            yield f"{_at(call)}: the call stands twice"
        seen.add(call)


@_rule
def operands_exist(graph: Graph) -> Iterator[str]:
    """Every operand is a constant, an input of this graph or the result of an earlier call."""
    known = set(graph.inputs)
    for call in graph.calls:
        for v in call.values():
            if v not in known and not v.is_constant:
                yield f"{_at(call)}: operand {v!r} is not defined before it"
        known.update(call.results)
    for v in graph.kept():
        if v not in known and not v.is_constant:
            yield f"output {v!r} is never defined"


@_rule
def specs_are_concrete(graph: Graph) -> Iterator[str]:
    """Shapes are tuples of non-negative ints and dtypes are NumPy's."""
    values = [*graph.inputs, *(v for call in graph.calls for v in (*call.results, *call.values()))]
    for v in dict.fromkeys(values):
        if type(v.shape) is not tuple or not all(type(n) is int and n >= 0 for n in v.shape):
            yield f"{v!r}: shape {v.shape!r}"
        if not isinstance(v.dtype, np.dtype):
            yield f"{v!r}: dtype {v.dtype!r}"


@_rule
def constants_hold_their_spec(graph: Graph) -> Iterator[str]:
    """A constant's array has the shape and dtype that its spec states."""
    values = {v for call in graph.calls for v in call.values()} | set(graph.kept())
    for v in values:
        if v.is_constant and (type(v.data) is not np.ndarray or (v.data.shape, v.data.dtype) != tuple(v.spec)):
            yield f"{v!r}: its array is {getattr(v.data, 'dtype', type(v.data))}{list(np.shape(v.data))}"


@_rule
def strides_fit_inputs(graph: Graph) -> Iterator[str]:
    """Only inputs state strides, one for each dim."""
    for v in graph.inputs:
        if v.strides is not None and len(v.strides) != len(v.shape):
            yield f"{v!r}: strides {v.strides}"
    for call in graph.calls:
        if any(v.strides is not None for v in call.results):
            yield f"{_at(call)}: a result states strides"


@_rule
def specs_follow_the_op(graph: Graph) -> Iterator[str]:
    """Shape and dtype of every result are what the op's own rule gives."""
    for call in graph.calls:
        wanted = call.op.spec(tuple(_spec(a) for a in call.operands), dict(call.params))
        wanted = wanted if isinstance(wanted, tuple) and not isinstance(wanted, Spec) else (wanted,)
        stated = tuple(v.spec for v in call.results)
        if tuple(map(tuple, stated)) != tuple(map(tuple, wanted)):
            yield f"{_at(call)}: states {_shown(stated)}, its rule gives {_shown(wanted)}"


@_rule
def updates_match(graph: Graph) -> Iterator[str]:
    """An update is of an input, at most one of each, by a value of the same shape and dtype."""
    done: set[Value] = set()
    inputs = set(graph.inputs)
    for target, v in graph.updates:
        if target not in inputs or target in done:
            yield f"update of {target!r}: no input, or updated twice"
        done.add(target)
        if tuple(target.spec) != tuple(v.spec):
            yield f"update of {target!r} by {v!r}"


@_pair
def inputs_are_kept(before: Graph, after: Graph) -> Iterator[str]:
    """The caller binds arrays to the very same inputs in the same order."""
    if len(before.inputs) != len(after.inputs) or any(
        a is not b for a, b in zip(before.inputs, after.inputs, strict=False)
    ):
        yield f"inputs {before.inputs} became {after.inputs}"


@_pair
def results_are_kept(before: Graph, after: Graph) -> Iterator[str]:
    """As many outputs and updates as before, of the same specs and of the same inputs."""
    if [tuple(v.spec) for v in before.outputs] != [tuple(v.spec) for v in after.outputs]:
        yield f"outputs {before.outputs} became {after.outputs}"
    if [t for t, _ in before.updates] != [t for t, _ in after.updates]:
        yield "updates are of other inputs, or in another order"


@_pair
def draws_are_kept(before: Graph, after: Graph) -> Iterator[str]:
    """Random draws are neither dropped nor shared, and keep their order."""
    was, now = ([(c.op, c.params) for c in g.calls if c.has_effect] for g in (before, after))
    if len(was) != len(now) or any(a[0] is not b[0] or a[1] is not b[1] for a, b in zip(was, now, strict=True)):
        yield f"draws {[op.name for op, _ in was]} became {[op.name for op, _ in now]}"


def _spec(a: Any) -> Any:
    if a is None:
        return None
    if isinstance(a, (tuple, list)):
        return tuple(map(_spec, a))
    return a.spec if isinstance(a, Value) else Spec((), None)


def _shown(specs: Any) -> str:
    return ", ".join(f"{s.dtype}{list(s.shape)}" for s in specs)
