"""Nothing in a file runs, and no file makes the reader take memory that it does not hold."""

import builtins
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.serialization import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from rushlight.serialization.archive import ArchiveWriter


def archive(pickled: bytes, **records: bytes) -> io.BytesIO:
    """A file like PyTorch's around a pickle."""
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    for name, data in {"data.pkl": pickled, "byteorder": b"little", **records}.items():
        writer.write(name.replace("data_", "data/"), data)
    writer.close()
    file.seek(0)
    return file


def name(module: str, attribute: str) -> bytes:
    return b"c" + f"{module}\n{attribute}\n".encode()


def tensor(storage: bytes, *geometry: object, function: str = "_rebuild_tensor_v2") -> bytes:
    """A pickle of a tensor over the storage record `data/0`, with any geometry."""
    args = b"".join(pickle.dumps(part, 2)[2:-1] for part in geometry)
    return b"\x80\x02" + name("torch._utils", function) + b"((U\x07storage" + storage + b"tQ" + args + b"tR."


def storage(count: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    text = b"U" + bytes([len(key)]) + key.encode()
    return name("torch", kind) + text + b"U\x03cpu" + pickle.dumps(count, 2)[2:-1]


class Evil:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "function", [os.system, eval, exec, open, builtins.getattr, os.remove, pickle.loads, print, Path, deque]
)
@pytest.mark.parametrize("old", [False, True])
def test_functions_are_named_not_called(function: Callable[..., Any], old: bool, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    file = io.BytesIO()
    torch.save({"a": Evil(function, str(victim))}, file, _use_new_zipfile_serialization=not old)
    file.seek(0)
    module = "" if function.__module__ == "builtins" else f"{function.__module__}."
    full = module + function.__qualname__
    with pytest.raises(pickle.UnpicklingError, match=r"Weights only load failed\.") as caught:
        torch.load(file)
    assert full.replace("io.open", "open").removeprefix("_") in str(caught.value)
    assert "add_safe_globals" in str(caught.value) or "is blocked" in str(caught.value)
    assert victim.exists()


def test_the_message_is_pytorchs() -> None:
    file = io.BytesIO()
    torch.save(deque([1]), file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError) as caught:
        torch.load(file)
    text = str(caught.value)
    assert text.startswith("Weights only load failed. This file can still be loaded, to do so you have two options")
    assert (
        "Unsupported global: GLOBAL collections.deque was not an allowed global by default. Please use "
        "`torch.serialization.add_safe_globals([collections.deque])` or the "
        "`torch.serialization.safe_globals([collections.deque])` context manager to allowlist this global if you "
        "trust this class/function." in text
    )


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


def test_allowing_a_class() -> None:
    file = io.BytesIO()
    torch.save([Point(3), torch.nn.Linear(1, 1)], file)
    with safe_globals([Point, torch.nn.Linear]):
        assert get_safe_globals() == [Point, torch.nn.Linear]
        file.seek(0)
        point, layer = torch.load(file)
        assert point.x == 3
        assert layer(torch.ones(1)).shape == (1,)
    assert get_safe_globals() == []
    add_safe_globals([(Point, f"{Point.__module__}.Point")])
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL torch\.nn\.Linear was not an allowed"):
        torch.load(file)
    clear_safe_globals()
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=r"Point was not an allowed"):
        torch.load(file)


def test_blocked_modules_stay_blocked() -> None:
    with safe_globals([os.system]), pytest.raises(pickle.UnpicklingError, match=r"whose module (posix|nt) is blocked"):
        file = io.BytesIO()
        torch.save(Evil(os.system, "true"), file)
        file.seek(0)
        torch.load(file)


def test_plain_types_that_are_read() -> None:
    values = [
        Counter("aab"), defaultdict(list, {1: [2]}), defaultdict(int), OrderedDict(a=1), {1, (2, 3)}, frozenset("ab"),
        bytearray(b"xy"), b"", 1j, np.float32(1.5), np.bool_(True), np.arange(6).reshape(2, 3).T, np.zeros((0, 2)),
        np.array(2.5), torch.float16, torch.Size([]), torch.device("cpu"), (), [[]],
    ]  # fmt: skip
    for protocol in range(2, 6):
        file = io.BytesIO()
        torch.save(values, file, pickle_protocol=protocol)
        file.seek(0)
        for got, value in zip(torch.load(file), values, strict=True):
            assert type(got) is type(value)
            assert np.array_equal(got, value) if isinstance(value, np.ndarray) else got == value


