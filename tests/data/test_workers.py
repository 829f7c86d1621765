"""`DataLoader` with worker processes: transfer, seeds, order, errors, deaths, and leaving nothing behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Call(Dataset):  # type: ignore[type-arg]
    """Calls a function for each index."""

    def __init__(self, function: Any, size: int = 8) -> None:
        self.function, self.size = function, size

    def __getitem__(self, i: int) -> Any:
        return self.function(i)

    def __len__(self) -> int:
        return self.size


class Split(IterableDataset):  # type: ignore[type-arg]
    """Each worker gives its share, of unequal length."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes

    def __iter__(self) -> Any:
        info = get_worker_info()
        assert info is not None
        return iter(range(info.id * 100, info.id * 100 + self.sizes[info.id]))


def children() -> set[str]:
    """Processes that this one has started and that still run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(path.parent.name)
    return found


def test_nested_batches_arrive_intact() -> None:
    def sample(i: int) -> Any:
        return {
            "large": rushlight.full((64, 64), float(i)),
            "half": rushlight.full((3,), i, dtype=rushlight.bfloat16),
            "none": rushlight.zeros(0, 2),
            "array": np.full((200, 100), i, np.int16),
            "list": [i, str(i), (1.5 * i, None if i < 0 else b"x")],
        }

    with_workers = list(DataLoader(Call(sample), 4, num_workers=2))
    without = list(DataLoader(Call(sample), 4))
    for a, b in zip(with_workers, without, strict=True):
        assert list(a) == list(b) and a["list"][1] == b["list"][1] and a["list"][2][1] == b["list"][2][1]
        for key in ("large", "half", "none", "array"):
            assert a[key].dtype is b[key].dtype and rushlight.equal(a[key], b[key])
    first = with_workers[0]["large"]
    first += 1
    assert first[1, 0, 0].item() == 2.0


def test_batches_outlive_the_loader() -> None:
    data = TensorDataset(rushlight.randn(100, 500))
    batches = [x for (x,) in DataLoader(data, 20, num_workers=2)]
    gc.collect()
    assert rushlight.equal(rushlight.cat(batches), data.tensors[0])


def test_order_is_kept_whatever_takes_long() -> None:
    def sample(i: int) -> int:
        time.sleep(0.05 if i % 4 == 0 else 0)
        return i

    loader = DataLoader(Call(sample, 12), 2, num_workers=2, prefetch_factor=3)
    assert [b.tolist() for b in loader] == [[i, i + 1] for i in range(0, 12, 2)]
    unordered = DataLoader(Call(sample, 12), 2, num_workers=2, in_order=False)
    assert sorted(i for b in unordered for i in b.tolist()) == list(range(12))


def test_seeds_are_pytorchs() -> None:
    def draw(lib: Any) -> Any:
        return lambda i: (lib.rand(1).item(), random.random(), float(np.random.rand()))

    def batches(lib: Any) -> Any:
        lib.manual_seed(3)
        loader = lib.utils.data.DataLoader(Call(draw(lib), 6), 1, num_workers=2)
        return [[part.tolist() for part in batch] for epoch in range(2) for batch in loader]

    ours = batches(rushlight)
    assert ours == batches(rushlight) and len({str(batch) for batch in ours}) == 12
    torch = pytest.importorskip("torch")
    assert ours == batches(torch)


def test_worker_info_and_init() -> None:
    seen: list[int] = []

    def init(worker: int) -> None:
        seen.append(worker * 10)

    def sample(i: int) -> Any:
        info = get_worker_info()
        assert info is not None and info.num_workers == 2 and info.dataset.size == 4
        return info.id, info.seed - rushlight.initial_seed(), seen[0], os.getpid()

    (a, b) = DataLoader(Call(sample, 4), 2, num_workers=2, worker_init_fn=init)
    assert a[0].tolist() == [0, 0] and b[0].tolist() == [1, 1] and b[2].tolist() == [10, 10]
    assert a[1].tolist() == [0, 0] and a[3][0] != b[3][0] and os.getpid() not in a[3].tolist() and not seen


def test_streams() -> None:
    loader = DataLoader(Split((5, 1)), 2, num_workers=2)
    for _ in range(2):
        assert [b.tolist() for b in loader] == [[0, 1], [100], [2, 3], [4]]
    assert [int(x) for x in DataLoader(Split((1, 0, 2)), None, num_workers=2)] == [0]
    many = DataLoader(Split((1, 3, 2)), 1, num_workers=2, prefetch_factor=1, persistent_workers=True)
    assert [[b.item() for b in many] for _ in range(2)] == [[0, 100, 101, 102]] * 2


def test_streams_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")

    class Theirs(torch.utils.data.IterableDataset):  # type: ignore[misc,name-defined]
        def __iter__(self) -> Any:
            info = torch.utils.data.get_worker_info()
            return iter(range(info.id * 100, info.id * 100 + (5, 2)[info.id]))

    want = [b.tolist() for b in torch.utils.data.DataLoader(Theirs(), 2, num_workers=2)]
    assert [b.tolist() for b in DataLoader(Split((5, 2)), 2, num_workers=2)] == want


def test_persistent_workers_stay() -> None:
    loader = DataLoader(Call(lambda i: os.getpid(), 4), 1, num_workers=2, persistent_workers=True)
    first, second = ({b.item() for b in loader} for _ in range(2))
    assert first == second and len(first) == 2
    next(iter(loader))
    assert {b.item() for b in loader} == first
    del loader
    gc.collect()
    assert not first & {int(pid) for pid in children()}


def test_workers_end_with_the_loop() -> None:
    before = children()
    iterator = iter(DataLoader(Call(lambda i: i, 50), 1, num_workers=2))
    next(iterator)
    assert len(children() - before) == 2
    del iterator
    gc.collect()
    assert not children() - before
    list(DataLoader(Call(lambda i: i), 1, num_workers=2))
    assert not children() - before


class OddError(Exception):
    """An exception that cannot be made from a message alone."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


