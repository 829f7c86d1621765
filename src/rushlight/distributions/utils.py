"""Parameters of distributions: broadcasting, probabilities and logits, values computed on first use."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from rushlight.creation import empty, tensor, zeros
from rushlight.dtypes import finfo, get_default_dtype
from rushlight.functions.shape import broadcast_tensors
from rushlight.functions.softmax import logsumexp, softmax
from rushlight.modes import enable_grad
from rushlight.tape import Variable

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]  # fmt: skip

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Numbers and tensors as tensors of one shape; numbers take the first tensor's dtype, else the default's."""
    if not all(isinstance(value, (Variable, Number)) for value in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__."
        )
    tensors: list[Any] = [value for value in values if isinstance(value, Variable)]
    kind = tensors[0].dtype if tensors else get_default_dtype()
    return tuple(broadcast_tensors(*(v if isinstance(v, Variable) else tensor(v, dtype=kind) for v in values)))


def standard_normal(shape: Any, like: Any) -> Any:
    """Normal numbers of mean 0 and variance 1 in the dtype of `like`."""
    return empty(shape, dtype=like.dtype).normal_()


def unit_draws(shape: Any, like: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """Uniform numbers from [low, high) in the dtype of `like`."""
    return empty(shape, dtype=like.dtype).uniform_(low, high)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept away from 0 and 1 by the resolution of their dtype."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Log-odds of binary probabilities, or logarithms of the probabilities of several classes."""
    inside = clamp_probs(probs)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """The inverse of `probs_to_logits`, up to normalisation."""
    return logits.sigmoid() if is_binary else softmax(logits, dim=-1)


def one_of(probs: Any, logits: Any) -> None:
    """Refuse both or neither of the two parametrisations."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def sum_rightmost(value: Any, dims: int) -> Any:
    """Sum out the last `dims` dims."""
    return value if dims == 0 else value.reshape((*value.shape[: value.dim() - dims], -1)).sum(-1)


def log_normalised(logits: Any) -> Any:
    """Logits shifted to be logarithms of probabilities along the last dim."""
    return logits - logsumexp(logits, dim=-1, keepdim=True)


def vec_to_tril_matrix(vec: Any, diag: int = 0) -> Any:
    """Rows of numbers as lower triangular matrices, filled row by row."""
    count = vec.shape[-1]
    n = round((-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * count + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2)
    mask = zeros((n, n), dtype=vec.dtype).add(1).tril(diag) > 0
    matrix = zeros((*vec.shape[:-1], n, n), dtype=vec.dtype)
    matrix[..., mask] = vec
    return matrix


def tril_matrix_to_vec(mat: Any, diag: int = 0) -> Any:
    """The lower triangle row by row: the inverse of `vec_to_tril_matrix`."""
    n = mat.shape[-1]
    if diag < -n or diag >= n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    return mat[..., zeros((n, n)).add(1).tril(diag) > 0]


class lazy_property:
    """A property computed on first use and then kept on the instance."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__
        self.__name__ = wrapped.__name__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value
