"""Machine code by what it does: kept in memory, and on disk between processes.

A file holds the code of one kernel under a name made of all that the code depends on: the kernel's key, the processor,
LLVM, and the sources of this package that write code. Files are written aside and renamed, carry a checksum, and
count only if nobody else could have written them. Whatever is wrong with the folder, programs run without it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from rushlight import config
from rushlight.backends import threads
from rushlight.compiler import target
from rushlight.compiler.binding import ir, llvm
from rushlight.compiler.show import is_shown, show
from rushlight.version import __version__

MOST_BYTES = 256 << 20
# of functions that no program uses any more; each may keep some 50 kB
MOST_IN_MEMORY = 256
MAGIC = b"rushlight code 1\n"
SUFFIX = ".code"
# a file's time of last use is only renewed when it is older than this
FRESH_SECONDS = 3600
# what even a small file takes on disk
BLOCK = 4096


@dataclass(frozen=True)
class Loaded:
    """A function in memory; the address is valid while `code` lives."""

    address: int
    code: target.Code


@dataclass(frozen=True)
class Source:
    """A function to be had: `key` says all that it depends on, `build(module, name)` adds it to a module."""

    key: str
    build: Callable[[Any, str], None]
    label: str = ""


_memory: WeakValueDictionary[str, Loaded] = WeakValueDictionary()
_latest: OrderedDict[str, Loaded] = OrderedDict()


@cache
def _sources() -> bytes:
    """A digest of the source files that decide what code is made."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in (package / "compiler", package / "ops"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.digest()


@cache
def _salt(host: target.Host) -> bytes:
    parts = (__version__, llvm.llvm_version_info, host, len(host.features))
    return hashlib.sha256(repr(parts).encode() + _sources()).digest()


def digest_of(key: str) -> str:
    """The name of a function's code: of its key and of everything else that it depends on."""
    return hashlib.sha256(_salt(target.host()) + key.encode()).hexdigest()[:40]


def functions(sources: Sequence[Source]) -> list[Loaded]:
    """The loaded functions, from memory, from disk, or compiled now, several at a time."""
    with target.alone():
        names = [digest_of(source.key) for source in sources]
        known = {name: _memory.get(name) for name in names}
        missing = {n: s for n, s in zip(names, sources, strict=True) if known[n] is None}
        if missing:
            code = target.Code(_objects(missing))
            known.update({n: Loaded(code.addresses[_symbol(n)], code) for n in missing})
        found = [loaded for name in names if (loaded := known[name]) is not None]
        for name, loaded in zip(names, found, strict=True):
            _memory[name] = _latest[name] = loaded
            _latest.move_to_end(name)
        while len(_latest) > MOST_IN_MEMORY:
            _latest.popitem(last=False)
    return found


def text_code(key: str, text: Callable[[], str], names: Sequence[str]) -> target.Code:
    """The loaded functions `names` of a module written as LLVM assembler."""
    with target.alone():
        name, folder = digest_of(key), folder_in_use()
        data = read(folder, name)
        if data is None:
            data = target.compile_text(text(), names)
            write(folder, name, data)
        return target.Code([data])


def _symbol(name: str) -> str:
    return "k" + name


def _objects(missing: dict[str, Source]) -> list[bytes]:
    folder = folder_in_use()
    objects = {name: read(folder, name) for name in missing}
    to_make = [name for name, data in objects.items() if data is None]
    if is_shown("cache"):
        come = ("compiled" if data is None else "from disk" for data in objects.values())
        show("cache", "\n".join(f"{how} {s.label or s.key}" for how, s in zip(come, missing.values(), strict=True)))
    if to_make:
        for name, data in zip(to_make, _compile([(name, missing[name]) for name in to_make]), strict=True):
            objects[name] = data
            write(folder, name, data)
        target.give_back()
        # to look through the folder takes a while; one name in 256 begins so
        if any(name.startswith("00") for name in to_make):
            trim(folder)
    return [data for data in objects.values() if data is not None]


