"""Encoder and decoder layers, their stacks, and the whole `Transformer`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.dtypes import get_default_dtype
from rushlight.modes import is_grad_enabled
from rushlight.nn.attention import MultiheadAttention
from rushlight.nn.containers import ModuleList
from rushlight.nn.dropout import Dropout
from rushlight.nn.functional import activation
from rushlight.nn.functional.attention import canonical_mask
from rushlight.nn.init import xavier_uniform_
from rushlight.nn.linear import Linear
from rushlight.nn.module import Module
from rushlight.nn.normalization import LayerNorm
from rushlight.tape import wrap
from rushlight.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]


def causal_mask(size: int, dtype: Any = None) -> Tensor:
    """[size, size]: 0 on and below the diagonal, -inf above."""
    kind = (get_default_dtype() if dtype is None else dtype).np
    above = np.tri(size, dtype=np.bool_).__invert__()
    return wrap(np.where(above, kind.type(-np.inf), kind.type(0)))


def _is_causal(mask: Tensor | None, is_causal: bool | None, size: int | None) -> bool:
    """Whether `mask` is the causal mask: as said, or found out where `is_causal` is None."""
    if is_causal is not None or mask is None or size is None:
        return bool(is_causal)
    return tuple(mask.shape) == (size, size) and bool(np.array_equal(mask._data, causal_mask(size, mask.dtype)._data))


def _steps(x: Tensor, batch_first: bool) -> int | None:
    if x.dim() == 2:
        return x.size(0)
    return x.size(1 if batch_first else 0)


def _activation(which: Activation) -> Any:
    if not isinstance(which, str):
        return which
    if which in ("relu", "gelu"):
        return getattr(activation, which)
    raise RuntimeError(f"activation should be relu/gelu, not {which}")


def _clones(module: Module, n: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(n)])


class _Block(Module):
    """The feed-forward part that encoder and decoder layers share."""

    def _make_feedforward(
        self, d_model: int, dim_feedforward: int, dropout: float, bias: bool, place: dict[str, Any]
    ) -> None:
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)

    def _hidden(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if not hasattr(self, "activation"):
            self.activation = activation.relu


class TransformerEncoderLayer(_Block):
    """Self-attention and a feed-forward network, each with a residual connection and normalisation [1]_.

    Parameters
    ----------
    d_model : int
        Size of inputs and outputs.
    nhead : int
    dim_feedforward : int
    dropout : float
    activation : {"relu", "gelu"} or callable
    layer_norm_eps : float
    batch_first : bool
        Inputs are [batch, steps, size] instead of [steps, batch, size].
    norm_first : bool
        Normalise the input of each part instead of the sum.
    bias : bool

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> layer(torch.zeros(5, 3, 8)).shape
    torch.Size([5, 3, 8])
    """

    __constants__ = ["norm_first"]

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = activation.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **place
        )
        self._make_feedforward(d_model, dim_feedforward, dropout, bias, place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)
        self.activation_relu_or_gelu = _known_activation(self.activation)

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        """The layer's output for `src`; masks as in `MultiheadAttention`."""
        kind = src._data.dtype
        other = None if src_mask is None else src_mask._data.dtype
        src_key_padding_mask = canonical_mask(src_key_padding_mask, "src_key_padding_mask", other, "src_mask", kind)
        src_mask = canonical_mask(src_mask, "src_mask", None, "", kind, False)
        x = src
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(x + self._sa_block(x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self._ff_block(x))

    def _sa_block(self, x: Tensor, mask: Any, padding: Any, is_causal: bool = False) -> Tensor:
        x = self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False, is_causal=is_causal)[
            0
        ]
        return self.dropout1(x)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout2(self._hidden(x))


