"""Passes: the example in each docstring, each rewrite rule on arrays and in a graph, and whole steps."""

from __future__ import annotations

import itertools
import textwrap
import time
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.graph import Graph
from rushlight.compiler.interpret import interpret
from rushlight.compiler.passes import cse, dce, layouts, optimise, simplify
from rushlight.compiler.passes.patterns import RULES, Rule, Symbol
from rushlight.compiler.text import parse, text
from rushlight.compiler.trace_array import write_view
from rushlight.compiler.verify import verify
from rushlight.config import config
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.graphs import F32, assert_same_program, traced
from tests.ops.test_trace import mlp_step, softmax_step

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1.5, -2.25, 800.0, -800.0, 3e38, -3e38, 1e-40, 7.0]
NUMBERS = [2.0, -0.5, 3.0]


@pytest.mark.parametrize("stage", [simplify, cse, dce, layouts], ids=lambda f: f.__name__)
def test_example_in_the_docstring(stage):
    _, before, after = stage.__doc__.split("::\n")
    source = textwrap.dedent(before.rpartition("\n\n")[0]).strip()
    graph = parse(source)
    done = stage(graph)
    verify(done, before=graph)
    assert text(done).strip() == textwrap.dedent(after).strip()
    assert text(graph).strip() == source
    assert_same_program(graph, done)


def arrays_of(rule: Rule, dtype: Any, tame: bool) -> dict[str, Any]:
    """Every combination of special numbers for the variables of a rule."""
    names = [n for n in rule.names if n not in rule.numbers]
    if dtype == np.bool_:
        values: Any = np.array([False, True])
    elif np.dtype(dtype).kind in "iu":
        values = np.array([0, 1, 2, 5, 100, 255 if dtype == np.uint8 else -7]).astype(dtype)
    else:
        values = np.linspace(0.1, 3.0, 7).astype(dtype) if tame else np.array(SPECIAL, dtype)
    grids = np.meshgrid(*[values] * len(names), indexing="ij")
    return {n: g.reshape(-1).copy() for n, g in zip(names, grids, strict=True)}


DTYPES = {"f": (np.float32, np.float64), "i": (np.int32, np.int64), "u": (np.uint8,), "b": (np.bool_,)}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_both_sides_of_a_rule_are_equal(rule):
    kinds = rule.kinds if "f" not in rule.kinds else "f"
    for dtype in (d for k in kinds for d in DTYPES.get(k, ())):
        arrays = arrays_of(rule, dtype, tame=not rule.exact)
        for numbers in itertools.product(NUMBERS, repeat=len(rule.numbers)):
            given = {**arrays, **dict(zip(sorted(rule.numbers), numbers, strict=True))}
            if "c" in given:
                given["c"] = np.arange(len(given["c"])) % 2 == 0
            before, after = rule.function(**given)
            np.testing.assert_allclose(after, before, 1e-6 if dtype == np.float32 else 1e-13, 0)
            if not rule.zeros and np.dtype(dtype).kind == "f":
                np.testing.assert_array_equal(np.signbit(after[after == 0]), np.signbit(before[before == 0]))


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_applies_and_keeps_the_program(rule):
    dtype = F32 if "f" in rule.kinds else np.dtype(np.bool_ if "b" in rule.kinds else np.int64)
    graph = Graph()
    symbols = {n: Symbol() for n in rule.names}
    values: dict[Symbol, Any] = {}
    for k, (n, symbol) in enumerate(symbols.items()):
        kind = np.dtype(np.bool_) if n == "c" else dtype
        values[symbol] = NUMBERS[k] if n in rule.numbers else graph.input(Spec((4,), kind), name=n)

    def build(s: Any) -> Any:
        if not isinstance(s, Symbol):
            return s
        if s.op is not None:
            values[s] = graph.call(s.op, tuple(map(build, s.operands)), s.params)
        return values[s]

    before, _ = rule.function(**symbols)
    graph.outputs = [build(before)]
    kept = text(dce(simplify(graph, fast_math=not rule.exact)))
    assert f"{before.op.name}(" not in kept or kept.count("= ") < text(graph).count("= ")
    if not rule.exact:
        assert dce(simplify(graph)).calls, "an inexact rule ran without fast_math"
    assert_same_program(graph, optimise(graph))


