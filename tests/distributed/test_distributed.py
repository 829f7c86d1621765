"""Several processes on this machine: operations, DistributedDataParallel, and what goes wrong."""

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import rushlight as torch
import rushlight.distributed as dist
from rushlight import nn
from rushlight.distributed.store import HashStore, PrefixStore, TCPStore
from rushlight.multiprocessing import start_processes
from rushlight.nn.parallel import DistributedDataParallel
from tests.distributed import jobs

SECONDS = timedelta(seconds=30)


def together(job: Callable[..., None], size: int, place: Any, *more: Any, method: str = "fork") -> None:
    start_processes(job, (size, place, *more), size, start_method=method)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("job", [jobs.collectives, jobs.objects_and_messages, jobs.unused_parameters])
def test_several_processes(job: Callable[..., None], size: int, tmp_path: Path) -> None:
    together(job, size, str(tmp_path / "place"))


@pytest.mark.parametrize("job", [jobs.groups, jobs.different_models, jobs.mismatch])
def test_three_processes(job: Callable[..., None], tmp_path: Path) -> None:
    together(job, 3, str(tmp_path / "place"))


@pytest.mark.parametrize("job", [jobs.one_does_not_come, jobs.one_dies, jobs.never_complete])
def test_failures_are_noticed(job: Callable[..., None], tmp_path: Path) -> None:
    together(job, 2, str(tmp_path / "place"))


@pytest.mark.parametrize("size", [2, 3])
def test_training_equals_that_of_one_process(size: int, tmp_path: Path) -> None:
    x, y = jobs.problem()
    model = jobs.make(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        for start in range(0, 48, 12):
            # a loader of each process draws every size-th example of what remains, in batches of 12 / size
            batch = torch.arange(start, start + 12)
            optimizer.zero_grad()
            for rank in range(size):
                own = batch[rank::size]
                for half in (own[::2], own[1::2]):
                    (nn.functional.mse_loss(model(x[half]), y[half]) / size).backward()
            optimizer.step()
    expected = [p.detach().numpy() for p in model.parameters()]
    together(jobs.training, size, str(tmp_path / "place"), expected)


def test_by_environment_and_spawn() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together(jobs.by_environment, 2, port, method="spawn")


# One process


@pytest.fixture
def alone() -> Any:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_one_process_is_enough() -> None:
    assert (dist.get_rank(), dist.get_world_size(), dist.get_process_group_ranks()) == (0, 1, [0])
    assert dist.group.WORLD is not None
    x = torch.tensor([1.0, 2.0])
    assert dist.all_reduce(x) is None
    work = dist.all_reduce(x, dist.ReduceOp.AVG, async_op=True)
    assert work is not None and work.wait() and work.is_success()
    dist.broadcast(x, 0)
    dist.barrier()
    rows = [torch.empty(2)]
    dist.all_gather(rows, x)
    assert rows[0].tolist() == x.tolist() == [1, 2]
    objects: list[Any] = [None]
    dist.all_gather_object(objects, {"a": 1})
    assert objects == [{"a": 1}]
    assert len(torch.utils.data.DistributedSampler(range(5))) == 5
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    with pytest.raises(TypeError, match="floating"):
        dist.all_reduce(torch.tensor([1]), dist.ReduceOp.AVG)


@pytest.mark.usefixtures("alone")
def test_a_wrapped_module() -> None:
    inner = nn.Linear(2, 1)
    model = DistributedDataParallel(inner)
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert repr(model).splitlines()[:2] == [
        "DistributedDataParallel(",
        "  (module): Linear(in_features=2, out_features=1, bias=True)",
    ]
    x = torch.ones(3, 2)
    model(x).sum().backward()
    assert inner.weight.grad.tolist() == [[3, 3]]
    model.eval()
    assert not inner.training
    with torch.no_grad():
        assert torch.equal(model(x), inner(x))
    with pytest.raises(RuntimeError, match="not needed when a module doesn't have any parameter"):
        DistributedDataParallel(nn.ReLU())
    with pytest.raises(ValueError, match="device_ids"):
        DistributedDataParallel(inner, device_ids=[0])
    with pytest.raises(NotImplementedError, match="mixed_precision"):
        DistributedDataParallel(inner, mixed_precision=True)


def test_without_a_group() -> None:
    assert dist.is_available() and not dist.is_initialized() and not dist.is_nccl_available()
    for call in (dist.get_rank, dist.get_world_size, dist.barrier, lambda: DistributedDataParallel(nn.Linear(1, 1))):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            call()
    with pytest.raises(RuntimeError, match=r"nccl.*needs NVIDIA GPUs"):
        dist.init_process_group("nccl", store=HashStore(), rank=0, world_size=1)
    with pytest.raises(ValueError, match="init_method 'ftp"):
        dist.init_process_group("gloo", "ftp://x", rank=0, world_size=1)


def test_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="environment variable RANK expected, but not set"):
        dist.init_process_group("gloo")
    with pytest.raises(RuntimeError, match="LOCAL_RANK"):
        dist.get_node_local_rank()
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    dist.init_process_group("gloo")
    assert dist.get_world_size() == 1
    dist.destroy_process_group()


