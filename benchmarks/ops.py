"""Ops called eagerly, forward and backward, beside PyTorch in the same run.

    python benchmarks/ops.py [--only pool,softmax] [--seconds 0.1] [--above 1.2] [--compiled] [--threads 1]

A figure is the least time of many calls in microseconds, on as many threads as each side uses by itself; the sides take
turns. With `--threads 1` it is the processor time of one thread, which a busy machine changes little. "x" is PyTorch's
time over Rushlight's: below 1 PyTorch is faster. `--above 1.2` prints only what is slower than PyTorch by more than
that. `--compiled` adds the compiled call and the ops in it that no kernel was made for.
"""

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import rushlight
from rushlight.compiler.kernel import HostCall

Call = Callable[[], Any]
Maker = Callable[[Any], Call]
# The threads of the side before go on waiting for work for a while.
REST = 0.005


def trained(M: Any, leaves: list[Any], forward: Call) -> Call:
    """`forward` and its backward pass, which leaves a gradient in each leaf."""
    g = M.ones_like(forward())

    def both() -> Any:
        for leaf in leaves:
            leaf.grad = None
        forward().backward(g)
        return [leaf.grad for leaf in leaves]

    return both


def train(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Maker:
    """A function of the module, then random operands, and the gradients of all of them."""

    def make(M: Any) -> Call:
        operands = [M.randn(*s).requires_grad_() for s in shapes]
        return trained(M, operands, lambda: function(M, *operands))

    return make


def plain(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Maker:
    """A function of the module and random operands, without gradients."""

    def make(M: Any) -> Call:
        operands = [M.randn(*s) for s in shapes]
        return lambda: function(M, *operands)

    return make


def indexed(function: Callable[..., Any], high: int, count: tuple[int, ...], *shapes: tuple[int, ...]) -> Maker:
    """`train` of a function that also takes random indices below `high`."""

    def make(M: Any) -> Call:
        index = M.randint(0, high, count)
        return train(lambda M, *operands: function(M, index, *operands), *shapes)(M)

    return make


def layer(build: Callable[[Any], Any], shape: tuple[int, ...], pick: Callable[[Any], Any] = lambda y: y) -> Maker:
    """A module, trained."""

    def make(M: Any) -> Call:
        net, x = build(M), M.randn(*shape).requires_grad_()
        return trained(M, [x, *net.parameters()], lambda: pick(net(x)))

    return make


def packed(mode: str, **options: Any) -> Maker:
    """A recurrent layer over packed sequences of 32 lengths from 35 to 100."""

    def make(M: Any) -> Call:
        net, x = getattr(M.nn, mode)(128, 256, **options), M.randn(100, 32, 128)
        pack = M.nn.utils.rnn.pack_padded_sequence(x, [100 - 2 * i for i in range(32)])
        return trained(M, list(net.parameters()), lambda: net(pack)[0].data)

    return make


def F(M: Any) -> Any:
    """The functional module."""
    return M.nn.functional


IMAGES = (32, 64, 28, 28)
TOKENS = (32, 128, 256)
CASES: dict[str, Maker] = {
    # what follows on most layers
    "relu": train(lambda M, x: M.relu(x), IMAGES),
    "gelu": train(lambda M, x: F(M).gelu(x), TOKENS),
    "silu": train(lambda M, x: F(M).silu(x), TOKENS),
    "tanh": train(lambda M, x: M.tanh(x), TOKENS),
    "sigmoid": train(lambda M, x: M.sigmoid(x), TOKENS),
    "leaky_relu": train(lambda M, x: F(M).leaky_relu(x, 0.1), IMAGES),
    "prelu": train(lambda M, x, w: F(M).prelu(x, w), IMAGES, (64,)),
    "glu": train(lambda M, x: F(M).glu(x), TOKENS),
    "dropout": train(lambda M, x: F(M).dropout(x, 0.1), TOKENS),
    "add with bias": train(lambda M, x, b: x + b, TOKENS, (256,)),
    "residual add": train(lambda M, x, y: x + y, IMAGES, IMAGES),
    "scale by a number": train(lambda M, x: x * 0.5, TOKENS),
    "exp": train(lambda M, x: M.exp(x), TOKENS),
    "pow 2": train(lambda M, x: x**2, TOKENS),
    # norms
    "batch_norm": train(lambda M, x, w, b: F(M).batch_norm(x, None, None, w, b, True), IMAGES, (64,), (64,)),
    "layer_norm": train(lambda M, x, w, b: F(M).layer_norm(x, (256,), w, b), TOKENS, (256,), (256,)),
    "group_norm": train(lambda M, x, w, b: F(M).group_norm(x, 8, w, b), IMAGES, (64,), (64,)),
    "instance_norm": train(lambda M, x, w, b: F(M).instance_norm(x, weight=w, bias=b), IMAGES, (64,), (64,)),
    "normalize": train(lambda M, x: F(M).normalize(x, dim=-1), TOKENS),
    "norm of all": train(lambda M, x: x.norm(), TOKENS),
    # softmax, losses
    "softmax, last dim": train(lambda M, x: F(M).softmax(x, -1), TOKENS),
    "softmax, dim 1": train(lambda M, x: F(M).softmax(x, 1), TOKENS),
    "softmax, dim 0": train(lambda M, x: F(M).softmax(x, 0), TOKENS),
    "softmax, channels": train(lambda M, x: F(M).softmax(x, 1), (16, 21, 64, 64)),
    "log_softmax, dim 1": train(lambda M, x: F(M).log_softmax(x, 1), TOKENS),
    "cross_entropy": indexed(lambda M, i, x: F(M).cross_entropy(x, i), 1000, (4096,), (4096, 1000)),
    "cross_entropy, smoothed": indexed(
        lambda M, i, x: F(M).cross_entropy(x, i, label_smoothing=0.1), 1000, (1024,), (1024, 1000)
    ),
    "cross_entropy, images": indexed(lambda M, i, x: F(M).cross_entropy(x, i), 21, (8, 64, 64), (8, 21, 64, 64)),
    "nll_loss, images": indexed(lambda M, i, x: F(M).nll_loss(x, i), 21, (8, 64, 64), (8, 21, 64, 64)),
    "mse_loss": train(lambda M, x, y: F(M).mse_loss(x, y), TOKENS, TOKENS),
    "smooth_l1_loss": train(lambda M, x, y: F(M).smooth_l1_loss(x, y), TOKENS, TOKENS),
    "bce with logits": train(lambda M, x, y: F(M).binary_cross_entropy_with_logits(x, y), TOKENS, TOKENS),
    "logsumexp, dim 1": train(lambda M, x: M.logsumexp(x, 1), TOKENS),
    # reductions and scans
    "sum, last dim": train(lambda M, x: x.sum(-1), TOKENS),
    "mean, dims 2 and 3": train(lambda M, x: x.mean((2, 3)), IMAGES),
    "sum, dim 0": train(lambda M, x: x.sum(0), TOKENS),
    "var, last dim": train(lambda M, x: x.var(-1), TOKENS),
    "amax, last dim": train(lambda M, x: x.amax(-1), TOKENS),
    "max, dim 1": train(lambda M, x: x.max(1)[0], TOKENS),
    "argmax, last dim": plain(lambda M, x: x.argmax(-1), (4096, 1000)),
    "argmax, dim 1": plain(lambda M, x: x.argmax(1), (16, 21, 64, 64)),
    "cumsum, last dim": train(lambda M, x: x.cumsum(-1), TOKENS),
    "cumsum, dim 1": train(lambda M, x: x.cumsum(1), TOKENS),
    "topk 5 of 1000": train(lambda M, x: x.topk(5, -1)[0], (512, 1000)),
    "sort": train(lambda M, x: x.sort(-1)[0], (512, 1000)),
    # indices
    "embedding": indexed(lambda M, i, w: F(M).embedding(i, w), 10000, (32, 128), (10000, 256)),
    "embedding, padding": indexed(lambda M, i, w: F(M).embedding(i, w, padding_idx=0), 10000, (32, 128), (10000, 256)),
    "embedding_bag": indexed(lambda M, i, w: F(M).embedding_bag(i, w), 10000, (32, 128), (10000, 256)),
    "gather, last dim": indexed(lambda M, i, x: x.gather(-1, i), 256, (32, 128, 64), TOKENS),
    "gather, one a row": indexed(lambda M, i, x: x.gather(-1, i), 1000, (4096, 1), (4096, 1000)),
    "scatter_add": indexed(lambda M, i, x: M.zeros(1000, 64).scatter_add(0, i, x), 1000, (8192, 64), (8192, 64)),
    "index_select": indexed(lambda M, i, x: x.index_select(0, i), 4096, (8192,), (4096, 64)),
    "index_select, dim 1": indexed(lambda M, i, x: x.index_select(1, i), 128, (64,), TOKENS),
    "index_add": indexed(lambda M, i, x: M.zeros(4096, 64).index_add(0, i, x), 4096, (16384,), (16384, 64)),
    "x[index]": indexed(lambda M, i, x: x[i], 4096, (8192,), (4096, 64)),
    "one_hot": indexed(lambda M, i, x: F(M).one_hot(i, 100).float() * x, 100, (4096,), (1,)),
    "where": train(lambda M, x, y: M.where(x > 0, x, y), TOKENS, TOKENS),
    "masked_fill": train(lambda M, x: x.masked_fill(x > 1, 0.0), TOKENS),
    "x[mask]": train(lambda M, x: x[x.detach() > 0], TOKENS),
    "clamp": train(lambda M, x: x.clamp(-1, 1), TOKENS),
    "tril": train(lambda M, x: x.tril(), (64, 128, 128)),
    "integer division": plain(lambda M, x: (x * 1000).long() // 7, TOKENS),
    # copies
    "cat, dim 1": train(lambda M, x, y: M.cat([x, y], 1), IMAGES, IMAGES),
    "cat, last dim": train(lambda M, x, y: M.cat([x, y], -1), TOKENS, TOKENS),
    "stack": train(lambda M, x, y: M.stack([x, y]), TOKENS, TOKENS),
    "split and back": train(lambda M, x: M.cat(x.chunk(4, -1)[::-1], -1), TOKENS),
    "permute to heads": train(lambda M, x: x.view(32, 128, 8, 32).transpose(1, 2).contiguous(), TOKENS),
    "to channels last": train(lambda M, x: x.permute(0, 2, 3, 1).contiguous(), IMAGES),
    "transpose of matrices": train(lambda M, x: x.transpose(1, 2).contiguous(), TOKENS),
    "flip": train(lambda M, x: x.flip(-1), IMAGES),
    "roll": train(lambda M, x: M.roll(x, (3, 3), (2, 3)), IMAGES),
    "repeat": train(lambda M, x: x.repeat(1, 2, 1), TOKENS),
    "pad with zeros": train(lambda M, x: F(M).pad(x, (1, 1, 1, 1)), IMAGES),
    "pad by reflection": train(lambda M, x: F(M).pad(x, (1, 1, 1, 1), mode="reflect"), IMAGES),
    "pixel_shuffle": train(lambda M, x: F(M).pixel_shuffle(x, 2), IMAGES),
    # images
    "max_pool2d 2": train(lambda M, x: F(M).max_pool2d(x, 2), IMAGES),
    "max_pool2d 3/2": train(lambda M, x: F(M).max_pool2d(x, 3, 2, 1), IMAGES),
    "max_unpool2d": train(lambda M, x: F(M).max_unpool2d(*F(M).max_pool2d(x, 2, return_indices=True), 2), IMAGES),
    "avg_pool2d 2": train(lambda M, x: F(M).avg_pool2d(x, 2), IMAGES),
    "adaptive_avg_pool2d 1": train(lambda M, x: F(M).adaptive_avg_pool2d(x, 1), IMAGES),
    "adaptive_avg_pool2d 5": train(lambda M, x: F(M).adaptive_avg_pool2d(x, 5), IMAGES),
    "adaptive_max_pool2d 7": train(lambda M, x: F(M).adaptive_max_pool2d(x, 7), IMAGES),
    "adaptive_max_pool2d 5": train(lambda M, x: F(M).adaptive_max_pool2d(x, 5), IMAGES),
    "max_pool1d": train(lambda M, x: F(M).max_pool1d(x, 2), (32, 64, 1024)),
    "max_pool3d": train(lambda M, x: F(M).max_pool3d(x, 2), (4, 16, 16, 32, 32)),
    "upsample nearest": train(lambda M, x: F(M).interpolate(x, scale_factor=2), (16, 64, 16, 16)),
    "upsample bilinear": train(lambda M, x: F(M).interpolate(x, scale_factor=2, mode="bilinear"), (16, 64, 16, 16)),
    "upsample bicubic": train(lambda M, x: F(M).interpolate(x, scale_factor=2, mode="bicubic"), (4, 16, 32, 32)),
    "grid_sample": train(lambda M, x, g: F(M).grid_sample(x, g, align_corners=False), (8, 16, 32, 32), (8, 32, 32, 2)),
    "conv_transpose2d 4/2": train(
        lambda M, x, w: F(M).conv_transpose2d(x, w, stride=2, padding=1), (16, 64, 16, 16), (64, 32, 4, 4)
    ),
    "conv_transpose2d 3/2, output_padding": train(
        lambda M, x, w: F(M).conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        (16, 64, 16, 16),
        (64, 32, 3, 3),
    ),
    "unfold": train(lambda M, x: F(M).unfold(x, 3, padding=1), (8, 32, 28, 28)),
    "fold": train(lambda M, x: F(M).fold(x, (28, 28), 3, padding=1), (8, 288, 784)),
    # products and recurrences
    "linear": train(lambda M, x, w, b: F(M).linear(x, w, b), (4096, 256), (256, 256), (256,)),
    "linear, few rows": train(lambda M, x, w, b: F(M).linear(x, w, b), (32, 512), (512, 512), (512,)),
    "bmm": train(lambda M, x, y: x @ y, (64, 64, 64), (64, 64, 64)),
    "bilinear": train(lambda M, x, y, w: F(M).bilinear(x, y, w), (256, 32), (256, 32), (32, 32, 32)),
    "einsum bhqd,bhkd": train(lambda M, x, y: M.einsum("bhqd,bhkd->bhqk", x, y), (16, 8, 64, 32), (16, 8, 64, 32)),
    "cosine_similarity": train(lambda M, x, y: F(M).cosine_similarity(x, y, -1), TOKENS, TOKENS),
    "cdist": train(lambda M, x, y: M.cdist(x, y), (512, 64), (512, 64)),
    "LSTM": layer(lambda M: M.nn.LSTM(128, 256), (35, 32, 128), lambda y: y[0]),
    "LSTM, two ways, two layers": layer(
        lambda M: M.nn.LSTM(64, 128, 2, bidirectional=True), (35, 32, 64), lambda y: y[0]
    ),
    "LSTM, projected": layer(lambda M: M.nn.LSTM(128, 256, proj_size=64), (35, 32, 128), lambda y: y[0]),
    "GRU": layer(lambda M: M.nn.GRU(128, 256), (35, 32, 128), lambda y: y[0]),
    "RNN": layer(lambda M: M.nn.RNN(128, 256), (35, 32, 128), lambda y: y[0]),
    "LSTM, small": layer(lambda M: M.nn.LSTM(16, 32), (20, 8, 16), lambda y: y[0]),
    "LSTM, one sequence": layer(lambda M: M.nn.LSTM(64, 128), (50, 1, 64), lambda y: y[0]),
    "LSTM, packed": packed("LSTM"),
    "LSTM, packed, two ways": packed("LSTM", bidirectional=True),
    "GRU, packed": packed("GRU"),
    "RNN, packed": packed("RNN"),
    "LSTMCell": layer(lambda M: M.nn.LSTMCell(128, 256), (32, 128), lambda y: y[0]),
    "attention layer": layer(
        lambda M: M.nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True), (16, 64, 128)
    ),
}


def least(call: Call, seconds: float, clock: Callable[[], float]) -> float:
    """The least time of a call, in seconds."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = clock()
        call()
        best = min(best, clock() - started)
    return best


def measure(calls: list[Call], seconds: float, clock: Callable[[], float]) -> list[float]:
    """The least times of some calls that take turns, in microseconds."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
        call()
    for _ in range(3):
        for i, call in enumerate(calls):
            time.sleep(REST)
            best[i] = min(best[i], least(call, seconds / 3, clock))
    return [b * 1e6 for b in best]


def hosts(compiled: Any) -> list[str]:
    """The ops of a compiled function that run on the host."""
    found = (s.call.op.name for t in compiled.traces for s in t.steps if isinstance(s, HostCall))
    return sorted(set(found))


def row(make: Maker, other: Any, options: Any) -> tuple[list[float], str]:
    """Figures of a case, and what to say about it."""
    own: Any = rushlight
    own.manual_seed(0)
    calls = [make(own)]
    if other is not None:
        other.manual_seed(0)
        calls.append(make(other))
    if options.compiled:
        calls.append(own.compile(make(own)))
    figures = measure(calls, options.seconds, time.thread_time if options.threads == 1 else time.perf_counter)
    return figures, ", ".join(hosts(calls[-1])) if options.compiled else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of names, with commas")
    parser.add_argument("--seconds", type=float, default=0.1, help="per figure")
    parser.add_argument("--above", type=float, default=0.0, help="only what is slower than PyTorch by more than this")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="of both sides; 0: as many as they use by themselves")
    options = parser.parse_args()
    other = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    for module in (rushlight, other):
        if module is not None and options.threads:
            module.set_num_threads(options.threads)
    sides = ["Rushlight", *(["PyTorch"] if other else []), *(["compiled"] if options.compiled else [])]
    print(f"{'forward and backward, us':38s}" + "".join(f"{s:>11s}" for s in sides) + "      x")
    for name, make in CASES.items():
        if not any(part in name for part in options.only.split(",")):
            continue
        try:
            figures, note = row(make, other, options)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            print(f"{name:38s}{type(error).__name__}: {error}", flush=True)
            continue
        ratio = figures[1] / figures[0] if other else 1.0
        if ratio * options.above <= 1:
            print(f"{name:38s}" + "".join(f"{f:11.0f}" for f in figures) + f"{ratio:7.2f}  {note}", flush=True)


if __name__ == "__main__":
    main()
