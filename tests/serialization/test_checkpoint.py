"""Checkpoints: one file, verified, whole after any kill, and a run resumed from it goes on to the same bits."""

import os
import pickle
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.serialization.archive import ArchiveReader, ArchiveWriter


def run() -> tuple[Any, Any, Any]:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(8))
    model.append(torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    return model, optimizer, schedule


def step(model: Any, optimizer: Any, schedule: Any) -> float:
    x = torch.randn(16, 4) + random.random() + np.random.rand()
    optimizer.zero_grad()
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    loss.backward()
    optimizer.step()
    schedule.step()
    return float(loss.item())


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    objects = run()
    for _ in range(4):
        step(*objects)
    model, optimizer, schedule = objects
    torch.save_checkpoint(path, model=model, optimizer=optimizer, scheduler=schedule, extra={"epoch": 2})
    expected = [step(*objects) for _ in range(5)]
    fresh = run()
    assert [step(*fresh) for _ in range(2)] != expected[:2]
    model, optimizer, schedule = fresh
    assert torch.load_checkpoint(path, model=model, optimizer=optimizer, scheduler=schedule) == {"epoch": 2}
    assert [step(*fresh) for _ in range(5)] == expected
    for a, b in zip(objects[0].state_dict().values(), fresh[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_resuming_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    data = torch.utils.data.TensorDataset(torch.arange(20.0))

    def loader() -> Any:
        return torch.utils.data.DataLoader(data, batch_size=3, shuffle=True)

    def batches(from_loader: Any, count: int) -> list[Any]:
        found = []
        for epoch in range(2):
            for batch in from_loader:
                found.append((epoch, batch[0].tolist(), torch.rand(1).item()))
                if len(found) == count:
                    return found
        return found

    torch.manual_seed(1)
    first = loader()
    whole = batches(first, 99)
    torch.manual_seed(1)
    second = loader()
    seen = []
    for batch in second:
        seen.append((0, batch[0].tolist(), torch.rand(1).item()))
        if len(seen) == 3:
            torch.save_checkpoint(path, loader=second)
            break
    torch.manual_seed(99)
    third = loader()
    torch.load_checkpoint(path, loader=third)
    rest = [(batch, noise) for _, batch, noise in batches(third, 99)]
    assert seen == whole[:3]
    assert rest[: len(whole) - 3] == [(batch, noise) for _, batch, noise in whole[3:]]


def test_generators_and_containers_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    generators = {
        "ours": torch.Generator().manual_seed(5), "numpy": np.random.default_rng(5), "python": random.Random(5),
        "mt": np.random.Generator(np.random.MT19937(5)),
    }  # fmt: skip
    models = [torch.nn.Linear(1, 1), torch.nn.Linear(2, 2)]

    def draw() -> list[Any]:
        return [
            torch.rand(1, generator=generators["ours"]).item(), generators["numpy"].random(),
            generators["python"].random(), generators["mt"].normal(), torch.rand(1).item(), random.random(),
            np.random.rand(),
        ]  # fmt: skip

    torch.save_checkpoint(path, model=models, generators=generators)
    expected, weights = draw(), [m.weight.tolist() for m in models]
    for model in models:
        torch.nn.init.zeros_(model.weight)
    torch.load_checkpoint(path, model=models, generators=generators)
    assert draw() == expected
    assert [m.weight.tolist() for m in models] == weights
    now = draw()
    torch.load_checkpoint(path, model=models, restore_random=False)
    assert draw() != now
    with pytest.raises(KeyError, match="was not saved as these 1 objects"):
        torch.load_checkpoint(path, model=models[:1])
    with pytest.raises(KeyError, match="holds no optimizer"):
        torch.load_checkpoint(path, optimizer=torch.optim.SGD(models[0].parameters(), lr=0.1))
    with pytest.raises(TypeError, match=r"model\['a'\] is a int, which has no state_dict"):
        torch.save_checkpoint(path, model={"a": 1})


def test_an_ordinary_file_too(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    torch.save_checkpoint(path, model=torch.nn.Linear(1, 1), extra=[1, "a"])
    assert torch.load(path)["extra"] == [1, "a"]
    oracle = pytest.importorskip("torch")
    assert list(oracle.load(path, weights_only=True)["parts"]["model"]) == ["weight", "bias"]


def test_damage_is_found_before_anything_changes(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    model = torch.nn.Linear(3, 3)
    torch.save_checkpoint(path, model=model)
    before = model.weight.tolist()
    data = path.read_bytes()
    for at in (100, len(data) // 2, len(data) - 40):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            torch.load_checkpoint(path, model=torch.nn.Linear(3, 3))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RuntimeError, match="failed finding central directory"):
        torch.load_checkpoint(path, model=model)
    # A record exchanged for another with a valid CRC, which only the checksum notices.
    path.write_bytes(data)
    with open(path, "rb") as file, open(tmp_path / "forged.pt", "wb") as forged:
        reader, writer = ArchiveReader(file), ArchiveWriter(forged)
        for name in reader.names():
            content = reader.read(name)
            writer.write(name, bytes(len(content)) if name == "data/0" else content)
        writer.close()
    with pytest.raises(RuntimeError, match="does not match its checksum"):
        torch.load_checkpoint(tmp_path / "forged.pt", model=model)
    assert model.weight.tolist() == before
    torch.save([1], path)
    with pytest.raises(RuntimeError, match="is not a checkpoint"):
        torch.load_checkpoint(path)


def write_forever(path: Path) -> None:
    """Save checkpoint after checkpoint, each of one value all over, so that a mixture of two would show."""
    number = 0
    while True:
        number += 1
        torch.save_checkpoint(path, extra={"number": number, "x": torch.full((60_000,), float(number)), "also": number})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    torch.save_checkpoint(path, extra={"number": 0, "x": torch.zeros(60_000), "also": 0})
    rng = random.Random(0)
    last, moved = 0, 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                write_forever(path)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        extra = torch.load_checkpoint(path, restore_random=False)
        assert extra["number"] == extra["also"]
        assert (extra["x"] == extra["number"]).all()
        moved += extra["number"] != last
        last = extra["number"]
    assert moved > 5
    torch.save_checkpoint(path, extra=None)
    assert os.listdir(tmp_path) == ["run.pt"]
