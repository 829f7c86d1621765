"""What memory a training step takes, Rushlight's and PyTorch's, each measured in a process of its own.

    python benchmarks/memory.py [--work resnet,gpt] [--steps 6] [--markdown]

All figures are megabytes of resident memory. `import`, `ready` and `net`: the level after importing the package, after
two steps of a small network, which load what is loaded on first use (LLVM, oneDNN, threads), and after making the
network, the data and the optimizer. `first` and `later`: the peak of the first two steps and of the following ones,
above the level before the first (`net`). The first steps include tracing and compiling: each process begins with an
empty cache of compiled code. `process` is the highest level of all. Where the peak cannot be reset (outside Linux) the
peaks are those of all steps. Without PyTorch only Rushlight's figures are shown.
"""

import argparse
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from networks import WORKS, Work

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SIDES = {"rushlight": ("rushlight", False), "compiled": ("rushlight", True), "torch": ("torch", False)}
COLUMNS = ("import", "ready", "net", "first", "later", "process")
FIRST_STEPS = 2
MB = 1e6


def status(name: str) -> float:
    """An entry of /proc/self/status in megabytes, NaN where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(name + ":")), float("nan"))


def peak() -> float:
    """The highest level of resident memory so far, or since `reset_peak`."""
    found = status("VmHWM")
    if found == found or resource is None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def level() -> float:
    """Resident memory now; where the system does not say, the highest so far."""
    found = status("VmRSS")
    return found if found == found else peak()


def reset_peak() -> None:
    """Let the peak begin at the present level, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def measured(side: str, work: str, steps: int) -> dict[str, float]:
    """The figures of one side on one workload, taken in this process."""
    package, is_compiled = SIDES[side]
    T = importlib.import_module(package)
    imported = level()
    T.manual_seed(0)
    small = step_of(T, small_work(T), is_compiled)
    for _ in range(FIRST_STEPS):
        small()
    ready = level()
    run = step_of(T, WORKS[work](T), is_compiled)
    gc.collect()
    before = peak()
    reset_peak()
    start = level()
    for _ in range(FIRST_STEPS):
        run()
    first = peak()
    reset_peak()
    for _ in range(steps):
        run()
    later = peak()
    figures = (imported, ready, start, first - start, later - start, max(before, first, later))
    return dict(zip(COLUMNS, figures, strict=True))


def small_work(T: Any) -> Work:
    """A network with a convolution, a product and a softmax, and what it is trained on."""
    nn = T.nn
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
    x, y = T.randn(32, 1, 16, 16), T.randint(0, 10, (32,))
    return net, nn.CrossEntropyLoss(), x, y, T.optim.Adam(net.parameters(), lr=1e-3)


def step_of(T: Any, work: Work, is_compiled: bool) -> Callable[[], Any]:
    """One training step, as a function."""
    net, loss_fn, inputs, targets, optimizer = work

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_fn(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return partial(T.compile(step) if is_compiled else step, inputs, targets)


def in_a_process(side: str, work: str, steps: int) -> dict[str, float]:
    """`measured`, in a process of its own that finds no compiled code."""
    command = [sys.executable, __file__, "--work", work, "--side", side, "--steps", str(steps)]
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"RUSHLIGHT_CACHE": cache}
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(rows: list[tuple[str, ...]], markdown: bool) -> None:
    """Print the table, aligned or as Markdown."""
    if markdown:
        for k, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if k == 0:
                print("|---|---|" + "---:|" * (len(row) - 2))
        return
    for row in rows:
        print(f"{row[0]:12}{row[1]:11}" + "".join(f"{cell:>9}" for cell in row[2:]))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=",".join(WORKS), help="workloads, separated by commas")
    parser.add_argument("--side", choices=tuple(SIDES), help="measure one side here and print its figures as JSON")
    parser.add_argument("--steps", type=int, default=6, help="steps after the first two")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    works = options.work.split(",")
    unknown = [name for name in works if name not in WORKS]
    if unknown:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(WORKS)}")
    if options.side:
        print(json.dumps(measured(options.side, works[0], options.steps)))
        return 0
    sides = [side for side, (package, _) in SIDES.items() if importlib.util.find_spec(package) is not None]
    rows: list[tuple[str, ...]] = [("MB", "", *COLUMNS)]
    for work in works:
        for side in sides:
            found = in_a_process(side, work, options.steps)
            rows.append((work, side, *(f"{found[name]:.1f}" for name in COLUMNS)))
    show(rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
