"""CRC-32C (Castagnoli), the checksum of record files.

Long texts are cut into lanes that NumPy works through side by side; a lane's remainder moves past the following
lane by a linear map of 32 bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

POLYNOMIAL = 0x82F63B78
LANES = 256
SHORTEST = 16 * LANES


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()
ARRAY = np.array(TABLE, np.uint32)


def crc32c(data: bytes) -> int:
    """The checksum of `data`.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    if len(data) >= SHORTEST:
        length = len(data) // LANES
        crc = _by_lanes(data[: length * LANES], length)
        data = data[length * LANES :]
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as record files store it: rotated by 15 bits plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _by_lanes(data: bytes, length: int) -> int:
    columns = np.frombuffer(data, np.uint8).reshape(LANES, length).T.astype(np.uint32)
    lanes: Any = np.zeros(LANES, np.uint32)
    lanes[0] = 0xFFFFFFFF
    for column in columns:
        lanes = ARRAY[(lanes ^ column) & 0xFF] ^ (lanes >> np.uint32(8))
    past_a_lane = _zeros_map(length)
    crc = 0
    for lane in lanes.tolist():
        crc = _apply(past_a_lane, crc) ^ lane
    return crc


def _apply(columns: tuple[int, ...], value: int) -> int:
    result = 0
    for bit, column in enumerate(columns):
        if value >> bit & 1:
            result ^= column
    return result


@lru_cache(maxsize=64)
def _zeros_map(count: int) -> tuple[int, ...]:
    """How `count` zero bytes change each bit of a remainder, by repeated squaring."""
    power = tuple(TABLE[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(32))
    result = tuple(1 << bit for bit in range(32))
    while count:
        if count & 1:
            result = tuple(_apply(power, column) for column in result)
        power = tuple(_apply(power, column) for column in power)
        count >>= 1
    return result
