"""Random draws as machine code: MT19937 and PyTorch's transforms of its words, working on NumPy's own state.

NumPy keeps a generator's 624 words and its position in one struct, whose address it tells. The functions here advance
that struct as NumPy's do, a vector of words at a time, so that both can take turns on one stream. They serve
`rushlight.generator`, whose NumPy forms say what each draw is; the bits are the same. Sources: M. Matsumoto,
T. Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998; for normals see `generator/single.py`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler import cache
from rushlight.compiler.binding import is_available
from rushlight.compiler.draws_emit import FUNCTIONS, module_text

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
_KINDS: dict[str, Any] = {"f32": ctypes.c_float, "f64": ctypes.c_double, "i64": ctypes.c_int64}
_address, _memory = ctypes.addressof, ctypes.c_char.from_buffer


class Draws:
    """The native draws; each fills a contiguous array from the stream whose state is at an address.

    The caller holds the generator's lock.
    """

    def __init__(self) -> None:
        self._code = cache.text_code("draws", module_text, list(FUNCTIONS))
        self._native = {name: self._function(name, extras) for name, (_, extras) in FUNCTIONS.items()}
        self._uniform32, self._normal32 = self._native["uniform32"], self._native["normal32"]

    def _function(self, name: str, extras: tuple[str, ...]) -> Callable[..., None]:
        kinds = [_KINDS[e] for e in extras]
        return ctypes.CFUNCTYPE(None, _POINTER, _POINTER, _COUNT, *kinds)(self._code.addresses[name])

    def uniform32(self, state: int, out: Any, low: float, high: float) -> None:
        """float32 numbers in [low, high)."""
        n, scale = len(out), 1.0
        if low != 0.0 or high != 1.0:
            start, stop = np.float32(low), np.float32(high)
            scale, low, high = float(stop - start), float(start), float(stop)
        if n:
            self._uniform32(state, _address(_memory(out)), n, scale, low, high)

    def uniform64(self, state: int, out: Any, low: float, high: float) -> None:
        """float64 numbers in [low, high)."""
        self._run("uniform64", state, out, high - low, low, high)

    def normal32(self, state: int, out: Any, mean: float, std: float) -> None:
        """float32 normal numbers, a multiple of 16 of them."""
        n = len(out)
        if n:
            # adding -0.0 changes no number, not even -0.0
            self._normal32(state, _address(_memory(out)), n, std, mean or -0.0)

    def bernoulli(self, state: int, out: Any, p: float) -> None:
        """True with probability p, by 53-bit uniforms."""
        self._run("bernoulli", state, out, _threshold(p))

    def chosen32(self, state: int, out: Any, p: float, factor: float) -> None:
        """float32: `factor` with probability p, else 0 * `factor`."""
        self._run("chosen32", state, out, _threshold(p), factor, 0.0 * factor)

    def integers(self, state: int, out: Any, low: int, span: int) -> None:
        """int64 numbers in [low, low + span), span below 2**28."""
        self._run("integers", state, out, low, float(span))

    def permutation(self, state: int, out: Any) -> None:
        """The numbers below `len(out)`, at most 2**32 / 20, in int64, in random order."""
        out[:] = np.arange(len(out))
        self._run("permutation", state, out[:-1])

    def _run(self, name: str, state: int, out: Any, *extras: Any) -> None:
        if len(out):
            self._native[name](state, _address(_memory(out)), len(out), *extras)


def _threshold(p: float) -> int:
    return math.ceil(math.ldexp(p, 53))


def load() -> Draws | None:
    """The native draws, None without llvmlite."""
    return Draws() if is_available() else None
