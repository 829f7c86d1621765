"""The format of MNIST's files: a few big-endian sizes and then plain bytes, as a rule compressed by gzip."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

UBYTE = 8  # the only element type among images and labels
# Deflate gives at most 1032 bytes for one (RFC 1951: 258 bytes from two bits), so no honest header promises more.
HIGHEST_RATIO = 1032


def read_idx(path: Path) -> np.ndarray[Any, Any]:
    """The array in an idx file of unsigned bytes, compressed or not.

    Sizes are checked against the length of the file before memory is taken.

    Raises
    ------
    RuntimeError
        If the file is not what its header says.
    """
    length = path.stat().st_size
    try:
        with open(path, "rb") as raw:
            is_compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not is_compressed:
                return _parsed(raw, length)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _parsed(unpacked, length * HIGHEST_RATIO)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise RuntimeError(f"{path} is not a whole idx file of bytes: {error}") from error


def _parsed(file: IO[bytes] | gzip.GzipFile, limit: int) -> np.ndarray[Any, Any]:
    zeros, kind, ndim = struct.unpack(">HBB", _exactly(file, 4))
    if zeros or kind != UBYTE or not 1 <= ndim <= 4:
        raise ValueError("its first four bytes are not an idx header")
    shape = struct.unpack(f">{ndim}I", _exactly(file, 4 * ndim))
    count = math.prod(shape)
    if count > limit:
        raise ValueError(f"its header promises {list(shape)}, more than the file can hold")
    values = np.frombuffer(bytearray(_exactly(file, count)), np.uint8).reshape(shape)
    if file.read(1):
        raise ValueError(f"there is more behind the {list(shape)} of its header")
    return values


def _exactly(file: IO[bytes] | gzip.GzipFile, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError(f"it ends after {len(data)} of {count} bytes")
    return data
