"""The wire format of protocol buffers, as much as event files need: fields of numbers, texts and messages."""

from __future__ import annotations

import struct
from collections.abc import Iterable

Varint, Fixed64, Length, Fixed32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """An integer, seven bits a byte; negative ones as 64-bit two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def integer(field: int, value: int) -> bytes:
    """An integer or enum field."""
    return varint(field << 3 | Varint) + varint(value)


def double(field: int, value: float) -> bytes:
    """A double field."""
    return varint(field << 3 | Fixed64) + struct.pack("<d", value)


def single(field: int, value: float) -> bytes:
    """A float field."""
    return varint(field << 3 | Fixed32) + struct.pack("<f", value)


def message(field: int, *parts: bytes) -> bytes:
    """A message, bytes or text field of the joined parts."""
    body = b"".join(parts)
    return varint(field << 3 | Length) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    """A string field."""
    return message(field, value.encode())


def doubles(field: int, values: Iterable[float]) -> bytes:
    """A packed repeated double field."""
    values = list(values)
    return message(field, struct.pack(f"<{len(values)}d", *values))
