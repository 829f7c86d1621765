"""Rows of the decompositions and of packed sequences.

Decompositions read one triangle, or are unique only up to signs: where perturbing one element says nothing, or a
result's sign is free, the gradient is checked in `test_linalg.py` on functions that do not depend on the choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import case, s

_TALL = (4, 3)
_SIZES = (3, 2, 2, 1)


def _without_last(torch: Any, x: Any, pivot: bool) -> tuple[Any, ...]:
    return tuple(torch.linalg.lu_factor_ex(x, pivot=pivot))


case("qr", lambda torch, x, mode: tuple(torch.linalg.qr(x, mode)), s(_TALL, mode="reduced"))
case("geqrf", lambda torch, x: tuple(torch.geqrf(x)), s(_TALL), grad=False)
case("lu_factor_ex", _without_last, s((3, 3), pivot=True), s((2, 3, 3), pivot=True), second=False)
case("lu", lambda torch, x, pivot: tuple(torch.linalg.lu(x, pivot=pivot)), s((3, 3), pivot=True), s(_TALL, pivot=True))
case(
    "ldl_solve",
    lambda torch, a, pivots, b, hermitian: torch.linalg.ldl_solve(a, torch.as_tensor(pivots, dtype=torch.int32), b),
    s((3, 3), np.array([1, 2, 3]), (3, 2), hermitian=False),
    grad=False,
)
case("svdvals", lambda torch, x: torch.linalg.svdvals(x), s(_TALL), s((2, 3, 3)))
case(
    "eigvalsh",
    lambda torch, x, upper: torch.linalg.eigvalsh(x, "U" if upper else "L"),
    s((3, 3), upper=False),
    grad=False,
)
case(
    "pinv",
    lambda torch, x, atol, rtol, hermitian: torch.linalg.pinv(x),
    s(_TALL, atol=None, rtol=None, hermitian=False),
)
case("matrix_exp", lambda torch, x: torch.linalg.matrix_exp(x), s((3, 3)))
case("cross", lambda torch, x, y, dim: torch.linalg.cross(x, y, dim=dim), s((4, 3), (4, 3), dim=1))


def _packed(torch: Any, x: Any, batch_sizes: tuple[int, ...]) -> Any:
    return torch.cat([x[t, :n] for t, n in enumerate(batch_sizes)])


def _padded(torch: Any, x: Any, batch_sizes: tuple[int, ...], steps: int, batch: int, padding: float) -> Any:
    out = x.new_full((steps, batch, *x.shape[1:]), padding)
    at = 0
    for t, n in enumerate(batch_sizes):
        out[t, :n] = x[at : at + n]
        at += n
    return out


case("pack_rows", _packed, s((4, 3, 2), batch_sizes=_SIZES))
case("pad_rows", _padded, s((8, 2), batch_sizes=_SIZES, steps=4, batch=3, padding=-1.0))
