"""Recurrent layers and cells: `RNN`, `LSTM`, `GRU`, `RNNCell`, `LSTMCell`, `GRUCell`."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import numpy as np

from rushlight import modes
from rushlight.creation import empty
from rushlight.errors import ShapeError, explain
from rushlight.functions.indexing import index_select
from rushlight.nn import init
from rushlight.nn.functional import rnn as F
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.nn.utils.rnn import PackedSequence
from rushlight.tape import wrap
from rushlight.tensor import Tensor

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def apply_permutation(tensor: Tensor, permutation: Tensor, dim: int = 1) -> Tensor:
    """`tensor` with its slices along `dim` in another order."""
    return index_select(tensor, dim, permutation)


class RNNBase(Module):
    """What recurrent layers share: weights, their names, checks, and packed sequences.

    Parameters
    ----------
    mode : {"LSTM", "GRU", "RNN_TANH", "RNN_RELU"}
    input_size, hidden_size : int
    num_layers : int
        Layers on top of one another.
    bias : bool
    batch_first : bool
        Inputs and outputs are [batch, steps, size] instead of [steps, batch, size].
    dropout : float
        Probability of dropping outputs between layers in training mode.
    bidirectional : bool
        Also run backwards; outputs are joined along the last dim.
    proj_size : int
        Size of projected outputs, "LSTM" only; 0 for none.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Parameter
        Of the first layer, gates one below the other; `_reverse` is appended for the other direction. Drawn from
        U(-k, k) with k = 1 / sqrt(hidden_size).
    """

    __constants__ = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]
    __jit_unused_properties__ = ["all_weights"]
    mode: str
    _all_weights: list[list[str]]

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_arguments(dropout)
        if mode not in GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self._make_weights({"device": device, "dtype": dtype})
        self.reset_parameters()

    def _check_arguments(self, dropout: Any) -> None:
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):  # type: ignore[operator]
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:  # type: ignore[operator]
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name in ("input_size", "hidden_size"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if self.hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def _make_weights(self, place: dict[str, Any]) -> None:
        directions = 2 if self.bidirectional else 1
        gates = GATES[self.mode] * self.hidden_size
        output = self.proj_size or self.hidden_size
        self._all_weights = []
        self._flat_weights_names: list[str] = []
        for layer in range(self.num_layers):
            size = self.input_size if layer == 0 else output * directions
            for direction in range(directions):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, size), "weight_hh": (gates, output)}
                if self.bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if self.proj_size > 0:
                    shapes["weight_hr"] = (self.proj_size, self.hidden_size)
                names = {f"{kind}_l{layer}{'_reverse' * direction}": shape for kind, shape in shapes.items()}
                for name, shape in names.items():
                    setattr(self, name, Parameter(empty(shape, **place)))
                self._all_weights.append(list(names))
                self._flat_weights_names += names

    @property
    def _flat_weights(self) -> list[Any]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing to do on the CPU."""

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _groups(self) -> list[tuple[Any, ...]]:
        """(w_ih, w_hh, b_ih, b_hh, w_hr) of each layer and direction."""
        groups = []
        for names in self._all_weights:
            found = [getattr(self, name) for name in names]
            w_hr = found.pop() if self.proj_size > 0 else None
            b_ih, b_hh = found[2:4] if self.bias else (None, None)
            groups.append((found[0], found[1], b_ih, b_hh, w_hr))
        return groups

    # Checks

    def check_input(self, input: Tensor, batch_sizes: Any) -> None:
        """Raise unless dims, dtype and last size of `input` fit."""
        kind, own = input.dtype, getattr(self, self._flat_weights_names[0]).dtype
        if kind is not own and modes.state.autocast is None:
            raise ValueError(
                f"RNN input dtype ({kind}) does not match weight dtype ({own}). Convert input: input.to({own}), or "
                f"convert model: model.to({kind})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise ShapeError(f"input must have {expected} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise explain(
                ShapeError(
                    f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
                ),
                expected=f"input [..., {self.input_size}]",
                received=tuple(input.shape),
            )

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Any) -> tuple[int, int, int]:
        """Shape of the first h."""
        batch = int(batch_sizes[0]) if batch_sizes is not None else input.size(0 if self.batch_first else 1)
        directions = 2 if self.bidirectional else 1
        return self.num_layers * directions, batch, self.proj_size or self.hidden_size

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Any) -> tuple[int, int, int]:
        """Shape of the first c."""
        layers, batch, _ = self.get_expected_hidden_size(input, batch_sizes)
        return layers, batch, self.hidden_size

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raise unless `hx` has the shape."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise explain(
                ShapeError(msg.format(tuple(expected_hidden_size), list(hx.shape))),
                expected="(num_layers * directions, batch, size)",
            )

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Any) -> None:
        """Raise unless input and first states fit."""
        self.check_input(input, batch_sizes)
        states = self._states(hidden)
        expected = [self.get_expected_hidden_size(input, batch_sizes)]
        if len(states) == 1:
            self.check_hidden_size(states[0], expected[0])
            return
        expected.append(self.get_expected_cell_size(input, batch_sizes))
        for i, (state, shape) in enumerate(zip(states, expected, strict=True)):
            self.check_hidden_size(state, shape, "Expected hidden[" + str(i) + "] size {}, got {}")

    def permute_hidden(self, hx: Any, permutation: Any) -> Any:
        """First or last states in another order of the batch."""
        if permutation is None:
            return hx
        moved = tuple(apply_permutation(s, permutation) for s in self._states(hx))
        return moved if self.mode == "LSTM" else moved[0]

    def _states(self, hx: Any) -> tuple[Any, ...]:
        return tuple(hx) if self.mode == "LSTM" else (hx,)

    def extra_repr(self) -> str:
        """Sizes and options, for `repr`."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    # Forward

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Outputs of the last layer, and the last states of all.

        Parameters
        ----------
        input : Tensor[steps, batch, input_size], Tensor[steps, input_size] or PackedSequence
        hx : Tensor[layers * directions, batch, hidden_size], optional
            First states, zeros by default; a pair (h, c) for `LSTM`.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        ndim = input.dim()
        if ndim not in (2, 3):
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got {ndim}D instead")
        batched = ndim == 3
        batch_dim = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_dim)
        if hx is not None:
            hx = self._checked_dims(hx, batched)
        else:
            hx = self._zeros(x, x.size(batch_dim))
        self.check_forward_args(x, hx, None)
        if self.batch_first:
            x = x.transpose(0, 1)
        steps, batch = x.shape[:2]
        if not steps:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        out, last = self._run(x, hx, (batch,) * steps)
        if self.batch_first:
            out = out.transpose(0, 1)
        if not batched:
            out = out.squeeze(batch_dim)
            last = tuple(s.squeeze(1) for s in last)
        return out, last if self.mode == "LSTM" else last[0]

    def _run(self, x: Any, hx: Any, sizes: tuple[int, ...]) -> tuple[Any, tuple[Any, ...]]:
        return F.run_layers(
            self.mode, x, self._states(hx), self._groups(), sizes, self.dropout, self.training, self.bidirectional
        )

    def _zeros(self, x: Any, batch: int) -> Any:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        h = wrap(np.zeros((layers, batch, self.proj_size or self.hidden_size), x._data.dtype))
        if self.mode != "LSTM":
            return h
        return h, wrap(np.zeros((layers, batch, self.hidden_size), x._data.dtype))

    def _checked_dims(self, hx: Any, batched: bool) -> Any:
        """First states with a batch dim."""
        states = self._states(hx)
        wanted = 3 if batched else 2
        if any(s.dim() != wanted for s in states):
            got = ", ".join(f"{s.dim()}-D" for s in states)
            what = f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx"
            if len(states) == 1:
                raise ShapeError(f"{what} should also be {wanted}-D but got {got} tensor")
            raise ShapeError(f"{what} and cx should also be {wanted}-D but got ({got}) tensors")
        if batched:
            return hx
        states = tuple(s.unsqueeze(1) for s in states)
        return states if self.mode == "LSTM" else states[0]

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[Any, Any]:
        data, batch_sizes, order, undo = packed
        hx = self._zeros(data, int(batch_sizes[0])) if hx is None else self.permute_hidden(hx, order)
        self.check_forward_args(data, hx, batch_sizes)
        out, last = self._run(data, hx, tuple(batch_sizes.tolist()))
        result = PackedSequence(out, batch_sizes, order, undo)
        return result, self.permute_hidden(last if self.mode == "LSTM" else last[0], undo)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.__dict__.pop("_flat_weights", None)
        if "proj_size" not in state:
            self.proj_size = 0


class RNN(RNNBase):
    """h = tanh(w_ih @ x + b_ih + w_hh @ h + b_hh) over the steps of a sequence [1]_; relu with nonlinearity="relu".

    See `RNNBase` for the parameters.

    References
    ----------
    .. [1] J. Elman, "Finding Structure in Time", 1990.

    Examples
    --------
    >>> out, h = torch.nn.RNN(3, 4)(torch.zeros(5, 2, 3))
    >>> out.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_" + self.nonlinearity.upper(), *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory over the steps of a sequence [1]_. See `RNNBase` for the parameters.

    References
    ----------
    .. [1] S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", 1997.

    Examples
    --------
    >>> out, (h, c) = torch.nn.LSTM(3, 4, num_layers=2)(torch.zeros(5, 2, 3))
    >>> out.shape, h.shape, c.shape
    (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]), torch.Size([2, 2, 4]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent unit over the steps of a sequence [1]_. See `RNNBase` for the parameters.

    References
    ----------
    .. [1] K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """Weights of a single recurrent step."""

    __constants__ = ["input_size", "hidden_size", "bias"]
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        self.weight_ih = Parameter(empty((gates, input_size), **place))
        self.weight_hh = Parameter(empty((gates, hidden_size), **place))
        self.register_parameter("bias_ih", Parameter(empty(gates, **place)) if bias else None)
        self.register_parameter("bias_hh", Parameter(empty(gates, **place)) if bias else None)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes and options, for `repr`."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text + (f", nonlinearity={nonlinearity}" if nonlinearity != "tanh" else "")

    def reset_parameters(self) -> None:
        """Draw all weights anew from U(-k, k) with k = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _check(self, input: Tensor, states: tuple[Any, ...]) -> None:
        name = self._get_name()
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for i, state in enumerate(states):
            which = f"hx[{i}]" if len(states) > 1 else "hidden"
            if state.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {state.dim()}D instead")

    def _zeros(self, input: Tensor) -> Any:
        return wrap(np.zeros((*input.shape[:-1], self.hidden_size), input._data.dtype))

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class RNNCell(RNNCellBase):
    """One step h = tanh(w_ih @ x + b_ih + w_hh @ h + b_hh), or relu."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The new state from [batch, input_size] and [batch, hidden_size], zeros by default."""
        self._check(input, () if hx is None else (hx,))
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell
        return step(input, self._zeros(input) if hx is None else hx, *self._weights())


class LSTMCell(RNNCellBase):
    """One step of long short-term memory."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        """The new (h, c) from the input and the old pair, zeros by default."""
        if isinstance(hx, Tensor):
            raise TypeError("lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor")
        self._check(input, () if hx is None else tuple(hx))
        if hx is None:
            hx = (self._zeros(input), self._zeros(input))
        return F.lstm_cell(input, hx, *self._weights())


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The new state from [batch, input_size] and [batch, hidden_size], zeros by default."""
        self._check(input, () if hx is None else (hx,))
        return F.gru_cell(input, self._zeros(input) if hx is None else hx, *self._weights())
