"""Convolutions and pooling: native kernels against PyTorch eager in one run.

    python benchmarks/kernels_conv.py                  # all tables
    python benchmarks/kernels_conv.py steps resnet50   # some of: steps, resnet50, vgg, mobilenet, pool
    python benchmarks/kernels_conv.py --threads 1 steps
    python benchmarks/kernels_conv.py resnet50 --only 3x3

Rates are GFLOP/s of the best of many calls, the sides taking turns, multiply and add counted as two; "limit" is the
rate of NumPy's matrix product of 1024 x 1024 matrices in the same run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

# (name, images, channels, height and width, outputs, kernel, stride, padding, groups)
Shape = tuple[str, int, int, int, int, int, int, int, int]

STEPS: list[Shape] = [
    ("lenet 1", 256, 1, 28, 6, 5, 1, 2, 1),
    ("lenet 2", 256, 6, 14, 16, 5, 1, 0, 1),
    ("cnn 1", 64, 3, 32, 32, 3, 1, 1, 1),
    ("cnn 2", 64, 32, 16, 64, 3, 1, 1, 1),
    ("resnet stem", 64, 3, 32, 16, 3, 1, 1, 1),
    ("resnet 16", 64, 16, 32, 16, 3, 1, 1, 1),
    ("resnet 16/2", 64, 16, 32, 32, 3, 2, 1, 1),
    ("resnet 32", 64, 32, 16, 32, 3, 1, 1, 1),
    ("resnet 32/2", 64, 32, 16, 64, 3, 2, 1, 1),
    ("resnet 64", 64, 64, 8, 64, 3, 1, 1, 1),
    ("shortcut 16", 64, 16, 32, 32, 1, 2, 0, 1),
    ("shortcut 32", 64, 32, 16, 64, 1, 2, 0, 1),
]


def resnet50(n: int = 16) -> Iterator[Shape]:
    """All distinct convolutions of ResNet-50."""
    yield ("stem", n, 3, 224, 64, 7, 2, 3, 1)
    size, channels = 56, 64
    for width in (64, 128, 256, 512):
        stride = 1 if width == 64 else 2
        yield (f"{width} in", n, channels, size, width, 1, 1, 0, 1)
        if stride == 2:
            yield (f"{width} 3x3/2", n, width, size, width, 3, 2, 1, 1)
        yield (f"{width} down", n, channels, size, 4 * width, 1, stride, 0, 1)
        size //= stride
        channels = 4 * width
        yield (f"{width} 3x3", n, width, size, width, 3, 1, 1, 1)
        yield (f"{width} out", n, width, size, channels, 1, 1, 0, 1)
        yield (f"{width} again", n, channels, size, width, 1, 1, 0, 1)


def vgg(n: int = 16) -> Iterator[Shape]:
    """The convolutions of VGG-16."""
    for c, size, o in (
        (3, 224, 64), (64, 224, 64), (64, 112, 128), (128, 112, 128), (128, 56, 256), (256, 56, 256), (256, 28, 512),
        (512, 28, 512), (512, 14, 512),
    ):  # fmt: skip
        yield (f"{c} to {o}", n, c, size, o, 3, 1, 1, 1)


def mobilenet(n: int = 16) -> Iterator[Shape]:
    """The depthwise convolutions of MobileNetV2."""
    for c, size, stride in (
        (32, 112, 1), (96, 112, 2), (144, 56, 1), (144, 56, 2), (192, 28, 1), (192, 28, 2), (384, 14, 1), (576, 14, 1),
        (576, 14, 2), (960, 7, 1),
    ):  # fmt: skip
        yield (f"{c} depthwise/{stride}", n, c, size, c, 3, stride, 1, c)


POOLS = [
    ("cnn 1 max", 64, 32, 32, 2, 2, 0), ("cnn 2 max", 64, 64, 16, 2, 2, 0), ("resnet50 max", 16, 64, 112, 3, 2, 1),
    ("lenet 1 avg", 256, 6, 28, 2, 2, 0), ("lenet 2 avg", 256, 16, 10, 2, 2, 0), ("resnet avg", 64, 64, 8, 8, 8, 0),
    ("resnet50 avg", 16, 2048, 7, 7, 7, 0),
]  # fmt: skip


class Clock:
    """What is measured: with one thread that thread's own processor time, which other programs disturb less."""

    read = staticmethod(time.perf_counter)


# The threads of the side before go on waiting for work, and take a core, for up to a fifth of a second.
REST = 0.2


def fastest(*sides: Callable[[], Any], rounds: int = 2, seconds: float = 0.08) -> list[float]:
    """Seconds of the fastest call of each side; they take turns."""
    found = [float("inf")] * len(sides)
    for _ in range(rounds):
        for i, side in enumerate(sides):
            time.sleep(REST)
            side()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                start = Clock.read()
                side()
                found[i] = min(found[i], Clock.read() - start)
    return found


def program(name: str, shapes: list[Any], params: dict[str, Any]) -> Callable[[], Any]:
    """A compiled program of one op on random arrays."""
    import numpy as np

    from rushlight.compiler import program as programs
    from rushlight.compiler.graph import Graph
    from rushlight.compiler.schedule import schedule
    from rushlight.ops.kinds import OPS
    from rushlight.spec import Spec

    graph = Graph()
    inputs = [graph.input(Spec(s, np.dtype(d))) for s, d in shapes]
    made = graph.call(
        OPS[name], (*inputs, None) if name in ("convolution", "convolution_transposed") else tuple(inputs), params
    )
    graph.outputs = list(made) if isinstance(made, tuple) else [made]
    built = programs.build(graph, schedule(graph))
    rng = np.random.default_rng(0)
    for i, (s, d) in enumerate(shapes):
        built.bind(i, (rng.standard_normal(s) if d == "float32" else rng.integers(0, 4, s)).astype(d))
    outputs = built.new_outputs()

    def run() -> list[Any]:
        built.run()
        return outputs

    return run


