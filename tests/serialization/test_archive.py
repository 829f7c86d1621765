"""The container: aligned records, sizes beyond 32 bits, files that appear whole or not at all."""

import io
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import rushlight as torch
from rushlight.serialization.archive import ArchiveReader, ArchiveWriter
from rushlight.serialization.atomic import atomic_file

RECORDS = {"data.pkl": b"p" * 300, "empty": b"", "data/0": bytes(range(256)) * 3, "data/1": b"x", "version": b"3\n"}


def write(limit: int = 0xFFFFFFFF) -> io.BytesIO:
    file = io.BytesIO()
    writer = ArchiveWriter(file, limit=limit)
    for name, data in RECORDS.items():
        writer.write(name, data)
    writer.close()
    file.seek(0)
    return file


@pytest.mark.parametrize("limit", [0xFFFFFFFF, 1000, 500, 100])
def test_records_come_back(limit: int) -> None:
    """A low limit puts the 64-bit fields to use without files of 4 GiB."""
    file = write(limit)
    reader = ArchiveReader(file)
    assert reader.names() == list(RECORDS)
    for name, data in RECORDS.items():
        assert reader.read(name) == data
        assert b"".join(reader.chunks(name)) == data
        assert reader.find(name).start % 64 == 0
    if limit == 0xFFFFFFFF:
        standard = zipfile.ZipFile(file)
        assert standard.testzip() is None
        assert {name.removeprefix("archive/"): standard.read(name) for name in standard.namelist()} == RECORDS


def test_archive_behind_other_bytes() -> None:
    file = io.BytesIO(b"something else" + write().getvalue())
    file.seek(14)
    assert ArchiveReader(file).read("data/1") == b"x"


def test_several_objects_in_one_file_object() -> None:
    """As PyTorch: the newer object is found from where it begins."""
    file = io.BytesIO()
    torch.save([1], file)
    second = file.tell()
    torch.save([2], file)
    file.seek(second)
    assert torch.load(file) == [2]


def test_unbuffered_and_odd_file_objects(tmp_path: Path) -> None:
    class OnlyWrite:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: Any) -> int:
            self.data += bytes(data[:100])
            return len(data[:100])

    odd = OnlyWrite()
    torch.save({"x": torch.arange(100)}, odd)
    assert torch.load(io.BytesIO(odd.data))["x"].tolist() == list(range(100))
    with open(tmp_path / "raw", "wb", buffering=0) as raw:
        torch.save({"x": torch.arange(100)}, raw)
    with open(tmp_path / "raw", "rb", buffering=0) as raw:
        assert torch.load(raw)["x"].tolist() == list(range(100))


def test_mapped_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"x": torch.arange(4.0), "e": torch.zeros(0)}, path)
    before = path.read_bytes()
    got = torch.load(path, mmap=True)
    got["x"][0] = 9
    assert got["x"].tolist() == [9, 1, 2, 3]
    assert path.read_bytes() == before
    torch.save(got["x"], tmp_path / "y.pt")
    assert (tmp_path / "y.pt").stat().st_size < 2000


def test_other_byte_order() -> None:
    """A file of a big-endian machine."""
    file = io.BytesIO()
    x = {"f": torch.tensor([1.5, -2.0]), "i": torch.tensor([1, 2]), "z": torch.tensor([1 + 2j])}
    torch.save(x, file)
    reader, swapped = ArchiveReader(file := io.BytesIO(file.getvalue())), io.BytesIO()
    writer = ArchiveWriter(swapped)
    widths = {"data/0": 4, "data/1": 8, "data/2": 4}
    for name in reader.names():
        data = b"big" if name == "byteorder" else reader.read(name)
        w = widths.get(name, 1)
        writer.write(name, b"".join(data[i : i + w][::-1] for i in range(0, len(data), w)) if w > 1 else data)
    writer.close()
    swapped.seek(0)
    if sys.byteorder == "little":
        got = torch.load(swapped)
        assert {k: v.tolist() for k, v in got.items()} == {k: v.tolist() for k, v in x.items()}


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save([1], path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        torch.save([lambda: 1], path)
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert torch.load(path) == [1]
    assert os.listdir(tmp_path) == ["x.pt"]


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "x[1].pt"
    (tmp_path / ".x[1].pt.0123456789ab.tmp").write_bytes(b"half")
    (tmp_path / ".other.pt.0123456789ab.tmp").write_bytes(b"half")
    with atomic_file(path) as first:
        first.write(b"one")
        with atomic_file(path) as second:  # a live writer is left alone
            second.write(b"two")
    assert path.read_bytes() == b"one"
    assert sorted(os.listdir(tmp_path)) == [".other.pt.0123456789ab.tmp", "x[1].pt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_survive(tmp_path: Path) -> None:
    path, link = tmp_path / "x.pt", tmp_path / "link.pt"
    torch.save([1], path)
    path.chmod(0o600)
    link.symlink_to(path)
    torch.save([2], link)
    assert link.is_symlink()
    assert torch.load(path) == [2]
    assert path.stat().st_mode & 0o777 == 0o600
    torch.save([3], os.devnull)
    with pytest.raises(RuntimeError, match=r"Parent directory .* does not exist\."):
        torch.save([1], tmp_path / "no" / "x.pt")
    with pytest.raises(OSError, match="directory"):
        torch.save([1], tmp_path)


def test_where_tensors_go() -> None:
    file = io.BytesIO()
    torch.save(torch.ones(2), file)
    data = file.getvalue()
    reader, moved = ArchiveReader(io.BytesIO(data)), io.BytesIO()
    writer = ArchiveWriter(moved)
    for name in reader.names():
        writer.write(name, reader.read(name).replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:1"))
    writer.close()

    def load(place: Any) -> Any:
        return torch.load(io.BytesIO(moved.getvalue()), map_location=place)

    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"Attempting to deserialize object on a CUDA device but"):
            load(None)
    seen = []

    def place(storage: Any, location: str) -> Any:
        seen.append(location)
        return storage

    for where in ("cpu", torch.device("cpu"), {"cuda:1": "cpu"}, place):
        assert load(where).tolist() == [1, 1]
    assert seen == ["cuda:1"]
    with pytest.raises(RuntimeError, match=r"don't know how to restore data location .* \(tagged with moon\)"):
        load("moon")


def test_header_fields_are_pytorchs() -> None:
    header = struct.unpack_from("<4s5H3I2H", write().getvalue())
    assert header[:4] == (b"PK\3\4", 0, 0x808, 0)
