"""Rates of the compiled matrix products, beside NumPy's and PyTorch's in the same run.

    python benchmarks/kernels.py [--only mlp,lstm] [--seconds 0.3] [--markdown]
    python benchmarks/kernels.py --sweep [--seconds 0.05]

Each product runs as a program of its own kernel, on as many threads as compiled steps use. A figure is the rate of the
fastest of many runs; the sides take turns, so a change of the machine's speed meets all of them. "Limit" is the best
rate of a 2048 x 2048 product through NumPy's BLAS seen in this run. Without PyTorch its column stays empty.
The sweep goes through batches of 1 to 64 rows of common layers in every layout, and prints where PyTorch is faster.
"""

import argparse
import importlib
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.compiler import program
from rushlight.compiler.graph import Graph
from rushlight.compiler.schedule import schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

# name, shape of the left operand, shape of the right one, which of the two ("l", "r") is stored transposed, and
# dtype where it is not float32
PRODUCTS: list[tuple[Any, ...]] = [
    ("mlp: hidden layer", (256, 784), (784, 256), "r"),
    ("mlp: its weight gradient", (256, 256), (256, 784), "l"),
    ("mlp: output layer", (256, 256), (256, 10), "r"),
    ("mlp: its data gradient", (256, 10), (10, 256), ""),
    ("mlp: its weight gradient, 10 wide", (10, 256), (256, 256), "l"),
    ("softmaxreg: layer", (256, 784), (784, 10), "r"),
    ("softmaxreg: weight gradient", (10, 256), (256, 784), "l"),
    ("gpt: query, key, value", (768, 128), (128, 384), "r"),
    ("gpt: projection", (768, 128), (128, 128), "r"),
    ("gpt: up", (768, 128), (128, 512), "r"),
    ("gpt: down", (768, 512), (512, 128), "r"),
    ("gpt: up, data gradient", (768, 512), (512, 128), ""),
    ("gpt: up, weight gradient", (512, 768), (768, 128), "l"),
    ("gpt: scores", (48, 64, 32), (48, 32, 64), "r"),
    ("gpt: attention times values", (48, 64, 64), (48, 64, 32), ""),
    ("gpt: gradient of the values", (48, 64, 64), (48, 64, 32), "l"),
    ("lstm: all inputs", (1120, 128), (128, 1024), "r"),
    ("lstm: one step", (32, 256), (256, 1024), "r"),
    ("lstm: one step back", (32, 1024), (1024, 256), ""),
    ("lstm: weight gradient", (1024, 1120), (1120, 256), "l"),
    ("lstm: output layer", (1120, 256), (256, 64), "r"),
    ("cnn: linear layer", (64, 4096), (4096, 512), "r"),
    ("cnn: its data gradient", (64, 512), (512, 4096), ""),
    ("cnn: its weight gradient", (512, 64), (64, 4096), "l"),
    ("GPT-2 small: query, key, value", (1024, 768), (768, 2304), ""),
    ("GPT-2 small: projection", (1024, 768), (768, 768), ""),
    ("GPT-2 small: up", (1024, 768), (768, 3072), ""),
    ("GPT-2 small: down", (1024, 3072), (3072, 768), ""),
    ("GPT-2 small: up, weight gradient", (768, 1024), (1024, 3072), "l"),
    ("GPT-2 small: up, data gradient", (1024, 3072), (3072, 768), "r"),
    ("weight gradient, 1024 square", (1024, 1024), (1024, 1024), "l"),
    ("weight gradient, 2048 square", (2048, 2048), (2048, 2048), "l"),
    ("long sum, small result", (16, 100000), (100000, 16), "l"),
    ("outer product", (768, 1), (1, 768), ""),
    ("matrix times vector", (1024, 1024), (1024, 1), ""),
    ("one row", (1, 768), (768, 3072), "r"),
    ("batch 1, stored by columns", (1, 768), (768, 3072), ""),
    ("bfloat16: projection", (1024, 768), (768, 768), "r", "bfloat16"),
    ("bfloat16: weight gradient", (768, 1024), (1024, 768), "l", "bfloat16"),
    ("bfloat16: up", (1024, 768), (768, 3072), "r", "bfloat16"),
    ("bfloat16: down", (1024, 3072), (3072, 768), "r", "bfloat16"),
    ("bfloat16: scores", (48, 64, 32), (48, 32, 64), "r", "bfloat16"),
    ("bfloat16: one row", (1, 768), (768, 3072), "r", "bfloat16"),
    ("float16: projection", (1024, 768), (768, 768), "r", "float16"),
]
# Of the sweep: rows, sizes of layers, and batches of small products.
ROWS, LAYERS = (1, 2, 8, 16, 64), ((784, 256), (256, 10), (1024, 1024), (768, 3072))
BATCHES = (((1000, 8, 8), (1000, 8, 8)), ((64, 16, 64), (64, 64, 16)), ((12, 128, 64), (12, 64, 128)))
LIMIT = 2048
# The threads of the side before go on waiting for work, and take a core, for up to a fifth of a second.
REST = 0.25
Side = Callable[[], Any]


def sweep() -> list[tuple[Any, ...]]:
    """Cases of few rows, and of small products in batches, in every layout."""
    pairs = [((m, k), (k, n)) for m in ROWS for k, n in LAYERS] + list(BATCHES)
    return [
        (f"{'x'.join(map(str, (*left, right[-1])))} {turned} {dtype}", left, right, turned, dtype)
        for dtype in ("float32", "float64") for left, right in pairs for turned in ("", "l", "r", "lr")
    ]  # fmt: skip


