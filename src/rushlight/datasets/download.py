"""Fetching a file over HTTP: checked, resumed where it broke off, from the first mirror that works."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rushlight.errors import explain
from rushlight.version import __version__

try:
    import fcntl
except ImportError:  # Windows and the browser: two processes that download the same file may do so twice
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 18
TIMEOUT = 30.0
ATTEMPTS = 3  # per mirror, as long as each brings the download further
NO_CONTENT_LEFT = 416
BAR_WIDTH = 24


@dataclass(frozen=True)
class Resource:
    """A file that is fetched: its name below each mirror and in the folder, and its MD5 sum.

    The sum is the one that the authors of the data published; it guards against damage, not against malice: nothing
    that is downloaded is ever executed or unpickled.
    """

    name: str
    md5: str


class DownloadError(RuntimeError):
    """No mirror gave the file; the notes say what was tried and what to do by hand."""


class _Damaged(Exception):
    """What a mirror sent is not the file."""


def is_intact(path: Path, md5: str) -> bool:
    """Whether `path` is a file with that MD5 sum."""
    return path.is_file() and md5_of(path) == md5


def md5_of(path: Path) -> str:
    """The MD5 sum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(mirrors: Sequence[str], resource: Resource, folder: Path, *, timeout: float = TIMEOUT) -> Path:
    """Bring a file into `folder` unless it is there, and return its path.

    What has arrived lies in `NAME.part` until it is complete and its sum is right; then it gets its name, so that a
    file with that name is always whole. A later call goes on where this one stopped.

    Raises
    ------
    DownloadError
        If no mirror gave the right file.
    """
    target = folder / resource.name
    if is_intact(target, resource.md5):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{resource.name}.part"
    tried: list[str] = []
    with _opened_alone(part) as file:
        if is_intact(target, resource.md5):  # another process fetched it while this one waited
            part.unlink(missing_ok=True)
            return target
        for mirror in mirrors:
            url = mirror.rstrip("/") + "/" + resource.name
            problem = _from_mirror(url, file, resource.md5, timeout)
            if problem is None:
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:  # Windows cannot rename a file that is open
                    os.replace(part, target)
                break
            tried.append(f"{url}: {problem}")
        else:
            raise _not_fetched(resource, target, mirrors, tried)
    if fcntl is None:
        os.replace(part, target)
    return target


@contextlib.contextmanager
def _opened_alone(part: Path) -> Iterator[IO[bytes]]:
    """The partial file, held by one process at a time."""
    while True:
        file: Any = open(part, "a+b")
        if fcntl is None:
            break
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        # The process that held the lock before may have given the file its final name.
        if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
            break
        file.close()
    with file:
        yield file


def _from_mirror(url: str, file: IO[bytes], md5: str, timeout: float) -> str | None:
    """Fetch what is missing of `file`; what went wrong, or None."""
    problem = "no data"
    for _ in range(ATTEMPTS):
        start = file.seek(0, os.SEEK_END)
        try:
            _transfer(url, file, start, timeout)
            _check(file, md5)
            return None
        except _Damaged as error:
            file.truncate(0)
            problem = str(error)
            if not start:
                return problem  # from the first byte on: asking again brings the same
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            problem = _reason(error)
            if file.seek(0, os.SEEK_END) == start:
                return problem
    return problem


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def _transfer(url: str, file: IO[bytes], start: int, timeout: float) -> None:
    """Append the bytes from `start` on; a server that does not know ranges sends all, and `file` starts anew."""
    headers = {"User-Agent": f"rushlight/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == NO_CONTENT_LEFT and start:
            error.close()
            return  # all of it is there, or it is not this file: the sum tells
        raise
    with response:
        if start and _range_start(response) != start:
            file.truncate(0)
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        bar, done = _Bar(url.rpartition("/")[2], total), start
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            bar.show(done)
        bar.end(done)
    file.flush()
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _range_start(response: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return int(found[1]) if response.status == http.client.PARTIAL_CONTENT and found else None


def _check(file: IO[bytes], md5: str) -> None:
    file.flush()
    file.seek(0)
    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]
    if found != md5:
        raise _Damaged(f"another file: MD5 {found} instead of {md5}")


def _not_fetched(resource: Resource, target: Path, mirrors: Sequence[str], tried: list[str]) -> DownloadError:
    first = (mirrors[0].rstrip("/") + "/" if mirrors else "") + resource.name
    return explain(
        DownloadError(f"Error downloading {resource.name}"),
        tried="\n             ".join(tried) or "no mirror",
        fix=f"download {first} on a computer with a network and save it as {target.resolve()}",
    )


class _Bar:
    """The progress of a download on a terminal."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.shown = name, total, 0.0
        self.live = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Redraw, at most ten times a second."""
        now = time.monotonic()
        if not self.live or now - self.shown < 0.1:
            return
        self.shown = now
        amount = f"{done / 1e6:8.1f} MB"
        if self.total:
            filled = round(BAR_WIDTH * min(1.0, done / self.total))
            amount = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {amount} of {self.total / 1e6:.1f} MB"
        print(f"\r{self.name}  {amount}", end="", file=sys.stderr, flush=True)

    def end(self, done: int) -> None:
        """Leave the last state on its line."""
        if self.live:
            self.shown = 0.0
            self.show(done)
            print(file=sys.stderr, flush=True)
