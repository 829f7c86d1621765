"""Programs that draw, written for either `torch` or `rushlight`: what they draw is compared bit for bit."""

import hashlib
import struct
from collections.abc import Callable
from typing import Any

Program = Callable[[Any], Any]
STREAMS: dict[str, Program] = {}
FLOATS = ("float32", "float64", "float16", "bfloat16")
# around the block of 16, the block of 624 words and the pieces of the vectorised forms
SIZES = (1, 2, 15, 16, 17, 31, 32, 100, 625, 20001)


def stream(program: Program) -> Program:
    """Name a program."""
    STREAMS[program.__name__] = program
    return program


def _for_sizes(name: str, one: Callable[[Any, Any, int], Any], dtypes: tuple[str, ...] = FLOATS) -> None:
    for dtype in dtypes:

        def program(t: Any, dtype: str = dtype) -> list[Any]:
            return [one(t, getattr(t, dtype), n) for n in SIZES]

        STREAMS[f"{name}_{dtype}"] = program


_for_sizes("rand", lambda t, d, n: t.rand(n, dtype=d))
_for_sizes("randn", lambda t, d, n: t.randn(n, dtype=d))
_for_sizes("uniform", lambda t, d, n: t.empty(n, dtype=d).uniform_(-0.37, 0.91))
_for_sizes("uniform_far", lambda t, d, n: t.empty(n, dtype=d).uniform_(1000, 1001.3))
_for_sizes("normal", lambda t, d, n: t.empty(n, dtype=d).normal_(1.7, 0.3))
_for_sizes("normal_scaled", lambda t, d, n: t.empty(n, dtype=d).normal_(0, 0.02))
_for_sizes("log_normal", lambda t, d, n: t.empty(n, dtype=d).log_normal_())
_for_sizes("exponential", lambda t, d, n: t.empty(n, dtype=d).exponential_(2.3))
_for_sizes("cauchy", lambda t, d, n: t.empty(n, dtype=d).cauchy_(0.3, 1.7))
_for_sizes("geometric", lambda t, d, n: t.empty(n, dtype=d).geometric_(0.3), (*FLOATS, "int64", "uint8"))
_for_sizes("bernoulli", lambda t, d, n: t.empty(n, dtype=d).bernoulli_(0.3), (*FLOATS, "int64", "bool"))
_for_sizes("bernoulli_each", lambda t, d, n: t.bernoulli(t.linspace(0, 1, n, dtype=d)), ("float32", "float64"))
_for_sizes("random", lambda t, d, n: t.empty(n, dtype=d).random_(), (*FLOATS, "int64", "int32", "uint8", "bool"))
_for_sizes("random_range", lambda t, d, n: t.empty(n, dtype=d).random_(-5, 60), (*FLOATS, "int64", "int16", "int8"))
_for_sizes("poisson", lambda t, d, n: t.poisson(t.arange(n).to(d) % 40 / 2), ("float32", "float64"))


@stream
def randint_widths(t: Any) -> list[Any]:
    ranges = [(0, 2), (0, 10), (-5, 7), (0, 64), (0, 2**28 - 1), (0, 2**28), (0, 2**31), (-(2**63), 2**63 - 1)]
    return [t.randint(low, high, (50,)) for low, high in ranges]


@stream
def random_whole_int64(t: Any) -> Any:
    return t.empty(9, dtype=t.int64).random_(-(2**63), None)


@stream
def randint_default_forms(t: Any) -> list[Any]:
    like = t.zeros(5)
    return [t.randint(3, (4, 2)), t.randint(high=9, size=(3,)), t.randint_like(like, 4), t.randint_like(like, 2, 8)]


@stream
def randperm_sizes(t: Any) -> list[Any]:
    return [t.randperm(n) for n in (0, 1, 2, 3, 10, 600, 601, 5000, 70000)]


@stream
def randperm_dtypes(t: Any) -> list[Any]:
    return [t.randperm(100, dtype=d) for d in (t.int32, t.uint8, t.float32, t.float16)]


@stream
def normal_overloads(t: Any) -> list[Any]:
    ramp = t.arange(1.0, 21.0)
    return [
        t.normal(ramp, 0.5), t.normal(2.5, ramp), t.normal(ramp, ramp / 10), t.normal(2, 3, size=(4, 5)),
        t.normal(ramp.reshape(20, 1), ramp[:3]), t.normal(mean=ramp), t.normal(0.5, 0.1, (3,), dtype=t.float64),
    ]  # fmt: skip


@stream
def complex_draws(t: Any) -> list[Any]:
    return [t.rand(5, dtype=t.complex64), t.randn(20, dtype=t.complex64), t.randn(3, dtype=t.complex128)]


