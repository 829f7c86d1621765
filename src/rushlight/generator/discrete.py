"""Draws that count or choose, as flat NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF
from rushlight.generator import native as code
from rushlight.generator.engine import Generator
from rushlight.generator.floats import exponential, narrowed, next_normal, through_libm
from rushlight.generator.words import PIECE, units32, units64

_FLOAT64 = np.dtype(np.float64)
_LOW21 = np.uint64(0x1FFFFF)
_LOOKAHEAD = 4096


def bernoulli(generator: Generator, n: int, dtype: Any, p: float) -> Any:
    """`n` numbers, 1 with probability `p` and else 0, decided by a 53-bit uniform each (as dropout needs them)."""
    out = np.empty(n, np.bool_)
    native = code.native(code.BERNOULLI, n)
    with generator.lock:
        if native:
            native.bernoulli(generator.address, out, p)
        else:
            for start in range(0, n, PIECE):
                _below(generator, p, out[start : start + PIECE])
    return out if np.dtype(dtype) == out.dtype else out.astype(dtype)


def dropout_factors(generator: Generator, n: int, dtype: Any, p: float, out: Any = None) -> Any:
    """`n` numbers, 0 with probability `p` and else 1 / (1 - p), in a new flat array or in `out`."""
    factor = dtype.type(1) / dtype.type(1 - p)
    native = code.native((0.0, 0.0), n) if dtype == np.float32 else None
    if native:
        out = np.empty(n, dtype) if out is None else out
        with generator.lock:
            native.chosen32(generator.address, out, 1 - p, float(factor))
        return out
    return np.multiply(bernoulli(generator, n, np.dtype(np.bool_), 1 - p), factor, out=out, dtype=dtype)


def bernoulli_each(generator: Generator, p: Any, dtype: Any) -> Any:
    """0 or 1 for each probability in the flat array `p`: 53-bit uniforms for float64, 24-bit ones for the rest."""
    with generator.lock:
        if p.dtype == _FLOAT64:
            return (units64(generator, len(p)) < p).astype(dtype)
        units = units32(generator, len(p))
    return (units < p.astype(np.float32)).astype(dtype)


def geometric(generator: Generator, n: int, dtype: Any, p: float) -> Any:
    """`n` numbers of trials until the first success of probability `p`."""
    with generator.lock:
        units = units64(generator, n)
    zero = units == 0
    units[zero] = 1.0
    trials = np.ceil(through_libm(math.log, units) / math.log1p(-p))
    trials[zero] = math.inf
    return _trials_as(trials, np.dtype(dtype))


def poisson(generator: Generator, rates: Any) -> Any:
    """One Poisson number for each rate in the flat array `rates`, in its dtype."""
    with generator.lock, _looking_ahead(generator) as next_unit:
        values = [_poisson_one(rate, next_unit) for rate in rates.astype(np.float64).tolist()]
    return narrowed(np.array(values, np.float64), rates.dtype)


def binomial(generator: Generator, counts: Any, probabilities: Any) -> Any:
    """One binomial number for each pair of the flat arrays, in their dtype."""
    number = probabilities.dtype.type
    with generator.lock, _looking_ahead(generator) as next_unit, np.errstate(all="ignore"):
        values = [_binomial_one(number(c), number(p), next_unit) for c, p in zip(counts, probabilities, strict=True)]
    return np.array(values, probabilities.dtype)


def standard_gamma(generator: Generator, shapes: Any) -> Any:
    """One gamma number of scale 1 for each shape in the flat array `shapes`, in its dtype."""
    smallest = np.finfo(shapes.dtype).tiny
    with generator.lock, _looking_ahead(generator) as next_unit:
        values = [_gamma_one(shape, generator, next_unit) for shape in shapes]
    return np.maximum(np.array(values, np.float64).astype(shapes.dtype), smallest)


def dirichlet(generator: Generator, concentration: Any) -> Any:
    """Points of the simplex, one for each row of `concentration` (last axis)."""
    gammas = standard_gamma(generator, concentration.astype(np.float64).reshape(-1)).reshape(concentration.shape)
    info = np.finfo(concentration.dtype)
    shares = (gammas / gammas.sum(-1, keepdims=True)).astype(concentration.dtype)
    return np.clip(shares, info.tiny, np.nextafter(concentration.dtype.type(1), concentration.dtype.type(0)))


def multinomial(generator: Generator, weights: Any, count: int, replacement: bool) -> Any:
    """`count` categories for each row of the checked 2-d array `weights`, as int64.

    Without replacement, and for one sample, the categories race: the first to arrive are those with the largest ratio
    of weight to an exponential number. Categories of equal ratio come in order here, in PyTorch in the order that its
    unstable sort leaves.
    """
    if replacement and count > 1:
        with generator.lock:
            return np.stack([_choose(generator, row, count) for row in weights])
    rivals = exponential(generator, weights.size, weights.dtype, 1.0).reshape(weights.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = weights / rivals
    if count == 1:
        return np.argmax(scores, -1, keepdims=True)
    return np.argsort(-scores, -1, kind="stable")[:, :count]


def _below(generator: Generator, p: float, out: Any) -> None:
    """Whether each 53-bit uniform is below `p`, decided by its upper 21 bits wherever they suffice."""
    threshold = math.ceil(math.ldexp(p, 53))
    high, low = threshold >> 32, threshold & 0xFFFFFFFF
    drawn = generator.raw(2 * len(out)).reshape(len(out), 2)
    upper = drawn[:, 0] & _LOW21
    np.less(upper, np.uint64(high), out)
    if low:
        undecided = np.flatnonzero(upper == np.uint64(high))
        if undecided.size:
            out[undecided] = drawn[undecided, 1] < np.uint64(low)


def _trials_as(trials: Any, kind: Any) -> Any:
    if kind.kind in "iu":
        # Out of range, the processor's conversion gives the smallest int64, whose low bytes are 0.
        limited = np.where(trials < 2.0**63, trials, -(2.0**63)).astype(np.int64)
        return limited.astype(kind)
    return narrowed(trials, kind) if kind == _FLOAT64 or kind in NP_HALF else trials.astype(kind)


@contextmanager
def _looking_ahead(generator: Generator) -> Iterator[Callable[[], float]]:
    """A function that gives the next 53-bit uniform; they are drawn many at a time, and the unused ones given back."""
    point = generator.rewindable()
    used = 0
    units: list[float] = []
    position = 0

    def next_unit() -> float:
        nonlocal used, units, position
        if position == len(units):
            used += position
            units, position = units64(generator, _LOOKAHEAD).tolist(), 0
        position += 1
        return units[position - 1]

    try:
        yield next_unit
    finally:
        generator.rewind(point, 2 * (used + position))


def _choose(generator: Generator, weights: Any, count: int) -> Any:
    wide = weights.astype(np.float32) if weights.dtype in NP_HALF else weights
    sums = np.cumsum(wide, dtype=wide.dtype)
    sums /= sums[-1]
    sums[-1] = 1
    return np.searchsorted(sums.astype(np.float64), units64(generator, count), side="left")


def _poisson_one(rate: float, next_unit: Callable[[], float]) -> int:
    if rate >= 10:
        return _poisson_by_rejection(rate, next_unit)
    if rate == 0:
        return 0
    limit = math.exp(-rate)
    product, count = next_unit(), 0
    while product > limit:
        product *= next_unit()
        count += 1
    return count


def _poisson_by_rejection(rate: float, next_unit: Callable[[], float]) -> int:
    """W. Hoermann, "The transformed rejection method for generating Poisson random variables", 1993 (PTRS)."""
    log_rate = math.log(rate)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    box = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = next_unit() - 0.5
        v = next_unit()
        distance = 0.5 - abs(u)
        if distance == 0:
            continue
        k = math.floor((2 * a / distance + b) * u + rate + 0.43)
        if distance >= 0.07 and v <= box:
            return k
        if k < 0 or (distance < 0.013 and v > distance):
            continue
        left = math.log(v) + math.log(inverse_alpha) - math.log(a / (distance * distance) + b) if v > 0 else -math.inf
        if left <= -rate + k * log_rate - math.lgamma(k + 1):
            return k


def _gamma_one(shape: Any, generator: Generator, next_unit: Callable[[], float]) -> float:
    """G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables", 2000; `shape` a NumPy number."""
    one = np.float32(1)
    scale = 1.0
    if shape < 1:
        if shape == 0:
            return 0.0
        scale = math.pow(1 - next_unit(), float(one / shape))
        shape = shape + one
    d = float(shape - one / np.float32(3))
    c = 1.0 / math.sqrt(9.0 * d)
    squeeze = float(np.float32(0.0331))
    while True:
        x = next_normal(generator, next_unit)
        y = 1.0 + c * x
        if y <= 0:
            continue
        v = y * y * y
        u = 1 - next_unit()
        square = x * x
        if u < 1.0 - squeeze * square * square or math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