BAD_GEOMETRY = [
    (0, (3,), (1,)),
    (1, (2,), (1,)),
    (0, (1, 1 << 40), (0, 1)),
    (0, (1 << 62, 1 << 62), (0, 0)),
    (0, (2,), (-1,)),
    (-1, (1,), (1,)),
    (0, (-1,), (1,)),
    (0, (1,), (1, 1)),
    (0, (1.0,), (1,)),
    (0, (True,), (1,)),
    (0, "a", (1,)),
    (None, (1,), (1,)),
    (0, (1,) * 65, (1,) * 65),
    (1 << 80, (1,), (1,)),
]


@pytest.mark.parametrize("geometry", BAD_GEOMETRY, ids=str)
def test_tensors_stay_inside_their_storage(geometry: tuple[object, ...]) -> None:
    pickled = tensor(storage(2), *geometry, False, OrderedDict())
    with pytest.raises(pickle.UnpicklingError):
        torch.load(archive(pickled, data_0=bytes(8)))


def test_a_view_of_huge_size_takes_no_memory() -> None:
    pickled = tensor(storage(1), 0, (1 << 20, 1 << 20), (0, 0), False, OrderedDict())
    tracemalloc.start()
    got = torch.load(archive(pickled, data_0=bytes(4)))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert got.shape == (1 << 20, 1 << 20)


@pytest.mark.parametrize("count", [3, 1 << 40, 1 << 70, -1, 1.0, "2"])
def test_storages_are_as_long_as_their_record(count: Any) -> None:
    pickled = tensor(storage(count), 0, (1,), (1,), False, OrderedDict())
    with pytest.raises((RuntimeError, pickle.UnpicklingError), match=r"storage"):
        torch.load(archive(pickled, data_0=bytes(8)))


def long_pickle(call: bytes) -> bytes:
    """A long string in the memo, and a cheap call on it repeated until it would fill the memory."""
    text = b"\x80\x02X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\0"
    return text + b"](" + call * (1 << 14) + b"e0."


