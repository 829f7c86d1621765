"""Native draws: the bits and the state that the NumPy forms of the generator give, at any point of the stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import generator as draws
from rushlight.compiler import draws as native_draws
from rushlight.compiler import target
from rushlight.compiler.binding import is_available
from rushlight.compiler.draws_emit import box_muller
from rushlight.generator import Generator, native
from rushlight.generator.single import standard_normal
from rushlight.ops.random import draw_contiguous, draw_into
from tests.compiler.lane_code import Functions
from tests.random import streams

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")

GOLDEN: dict[str, list[str]] = json.loads((Path(streams.__file__).parent / "golden.json").read_text(encoding="utf-8"))
F32, F64, BOOL, I64 = map(np.dtype, (np.float32, np.float64, np.bool_, np.int64))
SIZES = (1, 5, 16, 17, 255, 1000, 1025, 5000)
DRAWS: dict[str, Callable[[Generator, int], Any]] = {
    "rand": lambda g, n: draws.uniform(g, n, F32),
    "uniform": lambda g, n: draws.uniform(g, n, F32, -0.1, 0.3),
    "rand float64": lambda g, n: draws.uniform(g, n, F64),
    "uniform float64": lambda g, n: draws.uniform(g, n, F64, -0.1, 0.3),
    "randn": lambda g, n: draws.normal(g, n, F32),
    "normal": lambda g, n: draws.normal(g, n, F32, 0.5, 0.02),
    "normal float16": lambda g, n: draws.normal(g, n, np.dtype(np.float16), 0.5, 2.0),
    "normal float64": lambda g, n: draws.normal(g, n, F64),
    "bernoulli": lambda g, n: draws.bernoulli(g, n, BOOL, 0.3),
    "bernoulli float": lambda g, n: draws.bernoulli(g, n, F32, 0.5),
    "bernoulli each": lambda g, n: draws.bernoulli_each(g, np.linspace(0, 1, n, dtype=np.float32), F32),
    "dropout": lambda g, n: draws.dropout_factors(g, n, F32, 0.1),
    "dropout of all": lambda g, n: draws.dropout_factors(g, n, F32, 1.0),
    "randint": lambda g, n: draws.random_range(g, n, I64, -3, 10),
    "randint of a power": lambda g, n: draws.random_range(g, n, np.dtype(np.int32), 0, 1 << 20),
    "randint of most": lambda g, n: draws.random_range(g, n, I64, 5, (1 << 28) - 1),
    "randint beyond": lambda g, n: draws.random_range(g, n, I64, 0, 1 << 40),
    "randperm": lambda g, n: draws.permutation(g, n, I64),
    "exponential": lambda g, n: draws.exponential(g, n, F32, 2.0),
}


@pytest.fixture
def switched() -> Iterator[Callable[[bool], None]]:
    """Turns native draws on and off."""
    found, before = native_draws.load(), native._Provider.draws

    def switch(on: bool) -> None:
        native._Provider.draws = found if on else False

    yield switch
    native._Provider.draws = before


@pytest.mark.parametrize("name", DRAWS)
def test_bits_and_states_are_those_of_numpy(name: str, switched: Callable[[bool], None]) -> None:
    for n in SIZES:
        for skip in (0, 1, 623, 624):
            results = []
            for on in (False, True):
                switched(on)
                g = Generator().manual_seed(n)
                g.raw(skip)
                first = DRAWS[name](g, n)
                results.append((first.dtype, first.tobytes(), DRAWS[name](g, 3).tobytes(), g.state_bytes()))
            assert results[0] == results[1], (n, skip)


@pytest.mark.parametrize("host", target.narrower() if is_available() else [], ids=lambda h: f"{h.vector_bytes} bytes")
def test_older_processors_draw_the_same(host: Any, switched: Callable[[bool], None]) -> None:
    switched(False)
    want = [draw(Generator().manual_seed(1), 1040).tobytes() for draw in DRAWS.values()]
    with target.use(host):
        native._Provider.draws = native_draws.Draws()
    assert [draw(Generator().manual_seed(1), 1040).tobytes() for draw in DRAWS.values()] == want


@pytest.mark.parametrize("name", streams.STREAMS)
def test_recorded_streams(name: str, switched: Callable[[bool], None]) -> None:
    switched(True)
    drawn = streams.run(streams.STREAMS[name], rushlight)
    assert [streams.digest(drawn), streams.first_numbers(drawn)] == GOLDEN[name]


def test_radii_and_angles_that_are_seldom_drawn() -> None:
    """All multiples of 2**-24 near 0 and 1, and some between, as radii and as angles."""
    ends = np.arange(1 << 15, dtype=np.uint32)
    bits = np.concatenate([ends, (1 << 24) - 1 - ends, np.arange(0, 1 << 24, 509, dtype=np.uint32)])
    units = np.resize(bits, -(-len(bits) // 8) * 8).astype(np.float32) * np.float32(2.0**-24)
    code = Functions()
    for side in (0, 1):
        code.add(
            str(side), lambda _, r, a, side=side: box_muller(r.strict(), a.strict())[side], [F32, F32], 16
        )  # fmt: skip
    code.compile()
    for radius, angle in ((units, units[::-1]), (np.full_like(units, 0.5), units)):
        want = np.stack([radius.reshape(-1, 8), angle.reshape(-1, 8)], 1).reshape(-1)
        standard_normal(want)
        halves = want.reshape(-1, 2, 8)
        for side in (0, 1):
            got = code(str(side), radius, angle)
            np.testing.assert_array_equal(got.view(np.int32), halves[:, side].reshape(-1).view(np.int32))


def test_import_and_small_draws_leave_llvmlite_alone() -> None:
    code = "import sys, rushlight as t; t.manual_seed(0); t.randn(100); t.rand(5); print('llvmlite' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(rushlight.__file__).parent.parent)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == "False"


def test_many_draws_load_them() -> None:
    before = native._Provider.draws, native._Provider.spent
    try:
        native._Provider.draws, native._Provider.spent = None, 0.0
        rushlight.manual_seed(0)
        a = rushlight.rand(1000)
        assert native._Provider.draws is None
        for _ in range(20):
            rushlight.randn(300_000)
        assert isinstance(native._Provider.draws, native_draws.Draws)
        rushlight.manual_seed(0)
        assert (rushlight.rand(1000) == a).all()
    finally:
        native._Provider.draws, native._Provider.spent = before


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_factors_are_drawn_right_into_their_place(dtype: Any, strided: bool) -> None:
    params = {"op": "dropout_factors", "shape": (7, 30), "dtype": dtype, "settings": (("p", 0.3),)}
    want = draw_contiguous.eager((), {**params, "generator": Generator().manual_seed(3)})
    target = np.full((30, 7), np.nan, dtype).T if strided else np.full((7, 30), np.nan, dtype)
    draw_into(target, {**params, "generator": Generator().manual_seed(3)})
    assert target.tobytes() == want.tobytes()