def fails_with(error: Exception) -> Any:
    def sample(i: int) -> int:
        if i == 5:
            raise error
        return i

    return sample


@pytest.mark.parametrize("error", [ValueError("bad sample"), KeyError("k"), OddError(1, 2)], ids=repr)
def test_exceptions_arrive_with_their_traceback(error: Exception) -> None:
    loader = DataLoader(Call(fails_with(error)), 1, num_workers=2)
    kind = RuntimeError if isinstance(error, OddError) else type(error)
    got = []
    with pytest.raises(kind) as caught:
        for batch in loader:
            got.append(batch.item())
    text = str(caught.value)
    assert got == [0, 1, 2, 3, 4]
    assert f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback" in text
    assert "raise error" in text and "test_workers.py" in text


def test_other_failures() -> None:
    def init(worker: int) -> None:
        raise ArithmeticError("no start")

    with pytest.raises(ArithmeticError, match="no start"):
        list(DataLoader(Call(lambda i: i), num_workers=1, worker_init_fn=init))
    with pytest.raises((AttributeError, TypeError, RuntimeError), match="in DataLoader worker process 0"):
        list(DataLoader(Call(lambda i: lambda: i), num_workers=1, collate_fn=lambda b: b[0]))
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        list(DataLoader(Call(lambda i: rushlight.ones(1, requires_grad=True) * 2), num_workers=1))

    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="Caught Local in DataLoader worker process 0"):
        list(DataLoader(Call(fails_with(Local("x"))), num_workers=1))


def test_leaf_that_requires_grad_travels() -> None:
    loader = DataLoader(Call(lambda i: rushlight.ones(2, requires_grad=True)), None, num_workers=1)
    assert all(x.requires_grad and x.is_leaf for x in loader)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_killed_worker_is_an_error(number: signal.Signals) -> None:
    def sample(i: int) -> int:
        if i == 5:
            os.kill(os.getpid(), number)
        return i

    loader = DataLoader(Call(sample), 1, num_workers=2)
    got = []
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly") as caught:
        for batch in loader:
            got.append(batch.item())
    assert time.monotonic() - start < 5
    note = "\n".join(caught.value.__notes__)
    assert f"1 of 2, killed by {number.name}" in note
    if number is signal.SIGSEGV:
        assert "in sample" in note


