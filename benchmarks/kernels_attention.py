"""Times of compiled attention, forward and backward, beside PyTorch's in the same run.

    python benchmarks/kernels_attention.py [--seconds 1] [--markdown]

Queries, keys and values are views of one array [batch, tokens, 3 * heads * features], as in a transformer. A figure is
the fastest of many runs; the sides take turns. Rates count the products of scores that are needed: half of all for a
causal attention. Without PyTorch its columns stay empty.
"""

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler import program
from rushlight.compiler.graph import Graph
from rushlight.compiler.schedule import schedule
from rushlight.ops.attention import attention, attention_grad
from rushlight.spec import Spec

# name, batch, heads, tokens, features, causal
CASES = [
    ("gpt of the workloads", 12, 4, 64, 32, True),
    ("128 tokens", 4, 8, 128, 64, False),
    ("128 tokens, causal", 4, 8, 128, 64, True),
    ("1,024 tokens", 1, 8, 1024, 64, False),
    ("1,024 tokens, causal (GPT-2 small)", 1, 12, 1024, 64, True),
    ("4,096 tokens", 1, 2, 4096, 64, False),
    ("4,096 tokens, causal", 1, 2, 4096, 64, True),
    ("4,096 tokens, heads of 128, causal", 1, 1, 4096, 128, True),
]
# The threads of the side before go on waiting for work, and take a core, for up to a fifth of a second.
REST = 0.25
Side = Callable[[], Any]


def compiled(op: Any, arrays: list[Any], params: dict[str, Any]) -> Callable[[], Any]:
    """One call of an op as a program."""
    graph = Graph()
    values = []
    for a in arrays:
        strides = None if a is None or a.flags.c_contiguous else a.strides
        values.append(None if a is None else graph.input(Spec(a.shape, a.dtype), strides=strides))
    graph.outputs = list(graph.call(op, tuple(values), params))
    made = program.build(graph, schedule(graph))
    inputs = [a for a in arrays if a is not None]
    return lambda: made(*inputs)


def ours(packed: Any, g: Any, causal: bool) -> tuple[Side, Side]:
    """Forward and backward by our kernels."""
    q, k, v = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    params = {"scale": q.shape[-1] ** -0.5, "causal": causal}
    forward = compiled(attention, [q, k, v, None, None], params)
    back = compiled(attention_grad, [g, q, k, v, None, None, *forward()], {**params, "mask_needs": False})
    return forward, back


def theirs(torch: Any, packed: Any, g: Any, causal: bool) -> tuple[Side, Side]:
    """Forward and backward by PyTorch."""
    whole = torch.from_numpy(packed)
    leaves = [whole[:, :, i].transpose(1, 2).requires_grad_() for i in range(3)]
    slope = torch.from_numpy(g)

    def forward() -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)

    out = forward()
    return forward, lambda: torch.autograd.grad(out, leaves, slope, retain_graph=True)


def fastest(sides: list[Side | None], seconds: float) -> list[float | None]:
    """The least time of each side, which take turns."""
    best: list[float | None] = [None] * len(sides)
    until = time.perf_counter() + seconds * len(sides)
    while time.perf_counter() < until:
        for i, side in enumerate(sides):
            if side is None:
                continue
            time.sleep(REST)
            side()
            stop = time.perf_counter() + seconds / 4
            while time.perf_counter() < stop:
                start = time.perf_counter()
                side()
                taken = time.perf_counter() - start
                best[i] = min(taken, best[i] or taken)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each side of a case is measured")
    parser.add_argument("--markdown", action="store_true", help="print a table for documents")
    options = parser.parse_args()
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    titles = ("attention", "forward ms", "GFLOP/s", "PyTorch", "backward ms", "GFLOP/s", "PyTorch")
    widths = (36, 11, 8, 9, 12, 8, 9)
    bar = " | " if options.markdown else " "

    def line(cells: tuple[str, ...]) -> None:
        print(
            bar.join(f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        )

    line(titles)
    if options.markdown:
        line(("---", *["---:"] * 6))
    rng = np.random.default_rng(0)
    for name, batch, heads, tokens, features, causal in CASES:
        packed = rng.standard_normal((batch, tokens, 3, heads, features), dtype=np.float32)
        g = rng.standard_normal((batch, heads, tokens, features), dtype=np.float32)
        products = 2 * batch * heads * tokens * tokens * features * (0.5 if causal else 1) / 1e9
        own, other = ours(packed, g, causal), theirs(torch, packed, g, causal) if torch else (None, None)
        cells = [name]
        for mine, theirs_, count in zip(own, other, (2, 5), strict=True):
            best, peer = fastest([mine, theirs_], options.seconds)
            assert best is not None
            cells += [f"{best * 1e3:.2f}", f"{products * count / best:.0f}", f"{peer * 1e3:.2f}" if peer else ""]
        line(tuple(cells))


if __name__ == "__main__":
    main()
