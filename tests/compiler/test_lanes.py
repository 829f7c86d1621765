"""Bodies of ops as vector instructions: equal to their eager form for every op, dtype and number of lanes."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rushlight.compiler import target
from rushlight.compiler.binding import is_available
from rushlight.compiler.lanes import Emitter, Lanes, Namespace, apply, supports
from rushlight.dtypes import NP_HALF, from_np
from rushlight.ops.kinds import KIND, OPS, Elementwise
from rushlight.spec import Spec
from tests.compiler.lane_code import Functions, numbers, run
from tests.ops.cases import CASES

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(d) for d in ("?", "u1", "i2", "i4", "i8", "f2", "f4", "f8")] + [BF16]
EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
TINY = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 5e-324}
# Differences of nearly equal numbers: what is lost is measured against the operands.
CANCELS = {"gelu", "gelu_slope", "lerp", "lerp_scalar", "logaddexp", "logaddexp2", "addcmul", "addcdiv"}
# Functions of many pieces that training seldom needs: they stay on NumPy.
ON_NUMPY = {"lgamma", "digamma", "erfinv"}


def calls(op: Elementwise) -> list[dict[str, Any]]:
    """The static parameters of the op's rows in the case table, or its defaults."""
    defaults = {k: v for k, v in op.defaults.items() if k in op.static}
    rows = CASES[op.name].samples if op.name in CASES else []
    found = {repr(sorted(r.params.items())): {**defaults, **r.params} for r in rows}
    return list(found.values()) or [defaults]


def takes(op: Elementwise, dtype: Any) -> bool:
    """Whether the op's `prepare` lets the dtype through as it is; activations of integers are nobody's."""
    if dtype.kind in "biu" and op.body.__module__ == "rushlight.ops.activation":
        return False
    return KIND[from_np(dtype)] in op.kinds and not (op.result == "float" and dtype.kind in "biu")