def _known_activation(function: Any) -> int:
    """1 for relu, 2 for gelu, 0 for others."""
    name = type(function).__name__ if isinstance(function, Module) else getattr(function, "__name__", "")
    return {"relu": 1, "ReLU": 1, "gelu": 2, "GELU": 2}.get(name, 0)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to the encoder's output, and a feed-forward network.

    See `TransformerEncoderLayer` for the parameters.
    """

    __constants__ = ["norm_first"]

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = activation.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        heads: dict[str, Any] = {"dropout": dropout, "batch_first": batch_first, "bias": bias, **place}
        self.self_attn = MultiheadAttention(d_model, nhead, **heads)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **heads)
        self._make_feedforward(d_model, dim_feedforward, dropout, bias, place)
        self.norm_first = norm_first
        for i in (1, 2, 3):
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place))
        for i in (1, 2, 3):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The layer's output for `tgt` and the encoder's output `memory`; masks as in `MultiheadAttention`."""
        x = tgt
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        cross = (memory_mask, memory_key_padding_mask, memory_is_causal)
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *own)
            x = x + self._mha_block(self.norm2(x), memory, *cross)
            return x + self._ff_block(self.norm3(x))
        x = self.norm1(x + self._sa_block(x, *own))
        x = self.norm2(x + self._mha_block(x, memory, *cross))
        return self.norm3(x + self._ff_block(x))

    def _sa_block(self, x: Tensor, mask: Any, padding: Any, is_causal: bool = False) -> Tensor:
        x = self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding, is_causal=is_causal, need_weights=False)[
            0
        ]
        return self.dropout1(x)

    def _mha_block(self, x: Tensor, memory: Tensor, mask: Any, padding: Any, is_causal: bool = False) -> Tensor:
        x = self.multihead_attn(
            x, memory, memory, attn_mask=mask, key_padding_mask=padding, is_causal=is_causal, need_weights=False
        )[0]
        return self.dropout2(x)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout3(self._hidden(x))


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other.

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
        Copied `num_layers` times, weights included.
    norm : Module, optional
        Applied at the end.
    enable_nested_tensor : bool
        Leave padding out in inference, see Notes.

    Notes
    -----
    PyTorch: with padding at the ends of sequences, in evaluation mode and without gradients, it gives zeros at
    padded positions. So does this one.
    """

    __constants__ = ["norm"]

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = _clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.use_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check
        reason = _why_not_nested(encoder_layer)
        if enable_nested_tensor and reason:
            warnings.warn(
                f"enable_nested_tensor is True, but self.use_nested_tensor is False because {reason}", stacklevel=2
            )
            self.use_nested_tensor = False

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Tensor:
        """The output for `src`; `is_causal` says whether `mask` is the causal mask, None finds out."""
        kind = src._data.dtype
        other = None if mask is None else mask._data.dtype
        given = src_key_padding_mask
        src_key_padding_mask = canonical_mask(src_key_padding_mask, "src_key_padding_mask", other, "mask", kind)
        mask = canonical_mask(mask, "mask", None, "", kind, False)
        first = self.layers[0]
        attention = getattr(first, "self_attn", None)
        causal = _is_causal(mask, is_causal, _steps(src, bool(getattr(attention, "batch_first", False))))
        used = self._used_steps(src, given)
        out = src
        for layer in self.layers:
            out = layer(out, src_mask=mask, is_causal=causal, src_key_padding_mask=src_key_padding_mask)
        if used is not None:
            out = out * wrap(used[..., None].astype(kind))
        return out if self.norm is None else self.norm(out)

    def _used_steps(self, src: Tensor, padding: Any) -> Any:
        """[batch, steps] of bool where PyTorch would leave padding out, else None."""
        if padding is None or not self.use_nested_tensor or self.training or src.dim() != 3:
            return None
        if is_grad_enabled() and (src.requires_grad or any(p.requires_grad for p in self.layers[0].parameters())):
            return None
        used = ~padding._data if padding._data.dtype == np.bool_ else padding._data == 0
        lengths = used.sum(1)
        left_aligned = bool((used == (np.arange(used.shape[1]) < lengths[:, None])).all())
        return used if left_aligned or not self.mask_check else None


def _why_not_nested(layer: Any) -> str:
    """PyTorch's reason not to leave padding out for this kind of layer; "" if there is none."""
    name = "encoder_layer"
    if not isinstance(layer, TransformerEncoderLayer):
        return f"{name} was not TransformerEncoderLayer"
    if layer.norm_first:
        return f"{name}.norm_first was True"
    if not layer.self_attn.batch_first:
        return f"{name}.self_attn.batch_first was not True(use batch_first for better inference performance)"
    if not layer.self_attn._qkv_same_embed_dim:
        return f"{name}.self_attn._qkv_same_embed_dim was not True"
    if layer.self_attn.in_proj_bias is None:
        return f"{name}.self_attn was passed bias=False"
    if not layer.activation_relu_or_gelu:
        return f"{name}.activation_relu_or_gelu was not True"
    if layer.norm1.eps != layer.norm2.eps:
        return f"{name}.norm1.eps was not equal to {name}.norm2.eps"
    return f"{name}.self_attn.num_heads is odd" if layer.self_attn.num_heads % 2 == 1 else ""


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other."""

    __constants__ = ["norm"]

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The output for `tgt` and the encoder's output `memory`."""
        attention = getattr(self.layers[0], "self_attn", None)
        causal = _is_causal(tgt_mask, tgt_is_causal, _steps(tgt, bool(getattr(attention, "batch_first", False))))
        out = tgt
        for layer in self.layers:
            out = layer(
                out,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return out if self.norm is None else self.norm(out)


class Transformer(Module):
    """Encoder and decoder of "Attention Is All You Need" [1]_, with final normalisations.

    See `TransformerEncoderLayer` for the other parameters.

    Parameters
    ----------
    custom_encoder, custom_decoder : Module, optional
        Take the place of the stacks.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", 2017.
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = activation.relu,
        custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        layer = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
        )  # fmt: skip
        norm: dict[str, Any] = {"eps": layer_norm_eps, "bias": bias, **place}
        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            first = TransformerEncoderLayer(*layer, **place)
            self.encoder = TransformerEncoder(first, num_encoder_layers, LayerNorm(d_model, **norm))
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            last = TransformerDecoderLayer(*layer, **place)
            self.decoder = TransformerDecoder(last, num_decoder_layers, LayerNorm(d_model, **norm))
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """The decoder's output for `tgt` and the encoded `src`; masks as in `MultiheadAttention`."""
        batched = src.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if batched and src.size(batch_dim) != tgt.size(batch_dim):
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """[sz, sz]: 0 on and below the diagonal, -inf above: each position sees those up to its own.

        Examples
        --------
        >>> torch.nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        return causal_mask(sz, dtype)

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                xavier_uniform_(p)
