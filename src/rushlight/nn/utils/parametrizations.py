"""Parametrizations that come with the library: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any, TypeVar

from rushlight.creation import eye, zeros_like
from rushlight.dtypes import finfo
from rushlight.errors import ShapeError, explain
from rushlight.functions.shape import cat
from rushlight.linalg import matrix_exp, qr, solve
from rushlight.modes import no_grad
from rushlight.nn.module import Module
from rushlight.nn.utils.parametrize import register_parametrization
from rushlight.nn.utils.spectral_norm import as_matrix, check_iterations, output_dim, unit
from rushlight.nn.utils.weight_norm import apply_weight_norm, norm_except_dim
from rushlight.sampling import randn
from rushlight.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

M = TypeVar("M", bound=Module)
MAPS = ("matrix_exp", "cayley", "householder")


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return apply_weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Make the parameter `name` a magnitude (`original0`) times a direction (`original1`), both trained [1].

    Parameters
    ----------
    dim : int or None
        Dimension along which each slice has a magnitude of its own; `None` gives one for all.

    References
    ----------
    .. [1] T. Salimans, D. P. Kingma, "Weight Normalization", arXiv 1602.07868.

    Examples
    --------
    >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
    >>> layer.parametrizations.weight.original0.shape
    torch.Size([2, 1])
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def read_older_format(
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: Any,
        unexpected_keys: Any,
        error_msgs: Any,
    ) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for position, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{position}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(read_older_format)
    return module


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        check_iterations(n_power_iterations)
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                rows, columns = matrix.size()
                u, v = (matrix.new_empty(size).normal_(0, 1) for size in (rows, columns))
                self.register_buffer("_u", unit(u, eps))
                self.register_buffer("_v", unit(v, eps))
                # Enough to start close to the largest singular value.
                self._improve(matrix, 15)

    def _improve(self, matrix: Tensor, steps: int) -> None:
        for _ in range(steps):
            self._u.copy_(unit(matrix.mv(self._v), self.eps))
            self._v.copy_(unit(matrix.mH.mv(self._u), self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return unit(weight, self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            with no_grad():
                self._improve(matrix, self.n_power_iterations)
        # The next forward overwrites the buffers, which the gradient of this one needs.
        u, v = self._u.clone(), self._v.clone()
        out: Tensor = weight / u.vdot(matrix.mv(v))
        return out

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide the parameter `name` by its largest singular value, found by power iteration [1].

    Parameters
    ----------
    n_power_iterations : int
        Steps of power iteration per training forward.
    eps : float
        Smallest norm divided by.
    dim : int, optional
        The dimension that counts outputs; 1 for transposed convolutions, else 0.

    References
    ----------
    .. [1] T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", arXiv 1802.05957.
    """
    weight = _tensor_of(module, name)
    place = output_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, place, eps))


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


class _Orthogonal(Module):
    """Maps a matrix without constraints to one with orthonormal columns (rows, if it is wide) [1, 2].

    References
    ----------
    .. [1] M. Lezcano-Casado, D. Martinez-Rubio, "Cheap Orthogonal Constraints in Neural Networks", ICML 2019.
    .. [2] M. Lezcano-Casado, "Trivializations for Gradient-Based Optimization on Manifolds", NeurIPS 2019.
    """

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        is_wide = X.size(-2) < X.size(-1)
        tall = X.mT if is_wide else X
        q = _from_reflections(tall) if self.orthogonal_map == "householder" else self._from_skew(tall)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if is_wide else q

    def _from_skew(self, tall: Tensor) -> Tensor:
        n, k = tall.size(-2), tall.size(-1)
        lower = tall.tril()
        if n != k:
            lower = cat([lower, tall.new_zeros(*tall.shape[:-2], n, n - k)], tall.dim() - 1)
        skew = lower - lower.mH
        if self.orthogonal_map == "matrix_exp":
            q: Tensor = matrix_exp(skew)
        else:
            one = eye(n, dtype=tall.dtype, device=tall.device)
            q = solve(one - 0.5 * skew, one + 0.5 * skew)
        out: Tensor = q[..., :k]
        return out

    def right_inverse(self, Q: Tensor) -> Tensor:
        if self.shape != Q.shape:
            raise ShapeError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        is_wide = Q.size(-2) < Q.size(-1)
        tall = Q.mT if is_wide else Q
        if hasattr(self, "base"):
            self.base = _completed(tall)
            # Every map sends minus the identity, as its argument, to the base itself.
            start = zeros_like(Q)
            start.diagonal(0, -2, -1).fill_(-1.0)
            out: Tensor = start
            return out
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                "use_trivialization=False."
            )
        start = _to_reflections(tall)
        return start.mT if is_wide else start


