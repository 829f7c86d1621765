"""Every environment variable of the project: name, type, default and help. Nothing else reads the environment."""

from __future__ import annotations

import difflib
import os
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


VARIABLES = {
    v.name: v
    for v in (
        Variable("JIT", _flag, True, "0: never use llvmlite; every op runs interpreted on NumPy"),
        Variable("SEED", _count, None, "seed of the default generator at start"),
        Variable("THREADS", _count, None, "number of threads"),
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
    """Change settings for a block: `with config(jit=False): ...`.

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
    _values.update({name.upper(): value for name, value in settings.items()})
    try:
        yield
    finally:
        _values.update(before)
