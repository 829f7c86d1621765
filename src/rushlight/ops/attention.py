"""Scaled dot-product attention as one op."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import numpy_attention as kernel
from rushlight.ops.elementwise import masked_fill
from rushlight.ops.kinds import Array, composite, opaque, sum_to_shape
from rushlight.ops.linear import sum, transpose
from rushlight.ops.matmul import batched_matmul
from rushlight.ops.softmax import softmax
from rushlight.spec import Spec, spec_of


def _spec(
    q: Spec, k: Spec, v: Spec, mask: Spec | None, drop: Spec | None, scale: float, causal: bool
) -> tuple[Spec, Spec]:
    """Shapes are checked by the caller, which words the errors; leading dims are equal here."""
    out = (*q.shape[:-1], v.shape[-1])
    return Spec(out, q.dtype), Spec((*q.shape[:-1], 1), _sum_dtype(q.dtype))


def _sum_dtype(dtype: Any) -> Any:
    """What sums over a row are kept in."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def _grad_spec(
    g: Spec, q: Spec, k: Spec, v: Spec, mask: Spec | None, drop: Spec | None, out: Spec, total: Spec,
    scale: float, causal: bool, mask_needs: bool,
) -> tuple[Spec, ...]:  # fmt: skip
    scores = (Spec((*q.shape[:-1], k.shape[-2]), q.dtype),) if mask_needs else ()
    return Spec(q.shape, q.dtype), Spec(k.shape, q.dtype), Spec(v.shape, q.dtype), *scores


def _grads(
    g: Any, q: Any, k: Any, v: Any, mask: Any, drop: Any, out: Any, scale: float, causal: bool, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    mask_needs = bool(mask is not None and needs[3])
    got = attention_grad(g[0], q, k, v, mask, drop, *out, scale, causal, mask_needs)
    mask_grad = sum_to_shape(got[3], spec_of(mask).shape) if mask_needs else None
    return got[0], got[1], got[2], mask_grad, None


def _attention_grad(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None,
    out: Array, total: Array, scale: float, causal: bool, mask_needs: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """The kernel, in float32 for half precision."""
    wide = _wide(g, q, k, v, mask, drop, out) if q.dtype.itemsize == 2 else (g, q, k, v, mask, drop, out)
    grads = kernel.backward(*wide, total=total, scale=scale, causal=causal, mask_needs=mask_needs)
    return grads if q.dtype.itemsize > 2 else tuple(x.astype(q.dtype) for x in grads)


def _wide(*arrays: Any) -> Any:
    """Arrays in float32; masks stay."""
    return [x if x is None or x.dtype == np.bool_ else x.astype(np.float32) for x in arrays]


@composite(fast=_attention_grad, spec=_grad_spec)
def attention_grad(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None,
    out: Array, total: Array, scale: float, causal: bool, mask_needs: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v and, if `mask_needs`, of the scores.

    The body computes the probabilities anew, differentiably.
    """
    p = softmax(_scores(q, k, mask, scale, causal), -1)
    dropped = p if drop is None else p * drop
    v_grad = batched_matmul(transpose(dropped, -1, -2), g)
    p_grad = batched_matmul(g, transpose(v, -1, -2))
    if drop is not None:
        p_grad = p_grad * drop
    s_grad = p * (p_grad - sum(p_grad * p, -1, True))
    q_grad = batched_matmul(s_grad, k) * scale
    k_grad = batched_matmul(transpose(s_grad, -1, -2), q) * scale
    return (q_grad, k_grad, v_grad, s_grad) if mask_needs else (q_grad, k_grad, v_grad)


def _scores(q: Any, k: Any, mask: Any, scale: float, causal: bool) -> Any:
    s = batched_matmul(q * scale, transpose(k, -1, -2))
    if causal:
        rows, columns = spec_of(q).shape[-2], spec_of(k).shape[-2]
        s = masked_fill(s, ~np.tri(rows, columns, dtype=np.bool_), -np.inf)
    if mask is None:
        return s
    return s + mask if spec_of(mask).dtype != np.bool_ else masked_fill(s, ~mask, -np.inf)


@opaque(spec=_spec, joint=_grads, name="ScaledDotProductFlashAttentionForCpuBackward0")
def attention(
    xp: Any, q: Array, k: Array, v: Array, mask: Array | None = None, drop: Array | None = None,
    scale: float = 1.0, causal: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """softmax(scale * q @ k.T + mask) @ v, with the probabilities multiplied by `drop` if given.

    A boolean mask is true where attention is allowed. A row that is masked whole gives zeros. The second result is for
    the backward pass: the logarithm of each row's sum of exponentials, 0 for a row that is masked whole.
    """
    wide = _wide(q, k, v, mask, drop) if q.dtype.itemsize == 2 else (q, k, v, mask, drop)
    out, total = kernel.forward(*wide, scale=scale, causal=causal)
    return out.astype(q.dtype, copy=False), total