def agree(name: str, got: Any, want: Any, operands: Any) -> Any:
    """Where results are equal, or as close as two roundings of one formula are."""
    if want.dtype.kind in "biu":
        return got == want
    eps, tiny = EPS[want.dtype.name], TINY[want.dtype.name]
    a, b = got.astype(np.float64), want.astype(np.float64)
    size = np.abs(b)
    if name in CANCELS:
        size = np.maximum.reduce([size, *(np.abs(x.astype(np.float64)) for x in operands)])
    equal = (a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)
    return equal | (np.abs(a - b) <= 8 * eps * np.where(np.isfinite(size), size, 0) + tiny)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ops_equal_their_eager_form(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    code, todo = Functions(), []
    for op in OPS.values():
        if not isinstance(op, Elementwise) or not takes(op, dtype):
            continue
        for params, count in itertools.product(calls(op), (16, 1)):
            dtypes = [np.dtype(np.bool_) if i in op.masks else dtype for i in range(len(op.inputs))]
            if not supports(op, dtypes, params) or count == 1 and dtype != np.float32:
                continue
            name = f"{op.name}.{len(todo)}"
            code.add(name, lambda e, *a, op=op, params=params: apply(op, e, a, params), dtypes, count)
            todo.append((name, op, params, [numbers(rng, d, 301) for d in dtypes]))
    code.compile()
    bad = []
    for name, op, params, operands in todo:
        wanted = op.spec([Spec(a.shape, a.dtype) for a in operands], dict(params))
        with np.errstate(all="ignore"):
            want = np.asarray(op.eager(tuple(operands), dict(params))).astype(wanted.dtype)
        got = code(name, *operands)
        assert got.dtype == want.dtype
        wrong = np.flatnonzero(~agree(op.name, got, want, operands))[:2]
        if wrong.size:
            bad.append(f"{name} {params}: {[a[wrong] for a in operands]} gives {got[wrong]}, wanted {want[wrong]}")
    assert not bad, "\n".join(bad)
    assert len(todo) > 20


def test_the_case_table_is_supported() -> None:
    """Of the ops with a row, all run on lanes but those named here."""
    missing = set()
    for op in OPS.values():
        if isinstance(op, Elementwise) and op.name in CASES and takes(op, np.dtype(np.float32)):
            dtypes = [np.dtype(np.bool_) if i in op.masks else np.dtype(np.float32) for i in range(len(op.inputs))]
            if not all(supports(op, dtypes, p) for p in calls(op)):
                missing.add(op.name)
    assert missing <= ON_NUMPY | SPECIAL, sorted(missing)


SPECIAL = {name for name, op in OPS.items() if op.body.__module__ == "rushlight.ops.special"}


@pytest.mark.parametrize("count", [1, 4, 16])
def test_casts_between_all_dtypes(count: int) -> None:
    rng = np.random.default_rng(1)
    code = Functions()
    pairs = list(itertools.permutations([*DTYPES, np.dtype("u2"), np.dtype("u4"), np.dtype("i1"), np.dtype("u8")], 2))
    for i, (source, to) in enumerate(pairs):
        code.add(str(i), lambda _, x, to=to: x.astype(to), [source], count)
    code.compile()
    for i, (source, to) in enumerate(pairs):
        x = numbers(rng, source, 301)
        if source in NP_HALF and to.kind in "iu" or source.kind == "f" and to == np.uint32:
            x = x[np.abs(x.astype(np.float64)) < 2.0**31]  # beyond, NumPy's loops differ among themselves
        with np.errstate(all="ignore"):
            want = x.astype(to)
        got = code(str(i), x)
        same = (got == want) | ((got != got) & (want != want))
        assert same.all(), (source, to, x[~same][:3], got[~same][:3], want[~same][:3])


def test_python_numbers_take_the_dtype_of_lanes() -> None:
    for dtype, number in itertools.product(DTYPES, (True, 2, 0.5)):
        x = np.ones(3, dtype)
        want = np.result_type(x, number) if dtype not in NP_HALF else dtype
        got = run(lambda _, a, number=number: a * number, x)
        assert got.dtype == want, (dtype, number)
        np.testing.assert_array_equal(got, (x * np.asarray(number, want)).astype(want))


def test_mixed_dtypes_promote_as_in_numpy() -> None:
    kinds = [d for d in DTYPES if d != BF16]
    for a, b in itertools.product(kinds, kinds):
        x, y = np.array([0, 1, 3], "i8").astype(a), np.array([1, 2, 1], "i8").astype(b)
        np.testing.assert_array_equal(run(lambda _, u, v: u + v, x, y), x + y, strict=True)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "u8"])
def test_integer_division_never_traps(dtype: str) -> None:
    rng = np.random.default_rng(2)
    x, y = numbers(rng, dtype, 500), numbers(rng, dtype, 500)
    for name in ("floor_divide", "remainder", "fmod", "left_shift", "right_shift", "gcd"):
        with np.errstate(all="ignore"):
            want = getattr(np, name)(x, y)
        got = run(lambda e, u, v, name=name: getattr(Namespace(e), name)(u, v), x, y, count=4)
        np.testing.assert_array_equal(got, want, err_msg=name)


def test_constant_divisors_of_integer_ops_are_supported() -> None:
    op, x = OPS["floor_divide"], np.array([-7, 7, -8, 0], np.int64)
    assert supports(op, [x.dtype, 2], {}) and not supports(op, [x.dtype, x.dtype], {})
    np.testing.assert_array_equal(run(lambda e, a: apply(op, e, [a, 2], {}), x), x // 2)
    assert not supports(op, [x.dtype, 0], {})


def test_masks_leave_memory_alone() -> None:
    """Neither a load nor a store touches what is outside the mask: an array of 5 in the midst of others."""
    buffer = np.arange(16, dtype=np.float32)
    inner = buffer[4:9]
    code = Functions()
    code.add("f", lambda e, x: x + 100, [inner.dtype], 16)
    code.compile()
    out = np.full(16, -1, np.float32)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    kind(code.found["f"])(inner.ctypes.data, out[4:].ctypes.data, 5)
    np.testing.assert_array_equal(out, np.r_[[-1] * 4, np.arange(104, 109), [-1] * 7])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "f2", "?"])
