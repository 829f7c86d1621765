"""A table of a model's layers: shapes, parameters and work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rushlight.modes import no_grad
from rushlight.nn.attention import MultiheadAttention
from rushlight.nn.conv import _ConvNd
from rushlight.nn.linear import Bilinear, Linear
from rushlight.nn.module import Module
from rushlight.nn.rnn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from rushlight.tape import Variable

__all__ = ["Summary", "summary"]


@dataclass(frozen=True)
class Row:
    """One call of one module: its place in the model, and what it did."""

    name: str
    kind: str
    depth: int
    input_shapes: Any
    output_shapes: Any
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """What `summary` found; printing it gives the table."""

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    flops: int
    parameter_bytes: int

    def __str__(self) -> str:
        head = ("layer", "output", "parameters", "FLOPs")
        cells = [
            (
                f"{'  ' * row.depth}{row.name} ({row.kind})",
                _text(row.output_shapes),
                f"{row.parameters:,}",
                _count(row.flops),
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(4)]
        rule = "-" * (sum(widths) + 6)
        lines = [_line(head, widths), rule, *(_line(cell, widths) for cell in cells), rule]
        frozen = self.parameters - self.trainable
        lines.append(f"parameters  {self.parameters:,} ({self.trainable:,} trainable, {frozen:,} frozen)")
        lines.append(f"memory      {self.parameter_bytes / 2**20:.2f} MiB of parameters")
        lines.append(f"work        {_count(self.flops)} FLOPs in one forward pass")
        return "\n".join(lines)

    __repr__ = __str__


def summary(model: Module, *inputs: Any, **named: Any) -> Summary:
    """Run `model` once on the inputs, in evaluation mode and without gradients, and report each module's call.

    FLOPs are those of products in linear, convolution, recurrent and attention layers, two for each multiplication
    with its addition; a module's own functional calls are not counted.

    Parameters
    ----------
    model : Module
    inputs, named
        What `model` is called with.

    Returns
    -------
    Summary
        `rows` (one for each call, in the order of the calls, depth 0 the model itself), `parameters`, `trainable`,
        `flops`, `parameter_bytes`; its text is a table.

    Examples
    --------
    >>> from rushlight.utils.summary import summary
    >>> print(summary(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), torch.zeros(2, 4)))
    layer                    output  parameters  FLOPs
    --------------------------------------------------
    Sequential (Sequential)  [2, 3]          15     48
      0 (Linear)             [2, 3]          15     48
      1 (ReLU)               [2, 3]           0      0
    --------------------------------------------------
    parameters  15 (15 trainable, 0 frozen)
    memory      0.00 MiB of parameters
    work        48 FLOPs in one forward pass
    """
    recorder = _Recorder(model)
    modes = [(module, module.training) for module in model.modules()]
    handles = recorder.attach()
    try:
        model.eval()
        with no_grad():
            model(*inputs, **named)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    parameters = list(model.parameters())
    rows = tuple(recorder.rows)
    return Summary(
        rows,
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        rows[0].flops if rows else 0,
        sum(p.numel() * p.element_size() for p in parameters),
    )


class _Recorder:
    """Rows in the order in which calls begin; each is completed when its call ends."""

    def __init__(self, model: Module) -> None:
        self.names = {id(module): name for name, module in model.named_modules()}
        self.names[id(model)] = type(model).__name__
        self.model = model
        self.rows: list[Any] = []
        self.open: list[tuple[int, list[int]]] = []

    def attach(self) -> list[Any]:
        """Hooks on every module."""
        handles = []
        for module in self.model.modules():
            handles.append(module.register_forward_pre_hook(self.begin))
            handles.append(module.register_forward_hook(self.end))
        return handles

    def begin(self, module: Module, inputs: Any) -> None:
        """A call begins."""
        self.open.append((len(self.rows), [0]))
        self.rows.append(None)

    def end(self, module: Module, inputs: Any, output: Any) -> None:
        """A call ends: its work is its own, where known, else that of the calls inside it."""
        place, inner = self.open.pop()
        own = next((count(module, inputs, output) for kind, count in COUNTS.items() if isinstance(module, kind)), None)
        flops = inner[0] if own is None else own
        if self.open:
            self.open[-1][1][0] += flops
        name = self.names[id(module)].rpartition(".")[2]
        parameters = sum(p.numel() for p in module.parameters())
        self.rows[place] = Row(
            name, type(module).__name__, len(self.open), _shapes(inputs), _shapes(output), parameters, flops
        )


def _linear(module: Any, inputs: Any, output: Any) -> int:
    return int(2 * output.numel() * module.in_features)


def _bilinear(module: Any, inputs: Any, output: Any) -> int:
    return int(2 * output.numel() * module.in1_features * (module.in2_features + 1))


def _convolution(module: Any, inputs: Any, output: Any) -> int:
    places = inputs[0] if module.transposed else output
    return int(2 * places.numel() * module.weight.numel() // module.weight.shape[0])


def _recurrent(module: Any, inputs: Any, output: Any) -> int:
    """Every step applies all matrices of all layers to its part of the batch."""
    data = inputs[0].data if hasattr(inputs[0], "batch_sizes") else inputs[0]
    steps = data.numel() // data.shape[-1]
    return int(2 * steps * sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight")))


def _attention(module: Any, inputs: Any, output: Any) -> int:
    """Projections of queries, keys and values, their two products, the output projection."""
    query, key, value = (inputs * 3)[:3] if len(inputs) == 1 else inputs[:3]
    rows = [math.prod(x.shape[:-1]) for x in (query, key, value)]
    batched = query.dim() == 3
    length = key.shape[(1 if module.batch_first else 0) if batched else 0]
    width = module.embed_dim
    inward = 2 * width * sum(n * x.shape[-1] for n, x in zip(rows, (query, key, value), strict=True))
    return int(inward + 4 * rows[0] * length * width + 2 * rows[0] * width * width)


COUNTS: dict[type | tuple[type, ...], Callable[[Any, Any, Any], int]] = {
    Linear: _linear,
    Bilinear: _bilinear,
    _ConvNd: _convolution,
    (RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell): _recurrent,
    MultiheadAttention: _attention,
}


def _shapes(value: Any) -> Any:
    """The shape of a tensor; of containers, the shapes of their tensors."""
    if isinstance(value, Variable):
        return tuple(value._data.shape)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        found = [_shapes(v) for v in value]
        found = [shape for shape in found if shape is not None]
        return found[0] if len(found) == 1 else found
    return None


def _text(shapes: Any) -> str:
    if shapes is None:
        return "-"
    if isinstance(shapes, tuple):
        return str(list(shapes))
    return ", ".join(_text(shape) for shape in shapes) or "-"


def _count(number: int) -> str:
    """A number in at most five digits, with its unit."""
    for size, unit in ((10**15, " P"), (10**12, " T"), (10**9, " G"), (10**6, " M")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return f"{number:,}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    name, shape, *numbers = (
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((name, shape, *numbers))
