"""The zip container of `.pt` files: a writer that lays records out as PyTorch does, and a reader that trusts nothing.

Records are stored, not compressed, and their data starts at a multiple of 64 bytes so that it can be memory-mapped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
DESCRIPTOR = struct.Struct("<4s3I")
DESCRIPTOR64 = struct.Struct("<4sI2Q")

ALIGNMENT = 64
STREAMED, UTF8 = 0x08, 0x800
STORED, DEFLATED = 0, 8
MAX_RECORDS = 1 << 20
CHUNK = 1 << 20
# A compressed record may expand to this many times the size of the whole file. PyTorch never compresses; people who
# repack a checkpoint may, and a file made to exhaust memory would expand a thousandfold.
MAX_EXPANSION = 64
CORRUPTED = (
    "If you are seeing this error, there is a high likelihood that your checkpoint file is corrupted. This can happen "
    "if the checkpoint was not saved properly, was transferred incorrectly, or the file was modified after saving."
)


def corrupted(what: str) -> RuntimeError:
    """The error for a container that cannot be read."""
    return RuntimeError(f"PytorchStreamReader failed reading zip archive: {what}. {CORRUPTED}")


class ArchiveWriter:
    """Writes records one after another; never seeks, so any object with `write` will do.

    Parameters
    ----------
    file : binary file object
    root : str
        Folder inside the archive that holds all records.
    limit : int
        Sizes and positions from here on need the 64-bit fields (lowered in tests only).
    """

    def __init__(self, file: IO[bytes], root: str = "archive", limit: int = 0xFFFFFFFF) -> None:
        self._file = file
        self._root = root
        self._limit = limit
        self._position = 0
        self._directory: list[tuple[bytes, int, int, int, int]] = []

    def write(self, name: str, data: bytes | memoryview[Any]) -> None:
        """Append the record `name`."""
        path = f"{self._root}/{name}".encode()
        view = memoryview(data).cast("B")
        start, size, checksum = self._position, view.nbytes, zlib.crc32(view)
        large = size >= self._limit or start >= self._limit
        flags = UTF8 | (STREAMED if size else 0)
        extra = self._padding(path, size, start)
        header = LOCAL.pack(b"PK\3\4", 0, flags, STORED, 0, 0, 0, 0, 0, len(path), len(extra))
        self._put(header + path + extra)
        self._put(view)
        if size:
            descriptor = DESCRIPTOR64 if large else DESCRIPTOR
            self._put(descriptor.pack(b"PK\7\x08", checksum, size, size))
        self._directory.append((path, flags, checksum, size, start))

    def close(self) -> None:
        """Write the directory of records."""
        start = self._position
        for path, flags, checksum, size, offset in self._directory:
            wide = [value for value in (size, size, offset) if value >= self._limit]
            extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
            sizes = (0xFFFFFFFF if size >= self._limit else size,) * 2
            position = 0xFFFFFFFF if offset >= self._limit else offset
            self._put(
                CENTRAL.pack(
                    b"PK\1\2", 0, 0, flags, STORED, 0, 0, checksum, *sizes, len(path), len(extra), 0, 0, 0, 0, position
                )
                + path
                + extra
            )
        count, size = len(self._directory), self._position - start
        if count >= 0xFFFF or start >= self._limit or size >= self._limit:
            end = self._position
            self._put(END64.pack(b"PK\6\6", END64.size - 12, 45, 45, 0, 0, count, count, size, start))
            self._put(LOCATOR64.pack(b"PK\6\7", 0, end, 1))
            count, size, start = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
        self._put(END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _padding(self, path: bytes, size: int, start: int) -> bytes:
        """Extra field that moves the data to the next aligned position; same bytes as PyTorch's writer."""
        wide: list[int] = []
        if size >= self._limit:
            wide += [size, size]
        if start >= self._limit:
            wide.append(start)
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        fill = -(start + LOCAL.size + len(path) + len(extra) + 4) % ALIGNMENT
        return extra + struct.pack("<2sH", b"FB", fill) + b"Z" * fill

    def _put(self, data: bytes | memoryview[Any]) -> None:
        rest = memoryview(data)
        while rest.nbytes:
            written = self._file.write(rest)  # an unbuffered file may take less than it is given
            rest = rest[written:] if isinstance(written, int) else rest[:0]
        self._position += len(data)


