"""Random programs as Python source: a failure prints what can be pasted.

`functions()` draws functions of three tensors with views and in-place writes; `training()` draws a model, an optimizer
and a training step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = ((3, 4), (4,), (3, 1), (2, 3, 4), (4, 4), ())

UNARY = (
    "torch.tanh({x})", "torch.sigmoid({x})", "{x}.relu()", "torch.sin({x})", "({x} * {x} + 1).sqrt()", "{x}.abs()",
    "torch.exp(-{x}.abs())", "torch.log({x}.abs() + 0.5)", "-{x}", "{x} * 0.5", "1 - {x}", "{x} / 3", "{x} ** 2 * 0.3",
    "torch.nn.functional.gelu({x})", "torch.nn.functional.softplus({x})", "{x}.clamp(-0.7, 0.9)", "{x}.clone()",
    "torch.where({x} > 0.1, {x}, {x} * 0.2)", "{x}.masked_fill({x} < -0.4, 0.25)", "{x}.detach() + {x}",
    "{x} * torch.rand_like({x})", "torch.nn.functional.dropout({x}, 0.3)", "torch.zeros_like({x}) + {x}",
    "{x} + torch.ones({x}.shape, dtype={x}.dtype)", "{x}.contiguous() * 1", "{x}.double().to({x}.dtype)",
    "{x}.floor() * 0.1 + {x}", "{x}.sign() + {x}",
)  # fmt: skip
BINARY = (
    "{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} / ({y}.abs() + 1)", "torch.maximum({x}, {y})",
    "torch.minimum({x}, {y})",
    "torch.where({x} > {y}, {x}, {y} * 0.5)", "{x}.lerp({y}, 0.3)", "torch.addcmul({x}, {x}, {y}, value=0.2)",
    "torch.atan2({x}, {y}.abs() + 1)", "torch.hypot({x}, {y} + 2)",
)  # fmt: skip
REDUCE = (
    "{x}.sum({d})", "{x}.mean({d}, keepdim=True)", "{x}.amax({d})", "{x}.softmax({d})", "{x}.log_softmax({d}) * 0.2",
    "{x}.cumsum({d}) * 0.3", "{x}.var({d}, keepdim=True)", "{x}.max({d})[0]", "{x}.sort({d})[0]", "{x}.flip({d})",
    "{x}.logsumexp({d})", "{x}.roll(1, {d})", "{x}.norm(dim={d})", "{x}.prod({d}, keepdim=True) * 0.1",
)  # fmt: skip
WRITES = (
    "{x}.add_({y})", "{x}.mul_(0.75)", "{x}.copy_({y})", "{x}[...] = {y}", "{x}.tanh_()", "{x}.sub_({y}, alpha=0.1)",
    "{x}.zero_()", "{x}.fill_(0.3)", "{x} *= {y}", "{x}.clamp_(-0.8, 0.8)", "{x}.masked_fill_({x} > 0.6, 0.2)",
)  # fmt: skip
VIEWS = {
    "{x}.transpose(0, -1)": lambda s: (s[-1], *s[1:-1], s[0]) if len(s) > 1 else None,
    "{x}[1:]": lambda s: (s[0] - 1, *s[1:]) if s and s[0] > 1 else None,
    "{x}[..., ::2]": lambda s: (*s[:-1], (s[-1] + 1) // 2) if s else None,
    "{x}[0]": lambda s: s[1:] if s and s[0] else None,
    "{x}[:, 1]": lambda s: (s[0], *s[2:]) if len(s) > 1 and s[1] > 1 else None,
    "{x}.unsqueeze(0)": lambda s: (1, *s),
    "{x}.unsqueeze(-1)": lambda s: (*s, 1),
    "{x}.reshape(-1)": lambda s: (_size(s),),
    "{x}.squeeze()": lambda s: tuple(n for n in s if n != 1),
    "{x}.flatten(0, 1)": lambda s: (s[0] * s[1], *s[2:]) if len(s) > 1 else None,
    "{x}.chunk(2, 0)[0]": lambda s: ((s[0] + 1) // 2, *s[1:]) if s and s[0] else None,
    "{x}.split(1, -1)[-1]": lambda s: (*s[:-1], 1) if s and s[-1] else None,
    "{x}.unbind(0)[-1]": lambda s: s[1:] if s and s[0] else None,
    "{x}.diagonal()": lambda s: (min(s),) if len(s) == 2 else None,
    "{x}.narrow(-1, 0, 1)": lambda s: (*s[:-1], 1) if s and s[-1] else None,
}
PRODUCTS = ("{x} @ {y}.transpose(-1, -2)", "torch.nn.functional.linear({x}, {y})")


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    n = max(len(a), len(b))
    pairs = list(zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b, strict=True))
    return tuple(max(p) if 0 not in p else 0 for p in pairs) if all(p[0] == p[1] or 1 in p for p in pairs) else None


@dataclass
class Source:
    """A function being written: its lines, the shapes of its variables, and which may be memory from outside."""

    lines: list[str] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    outside: set[str] = field(default_factory=lambda: {"c"})

    def new(self, expression: str, shape: Shape, view_of: str = "") -> None:
        """A line that makes a variable."""
        name = f"v{len(self.shapes)}"
        if view_of in self.outside:
            self.outside.add(name)
        self.lines.append(f"{name} = {expression}")
        self.shapes[name] = shape


@st.composite
def functions(draw: Any) -> tuple[str, list[Shape]]:
    """The source of `program(a, b, c)` and the shapes of its arguments; a and b are differentiated, c is written to."""
    code = Source()
    shapes = [draw(st.sampled_from(SHAPES[:5])) for _ in range(3)]
    code.shapes.update(zip("abc", shapes, strict=True))
    for _ in range(draw(st.integers(2, 12))):
        _statement(draw, code)
    made = [n for n in code.shapes if n not in "abc"] or ["a"]
    total = (
        " + ".join(f"({n} * {k % 3 + 1}).mean()" for k, n in enumerate(made) if 0 not in code.shapes[n]) or "a.sum()"
    )
    body = [*code.lines, f"loss = (a * b.sum()).mean() + {total}", "loss.backward()", f"return loss, {', '.join(made)}"]
    return "def program(a, b, c):\n    " + "\n    ".join(body) + "\n", shapes


def _statement(draw: Any, code: Source) -> None:
    names = list(code.shapes)
    x, y = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    shape, other = code.shapes[x], code.shapes[y]
    kind = draw(
        st.sampled_from(("unary", "binary", "binary", "reduce", "view", "view", "write", "write", "product", "join"))
    )
    if kind == "unary":
        code.new(draw(st.sampled_from(UNARY)).format(x=x), shape)
    elif kind == "binary" and (both := _broadcast(shape, other)) is not None:
        code.new(draw(st.sampled_from(BINARY)).format(x=x, y=y), both)
    elif kind == "reduce" and shape and 0 not in shape:
        _reduce(draw, code, x)
    elif kind == "view":
        text = draw(st.sampled_from(list(VIEWS)))
        seen = VIEWS[text](shape)
        if seen is not None:
            code.new(text.format(x=x), seen, view_of=x)
    elif kind == "write" and x not in ("a", "b") and _broadcast(shape, other) == shape:
        source = f"{y}.detach().clone()" if x in code.outside else f"{y}.clone()"
        code.lines.append(draw(st.sampled_from(WRITES)).format(x=x, y=source))
    elif kind == "product" and len(shape) == len(other) == 2 and shape[1] == other[1]:
        code.new(draw(st.sampled_from(PRODUCTS)).format(x=x, y=y), (shape[0], other[0]))
    elif kind == "join" and shape and shape == other:
        code.new(f"torch.cat([{x}, {y}])", (2 * shape[0], *shape[1:]))


def _reduce(draw: Any, code: Source, x: str) -> None:
    shape = code.shapes[x]
    d = draw(st.integers(0, len(shape) - 1))
    text = draw(st.sampled_from(REDUCE))
    keeps = any(word in text for word in ("softmax", "cumsum", "sort", "flip", "roll"))
    middle: Shape = shape[d : d + 1] if keeps else (1,) if "keepdim" in text else ()
    if "var" in text and shape[d] < 2:
        return
    code.new(text.format(x=x, d=d), (*shape[:d], *middle, *shape[d + 1 :]))


LAYERS = (
    "nn.ReLU()", "nn.Tanh()", "nn.GELU()", "nn.Sigmoid()", "nn.SiLU()", "nn.ELU()", "nn.Softplus()",
    "nn.LeakyReLU(0.1)",
    "nn.LayerNorm({n})", "nn.BatchNorm1d({n})", "nn.Dropout(0.2)", "nn.Identity()", "nn.Softmax(1)", "nn.RMSNorm({n})",
    "nn.Hardswish()", "nn.PReLU()",
)  # fmt: skip
OPTIMIZERS = (
    "SGD({p}, lr=0.05)", "SGD({p}, lr=0.05, momentum=0.9)", "SGD({p}, lr=0.05, momentum=0.9, nesterov=True)",
    "SGD({p}, lr=0.05, weight_decay=0.01, momentum=0.5, dampening=0.1)", "Adam({p}, lr=0.01)",
    "Adam({p}, lr=0.01, amsgrad=True)", "AdamW({p}, lr=0.01, weight_decay=0.1)", "RMSprop({p}, lr=0.01)",
    "RMSprop({p}, lr=0.01, centered=True, momentum=0.5)", "Adagrad({p}, lr=0.05)", "Adadelta({p}, lr=0.5)",
    "Adamax({p}, lr=0.01)", "NAdam({p}, lr=0.01)", "RAdam({p}, lr=0.01)", "ASGD({p}, lr=0.05)",
)  # fmt: skip
LOSSES = (
    "nn.functional.cross_entropy(net(x), y)", "nn.functional.cross_entropy(net(x), y, label_smoothing=0.1)",
    "nn.functional.mse_loss(net(x)[:, 0], x[:, 0])", "nn.functional.smooth_l1_loss(net(x), x[:, :3])",
    "nn.functional.nll_loss(net(x).log_softmax(1), y)",
    "nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], (y > 0).float())",
)  # fmt: skip
EXTRAS = (
    "", "nn.utils.clip_grad_norm_(net.parameters(), 0.5)", "nn.utils.clip_grad_value_(net.parameters(), 0.1)",
    "(0.01 * sum((p * p).sum() for p in net.parameters())).backward()",
)  # fmt: skip
AFTER = ("", "schedule.step()")


RNN = """\
class Rnn(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.rnn = getattr(nn, kind)(8, 5, batch_first=True)
        def forward(self, x):
            return self.rnn(x)[0]"""


def _images(draw: Any) -> tuple[list[str], int]:
    """Layers from [N, 32] through images of 4x4, and the width that they end with."""
    channels, kernel, padding, stride = (draw(st.integers(*span)) for span in ((2, 5), (1, 3), (0, 1), (1, 2)))
    then = draw(st.sampled_from((["nn.BatchNorm2d({c})", "nn.ReLU()"], ["nn.Tanh()"], ["nn.GroupNorm(1, {c})"], [])))
    side = (4 + 2 * padding - kernel) // stride + 1
    layers = [
        "nn.Unflatten(1, (2, 4, 4))",
        f"nn.Conv2d(2, {channels}, {kernel}, {stride}, {padding}, bias={not any('Norm' in t for t in then)})",
        *(t.format(c=channels) for t in then),
    ]
    if side >= 2 and draw(st.booleans()):
        layers.append(draw(st.sampled_from(("nn.MaxPool2d(2)", "nn.AvgPool2d(2)"))))
        side //= 2
    return [*layers, "nn.Flatten()"], channels * side * side


def _sequences(draw: Any) -> tuple[list[str], int]:
    """Layers from [N, 32] through sequences of 4 vectors of 8, and the width that they end with.

    Attention has no biases here: that of the keys has no gradient but rounding, which Adam would make into steps.
    """
    layer, width = draw(
        st.sampled_from(
            (
                ("nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, bias=False)", 32),
                ("nn.TransformerEncoderLayer(8, 4, 12, 0.0, batch_first=True, norm_first=True, bias=False)", 32),
                ("nn.Conv1d(4, 5, 3, padding=1)", 40), ("nn.LayerNorm((4, 8))", 32), ("Rnn('LSTM')", 20),
                ("Rnn('GRU')", 20), ("Rnn('RNN')", 20),
            )
        )
    )  # fmt: skip
    return ["nn.Unflatten(1, (4, 8))", layer, "nn.Flatten()"], width


@st.composite
def training(draw: Any) -> str:
    """The source of `build(torch)`: a model, its optimizer, a schedule, and `step(x, y)` of [N, 32] and [N]."""
    start = draw(st.sampled_from((None, _images, _sequences)))
    layers, n = start(draw) if start else ([], 32)
    for _ in range(draw(st.integers(1, 3))):
        width = draw(st.sampled_from((4, 7, 16)))
        then = [draw(st.sampled_from(LAYERS)).format(n=width) for _ in range(draw(st.integers(0, 2)))]
        # a bias before a batch norm has no gradient but rounding, which Adam would make into steps
        layers += [
            f"nn.Linear({n}, {width}, bias={draw(st.booleans()) and not any('Batch' in t for t in then)})",
            *then,
        ]
        n = width
    layers.append(f"nn.Linear({n}, 3)")
    lines = [
        "nn = torch.nn",
        RNN if any("Rnn" in t for t in layers) else "",
        "torch.manual_seed(0)",
        f"net = nn.Sequential({', '.join(layers)})",
        f"optimizer = torch.optim.{draw(st.sampled_from(OPTIMIZERS)).format(p='net.parameters()')}",
        "schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)",
        "def step(x, y):",
        f"    optimizer.zero_grad(set_to_none={draw(st.booleans())})",
        f"    loss = {draw(st.sampled_from(LOSSES))}",
        "    loss.backward()",
        f"    {draw(st.sampled_from(EXTRAS)) or 'pass'}",
        "    optimizer.step()",
        "    return loss.detach()",
        "return net, optimizer, schedule, step",
    ]
    return "def build(torch):\n    " + "\n    ".join(line for line in lines if line) + "\n"
