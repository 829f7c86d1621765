"""Mathematics on vectors of lanes: the functions of NumPy's names that `lanes.Namespace` calls, by subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.compiler.vmath_erf import erf as erf
from rushlight.compiler.vmath_exp import exp as exp
from rushlight.compiler.vmath_exp import exp2 as exp2
from rushlight.compiler.vmath_exp import expm1 as expm1
from rushlight.compiler.vmath_exp import tanh as tanh
from rushlight.compiler.vmath_log import log as log
from rushlight.compiler.vmath_log import log1p as log1p
from rushlight.compiler.vmath_log import log2 as log2
from rushlight.compiler.vmath_log import log10 as log10


def _missing(name: str) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise NotImplementedError(f"{name} of lanes")

    return function


sin, cos, tan, asin, acos, atan, atan2, sinh, cosh, asinh, acosh, atanh = map(
    _missing,
    ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh"),
)
erfc, erfinv, lgamma, digamma, cbrt, hypot, pow = map(
    _missing, ("erfc", "erfinv", "lgamma", "digamma", "cbrt", "hypot", "pow")
)
logaddexp, logaddexp2, nextafter, fmod, floor_divide, remainder, gcd = map(
    _missing, ("logaddexp", "logaddexp2", "nextafter", "fmod", "floor_divide", "remainder", "gcd")
)


def sqrt(x: Any) -> Any:
    """Square root, rounded correctly."""
    return x.emitter.elementary("sqrt", x)
