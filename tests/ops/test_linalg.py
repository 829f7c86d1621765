"""`rushlight.linalg` side by side with PyTorch: values, gradients, errors, results' form."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import linalg

torch = pytest.importorskip("torch")

Case = tuple[str, Callable[..., Any], tuple[Any, ...]]
rng = np.random.default_rng(0)


def real(*shape: int) -> Any:
    return rng.normal(size=shape)


def imaginary(*shape: int) -> Any:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def positive(make: Any, *batch: int, n: int = 4) -> Any:
    a = make(*batch, n, n)
    return a @ np.conj(np.swapaxes(a, -1, -2)) + np.eye(n)


def lower(make: Any, *batch: int, n: int = 4) -> Any:
    return np.linalg.cholesky(positive(make, *batch, n=n))


def reconstruct(t: Any, a: Any, power: int) -> Any:
    u, s, vh = t.linalg.svd(a, full_matrices=False)
    return (u * (s**power)[..., None, :]) @ vh


def spectral(t: Any, a: Any, UPLO: str = "L") -> Any:
    values, vectors = t.linalg.eigh((a + a.mH) / 2, UPLO)
    return (vectors * t.sin(values)[..., None, :]) @ vectors.mH


def eig_sum(t: Any, a: Any) -> Any:
    values, vectors = t.linalg.eig(a)
    return ((vectors * (values**2)[..., None, :]) @ t.linalg.inv(vectors)).abs() + vectors.abs()


def differentiable(make: Any) -> list[Case]:
    """(name, function of (namespace, *tensors), arrays) of functions whose gradient exists."""
    a, tall, wide = make(2, 4, 4), make(2, 5, 3), make(2, 3, 5)
    b, vector = make(2, 4, 3), make(2, 4)
    up = a + 4 * np.eye(4)
    return [
        ("inv", lambda t, x: t.linalg.inv(x), (a,)),
        ("inv_ex", lambda t, x: t.linalg.inv_ex(x).inverse, (a,)),
        ("inverse", lambda t, x: t.inverse(x), (a,)),
        ("det", lambda t, x: t.linalg.det(x), (a,)),
        ("slogdet", lambda t, x: t.linalg.slogdet(x).logabsdet, (a,)),
        ("logdet", lambda t, x: t.logdet(x), (positive(real, 2),)),
        ("solve", lambda t, x, y: t.linalg.solve(x, y), (a, b)),
        ("solve_vector", lambda t, x, y: t.linalg.solve(x, y), (a, vector)),
        ("solve_one_vector", lambda t, x, y: t.linalg.solve(x, y), (a, vector[0])),
        ("solve_broadcast", lambda t, x, y: t.linalg.solve(x, y), (a[0], b)),
        ("solve_right", lambda t, x, y: t.linalg.solve(x, y.mT, left=False), (a, b)),
        ("solve_ex", lambda t, x, y: t.linalg.solve_ex(x, y).result, (a, b)),
        ("triangular_upper", lambda t, x, y: t.linalg.solve_triangular(x, y, upper=True), (up, b)),
        ("triangular_lower", lambda t, x, y: t.linalg.solve_triangular(x, y, upper=False), (up[0], b)),
        ("triangular_unit", lambda t, x, y: t.linalg.solve_triangular(x, y, upper=True, unitriangular=True), (up, b)),
        ("triangular_right", lambda t, x, y: t.linalg.solve_triangular(x, y.mT, upper=True, left=False), (up, b)),
        ("triangular_solve", lambda t, x, y: t.triangular_solve(y, x, upper=False, transpose=True)[0], (up, b)),
        ("cholesky", lambda t, x: t.linalg.cholesky(x @ x.mH + t.eye(4).to(x)), (a,)),
        ("cholesky_upper", lambda t, x: t.linalg.cholesky(x @ x.mH + t.eye(4).to(x), upper=True), (a,)),
        ("cholesky_ex", lambda t, x: t.linalg.cholesky_ex(x @ x.mH + t.eye(4).to(x)).L, (a,)),
        ("cholesky_solve", lambda t, y, x: t.cholesky_solve(y, x), (b, lower(make, 2))),
        ("cholesky_solve_upper", lambda t, y, x: t.cholesky_solve(y, x.mH, upper=True), (b, lower(make, 2))),
        ("cholesky_inverse", lambda t, x: t.cholesky_inverse(x), (lower(make, 2),)),
        ("qr_tall_q", lambda t, x: t.linalg.qr(x).Q, (tall,)),
        ("qr_tall_r", lambda t, x: t.linalg.qr(x).R, (tall,)),
        ("qr_wide", lambda t, x: t.linalg.qr(x, "complete")[1], (wide,)),
        ("lu_l", lambda t, x: t.linalg.lu(x).L, (a,)),
        ("lu_u", lambda t, x: t.linalg.lu(x).U, (a,)),
        ("lu_wide", lambda t, x: t.linalg.lu(x).U, (wide,)),
        ("lu_factor", lambda t, x: t.linalg.lu_factor(x).LU, (a,)),
        ("lu_solve", lambda t, x, y: t.linalg.lu_solve(*t.linalg.lu_factor(x), y), (a, b)),
        ("lu_solve_adjoint", lambda t, x, y: t.linalg.lu_solve(*t.linalg.lu_factor(x), y, adjoint=True), (a, b)),
        ("lu_solve_right", lambda t, x, y: t.linalg.lu_solve(*t.linalg.lu_factor(x), y.mT, left=False), (a, b)),
        ("svd", lambda t, x: reconstruct(t, x, 3), (a,)),
        ("svd_tall", lambda t, x: reconstruct(t, x, 3), (tall,)),
        ("svd_wide", lambda t, x: reconstruct(t, x, 3), (wide,)),
        ("svdvals", lambda t, x: t.linalg.svdvals(x), (wide,)),
        ("eigh", lambda t, x: spectral(t, x), (a,)),
        ("eigh_upper", lambda t, x: spectral(t, x, "U"), (a,)),
        ("eigvalsh", lambda t, x: t.linalg.eigvalsh(x @ x.mH), (a,)),
        ("eig", lambda t, x: eig_sum(t, x), (a,)),
        ("eigvals", lambda t, x: t.linalg.eigvals(x).abs().sum(-1), (a,)),
        ("pinv_tall", lambda t, x: t.linalg.pinv(x), (tall,)),
        ("pinv_wide", lambda t, x: t.linalg.pinv(x), (wide,)),
        ("pinv_hermitian", lambda t, x: t.linalg.pinv(x @ x.mH, hermitian=True), (a,)),
        ("lstsq", lambda t, x, y: t.linalg.lstsq(x, y).solution, (tall, make(2, 5, 2))),
        ("lstsq_vector", lambda t, x, y: t.linalg.lstsq(x, y).solution, (tall, make(2, 5))),
        ("matrix_exp", lambda t, x: t.linalg.matrix_exp(x), (a,)),
        ("matrix_power", lambda t, x: t.linalg.matrix_power(x, 5), (a,)),
        ("matrix_power_negative", lambda t, x: t.linalg.matrix_power(x, -3), (a,)),
        ("multi_dot", lambda t, x, y, z: t.linalg.multi_dot([x, y, z]), (a[0], b[0], make(3, 2))),
        ("multi_dot_vectors", lambda t, x, y, z: t.linalg.multi_dot([x, y, z]), (vector[0], b[0], make(3))),
        ("vecdot", lambda t, x, y: t.linalg.vecdot(x, y), (vector, vector[0])),
        ("cross", lambda t, x, y: t.linalg.cross(x, y), (make(4, 3), make(1, 3))),
        ("cross_dim", lambda t, x, y: t.linalg.cross(x, y, dim=0), (make(3, 4), make(3, 4))),
        ("vander", lambda t, x: t.linalg.vander(x, N=4), (vector,)),
        ("tensorinv", lambda t, x: t.linalg.tensorinv(x.reshape(2, 2, 4)), (a[0],)),
        ("tensorsolve", lambda t, x, y: t.linalg.tensorsolve(x.reshape(2, 2, 4), y), (a[0], make(2, 2))),
        ("householder", lambda t, x, y: t.linalg.householder_product(x, y), (tall, make(2, 3))),
        ("ormqr", lambda t, x, y, z: t.ormqr(x, y, z), (tall, make(2, 3), make(2, 5, 2))),
        ("norm", lambda t, x: t.linalg.norm(x), (a,)),
        ("norm_1", lambda t, x: t.linalg.matrix_norm(x, 1), (tall,)),
        ("norm_inf_keepdim", lambda t, x: t.linalg.matrix_norm(x, -math.inf, keepdim=True), (tall,)),
        ("norm_2_dims", lambda t, x: t.linalg.matrix_norm(x, 2, dim=(0, 2), keepdim=True), (tall,)),
        ("norm_nuc", lambda t, x: t.linalg.norm(x, "nuc", dim=(2, 0)), (tall,)),
        ("vector_norm_3", lambda t, x: t.linalg.vector_norm(x, 3.5, dim=(0, 2)), (tall,)),
        ("vector_norm_0", lambda t, x: t.linalg.vector_norm(x, 0) + x.abs().sum(), (tall,)),
        ("vector_norm_inf", lambda t, x: t.linalg.vector_norm(x, math.inf, dim=-1), (tall,)),
        ("cond", lambda t, x: t.linalg.cond(x), (a,)),
        ("cond_nuc", lambda t, x: t.linalg.cond(x, "nuc"), (a,)),
    ]  # fmt: skip


CASES = [(name + suffix, *rest) for make, suffix in ((real, ""), (imaginary, "_complex")) for name, *rest in
         differentiable(make)]  # fmt: skip


def run(t: Any, function: Any, arrays: Any, seed: Any) -> Any:
    leaves = [t.from_numpy(a.copy()).requires_grad_() for a in arrays]
    out = function(t, *leaves)
    weight = t.from_numpy(np.asarray(seed(tuple(out.shape), out.is_complex())))
    loss = (out * weight).sum()
    (loss.real if out.is_complex() else loss).backward()
    return out, [x.grad for x in leaves]


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize(("name", "function", "arrays"), CASES, ids=[c[0] for c in CASES])
def test_value_and_gradient(name: str, function: Any, arrays: Any) -> None:
    weights: dict[Any, Any] = {}

    def seed(shape: Any, is_complex: bool) -> Any:
        return weights.setdefault((shape, is_complex), (imaginary if is_complex else real)(*shape))

    theirs, their_grads = run(torch, function, arrays, seed)
    ours, our_grads = run(rushlight, function, arrays, seed)
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().resolve_conj().numpy(), rtol=1e-8, atol=1e-10)
    for got, expected in zip(our_grads, their_grads, strict=True):
        np.testing.assert_allclose(got.numpy(), expected.resolve_conj().numpy(), rtol=1e-7, atol=1e-8)


SECOND = {
    "inv", "det", "slogdet", "solve", "solve_vector", "triangular_upper", "cholesky", "cholesky_solve", "qr_tall_q",
    "lu_u", "svd_tall", "svdvals", "eigh", "eigvalsh", "eigvals", "pinv_tall", "lstsq", "matrix_exp", "cross", "norm",
    "cholesky_inverse", "lu_factor",
}  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in SECOND], ids=lambda c: c[0])
def test_second_derivative_matches_differences(case: Any) -> None:
    _, function, arrays = case
    weights: dict[Any, Any] = {}
    # factors are lower triangular, and stay so
    direction = [np.tril(d) if "cholesky_" in case[0] else d for d in (real(*a.shape) for a in arrays)]

    def slope(scale: float, create_graph: bool) -> tuple[Any, Any]:
        leaves = [rushlight.from_numpy(a + scale * d).requires_grad_() for a, d in zip(arrays, direction, strict=True)]
        out = function(rushlight, *leaves)
        weight = rushlight.from_numpy(weights.setdefault("w", real(*out.shape)))
        grads = rushlight.autograd.grad((out * weight).sum(), leaves, create_graph=create_graph)
        along = sum((g * rushlight.from_numpy(d)).sum() for g, d in zip(grads, direction, strict=True))
        return along, leaves

    along, leaves = slope(0.0, True)
    second = rushlight.autograd.grad(along, leaves)
    exact = sum(float((g.numpy() * d).sum()) for g, d in zip(second, direction, strict=True))
    step = 1e-5
    differences = (slope(step, False)[0].item() - slope(-step, False)[0].item()) / (2 * step)
    assert exact == pytest.approx(differences, rel=1e-4, abs=1e-5)


def test_gradient_of_a_singular_determinant_is_the_adjugate() -> None:
    a = rushlight.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=rushlight.float64, requires_grad=True)
    linalg.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4, -2], [-2, 1]], atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3)])
def test_empty_stacks(shape: Any) -> None:
    ours, theirs = rushlight.zeros(shape), torch.zeros(shape)
    for name in ("inv", "det", "cholesky", "eigvalsh", "svdvals", "matrix_exp", "pinv", "lu_factor", "qr"):
        got, expected = getattr(linalg, name)(ours), getattr(torch.linalg, name)(theirs)
        if not isinstance(got, tuple):
            got, expected = (got,), (expected,)
        assert [tuple(g.shape) for g in got] == [tuple(e.shape) for e in expected], name


def test_float32_stays_float32_and_out_is_filled() -> None:
    a = rushlight.eye(3) * 2
    assert linalg.inv(a).dtype is rushlight.float32
    assert linalg.eigvals(a).dtype is rushlight.complex64
    out = rushlight.empty(3, 3)
    assert linalg.inv(a, out=out) is out
    assert out[0, 0].item() == 0.5
    q, r = rushlight.empty(3, 3), rushlight.empty(3, 3)
    assert linalg.qr(a, out=(q, r)).R is r


def test_named_tuples_print_as_in_pytorch() -> None:
    eye = [[2.0, 0.0], [0.0, 3.0]]
    for name in ("slogdet", "svd", "qr", "eigh", "eig", "lu", "lu_factor", "lu_factor_ex", "inv_ex", "cholesky_ex"):
        ours, theirs = getattr(linalg, name)(rushlight.tensor(eye)), getattr(torch.linalg, name)(torch.tensor(eye))
        assert repr(ours) == repr(theirs), name
    assert repr(rushlight.slogdet(rushlight.tensor(eye))) == repr(torch.slogdet(torch.tensor(eye)))


def test_grad_fn_names() -> None:
    a = rushlight.eye(3, requires_grad=True)
    names = {
        "inv": "LinalgInvExBackward0", "det": "LinalgDetBackward0", "cholesky": "LinalgCholeskyExBackward0",
        "svdvals": "LinalgSvdBackward0", "matrix_exp": "LinalgMatrixExpBackward0", "pinv": "LinalgPinvBackward0",
        "vector_norm": "LinalgVectorNormBackward0",
    }  # fmt: skip
    for function, name in names.items():
        assert type(getattr(linalg, function)(a).grad_fn).__name__ == name
    assert "grad_fn=<LinalgEighBackward0>" in repr(linalg.eigh(a).eigenvalues)


def test_factorisations_for_every_shape() -> None:
    for shape in ((3, 3), (5, 3), (3, 5), (70, 60), (2, 60, 90)):
        a = real(*shape)
        p, low, up = linalg.lu(rushlight.from_numpy(a))
        np.testing.assert_allclose((p @ low @ up).numpy(), a, atol=1e-12)
        both, pivots = linalg.lu_factor(rushlight.from_numpy(a))
        expected = torch.linalg.lu_factor(torch.from_numpy(a))
        np.testing.assert_array_equal(pivots.numpy(), expected.pivots.numpy())
        unpacked = rushlight.lu_unpack(both, pivots)
        np.testing.assert_array_equal(unpacked.P.numpy(), p.numpy())


def test_ldl_agrees_with_lapack() -> None:
    for make, hermitian in ((real, False), (imaginary, True)):
        a = make(3, 6, 6)
        a = a + np.conj(np.swapaxes(a, -1, -2))
        a[1, np.arange(6), np.arange(6)] = 0
        factors, pivots = linalg.ldl_factor(rushlight.from_numpy(a), hermitian=hermitian)
        expected = torch.linalg.ldl_factor(torch.from_numpy(a), hermitian=hermitian)
        np.testing.assert_allclose(np.tril(factors.numpy()), np.tril(expected.LD.numpy()), atol=1e-12)
        np.testing.assert_array_equal(pivots.numpy(), expected.pivots.numpy())
        b = make(3, 6, 2)
        solution = linalg.ldl_solve(factors, pivots, rushlight.from_numpy(b), hermitian=hermitian)
        np.testing.assert_allclose(a @ solution.numpy(), b, atol=1e-10)


def test_least_squares_results() -> None:
    a, b = real(2, 5, 3), real(2, 5, 2)
    for driver in (None, "gelsy", "gels", "gelsd", "gelss"):
        ours = linalg.lstsq(rushlight.from_numpy(a), rushlight.from_numpy(b), driver=driver)
        theirs = torch.linalg.lstsq(torch.from_numpy(a), torch.from_numpy(b), driver=driver)
        for got, expected in zip(ours, theirs, strict=True):
            assert tuple(got.shape) == tuple(expected.shape)
            np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-10)
    deficient = a.copy()
    deficient[..., 2] = deficient[..., 1]
    ours = linalg.lstsq(rushlight.from_numpy(deficient), rushlight.from_numpy(b))
    theirs = torch.linalg.lstsq(torch.from_numpy(deficient), torch.from_numpy(b))
    np.testing.assert_allclose(ours.solution.numpy(), theirs.solution.numpy(), atol=1e-10)
    assert ours.rank.tolist() == [2, 2] and tuple(ours.residuals.shape) == (0,)


def test_ranks_tolerances_and_conditions() -> None:
    a = np.diag([1.0, 1e-3, 1e-20])
    for kwargs in ({}, {"atol": 1e-2}, {"rtol": 1e-2}, {"hermitian": True}, {"atol": 1e-30, "rtol": 1e-30}):
        ours = linalg.matrix_rank(rushlight.from_numpy(a), **kwargs)
        assert ours.item() == torch.linalg.matrix_rank(torch.from_numpy(a), **kwargs).item(), kwargs
        pinv = linalg.pinv(rushlight.from_numpy(a), **kwargs).numpy()
        np.testing.assert_allclose(pinv, torch.linalg.pinv(torch.from_numpy(a), **kwargs).numpy(), rtol=1e-9)
    singular = rushlight.ones(2, 2)
    assert linalg.cond(singular, 1).item() == math.inf
    for order in (1, -1, math.inf, "fro", -2):
        b = real(3, 3)
        expected = torch.linalg.cond(torch.from_numpy(b), order).item()
        assert linalg.cond(rushlight.from_numpy(b), order).item() == pytest.approx(expected, rel=1e-10)
    assert linalg.inv_ex(singular).info.item() == 2
    assert linalg.solve_ex(singular, rushlight.ones(2)).info.item() == 2
    assert linalg.cholesky_ex(-singular).info.item() == 1


def test_low_rank_approximations() -> None:
    a = rushlight.from_numpy(real(20, 3) @ real(3, 15))
    for matrix in (a, a.mT):
        u, s, v = rushlight.svd_lowrank(matrix, q=3)
        np.testing.assert_allclose(((u * s) @ v.mT).numpy(), matrix.numpy(), atol=1e-9)
    assert tuple(rushlight.pca_lowrank(a, 2)[2].shape) == (15, 2)


def test_matrix_exponential_at_every_scale() -> None:
    for scale in (1e-6, 1e-2, 0.5, 5.0, 40.0):
        a = real(3, 5, 5) * scale * np.array([1.0, 0.1, 2.0])[:, None, None]
        expected = torch.linalg.matrix_exp(torch.from_numpy(a)).numpy()
        got = linalg.matrix_exp(rushlight.from_numpy(a)).numpy()
        for x, y in zip(got, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11 * np.abs(y).max())


square, flat, line = [[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [1.0, 2.0, 3.0]
ERRORS: dict[str, Callable[[Any], Any]] = {
    "inv flat": lambda t: t.linalg.inv(t.tensor(flat)),
    "inv line": lambda t: t.linalg.inv(t.tensor(line)),
    "inv integers": lambda t: t.linalg.inv(t.ones(2, 2, dtype=t.int64)),
    "inv half": lambda t: t.linalg.inv(t.ones(2, 2, dtype=t.float16)),
    "inv singular": lambda t: t.linalg.inv(t.tensor(square)),
    "inv singular in a batch": lambda t: t.linalg.inv(t.stack([t.eye(2), t.tensor(square)])),
    "inv list": lambda t: t.linalg.inv(square),
    "det flat": lambda t: t.linalg.det(t.tensor(flat)),
    "solve singular": lambda t: t.linalg.solve(t.tensor(square), t.ones(2)),
    "solve sizes": lambda t: t.linalg.solve(t.eye(2), t.ones(3, 2)),
    "solve sizes right": lambda t: t.linalg.solve(t.eye(2), t.ones(2, 3), left=False),
    "solve dtypes": lambda t: t.linalg.solve(t.eye(2), t.ones(2, dtype=t.float64)),
    "triangular vector": lambda t: t.linalg.solve_triangular(t.eye(2), t.ones(2), upper=True),
    "cholesky": lambda t: t.linalg.cholesky(t.diag(t.tensor([1.0, -1.0, 2.0]))),
    "cholesky batch": lambda t: t.linalg.cholesky(t.stack([t.eye(2), -t.eye(2)])),
    "qr mode": lambda t: t.linalg.qr(t.eye(2), mode="x"),
    "qr r backward": lambda t: t.linalg.qr(t.eye(2, requires_grad=True), "r").R.sum().backward(),
    "qr complete backward": lambda t: t.linalg.qr(t.ones(3, 2, requires_grad=True), "complete").R.sum().backward(),
    "eigh UPLO": lambda t: t.linalg.eigh(t.eye(2), UPLO="X"),
    "eig nan": lambda t: t.linalg.eig(t.full((2, 2), math.nan)),
    "svd nan": lambda t: t.linalg.svd(t.full((2, 2), math.nan)),
    "lu pivot": lambda t: t.linalg.lu(t.eye(2), pivot=False),
    "lstsq rows": lambda t: t.linalg.lstsq(t.eye(2), t.ones(3, 2)),
    "lstsq driver": lambda t: t.linalg.lstsq(t.eye(2), t.ones(2, 2), driver="x"),
    "norm order": lambda t: t.linalg.norm(t.eye(2), "bad"),
    "norm dims": lambda t: t.linalg.norm(t.ones(2, 2, 2), 2),
    "norm integers": lambda t: t.linalg.vector_norm(t.ones(2, dtype=t.int64)),
    "matrix norm order": lambda t: t.linalg.matrix_norm(t.eye(2), 3),
    "matrix norm dims": lambda t: t.linalg.matrix_norm(t.eye(2), 2, dim=(0, 0)),
    "vector norm empty": lambda t: t.linalg.vector_norm(t.zeros(0), math.inf),
    "vector norm dtype": lambda t: t.linalg.vector_norm(t.ones(2), dtype=t.int64),
    "cond order": lambda t: t.linalg.cond(t.eye(2), 3),
    "rank of a vector": lambda t: t.linalg.matrix_rank(t.ones(3)),
    "power type": lambda t: t.linalg.matrix_power(t.eye(2), 1.5),
    "multi_dot one": lambda t: t.linalg.multi_dot([t.eye(2)]),
    "multi_dot sizes": lambda t: t.linalg.multi_dot([t.eye(3), t.ones(4, 2)]),
    "cross size": lambda t: t.linalg.cross(t.ones(4), t.ones(4)),
    "cross dims": lambda t: t.linalg.cross(t.ones(3), t.ones(2, 3)),
    "vander N": lambda t: t.linalg.vander(t.ones(3), N=0),
    "tensorinv": lambda t: t.linalg.tensorinv(t.ones(2, 3, 4), ind=1),
    "tensorinv ind": lambda t: t.linalg.tensorinv(t.ones(2, 3, 4), ind=0),
    "householder": lambda t: t.linalg.householder_product(t.ones(2, 3), t.ones(2)),
    "cholesky_solve": lambda t: t.cholesky_solve(t.ones(3, 2), t.eye(2)),
    "logdet": lambda t: t.logdet(t.tensor(flat)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_same_error_as_pytorch(name: str) -> None:
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch)
    with pytest.raises(Exception) as ours:
        ERRORS[name](rushlight)
    assert str(ours.value) == str(theirs.value)
    expected = linalg.LinAlgError if isinstance(theirs.value, torch.linalg.LinAlgError) else type(theirs.value)
    assert isinstance(ours.value, expected)
