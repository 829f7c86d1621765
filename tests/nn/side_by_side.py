"""Run one scenario on Rushlight and on PyTorch and compare what it logs."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import rushlight

CLASS = re.compile(r"<(class|bound method) '?(?:\w+\.)*(\w+)'?")
ADDRESS = re.compile(r"0x[0-9a-f]+")
TOKEN = re.compile(r"[^\W\d]\w*|-?\d+\.?\d*(?:e[-+]?\d+)?|\S")


def normal(text: str) -> str:
    """`text` without what may differ: the package's name, paths of classes, addresses, distances from a tutorial."""
    text = text.replace("rushlight", "torch")
    return ADDRESS.sub("0x", CLASS.sub(r"<\1 \2", text))


class Log:
    """What a scenario did: values it gave, errors it met, in order."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.entries: list[Any] = []

    def __call__(self, *values: Any) -> None:
        """Log values; a function is called, and an error it raises is logged."""
        for value in values:
            if not callable(value) or isinstance(value, (type, self.library.nn.Module)):
                self.entries.append(normal(repr(value)))
                continue
            try:
                result = value()
            except Exception as error:
                self.entries.append((error, normal(str(error))))
            else:
                self.entries.append(normal(repr(result)))


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return isinstance(ours[0], type(theirs[0])) and ours[1] == theirs[1]
    if ours == theirs or not (isinstance(ours, str) and isinstance(theirs, str)):
        return bool(ours == theirs)
    a, b = TOKEN.findall(ours), TOKEN.findall(theirs)
    return len(a) == len(b) and all(map(_close, a, b))


def _close(a: str, b: str) -> bool:
    """Equal tokens, or numbers with a point that differ by rounding."""
    if a == b or "." not in a + b:
        return a == b
    try:
        return abs(float(a) - float(b)) <= 1e-5 + 1e-4 * abs(float(b))
    except ValueError:
        return False


def compare(scenario: Callable[[Any, Log], None]) -> None:
    """Fail at the first entry of the two logs that differs."""
    oracle = pytest.importorskip("torch")
    ours, theirs = Log(rushlight), Log(oracle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle.manual_seed(0)
        scenario(oracle, theirs)
        rushlight.manual_seed(0)
        scenario(rushlight, ours)
    for position, (a, b) in enumerate(zip(ours.entries, theirs.entries, strict=True)):
        assert _agree(a, b), f"entry {position}:\nrushlight: {a}\npytorch:   {b}"
