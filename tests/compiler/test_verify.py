"""Each rule of the verifier, with a graph that breaks it and no earlier one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.verify import PAIRS, RULES, GraphError, verify
from rushlight.generator import Generator
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.graphs import F32

S = Spec((2, 3), F32)


def sound() -> Graph:
    graph = Graph()
    x = graph.input(S)
    y = graph.call(OPS["add"], (x, 1), {})
    z = graph.call(OPS["t"], (y,), {})
    graph.outputs = [graph.call(OPS["sum"], (z,), {"dim": (0,), "keepdim": False})]
    graph.updates = [(x, y)]
    return graph


def undeclared(g: Graph) -> None:
    g.calls[0].op = SimpleNamespace(name="fast_add", inputs=("x", "y"))


def composite(g: Graph) -> None:
    g.calls[0].op = OPS["reshape"]


def too_few_operands(g: Graph) -> None:
    g.calls[0].operands = g.calls[0].operands[:1]


def an_array(g: Graph) -> None:
    g.calls[0].operands = (g.inputs[0], np.ones(3))


def a_tuple(g: Graph) -> None:
    g.calls[0].operands = (g.inputs[0], (g.inputs[0],))


def view_of_a_number(g: Graph) -> None:
    g.calls[1].operands = (1.0,)


def position_without_dots(g: Graph) -> None:
    g.calls[1].op, g.calls[1].params = OPS["getitem_select"], {"index": (1, 2)}


def other_parameters(g: Graph) -> None:
    g.calls[2].params = {"dim": (0,)}


def value_as_parameter(g: Graph) -> None:
    g.calls[2].params["dim"] = g.inputs[0]


def stranger_as_result(g: Graph) -> None:
    g.calls[0].results = (Value(S),)


def two_definitions(g: Graph) -> None:
    g.calls.append(g.calls[0])


def input_twice(g: Graph) -> None:
    g.inputs.append(g.inputs[0])


def use_before_definition(g: Graph) -> None:
    g.calls[0], g.calls[1] = g.calls[1], g.calls[0]


def output_from_nowhere(g: Graph) -> None:
    g.outputs.append(Value(S))


def array_shape(g: Graph) -> None:
    g.inputs[0].spec = Spec((np.int64(2), 3), F32)


def dtype_class(g: Graph) -> None:
    g.inputs[0].spec = Spec((2, 3), np.float32)


def constant_of_another_shape(g: Graph) -> None:
    g.calls[0].operands = (g.inputs[0], Value(Spec((3,), F32), data=np.ones(4, np.float32)))


def too_many_strides(g: Graph) -> None:
    g.inputs[0].strides = (4,)


def wrong_spec(g: Graph) -> None:
    g.calls[2].results[0].spec = Spec((9,), F32)


def update_of_a_result(g: Graph) -> None:
    g.updates.append((g.calls[0].result, g.calls[0].result))


def update_of_another_shape(g: Graph) -> None:
    g.updates = [(g.inputs[0], g.calls[1].result)]


def updated_twice(g: Graph) -> None:
    g.updates *= 2


BREAKS = {
    "ops_are_declared": (undeclared, composite),
    "operands_fit_the_op": (too_few_operands, an_array, a_tuple),
    "views_show_a_value": (view_of_a_number,),
    "views_share_memory": (position_without_dots,),
    "parameters_are_the_declared": (other_parameters, value_as_parameter),
    "results_know_their_call": (stranger_as_result,),
    "values_are_made_once": (two_definitions, input_twice),
    "operands_exist": (use_before_definition, output_from_nowhere),
    "specs_are_concrete": (array_shape, dtype_class),
    "constants_hold_their_spec": (constant_of_another_shape,),
    "strides_fit_inputs": (too_many_strides,),
    "specs_follow_the_op": (wrong_spec,),
    "updates_match": (update_of_a_result, update_of_another_shape, updated_twice),
}


def test_a_sound_graph_passes():
    graph = sound()
    verify(graph, before=graph)


def test_every_rule_is_broken_here():
    assert set(BREAKS) == set(RULES)
    assert set(PAIR_BREAKS) == set(PAIRS)


@pytest.mark.parametrize(("name", "change"), [(name, c) for name, changes in BREAKS.items() for c in changes])
def test_a_broken_rule_is_named(name, change):
    graph = sound()
    change(graph)
    with pytest.raises(GraphError, match=f"after test breaks the rule {name}:"):
        verify(graph, "the graph after test")


def with_draws() -> Graph:
    graph = sound()
    for low in (0.0, 1.0):
        params = {"low": low, "high": 2.0, "generator": Generator()}
        graph.outputs.append(graph.call(OPS["draw_uniform"], (graph.inputs[0],), params))
    return graph


def new_inputs(g: Graph) -> None:
    g.inputs = [Value(S)]
    g.calls, g.outputs, g.updates = [], list(g.inputs[:0]), []


def lost_output(g: Graph) -> None:
    g.outputs = g.outputs[:-1]


def lost_update(g: Graph) -> None:
    g.updates = []


def lost_draw(g: Graph) -> None:
    g.calls = g.calls[:-1]
    g.outputs = [*g.outputs[:-1], g.outputs[-2]]


def swapped_draws(g: Graph) -> None:
    g.calls = [*g.calls[:-2], g.calls[-1], g.calls[-2]]


PAIR_BREAKS = {
    "inputs_are_kept": (new_inputs,),
    "results_are_kept": (lost_output, lost_update),
    "draws_are_kept": (lost_draw, swapped_draws),
}


@pytest.mark.parametrize(("name", "change"), [(name, c) for name, changes in PAIR_BREAKS.items() for c in changes])
def test_a_pass_that_loses_something_is_named(name, change):
    before = with_draws()
    after = Graph(before.inputs, before.calls, before.outputs, before.updates)
    verify(after, before=before)
    change(after)
    with pytest.raises(GraphError, match=name):
        verify(after, before=before)


def test_the_message_says_where():
    graph = Graph()
    x = graph.input(S)
    call = Call(OPS["neg"], (x,), {}, where=(test_the_message_says_where.__code__, 0))
    call.results = (Value(Spec((1,), F32), call),)
    graph.calls.append(call)
    with pytest.raises(GraphError, match=r"neg of .*test_verify.py:\d+: states float32\[1\], its rule gives float32"):
        verify(graph)