def _compile(wanted: list[tuple[str, Source]]) -> list[bytes]:
    """Python writes the modules in turn while threads compile those that are written."""
    if len(wanted) == 1:
        return [_make(_written(*wanted[0]), wanted[0])]
    host = target.host()

    def make(text: str, item: tuple[str, Source]) -> bytes:
        with target.use(host):
            return _make(text, item)

    with ThreadPoolExecutor(max(1, threads.get_num_threads()), thread_name_prefix="rushlight-compile") as pool:
        futures: list[Future[bytes]] = [pool.submit(make, _written(*item), item) for item in wanted]
        return [future.result() for future in futures]


def _written(name: str, source: Source) -> str:
    module = ir.Module()
    source.build(module, _symbol(name))
    text = str(module)
    show("code", f"; {source.label or source.key}\n{text}", "ll")
    _take_apart(module)
    return text


def _take_apart(module: Any) -> None:
    """Break the cycles of a module that is written: it goes now, not when Python next looks for cycles."""
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                instruction.operands = []
                if hasattr(instruction, "incomings"):
                    instruction.incomings = []
            block.instructions.clear()
        function.blocks.clear()
        function.args = ()
    module.globals.clear()


def _make(text: str, item: tuple[str, Source]) -> bytes:
    name, source = item
    try:
        return target.compile_text(text, [_symbol(name)])
    except RuntimeError as error:
        raise RuntimeError(f"LLVM refuses kernel {source.label or source.key!r}: {error}") from None


def folder_in_use() -> Path | None:
    """The folder, made if need be; None where there is none that only this user can write to."""
    chosen = config.get("CACHE")
    if not chosen:
        return None
    return _checked(Path(chosen))


def _checked(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    return folder if _is_ours(status) else None


def _is_ours(status: os.stat_result) -> bool:
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def read(folder: Path | None, name: str) -> bytes | None:
    """What the file of that name holds, None if there is no sound one."""
    if folder is None:
        return None
    path = folder / (name + SUFFIX)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read() if _is_ours(status) else b""
    except OSError:
        return None
    head = len(MAGIC) + 32
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(data[head:]).digest() != data[len(MAGIC) : head]:
        return None
    if time.time() - status.st_mtime > FRESH_SECONDS:
        with suppress(OSError):
            os.utime(path)
    return data[head:]


def write(folder: Path | None, name: str, data: bytes) -> None:
    """Make the file of that name, whole or not at all."""
    if folder is None:
        return
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=name + ".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + hashlib.sha256(data).digest() + data)
        os.replace(temporary, folder / (name + SUFFIX))
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def entries(folder: Path | None) -> list[tuple[float, int, str]]:
    """(time of last use, bytes, path) of every file, oldest first; files left by processes that died included."""
    if folder is None:
        return []
    found = []
    with suppress(OSError), os.scandir(folder) as listing:
        for entry in listing:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, entry.path))
    return sorted(entry for entry in found if entry[2].endswith((SUFFIX, ".tmp")))


def trim(folder: Path | None, most: int = MOST_BYTES) -> None:
    """Remove what was not used for longest until the folder holds no more than `most` bytes."""
    found = entries(folder)
    size = sum(max(length, BLOCK) for _, length, _ in found)
    stale = time.time() - FRESH_SECONDS
    for used, length, path in found:
        if size > most or (path.endswith(".tmp") and used < stale):
            with suppress(OSError):
                os.unlink(path)
            size -= max(length, BLOCK)


def clear(folder: Path | None) -> int:
    """Remove every file; returns how many there were."""
    found = entries(folder)
    for _, _, path in found:
        with suppress(OSError):
            os.unlink(path)
    return len(found)


def forget() -> None:
    """Drop what is in memory (programs keep what they use)."""
    with target.alone():
        _memory.clear()
        _latest.clear()