@dataclass(frozen=True)
class Record:
    """Where a record lies in the file, and what its bytes must sum to."""

    name: str
    start: int
    stored: int
    size: int
    checksum: int
    compressed: bool


class ArchiveReader:
    """Reads records by name; every length is compared with the size of the file before memory is taken.

    Parameters
    ----------
    file : seekable binary file object
        The archive begins at its current position and ends where the file ends.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._base = file.tell()
        self._size = file.seek(0, 2) - self._base
        self.records = self._read_directory()
        first = next(iter(self.records), "")
        self.root = first.split("/", 1)[0] if "/" in first else ""

    def __contains__(self, name: str) -> bool:
        return f"{self.root}/{name}" in self.records

    def find(self, name: str) -> Record:
        """The record `name` below the archive's folder."""
        record = self.records.get(f"{self.root}/{name}")
        if record is None:
            raise corrupted(f"file not found: {self.root}/{name}")
        return record

    def read(self, name: str) -> bytes:
        """The bytes of a record, its checksum verified."""
        record = self.find(name)
        if record.compressed:
            data = self._inflate(record)
        else:
            data = self._read_at(record.start, record.size)
        if zlib.crc32(data) != record.checksum:
            raise corrupted(f"{record.name} does not match its checksum")
        return data

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a record, a piece at a time, not verified."""
        record = self.find(name)
        if record.compressed:
            yield self._inflate(record)
            return
        for start in range(record.start, record.start + record.size, CHUNK):
            yield self._read_at(start, min(CHUNK, record.start + record.size - start))

    def names(self) -> list[str]:
        """Names of the records below the archive's folder, in the order of the directory."""
        return [name.removeprefix(f"{self.root}/") for name in self.records]

    def read_into(self, name: str, target: memoryview[Any]) -> None:
        """Fill `target`, at most as long as the record, with the record's first bytes."""
        record = self.find(name)
        if record.compressed or record.size != target.nbytes:
            target[:] = self.read(name)[: target.nbytes]
            return
        self._file.seek(self._base + record.start)
        fill(self._file, target)
        if zlib.crc32(target) != record.checksum:
            raise corrupted(f"{record.name} does not match its checksum")

    def offset(self, name: str) -> int | None:
        """Position of the record's bytes in the file, or None if they are compressed."""
        record = self.find(name)
        return None if record.compressed else self._base + record.start

    def _read_at(self, start: int, size: int) -> bytes:
        if start < 0 or size < 0 or start + size > self._size:
            raise corrupted("a position lies outside the file")
        self._file.seek(self._base + start)
        data = self._file.read(size)
        if len(data) != size:
            raise corrupted("the file ended early")
        return data

    def _inflate(self, record: Record) -> bytes:
        machine = zlib.decompressobj(-15)
        try:
            data = machine.decompress(self._read_at(record.start, record.stored), record.size)
        except zlib.error as error:
            raise corrupted(f"{record.name} cannot be decompressed ({error})") from None
        if len(data) != record.size:
            raise corrupted(f"{record.name} has another length than its header says")
        return data

    def _find_end(self) -> tuple[int, int, int]:
        """Number of records, size and position of the central directory."""
        tail_size = min(self._size, 0xFFFF + END.size)
        tail = self._read_at(self._size - tail_size, tail_size)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + END.size > len(tail):
            raise corrupted("failed finding central directory")
        _, disk, disk2, _, count, size, start, _ = END.unpack_from(tail, at)
        if disk not in (0, 0xFFFF) or disk2 not in (0, 0xFFFF):
            raise corrupted("the archive spans several disks")
        if 0xFFFF in (count,) or 0xFFFFFFFF in (size, start):
            count, size, start = self._find_end64(self._size - tail_size + at) or (count, size, start)
        if count > MAX_RECORDS or count * CENTRAL.size > size or start + size > self._size:
            raise corrupted("the central directory lies outside the file")
        return count, size, start

    def _find_end64(self, end: int) -> tuple[int, int, int] | None:
        if end < LOCATOR64.size:
            return None
        magic, _, position, _ = LOCATOR64.unpack(self._read_at(end - LOCATOR64.size, LOCATOR64.size))
        if magic != b"PK\6\7":
            return None
        magic, *_, count, size, start = END64.unpack(self._read_at(position, END64.size))
        if magic != b"PK\6\6":
            raise corrupted("the 64-bit end of the central directory is missing")
        return count, size, start

    def _read_directory(self) -> dict[str, Record]:
        count, size, start = self._find_end()
        directory = self._read_at(start, size)
        records: dict[str, Record] = {}
        position = total = 0
        for _ in range(count):
            record, position = self._entry(directory, position)
            if record.name in records:
                raise corrupted(f"{record.name} appears twice")
            records[record.name] = record
            total += record.stored
            # Records that overlap would let a small file claim any amount of memory.
            if total > self._size:
                raise corrupted("the records claim more bytes than the file has")
        expanded = sum(record.size for record in records.values() if record.compressed)
        if expanded > MAX_EXPANSION * self._size:
            raise corrupted(
                f"compressed records claim {expanded} bytes, more than {MAX_EXPANSION} times the size of the file "
                "(unzip the file and zip it again without compression if you trust it)"
            )
        return records

    def _entry(self, directory: bytes, position: int) -> tuple[Record, int]:
        if position + CENTRAL.size > len(directory):
            raise corrupted("the central directory ends early")
        fields = CENTRAL.unpack_from(directory, position)
        magic, _, _, flags, method, _, _, checksum, stored, size, n_name, n_extra, n_comment, _, _, _, start = fields
        names = position + CENTRAL.size
        after = names + n_name + n_extra + n_comment
        if magic != b"PK\1\2" or after > len(directory):
            raise corrupted("an entry of the central directory is damaged")
        name = decode_name(directory[names : names + n_name])
        extra = directory[names + n_name : names + n_name + n_extra]
        size, stored, start = _widen(extra, size, stored, start)
        if flags & 1:
            raise corrupted(f"{name} is encrypted")
        if method not in (STORED, DEFLATED):
            raise corrupted(f"{name} is compressed by the unknown method {method}")
        if method == STORED and stored != size:
            raise corrupted(f"{name} has two different lengths")
        return Record(name, self._data_start(start, name, stored), stored, size, checksum, method == DEFLATED), after

    def _data_start(self, start: int, name: str, stored: int) -> int:
        magic, *_, n_name, n_extra = LOCAL.unpack(self._read_at(start, LOCAL.size))
        if magic != b"PK\3\4" or decode_name(self._read_at(start + LOCAL.size, n_name)) != name:
            raise corrupted(f"the header of {name} is damaged")
        position: int = start + LOCAL.size + n_name + n_extra
        if position + stored > self._size:
            raise corrupted(f"{name} reaches beyond the end of the file")
        return position


def _widen(extra: bytes, size: int, stored: int, start: int) -> tuple[int, int, int]:
    """The 64-bit values of those fields that are marked as too large for 32 bits."""
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, position)
        if tag == 1:
            field = extra[position + 4 : position + 4 + length]
            values = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            size, stored, start = (next(values, v) if v == 0xFFFFFFFF else v for v in (size, stored, start))
            return size, stored, start
        position += 4 + length
    return size, stored, start


def decode_name(name: bytes) -> str:
    """A record's name; bytes that are not UTF-8 are kept apart instead of failing."""
    return name.decode("utf-8", "backslashreplace")


def fill(file: IO[bytes], target: memoryview[Any]) -> None:
    """Read exactly `len(target)` bytes into `target`."""
    into: Any = getattr(file, "readinto", None)
    done = 0
    while done < target.nbytes:
        if into is None:
            piece = file.read(target.nbytes - done)
            count = len(piece)
            target[done : done + count] = piece
        else:
            count = into(target[done:]) or 0
        if not count:
            raise corrupted("the file ended early")
        done += count
