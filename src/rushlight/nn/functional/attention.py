"""Attention: scaled dot products, and several heads with their projections."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from rushlight.backends.cuda import SDP
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.functions import arithmetic as A
from rushlight.functions.draw_checks import CPP_NAMES
from rushlight.functions.matrix import baddbmm, bmm
from rushlight.functions.reduce import mean
from rushlight.functions.shape import cat, chunk, expand, reshape, transpose
from rushlight.functions.softmax import softmax
from rushlight.generator import default_generator
from rushlight.layout import broadcast_shapes
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import require_tensor
from rushlight.nn.functional.dense import linear
from rushlight.nn.functional.dropping import dropout
from rushlight.nn.functional.padding import pad
from rushlight.ops import attention as ops
from rushlight.ops.dropout import dropout_factors
from rushlight.tape import record, wrap


@autocasts("lower")
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(scale * query @ key.T + attn_mask) @ value.

    Parameters
    ----------
    query : Tensor[*, L, E]
    key : Tensor[*, S, E]
    value : Tensor[*, S, V]
    attn_mask : Tensor, optional
        Broadcasts to [*, L, S]: bool, true where attention is allowed, or numbers added to the scores.
    dropout_p : float
        Probability of dropping a weight. It applies always: pass 0 when not training.
    is_causal : bool
        Allow each query the keys up to its own position only.
    scale : float, optional
        1 / sqrt(E) by default.
    enable_gqa : bool
        Let groups of query heads (dim -3) share a key and value head.

    Returns
    -------
    Tensor[*, L, V]

    Examples
    --------
    >>> q = torch.zeros(1, 2, 4)
    >>> torch.nn.functional.scaled_dot_product_attention(q, q, torch.tensor([[[1.0], [3.0]]]))
    tensor([[[2.],
             [2.]]])
    """
    _check_attention(query, key, value, attn_mask, is_causal, dropout_p)
    if not (SDP["math"] or SDP["flash"]):  # the two that PyTorch has on the CPU; here both are the same kernel
        raise RuntimeError(
            "No viable backend for scaled_dot_product_attention was found. This is likely due to turning off both the "
            "math kernel and the fused kernels."
        )
    if enable_gqa:
        key, value = _shared_heads(query, key, value)
    query, key, value = _same_batch(query, key, value)
    q, k = query._data.shape, key._data.shape
    if attn_mask is not None:
        _check_mask(attn_mask, (*q[:-1], k[-2]))
    drop = None
    if dropout_p > 0:
        like = wrap(np.empty((*q[:-1], k[-2]), query._data.dtype))
        drop = record(dropout_factors, (like,), {"p": dropout_p, "generator": default_generator})
    factor = 1 / math.sqrt(q[-1]) if scale is None and q[-1] else 1.0 if scale is None else scale
    operands = (query, key, value, attn_mask, drop)
    return record(ops.attention, operands, {"scale": factor, "causal": bool(is_causal)})[0]


def _check_attention(query: Any, key: Any, value: Any, mask: Any, is_causal: bool, dropout_p: float) -> None:
    for position, (name, x) in enumerate((("query", query), ("key", key), ("value", value)), 1):
        require_tensor("scaled_dot_product_attention", name, position, x)
    kinds = [x._data.dtype for x in (query, key, value)]
    if kinds[0] != kinds[1] or kinds[0] != kinds[2]:
        q, k, v = (CPP_NAMES[d.name] for d in kinds)
        raise DTypeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {q} key.dtype: {k} and "
            f"value.dtype: {v} instead."
        )
    dims = [len(x._data.shape) for x in (query, key, value)]
    if min(dims) < 2:
        raise ShapeError(
            f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {dims[0]} key.dim: "
            f"{dims[1]} and value.dim: {dims[2]} instead."
        )
    if mask is not None:
        if mask._data.dtype != np.bool_ and mask._data.dtype not in (kinds[0], np.dtype(np.float32)):
            raise DTypeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{CPP_NAMES[mask._data.dtype.name]} and  query.dtype: {CPP_NAMES[kinds[0].name]} instead."
            )
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
    if kinds[0].kind not in "fV":
        raise DTypeError("expected scalar type Float but found Long")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p:g}")
    q, k, v = (x._data.shape for x in (query, key, value))
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise _attention_error(tuple(q), tuple(k), tuple(v))