@stream
def strided_targets(t: Any) -> list[Any]:
    turned = t.empty(5, 8).t()
    stepped = t.zeros(40)[::2]
    last = t.zeros(2, 3, 4, 5).permute(0, 2, 3, 1)
    return [
        turned.normal_(),
        turned.uniform_(),
        stepped.normal_(),
        stepped.random_(9),
        last.normal_(),
        last.bernoulli_(),
    ]


@stream
def likes_keep_strides(t: Any) -> list[Any]:
    turned = t.zeros(6, 7).t()
    return [t.rand_like(turned), t.randn_like(turned), t.randn_like(turned, dtype=t.float64), t.rand_like(t.zeros(3))]


@stream
def pairs_across_calls(t: Any) -> list[Any]:
    # the second normal of a pair waits while other draws pass by
    return [t.randn(3), t.rand(2), t.randn(1), t.randn(16), t.randn(1), t.randn(4, dtype=t.float64), t.randn(())]


@stream
def empty_draws_leave_the_stream(t: Any) -> list[Any]:
    return [t.rand(0), t.randn(0, 3), t.randint(4, (0,)), t.randperm(0), t.rand(3)]


@stream
def multinomials(t: Any) -> list[Any]:
    weights = t.rand(4, 30)
    rows = [t.multinomial(weights, n, replacement) for n in (1, 5, 30) for replacement in (False, True)]
    return [*rows, t.multinomial(weights[0].double(), 100, True), t.multinomial(t.tensor([0.0, 10, 3, 0]), 4, True)]


@stream
def binomials(t: Any) -> Any:
    counts = t.tensor([0.0, 1, 5, 50, 300, 7, 40, 90]).repeat(20)
    return t.binomial(counts, t.rand(160))


@stream
def gammas(t: Any) -> list[Any]:
    shapes = t.rand(60) * 4
    return [t._standard_gamma(shapes), t._standard_gamma(shapes.double()), t.randn(2)]


@stream
def own_generators(t: Any) -> list[Any]:
    g = t.Generator()
    first = t.rand(3, generator=g)
    g.manual_seed(5)
    return [first, t.randn(20, generator=g), t.randperm(7, generator=g), t.rand(2)]


@stream
def dropout_masks(t: Any) -> list[Any]:
    x = t.ones(4, 50)
    f = t.nn.functional
    return [f.dropout(x, 0.3), f.dropout(x, 0.5, training=False), f.alpha_dropout(x, 0.2, training=True)]


@stream
def channel_dropout_masks(t: Any) -> list[Any]:
    x = t.ones(3, 6, 2, 2)
    f = t.nn.functional
    return [f.dropout1d(x[0, :, 0].reshape(1, 6, 2), 0.5), f.dropout2d(x, 0.5), f.feature_alpha_dropout(x, 0.5, True)]


@stream
def shuffled_batches(t: Any) -> list[Any]:
    data = t.utils.data
    numbers = data.TensorDataset(t.arange(23))
    loader = data.DataLoader(numbers, batch_size=5, shuffle=True)
    batches = [batch[0] for _ in range(2) for batch in loader]
    parts = data.random_split(numbers, [15, 8])
    weighted = data.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7], 12)
    return [*batches, t.tensor(list(parts[1].indices)), t.tensor(list(weighted)), t.rand(1)]


@stream
def default_layers(t: Any) -> list[Any]:
    nn = t.nn
    layers = [
        nn.Linear(7, 5), nn.Conv1d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 2, 3),
        nn.Embedding(10, 3), nn.LSTM(4, 3, 2), nn.GRU(3, 5), nn.RNNCell(2, 3), nn.Bilinear(2, 3, 4),
        nn.MultiheadAttention(8, 2), nn.TransformerEncoderLayer(8, 2, 16), nn.PReLU(), nn.BatchNorm2d(3),
    ]  # fmt: skip
    return [p.detach() for layer in layers for p in layer.parameters()]


def drawn_bytes(value: Any) -> list[bytes]:
    """The tensors of a result, in order, as bytes."""
    if isinstance(value, list | tuple):
        return [b for v in value for b in drawn_bytes(v)]
    value = value.contiguous()
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return [bytes(value.numpy().tobytes())]


def first_numbers(value: Any) -> str:
    """The first three numbers of the last tensor, to see something when a digest differs."""
    while isinstance(value, list | tuple):
        value = value[-1]
    return str(value.reshape(-1)[:3].tolist())


def digest(value: Any) -> str:
    """A short hash of all tensors of a result."""
    pieces = drawn_bytes(value)
    joined = b"".join(struct.pack("<q", len(p)) + p for p in pieces)
    return hashlib.blake2b(joined, digest_size=8).hexdigest()


def run(program: Program, t: Any, seed: int = 1234) -> Any:
    """The result of a program after `manual_seed(seed)`."""
    t.manual_seed(seed)
    return program(t)
