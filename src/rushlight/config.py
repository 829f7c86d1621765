"""Every environment variable of the project: name, type, default and help. Nothing else reads the environment."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variable:
    """One setting: how its text is read, what it is without text, and what it means."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str


def _flag(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _count(text: str) -> int | None:
    return int(text) if text.strip() else None


# What RUSHLIGHT_DEBUG may name.
TOPICS = {
    "trace": "the graph as it was traced",
    "simplify": "the graph after each simplification",
    "cse": "the graph after sharing common subexpressions",
    "dce": "the graph without dead calls",
    "layouts": "the graph with results of attention in the order of dims that is wanted",
    "graph": "the graph that is made into kernels",
    "schedule": "which calls went into which kernel",
    "code": "LLVM IR of each kernel",
    "cache": "what came from the cache of machine code",
    "verify": "nothing; checks every graph between stages",
    "guard": "nothing; puts forbidden memory right after every buffer that kernels use (slow, uses much memory)",
    "all": "all of these but guard",
}


def _topics(text: str) -> frozenset[str]:
    named = frozenset(word.strip() for word in text.split(",") if word.strip())
    for word in sorted(named - set(TOPICS)):
        near = difflib.get_close_matches(word, TOPICS, 1)
        known = "; ".join(f"{name}: {shows}" for name, shows in TOPICS.items())
        raise ValueError(f"unknown topic {word!r}{f', did you mean {near[0]}?' if near else ''} ({known})")
    return named


def _user_cache() -> str | None:
    """Where this system keeps what programs can make again."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "rushlight") if os.path.isabs(base) else None


def _folder(text: str) -> str | None:
    if text.strip().lower() in ("0", "off", "no", "false"):
        return None
    return os.path.abspath(text) if text.strip() else _user_cache()


def _traceback(text: str) -> str:
    if text not in ("short", "full"):
        raise ValueError("expected short or full")
    return text


VARIABLES = {
    v.name: v
    for v in (
        Variable("DEBUG", _topics, frozenset(), f"stages of the compiler to print, with commas: {', '.join(TOPICS)}"),
        Variable("DUMP", str, "", "folder to which the compiler writes its stages, as numbered files"),
        Variable("CACHE", _folder, _user_cache(), "folder for compiled code, 0: none"),
        Variable("COMPILE", _flag, True, "0: compiled functions run eagerly"),
        Variable("JIT", _flag, True, "0: never use llvmlite; every op runs interpreted on NumPy"),
        Variable("SEED", _count, None, "seed of the default generator at start"),
        Variable("THREADS", _count, None, "number of threads"),
        Variable("TRACEBACK", _traceback, "short", "full: tracebacks of `rushlight run` show all frames"),
    )
}
PREFIX = "RUSHLIGHT_"


def _read() -> dict[str, Any]:
    values = {name: v.default for name, v in VARIABLES.items()}
    for key, text in os.environ.items():
        if not key.startswith(PREFIX):
            continue
        name = key[len(PREFIX) :]
        if name not in VARIABLES:
            near = difflib.get_close_matches(name, VARIABLES, 1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise ValueError(f"unknown environment variable {key}{hint} (known: {', '.join(VARIABLES)})")
        try:
            values[name] = VARIABLES[name].parse(text)
        except ValueError as error:
            raise ValueError(f"{key}={text!r}: {error} ({VARIABLES[name].help})") from None
    return values


_values = _read()


def get(name: str) -> Any:
    """The value of a setting, named without its prefix: `get("JIT")`."""
    return _values[name]


@contextmanager
def config(**settings: Any) -> Iterator[None]:
    """Change settings for a block: `with config(jit=False, debug="graph,code"): ...`.

    Examples
    --------
    >>> with config(jit=False):
    ...     get("JIT")
    False
    """
    unknown = [name for name in settings if name.upper() not in VARIABLES]
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} (known: {', '.join(VARIABLES).lower()})")
    before = dict(_values)
    for name, value in settings.items():
        _values[name.upper()] = VARIABLES[name.upper()].parse(value) if isinstance(value, str) else value
    try:
        yield
    finally:
        _values.update(before)


def launcher() -> dict[str, str]:
    """What a launcher of several processes (`torchrun`) tells each of them; these names are not ours."""
    names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_RUN_ID".split()
    return {name: os.environ[name] for name in names if name in os.environ}


def environment_of(rank: int, count: int, address: str, port: int) -> dict[str, str]:
    """The environment of one of several processes on this machine that find together."""
    place = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }  # fmt: skip
    return {**os.environ, **{name: str(value) for name, value in place.items()}}
