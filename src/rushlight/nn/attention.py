"""`MultiheadAttention`, and the choice of attention's kernel: `torch.nn.attention`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from rushlight.backends.cuda import SDP
from rushlight.creation import empty
from rushlight.nn.functional.attention import canonical_mask, multi_head_attention_forward
from rushlight.nn.init import constant_, xavier_normal_, xavier_uniform_
from rushlight.nn.linear import NonDynamicallyQuantizableLinear
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.tensor import Tensor


class SDPBackend(Enum):
    """Kernels of scaled dot product attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self) -> int:
        return int(self.value)


_SWITCHES = {
    SDPBackend.MATH: "math",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "mem_efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
    SDPBackend.OVERRIDEABLE: "overrideable",
}


@contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[dict[str, Any]]:
    """Allow only some kernels of attention in a block.

    On the CPU there are MATH and FLASH_ATTENTION, which compute the same here; with neither, attention is an error.

    Examples
    --------
    >>> from rushlight.nn.attention import SDPBackend, sdpa_kernel
    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     torch.backends.cuda.flash_sdp_enabled()
    False
    """
    if not isinstance(backends, list | SDPBackend):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    before = dict(SDP)
    SDP.update({name: kernel in chosen for kernel, name in _SWITCHES.items()})
    try:
        yield {}
    finally:
        SDP.update(before)


class MultiheadAttention(Module):
    """Attention of several heads between projected inputs [1]_.

    Parameters
    ----------
    embed_dim : int
        Size of queries and outputs, shared among the heads.
    num_heads : int
    dropout : float
        Probability of dropping an attention weight in training mode.
    bias : bool
        Whether the projections have biases.
    add_bias_kv : bool
        Append a learned key and value.
    add_zero_attn : bool
        Append a key and value of zeros.
    kdim, vdim : int, optional
        Sizes of keys and values, `embed_dim` by default.
    batch_first : bool
        Inputs are [batch, length, size] instead of [length, batch, size].

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.zeros(3, 5, 8)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 5]))
    """

    __constants__ = ["batch_first"]
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self._make_weights(place)
        self.register_parameter("in_proj_bias", Parameter(empty(3 * embed_dim, **place)) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **place)
        if add_bias_kv:
            self.bias_k = Parameter(empty((1, 1, embed_dim), **place))
            self.bias_v = Parameter(empty((1, 1, embed_dim), **place))
        else:
            self.bias_k = self.bias_v = None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _make_weights(self, place: dict[str, Any]) -> None:
        size = self.embed_dim
        if self._qkv_same_embed_dim:
            self.in_proj_weight = Parameter(empty((3 * size, size), **place))
            for name in "qkv":
                self.register_parameter(f"{name}_proj_weight", None)
            return
        self.q_proj_weight = Parameter(empty((size, size), **place))
        self.k_proj_weight = Parameter(empty((size, self.kdim), **place))
        self.v_proj_weight = Parameter(empty((size, self.vdim), **place))
        self.register_parameter("in_proj_weight", None)

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            xavier_uniform_(self.in_proj_weight)
        else:
            for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            for zero in (self.in_proj_bias, self.out_proj.bias):
                constant_(zero, 0.0)  # type: ignore[arg-type]
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                xavier_normal_(bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Outputs for the queries, and the attention weights if asked.

        Parameters
        ----------
        key_padding_mask : Tensor[batch, keys], optional
            True (or -inf) for keys to leave out.
        need_weights : bool
            Whether to return the weights; without them a faster kernel runs.
        attn_mask : Tensor[queries, keys] or [batch * heads, queries, keys], optional
            True (or -inf) where attention is not allowed; other numbers are added to the scores.
        average_attn_weights : bool
            Average the weights over the heads.
        is_causal : bool
            Says that `attn_mask` is the causal mask.
        """
        kind = query._data.dtype
        other = None if attn_mask is None else attn_mask._data.dtype
        key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", other, "attn_mask", kind)
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", kind, False)
        batched = query.dim() == 3
        if self.batch_first and batched:
            query, key, value = _lengths_first(query, key, value)
        separate: dict[str, Any] = {}
        if not self._qkv_same_embed_dim:
            weights = {f"{name}_proj_weight": getattr(self, f"{name}_proj_weight") for name in "qkv"}
            separate = {"use_separate_proj_weight": True, **weights}
        out, weights = multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            average_attn_weights=average_attn_weights, is_causal=is_causal, **separate,
        )  # fmt: skip
        return (out.transpose(1, 0) if self.batch_first and batched else out), weights

    def merge_masks(self, attn_mask: Any, key_padding_mask: Any, query: Tensor) -> tuple[Any, int | None]:
        """Both masks as one [batch, heads, queries, keys], and its kind: 0 attention, 1 padding, 2 both."""
        if key_padding_mask is None and attn_mask is None:
            return None, None
        if attn_mask is None:
            return key_padding_mask, 1
        batch, length = query.shape[0], query.shape[1]
        if attn_mask.dim() == 3:
            merged = attn_mask.view(batch, -1, length, length)
        else:
            merged = attn_mask.view(1, 1, length, length).expand(batch, self.num_heads, -1, -1)
        if key_padding_mask is not None:
            merged = merged + key_padding_mask.view(batch, 1, 1, length).expand(-1, self.num_heads, -1, -1)
        return merged, 2


def _lengths_first(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[batch, length, size] as [length, batch, size]; inputs that are one object stay one object."""
    q = query.transpose(1, 0)
    k = q if key is query else key.transpose(1, 0)
    return q, k, k if value is key else value.transpose(1, 0)