def convolutions(title: str, shapes: list[Shape], limit: float) -> None:
    """Print one table."""
    import torch

    from rushlight.ops.conv import convolved_size

    print(f"\n{title:16} {'':>6}  {'forward':>24}  {'data gradient':>24}  {'weight gradient':>24}")
    print(f"{'':16} {'MFLOP':>6}" + f"  {'ours':>5} {'torch':>5} {'ratio':>5} {'limit':>6}" * 3)
    for name, n, c, size, o, k, s, p, groups in shapes:
        steps: dict[str, Any] = {"stride": (s, s), "padding": (p, p), "dilation": (1, 1), "groups": groups}
        made = convolved_size((size, size), (k, k), (s, s), (p, p), (1, 1))
        x, w, g = ((n, c, size, size), "float32"), ((o, c // groups, k, k), "float32"), ((n, o, *made), "float32")
        ours = [
            program("convolution", [x, w], {**steps, "output_size": None}),
            program("convolution_transposed", [g, w], {**steps, "output_size": (size, size)}),
            program("convolution_weight_grad", [x, g], {**steps, "kernel_size": (k, k)}),
        ]
        tx, tw, tg = (torch.randn(a[0]) for a in (x, w, g))

        def gradient(mask: list[bool], a: Any = (tg, tx, tw), steps: Any = (s, p, groups)) -> Any:
            s, p, groups = steps
            return torch.ops.aten.convolution_backward(*a, None, [s, s], [p, p], [1, 1], False, [0, 0], groups, mask)

        theirs: list[Callable[[], Any]] = [
            lambda a=(tx, tw, None, s, p, 1, groups): torch.conv2d(*a),
            lambda f=gradient: f([True, False, False]),
            lambda f=gradient: f([False, True, False]),
        ]
        flops = 2 * n * o * made[0] * made[1] * (c // groups) * k * k
        line = f"{name:16} {flops / 1e6:6.0f}"
        for a, b in zip(ours, theirs, strict=True):
            ta, tb = fastest(a, b)
            line += f"  {flops / ta / 1e9:5.0f} {flops / tb / 1e9:5.0f} {tb / ta:5.2f} {flops / ta / limit:6.0%}"
        print(line, flush=True)


def pools() -> None:
    """Print the table of pooling."""
    import torch

    from rushlight.ops.pool import pool_windows

    print(f"\n{'pooling, us':16} {'forward':>14} {'torch':>6}  {'gradient':>8} {'torch':>6}")
    for name, n, c, size, k, s, p in POOLS:
        windows = pool_windows((size, size), (k, k), (s, s), (p, p), (1, 1), False)
        x, g = ((n, c, size, size), "float32"), ((n, c, *windows.output_size), "float32")
        params: dict[str, Any] = {"kernel": (k, k), "stride": (s, s), "padding": (p, p), "ceil_mode": False}
        is_max = "max" in name
        tx = torch.randn(x[0], requires_grad=True)
        pool = torch.nn.functional.max_pool2d if is_max else torch.nn.functional.avg_pool2d
        if is_max:
            forward = program("max_pool2d_with_codes", [x], {**params, "dilation": (1, 1)})
            backward = program("max_pool_grad", [g, (g[0], "uint8")], {"windows": windows})
        else:
            average = {"count_include_pad": True, "divisor": None}
            forward = program("avg_pool2d", [x], {**params, **average})
            backward = program("avg_pool_grad", [g], {"windows": windows, **average})
        out = pool(tx, k, s, p)
        tg = torch.randn_like(out)
        times = fastest(
            forward, lambda a=(tx, k, s, p), f=pool: f(*a), backward,
            lambda a=(out, tx, tg): torch.autograd.grad(*a, retain_graph=True),
        )  # fmt: skip
        print(f"{name:16} {times[0] * 1e6:14.0f} {times[1] * 1e6:6.0f}  {times[2] * 1e6:8.0f} {times[3] * 1e6:6.0f}")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description="convolutions and pooling against PyTorch eager")
    parser.add_argument("tables", nargs="*", default=["steps", "resnet50", "vgg", "mobilenet", "pool"])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", default="", metavar="PART", help="only convolutions with this in their names")
    asked = parser.parse_args()
    if asked.threads:
        os.environ["RUSHLIGHT_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(asked.threads)
        os.environ["OPENBLAS_NUM_THREADS"] = str(asked.threads)
    import numpy as np
    import torch

    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.threads == 1:
        Clock.read = staticmethod(time.thread_time)  # type: ignore[assignment]
    a = np.ones((1024, 1024), np.float32)
    limit = 2 * 1024**3 / fastest(lambda: a @ a)[0]
    print(f"matrix product {limit / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads")
    tables = {"steps": STEPS, "resnet50": list(resnet50()), "vgg": list(vgg()), "mobilenet": list(mobilenet())}
    for name in asked.tables:
        if name == "pool":
            pools()
        else:
            convolutions(name, [row for row in tables[name] if asked.only in row[0]], limit)


if __name__ == "__main__":
    main()
