"""Special functions with PyTorch's arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.functions.fast import needs_tensor, operand, store, unary
from rushlight.functions.reduce import sum as sum_over
from rushlight.ops import special as ops
from rushlight.ops.elementwise import lgamma
from rushlight.ops.linear import unsqueeze
from rushlight.tape import Variable, record, wrap

(
    erfcx, ndtr, log_ndtr, ndtri, entr, sinc, i0, i0e, i1, i1e, bessel_j0, bessel_j1, bessel_y0, bessel_y1,
    modified_bessel_k0, modified_bessel_k1, scaled_modified_bessel_k0, scaled_modified_bessel_k1, airy_ai,
) = map(
    unary,
    (
        ops.erfcx, ops.ndtr, ops.log_ndtr, ops.ndtri, ops.entr, ops.sinc, ops.i0, ops.i0e, ops.i1, ops.i1e,
        ops.bessel_j0, ops.bessel_j1, ops.bessel_y0, ops.bessel_y1, ops.modified_bessel_k0, ops.modified_bessel_k1,
        ops.scaled_modified_bessel_k0, ops.scaled_modified_bessel_k1, ops.airy_ai,
    ),
)  # fmt: skip
_spherical = unary(ops.spherical_bessel_j0)


def spherical_bessel_j0(x: Any, *, out: Any = None) -> Any:
    """Spherical Bessel function of the first kind, order 0: sin(x) / x."""
    return _spherical(x, out=out)


def _two(op: Any) -> Any:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if not isinstance(input, Variable) and not isinstance(other, Variable):
            raise TypeError(
                f"special_{op.name}() received an invalid combination of arguments - got ({type(input).__name__}, "
                f"{type(other).__name__}), but expected at least one Tensor"
            )
        result = record(op, (operand(input, op.name), operand(other, op.name, 2)), {})
        return result if out is None else store(result, out)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__
    return function


xlog1py, zeta, igamma, igammac = map(_two, (ops.xlog1py, ops.zeta, ops.igamma, ops.igammac))
POLYNOMIALS = {name: _two(op) for name, op in ops.POLYNOMIALS.items()}


def polygamma(n: int, input: Any, *, out: Any = None) -> Any:
    """n-th derivative of digamma.

    Examples
    --------
    >>> torch.polygamma(1, torch.tensor([1.0]))
    tensor([1.6449])
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    result = record(ops.polygamma, (needs_tensor(input, "polygamma"),), {"n": int(n)})
    return result if out is None else store(result, out)


def polygamma_method(input: Any, n: int) -> Any:
    """`polygamma(n, input)`."""
    return polygamma(n, input)


def mvlgamma(input: Any, p: int, *, out: Any = None) -> Any:
    """Logarithm of the multivariate gamma function of dimension p.

    p (p - 1) / 4 * log(pi) + sum of lgamma(x - j / 2) over 0 <= j < p.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = needs_tensor(input, "mvlgamma")
    shifts = wrap(np.arange(p, dtype=x._data.dtype if x._data.dtype.kind == "f" else np.float32) * -0.5)
    terms = lgamma(unsqueeze(x, x._data.ndim) + shifts)
    result = sum_over(terms, -1) + p * (p - 1) / 4 * math.log(math.pi)
    return result if out is None else store(result, out)


def logit(input: Any, eps: float | None = None, *, out: Any = None) -> Any:
    """log(x / (1 - x)), x first limited to eps..1 - eps if given."""
    result = record(ops.logit, (needs_tensor(input, "logit"),), {"eps": eps})
    return result if out is None else store(result, out)