def _attention_error(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> Exception:
    rows = {"query": f"{list(q)}   (*, L, E)", "key": f"{list(k)}   (*, S, E)", "value": f"{list(v)}   (*, S, V)"}
    if q[-1] != k[-1]:
        text = f"mat1 and mat2 shapes cannot be multiplied ({q[-2]}x{q[-1]} and {k[-1]}x{k[-2]})"
        return explain(ShapeError(text), expected="the last size of query and key to be equal", **rows)
    text = f"mat1 and mat2 shapes cannot be multiplied ({q[-2]}x{k[-2]} and {v[-2]}x{v[-1]})"
    return explain(ShapeError(text), expected="as many values as keys", **rows)


def _shared_heads(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    if any(len(x._data.shape) < 3 for x in (query, key, value)):
        raise ShapeError("enable_gqa needs query, key and value with a dim of heads, [*, heads, length, size]")
    heads, k_heads, v_heads = (x._data.shape[-3] for x in (query, key, value))
    if heads % max(k_heads, 1) or heads % max(v_heads, 1) or not k_heads or not v_heads:
        raise explain(
            ShapeError("Number of heads in key and value must divide the number of heads in "),
            received=f"{heads} query heads, {k_heads} key heads, {v_heads} value heads",
        )
    return _repeated(key, heads // k_heads), _repeated(value, heads // v_heads)


def _repeated(x: Any, times: int) -> Any:
    """Each head `times` times in a row."""
    *lead, heads, length, size = x._data.shape
    spread = expand(reshape(x, (*lead, heads, 1, length, size)), (*lead, heads, times, length, size))
    return reshape(spread, (*lead, heads * times, length, size))


def _same_batch(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """Operands with their leading dims broadcast."""
    leads = [x._data.shape[:-2] for x in (query, key, value)]
    if leads[0] == leads[1] == leads[2]:
        return query, key, value
    lead = broadcast_shapes(*leads)
    query, key, value = (expand(x, (*lead, *x._data.shape[-2:])) for x in (query, key, value))
    return query, key, value


def _check_mask(mask: Any, scores: tuple[int, ...]) -> None:
    shape = broadcast_shapes(scores, tuple(mask._data.shape))
    if shape != scores:
        raise explain(
            ShapeError(f"The size of the attention mask {list(mask._data.shape)} does not broadcast to {list(scores)}"),
            expected=scores,
            received=tuple(mask._data.shape),
        )


# Several heads


def canonical_mask(
    mask: Any, mask_name: str, other_kind: Any, other_name: str, target_kind: Any, check_other: bool = True
) -> Any:
    """A mask as numbers added to the scores: a bool mask, true where masked, becomes -inf and 0."""
    if mask is None:
        return None
    kind = mask._data.dtype
    if kind != np.bool_ and kind.kind not in "fV":
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_kind is not None and kind != other_kind:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if kind != np.bool_:
        return mask
    return wrap(np.where(mask._data, target_kind.type(-np.inf), target_kind.type(0)))


def _check_head_shapes(query: Any, key: Any, value: Any, padding: Any, mask: Any, heads: int) -> bool:
    """Whether there is a batch dim, after PyTorch's assertions."""
    ndim = query.dim()
    if ndim not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {ndim}-D query tensor")
    batched = ndim == 3
    what, other = ("For batched (3-D)", "3-D") if batched else ("For unbatched (2-D)", "2-D")
    if key.dim() != ndim or value.dim() != ndim:
        raise AssertionError(
            f"{what} `query`, expected `key` and `value` to be {other} but found {key.dim()}-D and {value.dim()}-D "
            "tensors respectively"
        )
    if padding is not None and padding.dim() != ndim - 1:
        raise AssertionError(
            f"{what} `query`, expected `key_padding_mask` to be `None` or {ndim - 1}-D but found {padding.dim()}-D "
            "tensor instead"
        )
    if mask is not None and mask.dim() not in (2, 3):
        raise AssertionError(
            f"{what} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {mask.dim()}-D tensor instead"
        )
    if not batched and mask is not None and mask.dim() == 3:
        expected = (heads, query.shape[0], key.shape[0])
        if tuple(mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {mask.shape}")
    return batched


def _projected(query: Any, key: Any, value: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """Queries, keys and values from one weight, with one product where they have the same source."""
    size = query._data.shape[-1]
    if key is value and query is key:
        return tuple(chunk(linear(query, weight, bias), 3, -1))
    if key is value:
        w_q, w_kv = weight.split([size, size * 2])
        b_q, b_kv = (None, None) if bias is None else bias.split([size, size * 2])
        k, v = chunk(linear(key, w_kv, b_kv), 2, -1)
        return linear(query, w_q, b_q), k, v
    w = chunk(weight, 3)
    b = (None, None, None) if bias is None else chunk(bias, 3)
    return linear(query, w[0], b[0]), linear(key, w[1], b[1]), linear(value, w[2], b[2])


def _check_sizes(query: Any, key: Any, value: Any, embed_dim: int, heads: int, separate: bool) -> None:
    size = query.shape[-1]
    if size != embed_dim:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {size}")
    if size // heads * heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {heads}")
    if separate:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")


def _checked_mask(mask: Any, tgt: int, src: int, batch_heads: int) -> Any:
    """An attention mask [1 or batch * heads, tgt, src]."""
    if mask is None:
        return None
    expected = (tgt, src) if mask.dim() == 2 else (batch_heads, tgt, src)
    if tuple(mask.shape) != expected:
        raise ShapeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _longer(mask: Any) -> Any:
    """A mask for one more key, which is not masked."""
    return None if mask is None else pad(mask, (0, 1))


def _with_zero_key(x: Any) -> Any:
    zeros = wrap(np.zeros((x._data.shape[0], 1, x._data.shape[2]), x._data.dtype))
    return cat([x, zeros], 1)


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any,
    bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any,
    training: bool = True, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Attention of `num_heads` heads between projected inputs [length, batch, size], projected back [1]_.

    See `nn.MultiheadAttention`, which holds the weights. Returns the output and, with `need_weights`, the weights.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", 2017.
    """
    batched = _check_head_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _batched_alike(query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    tgt, batch, size = query.shape
    kind = query._data.dtype
    other = None if attn_mask is None else attn_mask._data.dtype
    key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", other, "attn_mask", kind)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", kind, False)
        is_causal = False
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if use_separate_proj_weight:
        _check_separate(q_proj_weight, k_proj_weight, v_proj_weight)
        b = (None, None, None) if in_proj_bias is None else chunk(in_proj_bias, 3)
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = (linear(x, w, c) for x, w, c in zip((query, key, value), weights, b, strict=True))
    else:
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    attn_mask = _checked_mask(attn_mask, tgt, key.shape[0], batch * num_heads)
    if bias_k is not None and bias_v is not None:
        k, v = (cat([x, expand(c, (1, batch, size))]) for x, c in ((k, bias_k), (v, bias_v)))
        attn_mask, key_padding_mask = _longer(attn_mask), _longer(key_padding_mask)
    q = _by_head(q, tgt, batch, num_heads)
    k = (
        _by_head(k, k.shape[0], batch, num_heads)
        if static_k is None
        else _static("k", static_k, batch, num_heads, size)
    )
    v = (
        _by_head(v, v.shape[0], batch, num_heads)
        if static_v is None
        else _static("v", static_v, batch, num_heads, size)
    )
    if add_zero_attn:
        k, v = _with_zero_key(k), _with_zero_key(v)
        attn_mask, key_padding_mask = _longer(attn_mask), _longer(key_padding_mask)
    attn_mask = _merged(attn_mask, key_padding_mask, batch, num_heads, k.shape[1])
    p = dropout_p if training else 0.0
    shape = (tgt, batch, num_heads)
    out, weights_out = (
        _weighted_heads(q, k, v, attn_mask, p, shape, average_attn_weights)
        if need_weights
        else (_heads(q, k, v, attn_mask, p, is_causal, shape), None)
    )
    out = reshape(linear(out, out_proj_weight, out_proj_bias), (tgt, batch, -1))
    if batched:
        return out, weights_out
    return out.squeeze(1), None if weights_out is None else weights_out.squeeze(0)


def _batched_alike(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """A batch dim for each; inputs that are one object stay one object."""
    q = query.unsqueeze(1)
    k = q if key is query else key.unsqueeze(1)
    return q, k, k if value is key else value.unsqueeze(1)


def _check_separate(*weights: Any) -> None:
    for name, weight in zip("qkv", weights, strict=True):
        if weight is None:
            raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")


def _by_head(x: Any, length: int, batch: int, heads: int) -> Any:
    """[length, batch, size] as [batch * heads, length, size of a head]."""
    return transpose(reshape(x, (length, batch * heads, -1)), 0, 1)


def _static(name: str, x: Any, batch: int, heads: int, size: int) -> Any:
    for dim, expected in ((0, batch * heads), (2, size // heads)):
        if x.size(dim) != expected:
            raise AssertionError(f"expecting static_{name}.size({dim}) of {expected}, but got {x.size(dim)}")
    return x


def _merged(mask: Any, padding: Any, batch: int, heads: int, src: int) -> Any:
    """Both masks as one that broadcasts to [batch * heads, tgt, src]."""
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, src):
        which = 1 if padding.shape[0] == batch else 0
        expected = (batch, src)[which]
        raise AssertionError(
            f"Expected key_padded_mask.shape[{which}] to be {expected}, but got {padding.shape[which]}"
        )
    padding = reshape(expand(reshape(padding, (batch, 1, 1, src)), (batch, heads, 1, src)), (batch * heads, 1, src))
    return padding if mask is None else A.add(mask, padding)


def _weighted_heads(
    q: Any, k: Any, v: Any, mask: Any, p: float, shape: tuple[int, ...], average: bool
) -> tuple[Any, Any]:
    """Rows of all heads' outputs, and their weights."""
    tgt, batch, heads = shape
    q = A.mul(q, math.sqrt(1.0 / q.shape[-1]))
    keys = transpose(k, -2, -1)
    scores = bmm(q, keys) if mask is None else baddbmm(expand(mask, (batch * heads, tgt, k.shape[1])), q, keys)
    weights = softmax(scores, -1)
    if p > 0.0:
        weights = dropout(weights, p)
    out = reshape(transpose(bmm(weights, v), 0, 1), (tgt * batch, -1))
    weights = reshape(weights, (batch, heads, tgt, k.shape[1]))
    return out, mean(weights, 1) if average else weights


def _heads(q: Any, k: Any, v: Any, mask: Any, p: float, is_causal: bool, shape: tuple[int, ...]) -> Any:
    """Rows of all heads' outputs."""
    tgt, batch, heads = shape
    if mask is not None:
        if mask.shape[0] == 1 and mask.dim() == 3:
            mask = mask.unsqueeze(0)
        else:
            mask = reshape(mask, (batch, heads, -1, k.shape[1]))
    q, k, v = (reshape(x, (batch, heads, x.shape[1], -1)) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, mask, p, is_causal)
    return reshape(out.permute(2, 0, 1, 3), (batch * tgt, -1))
