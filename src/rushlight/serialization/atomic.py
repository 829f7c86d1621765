"""Files that appear whole or not at all.

A writer killed at any moment leaves the old file as it was. What it leaves besides, a half-written temporary file, is
removed by the next writer of the same target: a live writer holds a lock on its temporary file, a dead one does not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows and the browser: no locks, so nothing stale is removed there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file object whose content replaces `path` when the block ends without an exception.

    The content is on the disk (fsync) before the name points to it. A target that is not a regular file (a pipe, a
    device) is written directly, since there is nothing to replace.
    """
    target = Path(os.path.realpath(os.fspath(path)))
    if not target.parent.is_dir():
        raise RuntimeError(f"Parent directory {target.parent} does not exist.")
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {target}: it is a directory")
    if target.exists() and not target.is_file():
        with open(target, "wb") as direct:
            yield direct
        return
    remove_stale(target)
    temporary, file = _create_locked(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if target.exists():
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            if fcntl is not None:  # Windows cannot rename a file that is open
                os.replace(temporary, target)
        if fcntl is None:
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def remove_stale(target: Path) -> None:
    """Delete temporary files that killed writers of `target` left."""
    if fcntl is None:
        return
    for leftover in target.parent.glob(f".{_literal(target.name)}.*.tmp"):
        with contextlib.suppress(OSError), open(leftover, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _create_locked(target: Path) -> tuple[Path, IO[bytes]]:
    while True:
        # The middle is cut so that a target name of the greatest length still gives a valid name.
        temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.tmp")
        file: Any = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b")
        if fcntl is None:
            return temporary, file
        with contextlib.suppress(OSError):  # a file system without locks: cleaning fails there in the same way
            fcntl.flock(file, fcntl.LOCK_EX)
        # Between creation and lock another process may have taken the file for a stale one.
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable, where a directory can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
