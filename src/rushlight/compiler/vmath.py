"""Mathematics on vectors of lanes: the functions of NumPy's names that `lanes.Namespace` calls, by subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.compiler.vmath_erf import erf as erf
from rushlight.compiler.vmath_erf import erfc as erfc
from rushlight.compiler.vmath_erf import normal as normal
from rushlight.compiler.vmath_exp import exp as exp
from rushlight.compiler.vmath_exp import exp2 as exp2
from rushlight.compiler.vmath_exp import expm1 as expm1
from rushlight.compiler.vmath_exp import tanh as tanh
from rushlight.compiler.vmath_hyperbolic import acosh as acosh
from rushlight.compiler.vmath_hyperbolic import asinh as asinh
from rushlight.compiler.vmath_hyperbolic import atanh as atanh
from rushlight.compiler.vmath_hyperbolic import cosh as cosh
from rushlight.compiler.vmath_hyperbolic import sinh as sinh
from rushlight.compiler.vmath_log import log as log
from rushlight.compiler.vmath_log import log1p as log1p
from rushlight.compiler.vmath_log import log2 as log2
from rushlight.compiler.vmath_log import log10 as log10
from rushlight.compiler.vmath_pow import hypot as hypot
from rushlight.compiler.vmath_pow import logaddexp as logaddexp
from rushlight.compiler.vmath_pow import logaddexp2 as logaddexp2
from rushlight.compiler.vmath_pow import pow as pow
from rushlight.compiler.vmath_remainder import floor_divide as floor_divide
from rushlight.compiler.vmath_remainder import fmod as fmod
from rushlight.compiler.vmath_remainder import gcd as gcd
from rushlight.compiler.vmath_remainder import nextafter as nextafter
from rushlight.compiler.vmath_remainder import remainder as remainder
from rushlight.compiler.vmath_trig import acos as acos
from rushlight.compiler.vmath_trig import asin as asin
from rushlight.compiler.vmath_trig import atan as atan
from rushlight.compiler.vmath_trig import atan2 as atan2
from rushlight.compiler.vmath_trig import cos as cos
from rushlight.compiler.vmath_trig import sin as sin
from rushlight.compiler.vmath_trig import tan as tan


def _missing(name: str) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise NotImplementedError(f"{name} of lanes")

    return function


erfinv, lgamma, digamma = map(_missing, ("erfinv", "lgamma", "digamma"))


def sqrt(x: Any) -> Any:
    """Square root, rounded correctly."""
    return x.emitter.elementary("sqrt", x)
