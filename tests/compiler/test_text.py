"""A graph's text says all of it: read back it is the same program."""

from __future__ import annotations

import numpy as np
import pytest

from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.text import DTYPES, listing, parse, text
from rushlight.compiler.verify import verify
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from rushlight.tape.where import caller
from tests.compiler.graphs import F32, assert_same_program, traced
from tests.ops.test_trace import mlp_step, softmax_step

PROGRAM = """\
%0: f32[4, 3] = input(name='x # %1 @2')
%1: f32[4, 3] = input(strides=(4, 16))
%2: f32[3] = constant([1.5, nan, -inf])
%3: f32[4, 3] = add(%0, %2)
%4: f32[4, 3] = mul(%3, -0.5)
%5: f32[3], %6: i64[3] = max_dim(%4, dim=0, keepdim=False)
%7: f32[2, 3] = getitem_slice(%4, index=(slice(0, 2, None), Ellipsis))
%8: f32[6, 3] = cat([%7, %1], dim=0)
%9: i64[6, 3] = cast(%8, dtype=i64)
return %5, %6, %9
update %1 = %4
"""


def test_reading_and_writing_give_the_same_text():
    assert text(parse(PROGRAM)) == PROGRAM


@pytest.mark.parametrize("step", [mlp_step, softmax_step])
def test_a_step_read_back_is_the_same_program(step):
    graph = traced(step, parameters=("w1", "b1", "w2"))
    source, objects = listing(graph)
    again = parse(source, objects)
    verify(again)
    assert listing(again)[0] == source
    assert_same_program(graph, again)


def test_every_kind_of_parameter_has_a_text_or_a_place():
    graph = Graph()
    x = graph.input(Spec((2, 3), F32))
    large = Value(Spec((100,), F32), data=np.arange(100, dtype=np.float32))
    index = np.array([1, 0])
    graph.call(OPS["clamp"], (x,), {"min": float("-inf"), "max": None})
    graph.call(OPS["permute"], (x,), {"dims": (1, 0)})
    graph.call(OPS["add"], (x, complex(1, -0.0)), {})
    graph.call(OPS["getitem_slice"], (x,), {"index": (slice(None, None, 2), None, Ellipsis)})
    graph.call(OPS["mul"], (large, True), {})
    call = graph.calls[-1]
    graph.call(OPS["getitem_slice"], (x,), {"index": (index,)})
    graph.outputs = [v for c in graph.calls for v in c.results]
    source, objects = listing(graph)
    assert objects[0] is large.data and objects[1] is index and call.operands[1] is True
    again = parse(source, objects)
    assert listing(again)[0] == source
    assert [c.params for c in again.calls[:-1]] == [c.params for c in graph.calls[:-1]]
    assert again.calls[-1].params["index"][0] is index


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_has_a_name(name):
    line = f"%0: {name}[2, 0] = input()\nreturn %0\n"
    assert text(parse(line)) == line


def test_the_users_line_stands_beside_a_call():
    graph = Graph()
    x = graph.input(Spec((2,), F32))
    graph.call(OPS["exp"], (x,), {}, caller())
    assert "# test_text.py:" in text(graph)
    assert parse(text(graph)).calls[0].where is None


@pytest.mark.parametrize(
    "line",
    [
        "%1: f32[2] = nothing(%0)",
        "%1: f32[3] = neg(%0)",
        "%1: f32[2] = neg(%7)",
        "%1: f32[2] = neg(%0",
        "%1: f32[2] = add(%0, @0)",
        "return %9",
    ],
)
def test_a_line_that_makes_no_sense_is_named(line):
    with pytest.raises(ValueError, match="line 2"):
        parse("%0: f32[2] = input()\n" + line)
