"""Thousands of damaged files: each is read, or refused with a clean error, in bounded memory."""

import io
import pickle
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rushlight as torch
from rushlight.serialization import safetensors
from rushlight.serialization.archive import ArchiveReader, ArchiveWriter
from tests.serialization import golden

# NotImplementedError is a RuntimeError: a damaged byte may spell a type of PyTorch's that is not supported.
CLEAN = (RuntimeError, pickle.UnpicklingError, EOFError)
MEMORY = 8 << 20


def mutated(data: bytes, cases: int, seed: int) -> Iterator[bytes]:
    """Truncations, flipped bits, overwritten, inserted and doubled runs of bytes."""
    rng = random.Random(seed)
    for _ in range(cases):
        made = bytearray(data)
        kind = rng.randrange(6)
        at = rng.randrange(len(made))
        if kind == 0:
            del made[at:]
        elif kind == 1:
            for _ in range(rng.randint(1, 4)):
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            made[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
        elif kind == 3:
            made[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"))
        elif kind == 4:
            made[at:at] = made[at : at + rng.randint(1, 40)] * rng.randint(1, 3)
        else:
            other = rng.randrange(len(made))
            made[at : at + 6], made[other : other + 6] = made[other : other + 6], made[at : at + 6]
        yield bytes(made)


def repacked(pickled: bytes, reader: ArchiveReader) -> bytes:
    """The archive with another pickle and valid checksums, so that the damage reaches the interpreter."""
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    for name in reader.names():
        writer.write(name, pickled if name == "data.pkl" else reader.read(name))
    writer.close()
    return file.getvalue()


def read(data: bytes) -> None:
    torch.load(io.BytesIO(data))


def read_safetensors(data: bytes) -> None:
    safetensors.load(data)


def survive(cases: Iterator[bytes], parse: Callable[[bytes], Any]) -> int:
    """Parse every case; the number of those that were refused."""
    refused = 0
    tracemalloc.start()
    try:
        for data in cases:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            try:
                parse(data)
            except CLEAN:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error} from {data!r}") from error
            assert tracemalloc.get_traced_memory()[1] - before < MEMORY, data
    finally:
        tracemalloc.stop()
    return refused


def test_the_interpreter() -> None:
    reader = ArchiveReader(io.BytesIO(golden.ZIP))
    pickled = reader.read("data.pkl")
    cases = (repacked(case, reader) for case in mutated(pickled, 1200, 1))
    assert survive(cases, read) > 600


def test_the_interpreter_on_newer_protocols() -> None:
    file = io.BytesIO()
    content = {"x": torch.arange(3), "n": [1, "a", b"b", {1, 2}, frozenset("ab"), bytearray(b"x"), 1 << 80, 1.5]}
    torch.save(content, file, pickle_protocol=5)
    reader = ArchiveReader(io.BytesIO(file.getvalue()))
    cases = (repacked(case, reader) for case in mutated(reader.read("data.pkl"), 600, 2))
    assert survive(cases, read) > 200


def test_the_archive() -> None:
    file = io.BytesIO()
    torch.save([torch.arange(3), torch.ones(2)], file)
    assert survive(mutated(file.getvalue(), 1000, 3), read) > 400


def test_the_old_format() -> None:
    assert survive(mutated(golden.LEGACY, 600, 4), read) > 300


def test_the_oldest_format() -> None:
    short = golden.TAR[:3072]
    assert survive(mutated(short, 500, 5), read) > 50


def test_the_safetensors_reader() -> None:
    assert survive(mutated(golden.SAFETENSORS, 1500, 6), read_safetensors) > 800


@pytest.mark.parametrize("seed", range(3))
def test_noise(seed: int) -> None:
    rng = random.Random(seed)
    noise = (rng.randbytes(rng.randrange(200)) for _ in range(300))
    assert survive(noise, read) > 200
    pickles = (b"\x80\x02" + bytes(rng.choices(b"(]})tuseQRbNqh\x85\x86\x87K\x01\x00.", k=60)) for _ in range(300))
    reader = ArchiveReader(io.BytesIO(golden.ZIP))
    assert survive((repacked(p, reader) for p in pickles), read) > 200
