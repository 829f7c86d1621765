"""Ops and optimizer updates called eagerly: by compiled kernels and by their bodies on NumPy.

    python benchmarks/eager.py [--only gelu,softmax] [--sizes 4096,32768,262144] [--seconds 0.05] [--threads 1]

The numbers behind `ops/native.py` and `optim/together.py`. A figure is the least processor time of the calling thread
over many calls, in microseconds, so one thread is what it says something about; the gradient's formula stands beside
the op. "x" is NumPy's time over the kernel's.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rushlight
from rushlight.ops import native
from rushlight.ops.kinds import OPS
from rushlight.optim import engine, together

Call = Callable[[], Any]
NEVER = 1 << 62
T: Any = rushlight
F: Any = rushlight.nn.functional
Maker = Callable[[int], Call]


def tensor(*shape: int) -> Any:
    """Random numbers."""
    data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return T.from_numpy(data).requires_grad_()


def with_gradient(call: Callable[..., Any], *operands: Any) -> Call:
    """The call, and the call with its backward pass."""
    g = T.ones_like(call(*operands))

    def both() -> None:
        T.autograd.grad(call(*operands), operands, g)

    return both


def activation(function: Callable[..., Any]) -> Maker:
    """A function of rows of 64."""
    return lambda n: with_gradient(function, tensor(n // 64, 64))


def images(n: int) -> Any:
    """Images of 16 x 16 in 8 channels."""
    return tensor(max(n >> 11, 1), 8, 16, 16)


def linear(width: int) -> Maker:
    """Rows of 128 times a matrix."""
    return lambda n: with_gradient(F.linear, tensor(max(n // 128, 1), 128), tensor(width, 128), tensor(width))


def update(name: str, **settings: Any) -> Maker:
    """An optimizer's step over eight parameters."""

    def make(n: int) -> Call:
        params = [tensor(max(n // 8, 1)) for _ in range(8)]
        for p in params:
            p.grad = T.ones_like(p)
        step: Call = getattr(T.optim, name)(params, **settings).step
        return step

    return make


CASES: dict[str, Maker] = {
    "relu": activation(F.relu),
    "sigmoid": activation(T.sigmoid),
    "gelu": activation(F.gelu),
    "silu": activation(F.silu),
    "softplus": activation(F.softplus),
    "leaky_relu": activation(F.leaky_relu),
    "hardswish": activation(F.hardswish),
    "softmax": activation(lambda x: F.softmax(x, -1)),
    "log_softmax": activation(lambda x: F.log_softmax(x, -1)),
    "logsumexp": activation(lambda x: T.logsumexp(x, -1)),
    "sum of columns": activation(lambda x: x.sum(0)),
    "mean of rows": activation(lambda x: x.mean(1)),
    "layer_norm": lambda n: with_gradient(
        lambda x, w, b: F.layer_norm(x, (64,), w, b), tensor(n // 64, 64), tensor(64), tensor(64)
    ),
    "batch_norm": lambda n: with_gradient(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), images(n), tensor(8), tensor(8)
    ),
    "linear to 10": linear(10),
    "linear to 128": linear(128),
    "linear to 512": linear(512),
    "conv2d 3x3": lambda n: with_gradient(lambda x, w: F.conv2d(x, w, padding=1), images(n), tensor(16, 8, 3, 3)),
    "max_pool2d": lambda n: with_gradient(lambda x: F.max_pool2d(x, 2), images(n)),
    "avg_pool2d": lambda n: with_gradient(lambda x: F.avg_pool2d(x, 2), images(n)),
    "attention, T = 64": lambda n: with_gradient(
        F.scaled_dot_product_attention, *(tensor(max(n >> 11, 1), 64, 32) for _ in range(3))
    ),
    "SGD": update("SGD", lr=0.0),
    "SGD with momentum": update("SGD", lr=0.0, momentum=0.9),
    "AdamW": update("AdamW", lr=0.0),
}


def set_floors(floor: int) -> None:
    """Use kernels from that size on."""
    for name in native.FLOORS:
        native.FLOORS[name] = floor
        OPS[name].floor = floor
    modules: tuple[Any, ...] = (engine, together)
    for module in modules:
        module.FLOOR = module.FLOOR_STATELESS = floor


def least(call: Call, seconds: float) -> float:
    """The least processor time of a call, in microseconds."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.thread_time()
        call()
        best = min(best, time.thread_time() - started)
    return best * 1e6


def measure(make: Maker, n: int, seconds: float) -> tuple[float, float]:
    """NumPy's and the kernels' times, taken in turn."""
    calls, best = {}, {}
    for floor in (NEVER, 0):
        set_floors(floor)
        calls[floor] = make(n)
        calls[floor]()
        calls[floor]()
        best[floor] = float("inf")
    for _ in range(3):
        for floor, call in calls.items():
            set_floors(floor)
            best[floor] = min(best[floor], least(call, seconds / 3))
    return best[NEVER], best[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of names, with commas")
    parser.add_argument("--sizes", default="4096,16384,65536,524288")
    parser.add_argument("--seconds", type=float, default=0.05, help="per figure")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    T.set_num_threads(options.threads)
    sizes = [int(n) for n in options.sizes.split(",")]
    print(f"{'forward and backward, us':24s}" + "".join(f"{n:>10d} NumPy  kernel     x" for n in sizes))
    for name, make in CASES.items():
        if any(part in name for part in options.only.split(",")):
            row = [measure(make, n, options.seconds) for n in sizes]
            print(f"{name:24s}" + "".join(f"{a:16.0f}{b:8.0f}{a / b:6.2f}" for a, b in row), flush=True)


if __name__ == "__main__":
    main()
