"""Indices that data bring: kernels look nothing up outside an array, and a check before the run gives eager's error.

An index is checked where it follows from what the program is given: an input, or integers made from inputs by a few
calls. Calls whose index is computed otherwise have no kernel, and check it themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.backends.numpy_loss import target_error
from rushlight.compiler import interpret
from rushlight.compiler.graph import Call, Value
from rushlight.errors import explain
from rushlight.ops.embedding import check_rows
from rushlight.ops.index import check_indices
from rushlight.ops.kinds import Elementwise, View
from rushlight.tape.where import place

MOST_CALLS = 8
MOST_ELEMENTS = 1 << 18
_COPIES = frozenset({"cast", "copy", "clone"})


def _rows(call: Call, index: Any) -> None:
    check_rows(index, call.operands[0].shape[0])


def _along(call: Call, index: Any) -> None:
    dim = call.params["dim"]
    check_indices(index, _extent(call), dim % len(call.operands[0].shape))


def _classes(call: Call, index: Any) -> None:
    if index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if index.max() >= call.params["classes"]:
        raise explain(
            RuntimeError("Class values must be smaller than num_classes."),
            expected=f"indices from 0 to {call.params['classes'] - 1}",
            received=int(index.max()),
        )


def _labels(call: Call, index: Any) -> None:
    classes, ignored = _extent(call), call.params["ignore_index"]
    if (((index < 0) | (index >= classes)) & (index != ignored)).any():
        raise target_error(index, classes, ignored)


CHECKS: dict[str, tuple[int, Callable[[Call, Any], None]]] = {
    "embedding": (1, _rows), "embedding_with_sparse_gradient": (1, _rows), "one_hot": (0, _classes),
    **dict.fromkeys(("gather", "take_along", "place_along", "scatter_add_zeros"), (1, _along)),
    **dict.fromkeys(("index_select", "index_add", "scatter_add"), (1, _along)),
    **dict.fromkeys(("cross_entropy", "cross_entropy2d", "nll_loss", "nll_loss2d"), (1, _labels)),
}  # fmt: skip
"""Ops that look up by an operand: its position, and what raises where it is out of range."""


def _extent(call: Call) -> int:
    """How many there are to choose from."""
    name, shape = call.op.name, call.operands[0].shape
    if name == "one_hot":
        return int(call.params["classes"])
    if CHECKS[name][1] is _labels:
        return int(shape[1 if len(shape) > 1 else 0])
    shape = call.params.get("shape", shape)
    return int(shape[call.params.get("dim", 0)]) if shape else 1


def index_of(call: Call) -> Value | None:
    """The operand that an op looks up by, if it is such an op."""
    found = CHECKS.get(call.op.name)
    index = None if found is None else call.operands[found[0]]
    return index if isinstance(index, Value) else None


def recipe(value: Value) -> list[Call] | None:
    """Calls that make an integer array from inputs and constants, if a few do."""
    order: list[Call] = []
    seen: set[Value] = set()

    def visit(v: Value) -> bool:
        if v in seen or v.call is None:
            return v in seen or v.dtype.kind in "biu"
        seen.add(v)
        call = v.call
        kind = isinstance(call.op, (View, Elementwise)) or call.op.name in _COPIES
        if not kind or call.has_effect or v.dtype.kind not in "biu" or math.prod(v.shape) > MOST_ELEMENTS:
            return False
        if not all(map(visit, call.values())) or len(order) == MOST_CALLS:
            return False
        if call not in order:
            order.append(call)
        return True

    return order if visit(value) else None


def is_unchecked(call: Call) -> bool:
    """Whether a call looks up by an index that cannot be checked before the program runs."""
    index = index_of(call)
    return index is not None and recipe(index) is None


@dataclass(frozen=True, eq=False)
class Check:
    """One index of a program.

    Attributes
    ----------
    call, index : what looks up, and by what
    steps : the calls that make the index
    extent : how many there are to choose from
    """

    call: Call
    index: Value
    steps: list[Call]
    extent: int

    def leaves(self) -> list[Value]:
        """The inputs and constants that the index is made of."""
        made = {v for call in self.steps for v in call.results}
        values = [self.index, *(v for call in self.steps for v in call.values())]
        return [v for v in dict.fromkeys(values) if v not in made]

    def action(self, arrays: list[Any], positions: dict[Value, int]) -> Callable[[], None]:
        """What looks the index over; `arrays` holds each leaf at its position."""
        extent, greatest, unsigned = self.extent, np.maximum.reduce, np.dtype(f"u{self.index.dtype.itemsize}")
        if not self.steps:
            at = positions[self.index]

            def look() -> None:
                index = arrays[at]
                if greatest(index.view(unsigned), None) >= extent:
                    self._complain(index)

            return look

        def compute() -> None:
            known = {v: arrays[at] for v, at in positions.items()}
            interpret.run(self.steps, known)
            index = known[self.index]
            if greatest(index.view(unsigned), None) >= extent:
                self._complain(index)

        return compute

    def _complain(self, index: Any) -> None:
        """Raise as the op does, unless it takes what is outside (labels to be ignored)."""
        try:
            CHECKS[self.call.op.name][1](self.call, index)
        except (IndexError, RuntimeError) as error:
            if self.call.where is not None:
                error.add_note(f"  {self.call.op.name} of {place(self.call.where)}")
            raise


def checks(calls: Iterable[Call], on_host: set[Call]) -> list[Check]:
    """The indices to look over before a program runs; calls in `on_host` check their own."""
    found: dict[Any, Check] = {}
    for call in calls:
        index = index_of(call)
        if index is None or call in on_host or 0 in index.shape or index.dtype.kind not in "iu":
            continue
        steps = recipe(index)
        if steps is not None:
            extent = _extent(call)
            key = (index, extent, call.params.get("ignore_index"))
            found.setdefault(key, Check(call, index, steps, extent))
    return list(found.values())