@pytest.mark.parametrize(
    "call",
    [
        name("_codecs", "encode") + b"h\0U\6latin1\x86R",
        name("builtins", "bytearray") + b"h\0U\6latin1\x86R",
    ],
)
def test_short_pickles_do_not_fill_the_memory(call: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(pickle.UnpicklingError, match="more memory than its own length"):
        torch.load(archive(long_pickle(call)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 << 20


DAMAGED = {
    "too deep a key": b"\x80\x02" + b")" + b"\x85" * 100_000 + b"q\0}h\0K\1s.",
    "a list as a key": b"\x80\x02}]K\1s.",
    "append to a tuple": b"\x80\x02)K\1a.",
    "items for a list": b"\x80\x02]K\1K\2s.",
    "stack underflow": b"\x80\x02t.",
    "memo that is empty": b"\x80\x02h\5.",
    "no stop": b"\x80\x02K\1",
    "huge string": b"\x80\x02X\xff\xff\xff\xff.",
    "huge bytes": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
    "huge long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "unknown opcode": b"\x80\x02\xf0.",
    "next protocol": b"\x80\x09N.",
    "bytearray of a length": b"\x80\x02" + name("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.",
    "list called": b"\x80\x02" + name("builtins", "list") + b"](K\1e\x85R.",
    "call of a number": b"\x80\x02K\1)R.",
    "state of a number": b"\x80\x02K\1}b.",
    "state of a class": b"\x80\x02" + name("torch", "Tensor") + b"}U\4_datK\1sb.",
    "method replaced": b"\x80\x02" + name("collections", "OrderedDict") + b")R}U\5itemsK\1sb.",
    "object dtype": b"\x80\x02" + name("numpy", "dtype") + b"U\1OK\0K\1\x87R.",
    "object scalar": name("numpy._core.multiarray", "scalar") + name("numpy", "dtype") + b"U\1O\x85RU\0\x86R.",
    "persistent id of another kind": b"\x80\x02U\6secret\x85Q.",
    "factory that calls": b"\x80\x02" + name("collections", "defaultdict") + name("_codecs", "encode") + b"\x85R.",
    "quantized": b"\x80\x02" + name("torch", "qint8") + b".",
    "float8": b"\x80\x02" + name("torch", "float8_e4m3fn") + b".",
    "rebuild with too few": b"\x80\x02" + name("torch._utils", "_rebuild_tensor_v2") + b")R.",
    "not UTF-8": b"\x80\x02X\2\0\0\0\xff\xfe.",
    "extension": b"\x80\x02\x82\1.",
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_pickles(what: str) -> None:
    expected = NotImplementedError if what in ("quantized", "float8") else (pickle.UnpicklingError, EOFError)
    with pytest.raises(expected):
        torch.load(archive(DAMAGED[what]))


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for entry in entries:
            made.writestr(*entry)
    file.seek(0)
    return file


def test_repacked_archives_are_read() -> None:
    pickled = tensor(storage(2), 0, (2,), (1,), False, OrderedDict())
    entries = (("m/data.pkl", pickled), ("m/data/0", struct.pack("<2f", 1, 2)))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert torch.load(zipped(*entries, method=method)).tolist() == [1, 2]
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(RuntimeError, match="unknown method"):
            torch.load(zipped(*entries, method=method))


def test_archives_that_would_explode() -> None:
    bomb = zipped(("m/data.pkl", bytes(64 << 20)), method=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(RuntimeError, match="compressed records claim"):
        torch.load(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_records_that_overlap() -> None:
    pickled = b"\x80\x02N."
    file = archive(pickled, data_0=bytes(1000), data_1=bytes(1000))
    data = bytearray(file.getvalue())
    entry = data.rindex(b"PK\1\2")
    data[entry + 20 : entry + 28] = struct.pack("<2I", 2000, 2000)
    with pytest.raises(RuntimeError, match=r"PytorchStreamReader failed reading zip archive"):
        torch.load(io.BytesIO(bytes(data)))


def test_a_flipped_bit_is_noticed() -> None:
    file = archive(tensor(storage(2), 0, (2,), (1,), False, OrderedDict()), data_0=b"ABCDEFGH")
    data = file.getvalue().replace(b"ABCDEFGH", b"ABCDEFGI")
    with pytest.raises(RuntimeError, match="does not match its checksum"):
        torch.load(io.BytesIO(data))
    assert zlib.crc32(b"ABCDEFGH") != zlib.crc32(b"ABCDEFGI")


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", EOFError, "Ran out of input"),
        (b"PK\3\4 and no more", RuntimeError, "failed finding central directory"),
        (b"<html>not found</html>", pickle.UnpicklingError, "Weights only load failed"),
        (pickle.dumps(5), RuntimeError, "Invalid magic number; corrupt file"),
        (pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(7), RuntimeError, "Invalid protocol version"),
        (b"x" * 257 + b"ustar" + b"x" * 300, RuntimeError, "tar archive is damaged"),
    ],
)
def test_what_is_no_checkpoint(data: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        torch.load(io.BytesIO(data))


def test_arguments() -> None:
    file = io.BytesIO()
    torch.save(torch.ones(2), file)
    data = file.getvalue()
    with pytest.raises(AttributeError, match=r"You can only torch\.load from a file that is seekable"):
        torch.load(None)
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object"):
        torch.save(1, None)
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        torch.load(io.BytesIO(data), pickle_module=pickle)
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        torch.load(io.BytesIO(data), mmap=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'fast'"):
        torch.load(io.BytesIO(data), fast=True)
    with pytest.raises(FileNotFoundError):
        torch.load("no-such-file.pt")
    assert torch.load(io.BytesIO(data), weights_only=False, pickle_module=pickle).tolist() == [1, 1]


def test_looking_at_the_names_in_a_file() -> None:
    file = io.BytesIO()
    torch.save([deque([1]), {"a": Evil(os.system, "true")}, torch.ones(1), OrderedDict(a=1)], file)
    file.seek(0)
    got = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    assert got == ["collections.deque", f"{os.system.__module__}.system"]
    with pytest.raises(ValueError, match="Expected input to be a checkpoint"):
        torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(b"nothing"))


def test_names_in_a_file_import_nothing() -> None:
    before = set(sys.modules)
    with safe_globals([torch.Tensor]), pytest.raises(pickle.UnpicklingError, match="was not an allowed global"):
        torch.load(archive(b"\x80\x02" + name("torch.cli", "main") + b"."))
    assert set(sys.modules) == before