def _binomial_one(count: Any, p: Any, next_unit: Callable[[], float]) -> Any:
    if count <= 0 or p <= 0:
        return 0
    if p >= 1:
        return count
    if np.isnan(p):
        return math.nan
    rare = p if p <= 0.5 else type(p)(1.0 - float(p))
    by_rejection = count * rare >= 10
    found = (_binomial_by_rejection if by_rejection else _binomial_by_gaps)(count, rare, next_unit)
    return found if p <= 0.5 else count - found


def _binomial_by_gaps(count: Any, p: Any, next_unit: Callable[[], float]) -> int:
    """Successes are a geometric number of trials apart."""
    log_failure = float(np.log1p(-p))
    total, successes = 0.0, 0
    while True:
        unit = next_unit()
        total += math.ceil(math.log(unit) / log_failure) if unit > 0 else math.inf
        if total > count:
            return successes
        successes += 1


def _binomial_by_rejection(count: Any, p: Any, next_unit: Callable[[], float]) -> Any:
    """W. Hoermann, "The generation of binomial random variates", 1993 (BTRS)."""
    number = type(p)
    one = number(1)
    deviation = float(np.sqrt(count * p * (one - p)))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * float(p)
    c = float(count * p) + 0.5
    box = 0.92 - 4.2 / b
    ratio = float(p / (one - p))
    alpha = (2.83 + 5.1 / b) * deviation
    mode = float(np.floor((count + one) * p))
    trials = float(count)
    while True:
        u = next_unit() - 0.5
        v = next_unit()
        distance = 0.5 - abs(u)
        if distance == 0:
            continue
        k = math.floor((2 * a / distance + b) * u + c)
        if k < 0 or k > trials:
            continue
        if distance >= 0.07 and v <= box:
            return number(k)
        left = v * alpha / (a / (distance * distance) + b)
        if left == 0 or math.log(left) <= _binomial_bound(trials, mode, ratio, k):
            return number(k)


def _binomial_bound(trials: float, mode: float, ratio: float, k: int) -> float:
    return (
        (mode + 0.5) * math.log((mode + 1) / (ratio * (trials - mode + 1)))
        + (trials + 1) * math.log((trials - mode + 1) / (trials - k + 1))
        + (k + 0.5) * math.log(ratio * (trials - k + 1) / (k + 1))
        + _stirling_tail(mode)
        + _stirling_tail(trials - mode)
        - _stirling_tail(k)
        - _stirling_tail(trials - k)
    )


_STIRLING_TAILS = (
    0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
    0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287,
)  # fmt: skip


def _stirling_tail(k: float) -> float:
    """log k! less Stirling's formula."""
    if k < len(_STIRLING_TAILS):
        return _STIRLING_TAILS[int(k)]
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
