"""Starting a program in several processes that find together: what `rushlight launch` does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from rushlight.config import environment_of

PAUSE = 0.05
GRACE = 10.0  # seconds that the others get to end when one has failed


def launch(command: Sequence[str], count: int, port: int | None = None) -> int:
    """Run `command` in `count` processes and wait for all; when one fails, the others are ended.

    Each finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as `torchrun` sets them.

    Returns
    -------
    int
        0, or the exit status of the first that failed.
    """
    chosen = free_port() if port is None else port
    processes = [
        subprocess.Popen([*command], env=environment_of(rank, count, "127.0.0.1", chosen)) for rank in range(count)
    ]
    try:
        return _wait(processes)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        _end(processes)


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    waiting = dict(enumerate(processes))
    while waiting:
        for rank, process in list(waiting.items()):
            status = process.poll()
            if status is None:
                continue
            del waiting[rank]
            if status:
                print(f"rushlight launch: process {rank} ended with status {status}", file=sys.stderr)
                return status if status > 0 else 128 - status
        time.sleep(PAUSE)
    return 0


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask those that still run to end, then make them."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that no program listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
