"""How a row of the case table is written, and how its operands are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Draw:
    """One operand: its shape and where its elements come from."""

    shape: tuple[int, ...]
    kind: str = "normal"

    def array(self, rng: np.random.Generator, dtype: Any) -> Any:
        """A fresh array; integer and mask kinds keep their own dtype."""
        return np.asarray(KINDS[self.kind](rng, self.shape)).astype(FIXED.get(self.kind, dtype))


KINDS: dict[str, Callable[..., Any]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0.5, 2.0, shape),
    "unit": lambda rng, shape: rng.uniform(-0.9, 0.9, shape),
    "above1": lambda rng, shape: rng.uniform(1.1, 3.0, shape),
    "apart": lambda rng, shape: _apart(rng, shape),
    "complex": lambda rng, shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape),
    "int": lambda rng, shape: rng.integers(1, 9, shape),
    "index": lambda rng, shape: rng.integers(0, 3, shape),
    "mask": lambda rng, shape: rng.random(shape) < 0.5,
}
FIXED = {"int": np.int64, "index": np.int64, "mask": np.bool_, "complex": np.complex128}


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Numbers no two of which are close, none close to 0 or to an integer: safe for kinks and ties."""
    count = int(np.prod(shape))
    return (rng.permutation(count) - count // 2 + 0.37).reshape(shape) * 0.73


@dataclass
class Sample:
    """Operands of one call and its static parameters."""

    operands: tuple[Any, ...]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class Case:
    """A row: an op, what PyTorch calls it, and calls of it.

    Attributes
    ----------
    reference : callable
        `reference(torch, *operands, **params)` computes the same with PyTorch.
    grad : bool
        Whether gradients are checked.
    """

    op: str
    reference: Callable[..., Any]
    samples: list[Sample]
    grad: bool = True
    second: bool = True
    float_only: bool = True

    def draw(self, sample: Sample, dtype: Any = np.float64) -> list[Any]:
        """The sample's operands as arrays (lists of arrays for variadic ones), the same at each run."""
        rng = np.random.default_rng(zlib.crc32(f"{self.op}{sample}".encode()))

        def make(d: Any) -> Any:
            if isinstance(d, list):
                return [make(e) for e in d]
            return d.array(rng, dtype) if isinstance(d, Draw) else d

        return [make(d) for d in sample.operands]


CASES: dict[str, Case] = {}


def case(op: str, reference: Callable[..., Any], *samples: Sample, **rules: Any) -> None:
    """Add a row."""
    if op in CASES:
        raise ValueError(f"op {op!r} has two rows")
    CASES[op] = Case(op, reference, list(samples), **rules)


def s(*operands: Any, **params: Any) -> Sample:
    """A sample; a tuple of ints draws that shape, (shape, kind) that kind."""
    return Sample(tuple(_operand(o) for o in operands), params)


def _operand(o: Any) -> Any:
    if isinstance(o, list):
        return [_operand(e) for e in o]
    if isinstance(o, tuple) and len(o) == 2 and isinstance(o[1], str):
        return Draw(*o)
    return Draw(o) if isinstance(o, tuple) else o
