"""Functions of lanes: errors in units of the last place over all binades, special values, equal bits for any lanes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rushlight.backends import numpy as xp_numpy
from rushlight.compiler import vmath_tables
from rushlight.compiler.binding import is_available
from rushlight.compiler.lanes import Namespace, apply
from rushlight.ops.kinds import OPS
from tests.compiler.lane_code import Functions

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")

# name: where results are neither 0 nor constant, in float32 and in float64; the domain
FUNCTIONS: dict[str, tuple[Any, Any, tuple[float, float]]] = {
    "exp": ((-105, 90), (-750, 712), (-np.inf, np.inf)),
    "exp2": ((-151, 130), (-1080, 1026), (-np.inf, np.inf)),
    "expm1": ((-20, 90), (-40, 711), (-np.inf, np.inf)),
    "tanh": ((-10, 10), (-20, 20), (-np.inf, np.inf)),
    "sinh": ((-90, 90), (-712, 712), (-np.inf, np.inf)),
    "cosh": ((-90, 90), (-712, 712), (-np.inf, np.inf)),
    "arcsinh": ((-10, 10), (-10, 10), (-np.inf, np.inf)),
    "arccosh": ((1, 5), (1, 5), (1, np.inf)),
    "arctanh": ((-1, 1), (-1, 1), (-1, 1)),
    "log": ((0, 10), (0, 10), (0, np.inf)),
    "log2": ((0, 10), (0, 10), (0, np.inf)),
    "log10": ((0, 10), (0, 10), (0, np.inf)),
    "log1p": ((-1, 10), (-1, 10), (-1, np.inf)),
    "sin": ((-100, 100), (-100, 100), (-np.inf, np.inf)),
    "cos": ((-100, 100), (-100, 100), (-np.inf, np.inf)),
    "tan": ((-100, 100), (-100, 100), (-np.inf, np.inf)),
    "arcsin": ((-1, 1), (-1, 1), (-1, 1)),
    "arccos": ((-1, 1), (-1, 1), (-1, 1)),
    "arctan": ((-5, 5), (-5, 5), (-np.inf, np.inf)),
    "erf": ((-4, 4), (-6, 6), (-np.inf, np.inf)),
    "erfc": ((-5, 11), (-6, 27.5), (-np.inf, np.inf)),
    "sqrt": ((0, 4), (0, 4), (0, np.inf)),
}
BINARY = {"power": ((0, 4), (-60, 60)), "arctan2": ((-9, 9), (-9, 9)), "hypot": ((-9, 9), (-9, 9))}
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
LIMIT = 2.0


def arguments(dtype: Any, usual: tuple[float, float], domain: tuple[float, float], n: int, seed: int = 0) -> Any:
    """All binades, the usual range evenly and near 0 logarithmically."""
    rng = np.random.default_rng(seed)
    bits = np.dtype(f"u{dtype.itemsize}")
    any_size = rng.integers(0, np.iinfo(bits).max, n, dtype=bits).view(dtype)
    even = rng.uniform(*usual, n).astype(dtype)
    near = (10.0 ** rng.uniform(-7, 0, n) * rng.choice([usual[0], usual[1]], n)).astype(dtype)
    out = np.concatenate([any_size[np.isfinite(any_size)], even, near])
    return out[(out >= domain[0]) & (out <= domain[1])]


def compiled(names: Any, dtype: Any, operands: int = 1, counts: Any = (0,)) -> Functions:
    """Each function for each number of lanes; 0: a register of 64 bytes."""
    code = Functions()
    for name in names:
        for count in counts:
            lanes = count or 64 // dtype.itemsize
            code.add(f"{name}{count}", lambda e, *a, n=name: getattr(Namespace(e), n)(*a), [dtype] * operands, lanes)
    return code.compile()


def exact(name: str, *operands: Any) -> Any:
    """The function in mpmath with 160 bits; None where it is infinite or no real number."""
    mp = pytest.importorskip("mpmath")
    known = {
        "exp2": lambda x: mp.mpf(2) ** x,
        "log2": lambda x: mp.log(x) / mp.log(2),
        "arctan2": mp.atan2,
        **{f"arc{f}": getattr(mp, f"a{f}") for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    }
    if name == "erfc" and abs(operands[0]) > 1e3:  # mpmath overflows
        return mp.mpf(2 if operands[0] < 0 else 0)
    with mp.workprec(160):
        out = (known.get(name) or getattr(mp, name))(*(mp.mpf(float(x)) for x in operands))
        return None if isinstance(out, mp.mpc) or not mp.isfinite(out) else out


def error(got: Any, want: Any, dtype: Any) -> float:
    """The distance in units of the last place of an mpmath number; results beyond the largest must be infinite."""
    mp = pytest.importorskip("mpmath")
    info = np.finfo(dtype)
    top = mp.mpf(float(info.max))
    if abs(want) > top:
        return 0.0 if np.isinf(got) or abs(want) < top * (1 + mp.mpf(2) ** (-info.nmant)) else np.inf
    if not np.isfinite(got):
        return 0.0 if np.isinf(got) and abs(want) > top * (1 - mp.mpf(2) ** (-info.nmant)) else np.inf
    exponent = mp.frexp(want)[1] if want else -2000
    unit = mp.ldexp(1, max(exponent - info.nmant - 1, info.minexp - info.nmant))
    return float(abs(mp.mpf(float(got)) - want) / unit)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_errors_over_all_binades(dtype: Any) -> None:
    code = compiled(FUNCTIONS, dtype)
    worst = {}
    for name, (usual32, usual64, domain) in FUNCTIONS.items():
        x = arguments(dtype, usual32 if dtype.itemsize == 4 else usual64, domain, 90)
        pairs = ((g, a, exact(name, a)) for g, a in zip(code(f"{name}0", x), x, strict=True))
        worst[name] = max((error(g, want, dtype), float(a)) for g, a, want in pairs if want is not None)
    assert all(e <= LIMIT for e, _ in worst.values()), worst


def test_float32_against_float64_densely() -> None:
    """Half a million arguments of each function; NumPy's float64 results stand for the exact ones."""
    single, double = DTYPES
    code = compiled(FUNCTIONS, single)
    worst = {}
    for name, (usual, _, domain) in FUNCTIONS.items():
        x = arguments(single, usual, domain, 1 << 17, seed=1)
        with np.errstate(all="ignore"):
            want = getattr(xp_numpy, name)(x.astype(double))
            unit = np.maximum(np.spacing(np.abs(want.astype(single))).astype(double), 2.0**-149)
            off = np.abs(code(f"{name}0", x).astype(double) - want) / unit
        off = off[np.isfinite(off) & np.isfinite(want.astype(single))]
        worst[name] = float(off.max())
    assert all(e <= LIMIT for e in worst.values()), worst


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_functions_of_two_numbers(dtype: Any) -> None:
    code = compiled(BINARY, dtype, operands=2)
    for name, (first, second) in BINARY.items():
        rng = np.random.default_rng(2)
        x, y = rng.uniform(*first, 300).astype(dtype), rng.uniform(*second, 300).astype(dtype)
        y[:100] = (y[:100] * 10.0 ** rng.uniform(-20, 5, 100)).astype(dtype)
        pairs = ((g, exact(name, a, b)) for g, a, b in zip(code(f"{name}0", x, y), x, y, strict=True))
        assert max(error(g, want, dtype) for g, want in pairs if want is not None) <= LIMIT, name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(dtype: Any) -> None:
    info = np.finfo(dtype)
    x = np.array([0.0, -0.0, 1, -1, 2, -2, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, -info.tiny,
                  info.smallest_subnormal, -info.smallest_subnormal, 0.5, -0.5], dtype)  # fmt: skip
    code = compiled(FUNCTIONS, dtype)
    for name in FUNCTIONS:
        with np.errstate(all="ignore"):
            want = getattr(xp_numpy, name)(x.astype(np.float64)).astype(dtype)
        got = code(f"{name}0", x)
        np.testing.assert_allclose(got, want, rtol=8 * info.eps, err_msg=name)
        signed = (want == 0) | np.isinf(want)
        np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(want[signed]), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_powers_of_special_values(dtype: Any) -> None:
    special = np.array([0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e30], dtype)
    x, y = map(np.ravel, np.meshgrid(special, special))
    got = compiled(["power"], dtype, operands=2)("power0", x, y)
    with np.errstate(all="ignore"):
        want = np.power(x, y)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_number_of_lanes_gives_the_same_bits(dtype: Any) -> None:
    for names, operands in ((list(FUNCTIONS), 1), ([*BINARY, "fmod", "remainder", "logaddexp"], 2)):
        code = compiled(names, dtype, operands, counts=(1, 4, 0))
        for name in names:
            usual = FUNCTIONS[name][0] if name in FUNCTIONS else (-9, 9)
            x = [arguments(dtype, usual, (-np.inf, np.inf), 100, seed=k)[:290] for k in range(operands)]
            wide = code(f"{name}0", *x)
            for count in (1, 4):
                np.testing.assert_array_equal(code(f"{name}{count}", *x), wide, err_msg=f"{name} {count}")


