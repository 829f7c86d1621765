"""Machine code for the frequent draws, had from the compiler once a process has drawn enough to pay for loading it.

The NumPy forms in this package say what each draw is. The native ones give the same bits from the same state, so that
it does not matter when they take over, nor whether they are there at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rushlight import config

# Seconds of drawing with NumPy after which the native draws are loaded; fewer where llvmlite is in memory already.
_PAYS, _PAYS_SOON = 0.1, 0.02
# Seconds that NumPy needs for a call and for an element, roughly.
UNIFORM, NORMAL, BERNOULLI = (4e-6, 4e-9), (4e-5, 3e-8), (8e-6, 9e-9)
INTEGERS, PERMUTATION = (1e-5, 7e-9), (1e-5, 8e-8)


class _Provider:
    """How the compiler's draws are had; the package registers it."""

    load: Callable[[], Any] | None = None
    draws: Any = None
    spent: float = 0.0


def set_provider(load: Callable[[], Any]) -> None:
    """Register `load()`, which gives a `compiler.draws.Draws`, or None where there is no native code."""
    _Provider.load = load
    _Provider.draws = None


def native(cost: tuple[float, float], n: int) -> Any:
    """The native draws for `n` numbers that cost NumPy so much; None or False while it is NumPy that draws."""
    found = _Provider.draws
    if found is not None:
        return found
    _Provider.spent += cost[0] + n * cost[1]
    if _Provider.spent < (_PAYS_SOON if "llvmlite" in sys.modules else _PAYS) or _Provider.load is None:
        return None
    _Provider.draws = (_Provider.load() if config.get("JIT") else None) or False
    return _Provider.draws