def test_an_exiting_worker_is_an_error() -> None:
    loader = DataLoader(Call(lambda i: os._exit(3)), num_workers=1)
    with pytest.raises(RuntimeError, match="exited unexpectedly") as caught:
        list(loader)
    assert "exit code 3" in "\n".join(caught.value.__notes__)


def test_timeout_names_the_worker_and_shows_its_stack() -> None:
    def sleeps(i: int) -> int:
        time.sleep(100 if i == 1 else 0)
        return i

    before = children()
    loader = DataLoader(Call(sleeps), 1, num_workers=2, timeout=0.5)
    iterator = iter(loader)
    assert next(iterator).item() == 0
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.5 seconds") as caught:
        while True:
            next(iterator)
    note = "\n".join(caught.value.__notes__)
    assert "1 of 2, pid" in note and "in sleeps" in note
    del iterator, caught
    gc.collect()
    assert not children() - before


def test_large_index_lists_and_deep_prefetch() -> None:
    rushlight.manual_seed(0)
    loader = DataLoader(TensorDataset(rushlight.arange(60000)), 20000, shuffle=True, num_workers=2, prefetch_factor=50)
    assert sorted(rushlight.cat([x for (x,) in loader]).tolist()) == list(range(60000))


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(rushlight.__file__).parents[1])}


def shared_files() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


LOOP = """
import os, sys, time, rushlight as torch
from rushlight.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.randn(1000, 2000)), 10, num_workers=2, persistent_workers={persistent})
for k, (x,) in enumerate(loader):
    if k == 0:
        print(*[w.process.pid for w in loader._current().pool.workers], flush=True)
    {action}
"""


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    "action, number",
    [("sys.exit(0)", None), ("time.sleep(0.1)", signal.SIGINT), ("time.sleep(0.1)", signal.SIGKILL)],
    ids=["exit", "ctrl-c", "kill"],
)
def test_nothing_is_left_behind(action: str, number: signal.Signals | None, persistent: bool) -> None:
    before = shared_files()
    source = LOOP.format(action=action, persistent=persistent)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", source], env=ENVIRONMENT, text=True, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        while line and not line[0].isdigit():
            line = process.stdout.readline()
        workers = [int(pid) for pid in line.split()]
        assert len(workers) == 2
        if number is not None:
            process.send_signal(number)
        process.wait(20)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        errors = process.stderr.read()
    assert shared_files() <= before
    assert errors.count("Traceback") == (1 if number is signal.SIGINT else 0), errors


SPAWN = """
import rushlight as torch
from rushlight.utils.data import DataLoader, Dataset, get_worker_info

class Squares(Dataset):
    def __init__(self):
        self.table = torch.arange(6) ** 2
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return self.table[i], torch.rand(300, 300), get_worker_info().id

if __name__ == "__main__":
    torch.manual_seed(0)
    for method in ("spawn", "forkserver", "fork"):
        loader = DataLoader(Squares(), 2, num_workers=2, multiprocessing_context=method, generator=torch.Generator())
        squares, noise, workers = zip(*loader)
        print(torch.cat(squares).tolist(), [w.tolist() for w in workers], round(noise[0].sum().item()))
"""


def test_start_methods(tmp_path: Path) -> None:
    script = tmp_path / "squares.py"
    script.write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=60,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == 3 and len(set(lines)) == 1, done.stderr
    assert lines[0].startswith("[0, 1, 4, 9, 16, 25] [[0, 0], [1, 1], [0, 0]]")


def test_warns_of_more_workers_than_processors() -> None:
    with pytest.warns(UserWarning, match="This DataLoader will create 5000 worker processes in total"):
        DataLoader(range(3), num_workers=5000)  # type: ignore[arg-type]


def test_workers_compute_with_one_thread() -> None:
    threads = Call(lambda i: rushlight.get_num_threads(), 2)
    assert [batch.tolist() for batch in DataLoader(threads, num_workers=1)] == [[1], [1]]