@pytest.mark.parametrize("name", ["exp32", "cos32", "atan32", "exp64"])
def test_tables_follow_from_their_script(name: str) -> None:
    pytest.importorskip("mpmath")
    path = Path(__file__).parents[2] / "scripts" / "vmath_coefficients.py"
    script = runpy.run_path(str(path))
    found, worst = script["coefficients_of"](name)
    assert tuple(found) == getattr(vmath_tables, name.upper())
    assert worst < (1e-8 if name.endswith("32") else 1e-17)


def test_remainders_are_exact() -> None:
    for dtype in DTYPES:
        rng = np.random.default_rng(3)
        span = 30 if dtype.itemsize == 4 else 300
        x, y = ((rng.standard_normal(500) * 10 ** rng.uniform(-span, span, 500)).astype(dtype) for _ in range(2))
        code = compiled(["fmod", "remainder", "floor_divide"], dtype, operands=2)
        for name in ("fmod", "remainder", "floor_divide"):
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(code(f"{name}0", x, y), getattr(np, name)(x, y), err_msg=name)


def test_gelu_and_its_slope() -> None:
    """The normal distribution function is exact to some units of its own last place, in its tail too."""
    mp = pytest.importorskip("mpmath")
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.standard_normal(500) * 3, rng.uniform(-13, 6, 500), [0.0, -0.0, 40.0, -40.0]]).astype("f4")
    code = Functions()
    for name in ("gelu", "gelu_slope"):
        code.add(name, lambda e, a, n=name: apply(OPS[n], e, [a], dict(OPS[n].defaults)), [x.dtype], 16)
    code.compile()
    got, slope = code("gelu", x), code("gelu_slope", x)
    below = np.array([float(mp.ncdf(float(a))) for a in x])
    wide = x.astype("f8")
    power = np.exp(-wide * wide / 2) / np.sqrt(2 * np.pi)
    near = x > -6
    np.testing.assert_allclose(got[near], (wide * below)[near], rtol=4e-6)
    np.testing.assert_allclose(got, wide * below, rtol=1e-4, atol=1e-38)
    np.testing.assert_allclose(slope, below + wide * power, rtol=0, atol=3e-7)
    special = np.array([np.inf, np.nan, -1e30, 1e30, -15.0], "f4")
    np.testing.assert_array_equal(code("gelu", special), np.array([np.inf, np.nan, -0.0, 1e30, -0.0], "f4"))
    np.testing.assert_array_equal(code("gelu_slope", special[1:]), np.array([np.nan, 0, 1, 0], "f4"))
