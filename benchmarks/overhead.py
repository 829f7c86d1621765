"""What one small operation costs, Rushlight and PyTorch in turn in the same process.

    python benchmarks/overhead.py [--rounds 15] [--check] [--markdown]

Each figure is the least over the rounds of the mean time of one call in a loop of some milliseconds; the two sides
take turns within a round, so a change of the machine's speed meets both. `--check` fails when a budget is missed.
Without PyTorch only Rushlight's times are shown.
"""

import argparse
import importlib
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SIZE = 16
LOOP_SECONDS = 0.004
MEAN_BUDGET = 1.3
BACKWARD_BUDGET = 2.0
IMPORT_BUDGET = 0.2
BACKWARD = "(a*b+b).sum().backward()"
Case = Callable[[], Any]


def cases(torch: Any) -> dict[str, Case]:
    """The measured calls, by the text that the table shows."""
    torch.manual_seed(0)
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    u, v = a.clone().requires_grad_(), b.clone().requires_grad_()

    def backward() -> None:
        (u * v + v).sum().backward()

    return {
        "a + b": lambda: a + b,
        "a + b, recording": lambda: u + v,
        "a @ b": lambda: a @ b,
        "a.sum()": lambda: a.sum(),
        "a[1]": lambda: a[1],
        "a.view(-1)": lambda: a.view(-1),
        BACKWARD: backward,
    }


def time_of(call: Case, repeats: int) -> float:
    """Seconds of one call, as the mean over a loop."""
    loop = range(repeats)
    started = time.perf_counter()
    for _ in loop:
        call()
    return (time.perf_counter() - started) / repeats


def measure(sides: dict[str, dict[str, Case]], rounds: int) -> dict[str, dict[str, float]]:
    """seconds[side][case], the sides taking turns."""
    repeats = {
        side: {name: max(10, round(LOOP_SECONDS / time_of(call, 50))) for name, call in table.items()}
        for side, table in sides.items()
    }
    best = {side: dict.fromkeys(table, math.inf) for side, table in sides.items()}
    for _ in range(rounds):
        for name in next(iter(sides.values())):
            for side, table in sides.items():
                best[side][name] = min(best[side][name], time_of(table[name], repeats[side][name]))
    return best


def import_seconds(module: str, rounds: int = 9) -> float:
    """Seconds that `import module` adds to the start of an interpreter, the least of some, byte code cached."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(rounds)]
    return min(float(run.stdout) for run in runs)


def show(rows: list[tuple[str, ...]], markdown: bool) -> None:
    """Print the table, aligned or as Markdown."""
    if markdown:
        for k, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if k == 0:
                print("|" + "---|" * len(row))
        return
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def missed(ratios: dict[str, float], mean: float, seconds: float) -> list[str]:
    """The budgets that the figures do not keep."""
    found = [f"{name}: {ratio:.2f}x, budget 1x" for name, ratio in ratios.items() if ratio < 1]
    if ratios and mean < MEAN_BUDGET:
        found.append(f"geometric mean: {mean:.2f}x, budget {MEAN_BUDGET}x")
    if ratios and ratios[BACKWARD] < BACKWARD_BUDGET:
        found.append(f"{BACKWARD}: {ratios[BACKWARD]:.2f}x, budget {BACKWARD_BUDGET}x")
    if seconds > IMPORT_BUDGET:
        found.append(f"import rushlight: {seconds:.3f} s, budget {IMPORT_BUDGET} s")
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a budget is missed")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    names = ["rushlight"] + ["torch"] * (importlib.util.find_spec("torch") is not None)
    imported = {name: import_seconds(name) for name in names}
    best = measure({name: cases(importlib.import_module(name)) for name in names}, options.rounds)
    ratios = {name: best["torch"][name] / t for name, t in best["rushlight"].items()} if "torch" in best else {}
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios)) if ratios else math.nan
    rows = [(f"{SIZE}x{SIZE} float32", *(f"{name}, us" for name in names), *(["ratio"] * bool(ratios)))]
    for name in best["rushlight"]:
        times = (f"{best[side][name] * 1e6:.2f}" for side in names)
        rows.append((name, *times, *([f"{ratios[name]:.2f}x"] if ratios else [])))
    if ratios:
        rows.append(("geometric mean", "", "", f"{mean:.2f}x"))
    seconds = (f"{imported[name] * 1e3:.0f} ms" for name in names)
    rows.append(("import", *seconds, *([f"{imported['torch'] / imported['rushlight']:.1f}x"] if ratios else [])))
    show(rows, options.markdown)
    found = missed(ratios, mean, imported["rushlight"])
    print("".join(f"\nmissed: {line}" for line in found))
    return 1 if options.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
