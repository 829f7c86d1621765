"""The functions of linear algebra that live in `torch` itself and on tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.functions.linalg import factoring, products, solving
from rushlight.functions.linalg.arguments import constant, pair, spec, takes_out, tensor_argument
from rushlight.ops import decomp, factor
from rushlight.ops.elementwise import add, eq, log, where

svd_type = pair("svd", "U S V")
qr_type = pair("qr", "Q R")
slogdet_type = pair("slogdet", "sign logabsdet")
geqrf_type = pair("geqrf", "a tau")
lu_unpack_type = pair("lu_unpack", "P L U")
triangular_solve_type = pair("triangular_solve", "solution cloned_coefficient")

det, matrix_exp, matrix_power = solving.det, products.matrix_exp, products.matrix_power
householder_product = orgqr = factoring.householder_product


@takes_out
def inverse(input: Any) -> Any:
    """`linalg.inv`."""
    return solving.inv(input)


def slogdet(input: Any) -> Any:
    """`linalg.slogdet`."""
    return slogdet_type(*solving.slogdet(input))


def logdet(input: Any) -> Any:
    """Logarithm of each determinant: nan where it is negative, minus infinity where it is 0."""
    input = tensor_argument(input, "logdet", "input")
    decomp.check_square(spec(input), "logdet")
    sign, size = decomp.slogdet(input)
    if input._data.dtype.kind == "c":
        return add(log(sign), size)
    nothing = constant(np.array(math.nan, input._data.dtype))
    return where(eq(sign, -1), nothing, size)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """`linalg.pinv`."""
    return solving.pinv(input, rcond)


@takes_out
def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not its adjoint) with input = U @ diag(S) @ V.mH; zeros for U and V if not `compute_uv`."""
    input = tensor_argument(input, "svd", "input")
    if not compute_uv:
        values = factoring.svdvals(input)
        *batch, m, n = input._data.shape
        empty = (np.zeros((*batch, k, k), input._data.dtype) for k in (m, n))
        u, v = map(constant, empty)
        return svd_type(u, values, v)
    u, s, vh = factoring.svd(input, not some)
    return svd_type(u, s, decomp.mH(vh))


@takes_out
def qr(input: Any, some: bool = True) -> Any:
    """`linalg.qr`, reduced or complete."""
    return qr_type(*factoring.qr(input, "reduced" if some else "complete"))


@takes_out
def cholesky(input: Any, upper: bool = False) -> Any:
    """`linalg.cholesky`."""
    return solving.cholesky(input, upper=upper)


@takes_out
def cholesky_solve(input: Any, input2: Any, upper: bool = False) -> Any:
    """X with A @ X = input, where `input2` is the Cholesky factor of A."""
    b, low = tensor_argument(input, "cholesky_solve", "input"), tensor_argument(input2, "cholesky_solve", "input2", 2)
    return decomp.cholesky_solve(b, low, upper)


@takes_out
def cholesky_inverse(input: Any, upper: bool = False) -> Any:
    """Inverse of A from its Cholesky factor."""
    return decomp.cholesky_inverse(tensor_argument(input, "cholesky_inverse", "input"), upper)


@takes_out
def triangular_solve(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """`linalg.solve_triangular` with the operands exchanged, and a copy of A."""
    coefficient = decomp.mT(A) if transpose else A
    solution = solving.solve_triangular(coefficient, b, upper=upper != transpose, unitriangular=unitriangular)
    return triangular_solve_type(solution, A.clone())


def lu(A: Any, pivot: bool = True, get_infos: bool = False) -> Any:
    """`linalg.lu_factor`, with error codes if asked."""
    both, pivots, info = factoring.lu_factor_ex(A, pivot=pivot)
    return (both, pivots, info) if get_infos else (both, pivots)


@takes_out
def lu_solve(b: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """`linalg.lu_solve` with the operands in another order."""
    return factoring.lu_solve(LU_data, LU_pivots, b)


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U of an LU factorisation; empty tensors in place of what is not asked for."""
    m, dtype = LU_data._data.shape[-2], LU_data._data.dtype
    empty = constant(np.zeros(0, dtype))
    permutation = constant(factor.permutation_matrix(LU_pivots._data, m, dtype)) if unpack_pivots else empty
    low, up = factor.triangles(LU_data) if unpack_data else (empty, empty)
    return lu_unpack_type(permutation, low, up)


@takes_out
def geqrf(input: Any) -> Any:
    """QR as LAPACK leaves it: R above the diagonal, Householder vectors below, and their factors."""
    return geqrf_type(*factor.geqrf(tensor_argument(input, "geqrf", "input")))


@takes_out
def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """Q @ other (or other @ Q, or with Q.mH) for the product Q of the reflections in `input` and `tau`."""
    return factor.apply_reflections(input, tau, other, left, transpose)
