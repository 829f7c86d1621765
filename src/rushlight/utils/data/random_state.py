"""The state of every source of random numbers that a data pipeline may use."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from rushlight.generator import Generator
from rushlight.random import default_generator

State = tuple[Any, ...]


def capture() -> State:
    """State of Python's `random`, of NumPy's global stream and of the default generator."""
    return random.getstate(), np.random.get_state(), default_generator.state_bytes()


def restore(state: State) -> None:
    """Inverse of `capture`."""
    python, numpy, own = state
    random.setstate(python)
    np.random.set_state(numpy)
    default_generator.load_bytes(own)


def is_same(a: State | None, b: State | None) -> bool:
    """Whether two captured states are equal."""
    if a is None or b is None:
        return a is b
    return bool(a[0] == b[0] and a[2] == b[2] and a[1][2:] == b[1][2:] and np.array_equal(a[1][1], b[1][1]))


def portable(state: State) -> dict[str, Any]:
    """A captured state as plain lists, numbers and texts, for files."""
    (version, words, gauss), (name, key, position, has_gauss, cached), own = state
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, key.tolist(), position, has_gauss, cached],
        "default": own.hex(),
    }


def from_portable(saved: dict[str, Any]) -> State:
    """Inverse of `portable`."""
    version, words, gauss = saved["python"]
    name, key, *rest = saved["numpy"]
    python = (version, tuple(words), gauss)
    return python, (name, np.array(key, np.uint32), *rest), bytes.fromhex(saved["default"])


def capture_generator(generator: Generator | None) -> str | None:
    """State of a loader's own generator."""
    return None if generator is None else generator.state_bytes().hex()


def restore_generator(generator: Generator | None, state: str | None) -> None:
    """Inverse of `capture_generator`."""
    if generator is not None and state is not None:
        generator.load_bytes(bytes.fromhex(state))
