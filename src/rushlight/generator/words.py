"""Words of 32 bits as integers and as floating-point numbers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from rushlight.generator import native as code
from rushlight.generator.engine import Generator

# Up to this many elements the number of NumPy calls counts, beyond it the bytes that they move.
_FEW = 400
# Draws are made in pieces of this many elements, so that the passes over a piece stay in the cache.
PIECE = 8192

_LOW24 = np.array(0xFFFFFF, np.uint32)
_LOW24_WIDE = np.array(0xFFFFFF, np.uint64)
_UNIT24_WIDE = np.array(2.0**-24, np.float64)
_LOW21 = np.array(0x1FFFFF, np.uint64)
_THIRTY_TWO = np.array(32, np.uint64)
_UNIT24 = np.array(2.0**-24, np.float32)
_UNIT53 = np.array(2.0**-53, np.float64)
_LOW_HALF = 0 if sys.byteorder == "little" else 1


def words32(generator: Generator, n: int) -> Any:
    """`n` words as a strided uint32 view."""
    return generator.raw(n).view(np.uint32)[_LOW_HALF::2]


def words64(generator: Generator, n: int) -> Any:
    """`n` numbers of 64 bits; the word drawn first is the high half."""
    drawn = generator.raw(2 * n).reshape(n, 2)
    high = drawn[:, 0] << _THIRTY_TWO
    high |= drawn[:, 1]
    return high


def units32(generator: Generator, n: int) -> Any:
    """`n` float32 numbers in [0, 1) of 24 bits, the low bits of a word each."""
    if n <= _FEW:
        drawn = generator.raw(n)
        np.bitwise_and(drawn, _LOW24_WIDE, drawn)
        return np.multiply(drawn, _UNIT24_WIDE).astype(np.float32)
    out = np.empty(n, np.float32)
    fill_units32(generator, out)
    return out


def fill_units32(generator: Generator, out: Any) -> None:
    """`units32` into the 1-d array `out`."""
    n = len(out)
    native = code.native((0.0, 0.0), n)
    if native:
        native.uniform32(generator.address, out, 0.0, 1.0)
        return
    if n <= PIECE:
        # Below 2**31 both readings agree, and int32 converts to float in one machine instruction.
        low = np.bitwise_and(words32(generator, n), _LOW24)
        np.copyto(out, low.view(np.int32), casting="unsafe")
        np.multiply(out, _UNIT24, out)
        return
    for start in range(0, n, PIECE):
        fill_units32(generator, out[start : start + PIECE])


def units64(generator: Generator, n: int) -> Any:
    """`n` float64 numbers in [0, 1) of 53 bits, two words each."""
    native = code.native((0.0, 0.0), n)
    if native:
        out = np.empty(n, np.float64)
        native.uniform64(generator.address, out, 0.0, 1.0)
        return out
    if n > PIECE:
        out = np.empty(n, np.float64)
        for start in range(0, n, PIECE):
            out[start : start + PIECE] = units64(generator, min(PIECE, n - start))
        return out
    drawn = generator.raw(2 * n).reshape(n, 2)
    bits = drawn[:, 0] & _LOW21
    bits <<= _THIRTY_TWO
    bits |= drawn[:, 1]
    # Signed 64-bit integers convert exactly and faster than unsigned ones.
    return bits.view(np.int64) * _UNIT53