# Stores


@pytest.mark.parametrize("kind", ["here", "tcp", "prefix"])
def test_a_store(kind: str) -> None:
    keeper = TCPStore("127.0.0.1", 0, None, True, SECONDS) if kind == "tcp" else HashStore()
    store: Any = PrefixStore("mine", keeper) if kind == "prefix" else keeper
    store.set("a", "1")
    assert store.get("a") == b"1"
    assert (store.add("n", 5), store.add("n", -2)) == (5, 3)
    assert store.check(["a", "n"]) and not store.check(["a", "b"])
    assert store.num_keys() == 2
    assert store.delete_key("a") and not store.delete_key("a")
    assert store.compare_set("c", "", "x") == b"x"
    assert store.compare_set("c", "y", "z") == b"x"
    store.set("bytes", bytes(range(256)))
    assert store.get("bytes") == bytes(range(256))
    store.set_timeout(timedelta(seconds=0.05))
    with pytest.raises(dist.DistStoreError, match="wait timeout after 50ms"):
        store.get("never")
    with pytest.raises(dist.DistStoreError):
        store.wait(["c", "never"], timedelta(seconds=0.01))
    if kind == "tcp":
        keeper.close()


def test_a_store_wakes_those_who_wait() -> None:
    keeper = TCPStore("127.0.0.1", 0, None, True, SECONDS)
    other = TCPStore("127.0.0.1", keeper.port, None, False, SECONDS)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(other.get("late")))
    thread.start()
    keeper.set("late", "here")
    thread.join(10)
    assert found == [b"here"]
    other.close()
    keeper.close()
    with pytest.raises(dist.DistNetworkError, match=r"Timed out after 0.2 seconds waiting for the store"):
        TCPStore("127.0.0.1", keeper.port, None, False, timedelta(seconds=0.2))


def test_strangers_are_turned_away() -> None:
    """Whoever does not know the group's token gets no connection of the mesh."""
    mesh = torch.distributed.mesh
    store = HashStore()
    made: list[Any] = []
    threads = [
        threading.Thread(target=lambda rank=rank: made.append(mesh.Mesh(store, rank, 2, "127.0.0.1", 10.0)))
        for rank in (0, 1)
    ]
    threads[0].start()
    host, port = store.get("address/0").decode().split()
    strangers = [socket.create_connection((host, int(port))) for _ in range(2)]
    strangers[0].sendall(mesh.HELLO.pack(b"x" * 32, 1))
    strangers[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    strangers[1].shutdown(socket.SHUT_WR)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(m.rank for m in made) == [0, 1]
    for m in made:
        m.close()
    for stranger in strangers:
        stranger.close()