def test_parts_and_reductions(dtype: str) -> None:
    rng = np.random.default_rng(3)
    table, index = numbers(rng, dtype, 64), rng.permutation(64).astype(np.int32)

    code = Functions()
    code.add("sum", lambda e, x: e.splat(e.reduce(x, lambda a, b: a | b if dtype == "?" else a + b), 8), [dtype], 8)
    code.add("pick", lambda e, i, x: e.splat(x.part(3, 1), 8), [np.int32, dtype], 8)
    code.compile()
    x = np.ones(16, dtype)
    np.testing.assert_array_equal(code("sum", x), np.full(16, True if dtype == "?" else 8, dtype))
    np.testing.assert_array_equal(code("pick", index, table), np.repeat(table.reshape(8, 8)[:, 3], 8))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "f2", "?"])
def test_gather_and_scatter(dtype: str) -> None:
    rng = np.random.default_rng(5)
    table, index = numbers(rng, dtype, 64), rng.permutation(64).astype(np.int32)
    code = Functions()
    # the function's first operand is its table too: one vector, 8 lanes
    code.add("gather", lambda e, x, i: e.gather(e.builder.function.args[0], i, dtype), [dtype, np.int32], 8)

    def scatter(e: Emitter, x: Lanes, i: Lanes) -> Lanes:
        e.scatter(x, e.builder.function.args[-2], i, i < 32)
        return x

    code.add("scatter", scatter, [dtype, np.int32], 8)
    code.compile()
    np.testing.assert_array_equal(code("gather", table, index), table[index])
    out = np.zeros(64, dtype)
    order = np.arange(63, -1, -1, dtype=np.int32)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    kind(code.found["scatter"])(table.ctypes.data, order.ctypes.data, out.ctypes.data, 8)
    np.testing.assert_array_equal(out[:8], table[:8])
    assert not out[8:].any()


def test_extremes_and_nan() -> None:
    special = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan], np.float32)
    x, y = map(np.ravel, np.meshgrid(special, special))
    for name in ("maximum", "minimum", "fmax", "fmin", "copysign", "nextafter", "hypot", "arctan2", "power", "fmod",
                 "remainder", "floor_divide", "greater", "less_equal", "equal", "not_equal"):  # fmt: skip
        with np.errstate(all="ignore"):
            want = getattr(np, name)(x, y)
        got = run(lambda e, a, b, name=name: getattr(Namespace(e), name)(a, b), x, y)
        np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=name)
        known = run(lambda e, a, name=name: getattr(Namespace(e), name)(a, 1.5), x)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(known, getattr(np, name)(x, np.float32(1.5)), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("host", target.narrower() if is_available() else [], ids=lambda h: f"{h.vector_bytes} bytes")
def test_older_processors_give_the_same_bits(host: Any) -> None:
    rng = np.random.default_rng(4)
    x, wide = numbers(rng, "f2", 500), (rng.standard_normal(500) * 10.0 ** rng.integers(-9, 6, 500)).astype("f4")
    wide[:20] = numbers(rng, "f4", 20)

    def results() -> list[Any]:
        code = Functions()
        code.add("half", lambda e, a: Namespace(e).exp(a) * 3, ["f2"], 8)
        code.add("round", lambda e, a: a.astype(np.float16), ["f4"], 8)
        for name in ("exp", "tanh", "log1p", "sin", "erf"):
            code.add(name, lambda e, a, name=name: getattr(Namespace(e), name)(a), ["f4"], 8)
        code.compile()
        return [code("half", x), *(code(n, wide) for n in ("round", "exp", "tanh", "log1p", "sin", "erf"))]

    here = results()
    with target.use(host):
        there = results()
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lanes_refuse_to_be_arrays() -> None:
    def misuse(e: Emitter, x: Lanes) -> Lanes:
        for wrong in (bool, np.asarray, np.sum, list, lambda v: np.where(v, 1, 2)):
            with pytest.raises((NotImplementedError, TypeError)):
                wrong(x)
        return x

    run(misuse, np.ones(3))