def position(k: int) -> str:
    """The chain of `x[:, k]`."""
    return f"(('getitem_select', (('index', (slice(None, None, None), {k})),), None),)"


# What the rules on shapes, constants and gradients make of a program: (before, after).
PROGRAMS = {
    "reshape of a reshape": (
        """
        %0: f32[4, 6] = input()
        %1: f32[24] = unsafe_view(%0, shape=(24,))
        %2: f32[2, 12] = view_as(%1, shape=(2, 12))
        %3: f32[2, 1, 12] = unsqueeze(%2, dim=1)
        %4: f32[2, 12] = neg(%2)
        return %4, %3
        """,
        """
        %0: f32[4, 6] = input()
        %1: f32[2, 12] = unsafe_view(%0, shape=(2, 12))
        %2: f32[2, 1, 12] = unsafe_view(%0, shape=(2, 1, 12))
        %3: f32[2, 12] = neg(%1)
        return %3, %2
        """,
    ),
    "dims joined, turned and cut again": (
        """
        %0: f32[2, 5, 12] = input()
        %1: f32[5, 2, 12] = transpose(%0, dim0=0, dim1=1)
        %2: f32[5, 6, 4] = unsafe_view(%1, shape=(5, 6, 4))
        %3: f32[6, 5, 4] = transpose(%2, dim0=0, dim1=1)
        %4: f32[2, 3, 5, 4] = view_as(%3, shape=(2, 3, 5, 4))
        return %4
        """,
        """
        %0: f32[2, 5, 12] = input()
        %1: f32[5, 2, 12] = transpose(%0, dim0=0, dim1=1)
        %2: f32[5, 2, 3, 4] = unsafe_view(%1, shape=(5, 2, 3, 4))
        %3: f32[2, 3, 5, 4] = permute(%2, dims=(1, 2, 0, 3))
        return %3
        """,
    ),
    "reshape of something permuted stays": (
        """
        %0: f32[4, 6] = input()
        %1: f32[6, 4] = t(%0)
        %2: f32[24] = unsafe_view(%1, shape=(24,))
        %3: f32[2, 12] = unsafe_view(%2, shape=(2, 12))
        %4: f32[2, 12] = neg(%3)
        return %4
        """,
        """
        %0: f32[4, 6] = input()
        %1: f32[6, 4] = t(%0)
        %2: f32[24] = unsafe_view(%1, shape=(24,))
        %3: f32[2, 12] = unsafe_view(%2, shape=(2, 12))
        %4: f32[2, 12] = neg(%3)
        return %4
        """,
    ),
    "permutations": (
        """
        %0: f32[2, 3, 4] = input()
        %1: f32[4, 3, 2] = transpose(%0, dim0=0, dim1=2)
        %2: f32[3, 2, 4] = permute(%1, dims=(1, 2, 0))
        %3: f32[2, 3, 4] = permute(%2, dims=(1, 0, 2))
        %4: f32[3, 2, 4] = neg(%2)
        %5: f32[2, 3, 4] = exp(%3)
        return %4, %5
        """,
        """
        %0: f32[2, 3, 4] = input()
        %1: f32[3, 2, 4] = permute(%0, dims=(1, 0, 2))
        %2: f32[3, 2, 4] = neg(%1)
        %3: f32[2, 3, 4] = exp(%0)
        return %2, %3
        """,
    ),
    "casts": (
        """
        %0: f32[3] = input()
        %1: f64[3] = cast(%0, dtype=f64)
        %2: f32[3] = cast(%1, dtype=f32)
        %3: i32[3] = cast(%0, dtype=i32)
        %4: f32[3] = cast(%3, dtype=f32)
        %5: f32[3] = add(%2, %4)
        return %5
        """,
        """
        %0: f32[3] = input()
        %1: i32[3] = cast(%0, dtype=i32)
        %2: f32[3] = cast(%1, dtype=f32)
        %3: f32[3] = add(%0, %2)
        return %3
        """,
    ),
    "gradient of a mean": (
        """
        %0: f32[8, 3] = input()
        %1: f32[] = constant(1.0)
        %2: f32[] = div(%1, 24)
        %3: f32[1, 1] = unsafe_view(%2, shape=(1, 1))
        %4: f32[8, 3] = expand(%3, shape=(8, 3))
        %5: f32[8, 3] = mul(%0, 2)
        %6: f32[8, 3] = mul(%4, %5)
        return %6
        """,
        """
        %0: f32[8, 3] = input()
        %1: f32[8, 3] = mul(%0, 2)
        %2: f32[8, 3] = mul(0.0416666679084301, %1)
        return %2
        """,
    ),
    "sum of what was expanded": (
        """
        %0: f32[8, 1] = input()
        %1: f32[5, 8, 3] = expand(%0, shape=(5, 8, 3))
        %2: f32[8, 1] = sum(%1, dim=(0, 2), keepdim=False)
        %3: f32[1, 3] = sum(%1, dim=(0, 1), keepdim=False)
        return %2
        """.replace("%2: f32[8, 1]", "%2: f32[8]").replace("%3: f32[1, 3]", "%3: f32[3]"),
        """
        %0: f32[8, 1] = input()
        %1: f32[8] = unsafe_view(%0, shape=(8,))
        %2: f32[8] = mul(%1, 15.0)
        return %2
        """,
    ),
    "gradients of slices": (
        """
        %0: f32[4, 3] = input()
        %1: f32[4, 2] = input()
        %2: f32[4, 5] = place_slice(%0, shape=(4, 5), index=(slice(None, None, None), slice(0, 3, None)))
        %3: f32[4, 5] = place_slice(%1, shape=(4, 5), index=(slice(None, None, None), slice(3, 5, None)))
        %4: f32[4, 5] = add(%3, %2)
        return %4
        """,
        """
        %0: f32[4, 3] = input()
        %1: f32[4, 2] = input()
        %2: f32[4, 5] = cat([%0, %1], dim=1)
        return %2
        """,
    ),
    "gradients of positions, from the last to the first": (
        """
        %0: f32[2] = input()
        %1: f32[2] = input()
        %2: f32[2] = input()
        %3: f32[2, 3] = place_slice(%2, shape=(2, 3), index=(slice(None, None, None), 2))
        %4: f32[2, 3] = place_slice(%1, shape=(2, 3), index=(slice(None, None, None), 1))
        %5: f32[2, 3] = add(%3, %4)
        %6: f32[2, 3] = place_slice(%0, shape=(2, 3), index=(slice(None, None, None), 0))
        %7: f32[2, 3] = add(%5, %6)
        return %7
        """,
        """
        %0: f32[2] = input()
        %1: f32[2] = input()
        %2: f32[2] = input()
        %3: f32[2, 1] = unsafe_view(%1, shape=(2, 1))
        %4: f32[2, 1] = unsafe_view(%2, shape=(2, 1))
        %5: f32[2, 1] = unsafe_view(%0, shape=(2, 1))
        %6: f32[2, 3] = cat([%5, %3, %4], dim=1)
        return %6
        """,
    ),
    "split and joined again": (
        """
        %0: f32[5, 2] = input()
        %1: f32[2, 2], %2: f32[3, 2] = split(%0, sizes=(2, 3), dim=0)
        %3: f32[5, 2] = cat([%1, %2], dim=0)
        %4: f32[5, 2] = exp(%3)
        return %4
        """,
        """
        %0: f32[5, 2] = input()
        %1: f32[5, 2] = exp(%0)
        return %1
        """,
    ),
    "joined and split again": (
        """
        %0: f32[2, 2] = input()
        %1: f32[3, 2] = input()
        %2: f32[5, 2] = cat([%0, %1], dim=0)
        %3: f32[2, 2], %4: f32[3, 2] = split(%2, sizes=(2, 3), dim=0)
        %5: f32[3, 2] = exp(%4)
        return %5
        """,
        """
        %0: f32[2, 2] = input()
        %1: f32[3, 2] = input()
        %2: f32[3, 2] = exp(%1)
        return %2
        """,
    ),
    "a gradient that does not change": (
        """
        %0: f32[3] = input()
        %1: f32[3] = zeros_as(%0)
        %2: f32[3] = exp(%0)
        %3: f32[3] = add(%1, %2)
        %4: bool[3] = gt(%0, 0)
        %5: f32[3] = where(%4, %3, %1)
        return %5
        """,
        """
        %0: f32[3] = input()
        %1: f32[3] = exp(%0)
        %2: bool[3] = gt(%0, 0)
        %3: f32[3] = where(%2, %1, 0.0)
        return %3
        """,
    ),
    "an operand expanded for nothing": (
        """
        %0: f32[3, 4] = input()
        %1: f32[3, 1] = sum(%0, dim=(1,), keepdim=True)
        %2: f32[3, 4] = expand(%1, shape=(3, 4))
        %3: f32[3, 4] = sub(%0, %2)
        %4: f32[3, 4] = exp(%2)
        return %3, %4
        """,
        """
        %0: f32[3, 4] = input()
        %1: f32[3, 1] = sum(%0, dim=(1,), keepdim=True)
        %2: f32[3, 4] = expand(%1, shape=(3, 4))
        %3: f32[3, 4] = sub(%0, %1)
        %4: f32[3, 4] = exp(%2)
        return %3, %4
        """,
    ),
    "constants": (
        """
        %0: f32[3] = input()
        %1: f32[3] = constant([1.0, 2.0, 3.0])
        %2: f32[] = constant(2.0)
        %3: f32[3] = mul(%1, %2)
        %4: f32[3] = add(%3, %0)
        return %4
        """,
        """
        %0: f32[3] = input()
        %1: f32[3] = constant([2.0, 4.0, 6.0])
        %2: f32[3] = add(%1, %0)
        return %2
        """,
    ),
    "what stays: signs of zero, infinities": (
        """
        %0: f32[3] = input()
        %1: f32[3] = add(%0, 0)
        %2: f32[3] = mul(%1, 0)
        %3: f32[3] = sub(%1, %1)
        %4: f32[3] = div(%2, %3)
        return %4
        """,
        """
        %0: f32[3] = input()
        %1: f32[3] = add(%0, 0)
        %2: f32[3] = mul(%1, 0)
        %3: f32[3] = sub(%1, %1)
        %4: f32[3] = div(%2, %3)
        return %4
        """,
    ),
    "copies: the plan gives results memory of their own": (
        """
        %0: f32[3] = input()
        %1: f32[3] = copy(%0)
        %2: f32[3] = exp(%0)
        %3: f32[3] = clone(%2)
        %4: f32[3] = mul(%0, 1)
        return %1, %2, %3
        update %0 = %4
        """,
        """
        %0: f32[3] = input()
        %1: f32[3] = exp(%0)
        return %0, %1, %1
        update %0 = %0
        """,
    ),
    "writes that fill the whole": (
        f"""
        %0: f32[2, 3] = input()
        %1: f32[2] = input()
        %2: f32[2] = input()
        %3: f32[2, 1] = input()
        %4: f32[2, 3] = write_view(%0, %2, chain={position(1)})
        %5: f32[2, 3] = write_view(%4, %1, chain={position(0)})
        %6: f32[2] = getitem_select(%5, index=(slice(None, None, None), 1))
        %7: f32[2] = getitem_select(%5, index=(slice(None, None, None), 2))
        %8: f32[2] = add(%6, %7)
        %9: f32[2, 3] = write_view(%5, %8, chain={position(2)})
        return %9
        """,
        """
        %0: f32[2, 3] = input()
        %1: f32[2] = input()
        %2: f32[2] = input()
        %3: f32[2, 1] = input()
        %4: f32[2] = getitem_select(%0, index=(slice(None, None, None), 2))
        %5: f32[2] = add(%2, %4)
        %6: f32[2, 1] = unsafe_view(%1, shape=(2, 1))
        %7: f32[2, 1] = unsafe_view(%2, shape=(2, 1))
        %8: f32[2, 1] = unsafe_view(%5, shape=(2, 1))
        %9: f32[2, 3] = cat([%6, %7, %8], dim=1)
        return %9
        """,
    ),
    "a write over a write": (
        f"""
        %0: f32[2, 3] = input()
        %1: f32[2] = input()
        %2: f32[2, 3] = write_view(%0, %1, chain={position(1)})
        %3: f32[2] = exp(%1)
        %4: f32[2, 3] = write_view(%2, %3, chain={position(1)})
        return %4
        """,
        f"""
        %0: f32[2, 3] = input()
        %1: f32[2] = input()
        %2: f32[2] = exp(%1)
        %3: f32[2, 3] = write_view(%0, %2, chain={position(1)})
        return %3
        """,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_becomes_of_a_program(name):
    before, after = (textwrap.dedent(part).strip() + "\n" for part in PROGRAMS[name])
    assert OPS["write_view"] is write_view
    graph = parse(before)
    with config(debug="verify"):
        done = optimise(graph)
    assert_same_program(graph, done)
    assert text(parse(text(done))) == after


@pytest.mark.parametrize("step", [mlp_step, softmax_step])
def test_a_training_step_stays_the_same_and_gets_shorter(step):
    graph = traced(step, parameters=("w1", "b1", "w2"))
    source = text(graph)
    with config(debug="verify"):
        done = optimise(graph)
    assert text(graph) == source
    assert len(done.calls) < len(graph.calls)
    assert_same_program(graph, done)
    assert len(optimise(done).calls) == len(done.calls)


def test_draws_are_neither_shared_nor_dropped():
    graph = Graph()
    x = graph.input(Spec((3,), F32))
    params = {"low": 0.0, "high": 1.0, "generator": rushlight.Generator()}
    for _ in range(3):
        graph.call(OPS["draw_uniform"], (x,), params)
    graph.outputs = [graph.calls[1].result]
    with config(debug="verify"):
        assert [c.op.name for c in optimise(graph).calls] == ["draw_uniform"] * 3


def test_a_power_of_two_divides_as_a_product():
    graph = parse("%0: f32[4] = input()\n%1: f32[4] = div(%0, 8)\n%2: f32[4] = div(%1, 3)\nreturn %2")
    assert "mul(%0, 0.125)" in text(optimise(graph)) and "div(%1, 3)" in text(optimise(graph))
    assert "div" not in text(optimise(graph, fast_math=True))
    arrays = [np.array([1e-45, -0.0, np.inf, 3.3e38], np.float32)]
    np.testing.assert_array_equal(interpret(optimise(graph), arrays)[0], interpret(graph, arrays)[0])


def test_stages_are_printed_and_written(tmp_path, capsys):
    graph = parse(textwrap.dedent(PROGRAMS["casts"][0]))
    with config(debug="graph", dump=str(tmp_path)):
        done = optimise(graph)
    shown = capsys.readouterr().err
    assert shown.count("-- rushlight") == 1 and text(done) in shown
    names = sorted(p.name[4:] for p in tmp_path.iterdir())
    stages = ["cse", "cse", "dce", "graph", "layouts", "simplify", "simplify", "trace"]
    assert names == [f"{stage}.txt" for stage in stages]


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="did you mean graph"), config(debug="grpah"):
        pass


def test_the_cost_is_linear():
    def chain(n: int) -> Graph:
        graph = Graph()
        x = y = graph.input(Spec((64, 64), F32))
        for k in range(n // 5):
            y = graph.call(OPS["mm"], (y, x), {})
            y = graph.call(OPS["add"], (y, x), {})
            z = graph.call(OPS["t"], (y,), {})
            y = graph.call(OPS["mul"], (z, float(k)), {})
            y = graph.call(OPS["tanh"], (y,), {})
        graph.outputs = [y]
        return graph

    seconds = []
    for n in (1000, 10000):
        graph = chain(n)
        start = time.perf_counter()
        optimise(graph)
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < 25 * seconds[0], seconds