def dtype_of(case: tuple[Any, ...]) -> Any:
    """The dtype of a case's operands."""
    name = case[4] if len(case) > 4 else "float32"
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def operands(left: tuple[int, ...], right: tuple[int, ...], turned: str, dtype: Any) -> list[Any]:
    """Two arrays as they lie in memory: the turned ones transposed."""
    rng = np.random.default_rng(0)
    stored = [(*s[:-2], s[-1], s[-2]) if side in turned else s for s, side in zip((left, right), "lr", strict=True)]
    return [rng.standard_normal(s, dtype=np.float32).astype(dtype) for s in stored]


def compiled(arrays: list[Any], turned: str) -> tuple[Side, Any]:
    """The compiled product and the array that takes its result."""
    graph = Graph()
    sides = []
    for x, side in zip(arrays, "lr", strict=True):
        value = graph.input(Spec(x.shape, x.dtype))
        if side in turned:
            value = graph.call(OPS["transpose"], (value,), {"dim0": x.ndim - 2, "dim1": x.ndim - 1})
        sides.append(value)
    graph.outputs.append(graph.call(OPS["mm" if arrays[0].ndim == 2 else "bmm"], tuple(sides), {}))
    built = program.build(graph, schedule(graph))
    out = np.empty(graph.outputs[0].shape, arrays[0].dtype)
    for i, x in enumerate(arrays):
        built.bind(i, x)
    built.set_output(0, out)
    return lambda: built.run(), out


def sides_of(case: tuple[Any, ...], torch: Any) -> dict[str, Side]:
    """The call of each side, checked against one another; NumPy has no products of half precision."""
    _, left, right, turned, *_ = case
    dtype = dtype_of(case)
    half = dtype.itemsize == 2
    arrays = operands(left, right, turned, dtype)
    run, out = compiled(arrays, turned)
    run()
    wide = [x.astype(np.float32) if half else x for x in arrays]
    a, b = (x.swapaxes(-1, -2) if s in turned else x for x, s in zip(wide, "lr", strict=True))
    want = np.matmul(a, b)
    np.testing.assert_allclose(out.astype(want.dtype), want, rtol=2e-2 if half else 1e-3, atol=0.1 if half else 1e-2)
    found: dict[str, Side] = {"rushlight": run}
    if not half:
        found["numpy"] = lambda: np.matmul(a, b, out=want)
    if torch:
        kind = getattr(torch, "bfloat16" if half and dtype != np.float16 else dtype.name)
        x, y = (torch.from_numpy(v).to(kind) for v in wide)
        x, y = (v.mT if s in turned else v for v, s in zip((x, y), "lr", strict=True))
        result = torch.empty(want.shape, dtype=kind)
        found["torch"] = lambda: torch.matmul(x, y, out=result)
    return found


def fastest(sides: dict[str, Side], seconds: float, rest: float = REST) -> dict[str, float]:
    """Seconds of the fastest run of each side."""
    best = dict.fromkeys(sides, math.inf)
    begin = time.perf_counter()
    while time.perf_counter() - begin < (seconds + rest) * len(sides):
        for name, call in sides.items():
            time.sleep(rest)
            call()
            turn = time.perf_counter()
            while time.perf_counter() - turn < seconds / 3:
                started = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def flops(case: tuple[Any, ...]) -> int:
    """Arithmetic of a product, multiply and add counted as two."""
    _, left, right, *_ = case
    return 2 * math.prod(left) * right[-1]


def show_sweep(rows: list[tuple[Any, dict[str, float]]]) -> None:
    """Print the cases in which PyTorch is faster, and the mean over all."""
    ratios = [best["torch"] / best["rushlight"] for _, best in rows]
    for (case, _), ratio in sorted(zip(rows, ratios, strict=True), key=lambda r: r[1]):
        if ratio < 1:
            print(f"{case[0]:36s} {ratio:5.2f}x")
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"{len(rows)} products; PyTorch is faster in {sum(r < 1 for r in ratios)}; geometric mean {mean:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of names, separated by commas")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each product and side")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--sweep", action="store_true", help="few rows, every layout; needs PyTorch")
    options = parser.parse_args()
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    if options.sweep:
        cases = [c for c in sweep() if any(part in c[0] for part in options.only.split(","))]
        return show_sweep([(case, fastest(sides_of(case, torch), options.seconds, 0.02)) for case in cases])
    square = np.random.default_rng(0).standard_normal((LIMIT, LIMIT), dtype=np.float32)
    limit = 0.0
    rows = []
    for case in PRODUCTS:
        if not any(part in case[0] for part in options.only.split(",")):
            continue
        seen = fastest({"limit": lambda: square @ square}, 0.1)
        limit = max(limit, 2 * LIMIT**3 / seen["limit"] / 1e9)
        rows.append((case, fastest(sides_of(case, torch), options.seconds)))
    show(rows, limit, options.markdown)


def show(rows: list[tuple[Any, dict[str, float]]], limit: float, markdown: bool) -> None:
    """Print the table."""
    bar = "| " if markdown else ""
    print(f"{bar}{'product':36s} {bar}{'us':>9s} {bar}GFLOP/s {bar}limit {bar} NumPy {bar}PyTorch")
    if markdown:
        print("|---|--:|--:|--:|--:|--:|")
    for case, best in rows:
        ours = best["rushlight"]
        rate = flops(case) / ours / 1e9
        ratios = [f"{best[s] / ours:6.2f}x" if s in best else "" for s in ("numpy", "torch")]
        print(
            f"{bar}{case[0]:36s} {bar}{ours * 1e6:9.1f} {bar}{rate:7.1f} {bar}{rate / limit:5.0%} "
            f"{bar}{ratios[0]:>6s} {bar}{ratios[1]:>6s}"
        )
    print(f"\nlimit {limit:.0f} GFLOP/s; NumPy and PyTorch: their time over ours")


if __name__ == "__main__":
    main()
