"""Run one small program on PyTorch and on Rushlight and compare everything a user can see of the result.

A program is a line of Python: statements separated by `; `, the last one an expression. What is compared: values,
dtypes, shapes, strides, offsets, `requires_grad`, the name of `grad_fn`, types of containers, text of strings, and
of exceptions the type and the text (only the type where the program starts with `~`).
"""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

import rushlight

MISSING = re.compile(r"missing (\d+) required (?:positional|keyword-only) argument: '(\w+)'")  # Python's own wording
TOLERANCE = {
    "float16": 2e-3,
    "bfloat16": 2e-2,
    "float32": 2e-5,
    "float64": 1e-10,
    "complex64": 2e-5,
    "complex128": 1e-10,
}
NAMES = {
    "np": np, "math": math, "copy": copy, "pickle": pickle, "itertools": itertools, "inf": math.inf, "nan": math.nan
}  # fmt: skip


def run(program: str, torch: Any) -> Any:
    """The value of a program's last expression, or the exception it raised."""
    scope = {**NAMES, "torch": torch}
    *statements, last = program.removeprefix("~").split("; ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for statement in statements:
                exec(statement, scope)
            return eval(last, scope)
        except Exception as error:
            return error


def describe(value: Any, torch: Any) -> Any:
    """Plain Python data that says all about a value; leaves are ("float", dtype, number) where rounding may differ."""
    if isinstance(value, torch.Tensor):
        name = None if value.grad_fn is None else value.grad_fn.name()
        plain = value.detach()
        values = plain.double() if plain.dtype is torch.bfloat16 else plain
        return {
            "dtype": repr(value.dtype),
            "shape": tuple(value.shape),
            "stride": value.stride() if value.numel() else None,
            "offset": value.storage_offset() if value.numel() else None,
            "grad": (value.requires_grad, value.is_leaf, name),
            "values": [_number(v, repr(value.dtype).removeprefix("torch.")) for v in values.reshape(-1).tolist()],
        }
    if isinstance(value, BaseException):
        return (
            "raises",
            tuple(t.__name__ for t in type(value).__mro__),
            MISSING.sub(r'missing \1 required positional arguments: "\2"', str(value)),
        )
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tolist())
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [describe(v, torch) for v in value])
    if isinstance(value, dict):
        return {k: describe(v, torch) for k, v in value.items()}
    if isinstance(value, (float, complex)):
        return _number(value, "float64")
    if value is None or isinstance(value, (bool, int, str, bytes, type(...))):
        return value
    return (type(value).__name__, repr(value))


def _number(value: Any, dtype: str) -> Any:
    return ("float", dtype, value) if isinstance(value, (float, complex)) else value


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Where two descriptions differ, one line each."""
    if type(ours) is not type(theirs):
        return [f"{where}: {ours!r}, PyTorch {theirs!r}"]
    if isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return [f"{where}: {list(ours)}, PyTorch {list(theirs)}"]
        return [line for k in ours for line in differences(ours[k], theirs[k], f"{where}.{k}")]
    if isinstance(ours, tuple) and ours[:1] == ("raises",) == theirs[:1]:
        kinds = [] if theirs[1][0] in ours[1] else [f"{where}: {ours[1][0]}, PyTorch {theirs[1][0]}"]
        return kinds + differences(ours[2:], theirs[2:], where)
    if isinstance(ours, tuple) and ours[:1] == ("float",) == theirs[:1]:
        return (
            []
            if _close(ours[2], theirs[2], TOLERANCE.get(ours[1], 1e-6))
            else [f"{where}: {ours[2]}, PyTorch {theirs[2]}"]
        )
    if isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            return [f"{where}: {ours!r}, PyTorch {theirs!r}"]
        return [
            line
            for k, (a, b) in enumerate(zip(ours, theirs, strict=True))
            for line in differences(a, b, f"{where}[{k}]")
        ]
    return [] if ours == theirs else [f"{where}: {ours!r}, PyTorch {theirs!r}"]


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, complex) or isinstance(b, complex):
        a, b = complex(a), complex(b)
        scale = tolerance * max(abs(b), 1) if math.isfinite(abs(b)) else 0
        return all(
            x == y or math.isnan(x) and math.isnan(y) or abs(x - y) <= scale
            for x, y in ((a.real, b.real), (a.imag, b.imag))
        )
    return a == b or math.isnan(a) and math.isnan(b) or abs(a - b) <= tolerance * max(abs(b), 1e-2)


def compare(program: str, torch: Any) -> list[str]:
    """What differs between Rushlight's outcome of a program and PyTorch's."""
    theirs, ours = describe(run(program, torch), torch), describe(run(program, rushlight), rushlight)
    if program.startswith("~") and isinstance(theirs, tuple) and isinstance(ours, tuple):
        theirs, ours = theirs[:2], ours[:2]
    return differences(ours, theirs)


def agree(program: str, strides: bool = True) -> None:
    """Fail where a program's outcome differs from PyTorch's; skip without PyTorch."""
    torch = pytest.importorskip("torch")
    found = [line for line in compare(program, torch) if strides or "stride" not in line and "offset" not in line]
    assert not found, "\n".join([program, *found[:8]])


def lines(text: str) -> list[str]:
    """The programs of a text: one a line, without comments; `«a¦b»` stands for a program with a and one with b."""
    found = []
    for line in text.strip().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            found.extend(_expanded(line.strip()))
    return found


def _expanded(line: str) -> Iterable[str]:
    parts = line.split("«")
    choices = [[parts[0]]]
    for part in parts[1:]:
        inside, rest = part.split("»")
        choices.append([c + rest for c in inside.split("¦")])
    return map("".join, itertools.product(*choices))