def _from_reflections(x: Tensor) -> Tensor:
    """Product of Householder reflections with the vectors below the diagonal of `x` and its signs on the diagonal."""
    n, k = x.size(-2), x.size(-1)
    vectors = x.tril(-1) + eye(n, k, dtype=x.dtype, device=x.device)
    q = eye(n, k, dtype=x.dtype, device=x.device).expand(*x.shape[:-2], n, k)
    for j in reversed(range(k)):
        v = vectors[..., :, j : j + 1]
        q = q - (2.0 / (v * v).sum((-2, -1), keepdim=True)) * (v @ (v.mT @ q))
    out: Tensor = q * x.diagonal(0, -2, -1).sign().unsqueeze(-2)
    return out


def _to_reflections(q: Tensor) -> Tensor:
    """The argument that `_from_reflections` maps to `q`, by Householder's triangularisation."""
    rest = q.clone()
    out = zeros_like(q)
    for j in range(q.size(-1)):
        column = rest[..., j:, j]
        head, tail = column[..., :1], column[..., 1:]
        # Reflecting on the side away from the head avoids cancellation; head and result then have opposite signs.
        sign = 1.0 - 2.0 * (head < 0).to(q.dtype)
        scaled = tail / (head + sign * column.norm(dim=-1, keepdim=True))
        out[..., j + 1 :, j] = scaled
        out[..., j : j + 1, j] = -sign
        v = cat([sign * sign, scaled], scaled.dim() - 1).unsqueeze(-1)
        block = rest[..., j:, :]
        rest[..., j:, :] = block - (2.0 / (v * v).sum((-2, -1), keepdim=True)) * (v @ (v.mT @ block))
    # Above the diagonal stands the rest of the triangular factor, which no reflection uses.
    reflections: Tensor = out + rest.triu(1)
    return reflections


def _completed(q: Tensor) -> Tensor:
    """`q` made orthogonal, with random columns added until it is square."""
    n, k = q.size(-2), q.size(-1)
    if n != k:
        noise = randn(*q.shape[:-2], n, n - k, dtype=q.dtype, device=q.device)
        return _make_orthogonal(cat([q, noise], q.dim() - 1))
    return q.clone() if _is_orthogonal(q) else _make_orthogonal(q)


def _make_orthogonal(a: Tensor) -> Tensor:
    q, r = qr(a)
    out: Tensor = q * r.diagonal(0, -2, -1).sgn().unsqueeze(-2)
    return out


def _is_orthogonal(q: Tensor) -> bool:
    k = q.size(-1)
    error = (q.mH @ q - eye(k, dtype=q.dtype, device=q.device)).abs().max().item()
    # Rounding in a product of k terms.
    return bool(error < 10 * k * finfo(q.dtype).eps)


def orthogonal(
    module: M, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> M:
    """Keep the matrix `name` orthogonal during training (orthonormal rows or columns if it is not square).

    Parameters
    ----------
    orthogonal_map : {"matrix_exp", "cayley", "householder"}, optional
        By default `matrix_exp` for square and complex matrices, `householder` for the others.
    use_trivialization : bool
        Measure from the present matrix, kept as a buffer: slower, but training goes better and assignment works.

    Examples
    --------
    >>> layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(3, 3))
    >>> q = layer.weight
    >>> torch.allclose(q @ q.T, torch.eye(3), atol=1e-5)
    True
    """
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise explain(
            ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."),
            received=list(weight.shape),
        )
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.size(-2) == weight.size(-1) or weight.is_complex() else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    parametrization = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, parametrization, unsafe=True)
