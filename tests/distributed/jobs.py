"""What each process of the tests does; an assertion that fails there fails the test."""

import os
import time
from datetime import timedelta
from typing import Any

import numpy as np

import rushlight as torch
import rushlight.distributed as dist
from rushlight import nn
from rushlight.nn.parallel import DistributedDataParallel
from rushlight.utils.data import DataLoader, DistributedSampler, TensorDataset


def start(rank: int, size: int, path: str, seconds: float = 60.0) -> None:
    dist.init_process_group("gloo", f"file://{path}", timedelta(seconds=seconds), size, rank)
    assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (rank, size, "gloo")


def collectives(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    total = size * (size + 1) // 2
    for shape in [(), (1,), (5,), (1000, 37)]:
        for dtype in (torch.float32, torch.int64, torch.bfloat16, torch.float64):
            x = torch.full(shape, rank + 1).to(dtype)
            version = x._version
            assert dist.all_reduce(x) is None
            assert (x == total).all() and x.dtype is dtype and x._version > version
    x = torch.tensor([rank, 5 - rank, 2], dtype=torch.int32)
    for op, wanted in {
        dist.ReduceOp.MAX: [size - 1, 5, 2], dist.ReduceOp.MIN: [0, 6 - size, 2],
        dist.ReduceOp.PRODUCT: [0, int(np.prod([5 - r for r in range(size)])), 2**size],
        dist.ReduceOp.BOR: [3 if size == 3 else 1, 7 if size == 3 else 5, 2],
    }.items():  # fmt: skip
        y = x.clone()
        dist.all_reduce(y, op)
        assert y.tolist() == wanted, (op, y)
    mean = torch.tensor([float(rank), 1.0])
    dist.all_reduce(mean, dist.ReduceOp.AVG)
    assert mean.tolist() == [(size - 1) / 2, 1.0]
    strided = torch.arange(6.0).reshape(2, 3).t()[1:]
    dist.all_reduce(strided)
    assert strided.tolist() == [[size * 1.0, size * 4.0], [size * 2.0, size * 5.0]]
    for source in range(size):
        x = torch.full((3, 2), float(rank))
        dist.broadcast(x, source)
        assert (x == source).all()
    rows = [torch.empty(2, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(rows, torch.tensor([rank, -rank]))
    assert [r.tolist() for r in rows] == [[r, -r] for r in range(size)]
    whole = torch.empty(size * 2, 3)
    dist.all_gather_into_tensor(whole, torch.full((2, 3), float(rank)))
    assert whole[:, 0].tolist() == [r for r in range(size) for _ in range(2)]
    part = torch.empty(4)
    dist.reduce_scatter(part, [torch.full((4,), float(10 * k + rank)) for k in range(size)])
    assert part.tolist() == [10.0 * rank * size + total - size] * 4
    dist.reduce_scatter_tensor(part, torch.arange(4.0 * size))
    assert part.tolist() == [size * (4 * rank + k) for k in range(4)]
    x = torch.tensor([float(rank + 1)])
    dist.reduce(x, size - 1)
    assert x.item() == (total if rank == size - 1 else rank + 1)
    parts = [torch.empty(2) for _ in range(size)] if rank == 1 else None
    dist.gather(torch.tensor([rank, 7.0]), parts, dst=1)
    assert parts is None or [p.tolist() for p in parts] == [[r, 7.0] for r in range(size)]
    x = torch.empty(2)
    dist.scatter(x, [torch.tensor([r, r * r * 1.0]) for r in range(size)] if rank == 0 else None, src=0)
    assert x.tolist() == [rank, rank * rank]
    out = torch.empty(size, dtype=torch.int64)
    dist.all_to_all_single(out, torch.arange(size) + 10 * rank)
    assert out.tolist() == [10 * r + rank for r in range(size)]
    dist.destroy_process_group()
    assert not dist.is_initialized()


def objects_and_messages(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    found: list[Any] = [None] * size
    dist.all_gather_object(found, {"rank": rank, "text": "x" * rank})
    assert found == [{"rank": r, "text": "x" * r} for r in range(size)]
    shared = ["a", rank] if rank == 1 else [None, None]
    dist.broadcast_object_list(shared, src=1)
    assert shared == ["a", 1]
    mine: list[Any] = [None]
    dist.scatter_object_list(mine, list("abc")[:size] if rank == 0 else None, src=0)
    assert mine == ["abc"[rank]]
    gathered: list[Any] | None = [None] * size if rank == 0 else None
    dist.gather_object(rank, gathered)
    assert gathered is None or gathered == list(range(size))
    after, before = (rank + 1) % size, (rank - 1) % size
    incoming = torch.empty(100_000)
    work = dist.irecv(incoming, before)
    dist.send(torch.full((100_000,), float(rank)), after)
    assert work.wait() and work.is_completed()
    assert (incoming == before).all()
    assert dist.recv(incoming, before) == before if rank else dist.send(incoming, after) is None
    if rank:
        dist.send(incoming, after)
    else:
        dist.recv(incoming, before)
    assert (incoming == size - 1).all()
    both = [
        dist.P2POp(dist.isend, torch.tensor([rank]), after),
        dist.P2POp(dist.irecv, got := torch.empty(1, dtype=torch.int64), before),
    ]
    for pending in dist.batch_isend_irecv(both):
        pending.wait()
    assert got.item() == before
    several = [torch.full((1000,), float(k)) for k in range(5)]
    pending_works = [dist.all_reduce(x, async_op=True) for x in several]
    for k, pending in enumerate(pending_works):
        pending.wait()
        assert (several[k] == k * size).all()
    dist.barrier()
    dist.destroy_process_group()


def groups(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    first, rest = dist.new_group([0, 1]), dist.new_group(list(range(1, size)))
    x = torch.tensor([1.0])
    if rank < 2:
        dist.all_reduce(x, group=first)
        assert x.item() == 2 and dist.get_world_size(first) == 2 and dist.get_process_group_ranks(first) == [0, 1]
    else:
        assert first is dist.GroupMember.NON_GROUP_MEMBER and dist.get_rank(first) == -1
        assert dist.all_reduce(x, group=first) is None and x.item() == 1
    y = torch.tensor([float(rank)])
    if rank:
        dist.broadcast(y, src=size - 1, group=rest)
        assert y.item() == size - 1
        assert dist.get_group_rank(rest, rank) == rank - 1 == dist.get_rank(rest)
        assert dist.get_global_rank(rest, rank - 1) == rank
    dist.barrier()
    dist.destroy_process_group()


class Branches(nn.Module):
    """A model with a buffer, and a layer that only some calls use."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head, self.other = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Any, other: bool = False) -> Any:
        x = self.body(x)
        return self.other(x) if other else self.head(x)


def unused_parameters(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    torch.manual_seed(0)
    x = torch.randn(4, 4)
    strict = DistributedDataParallel(Branches())
    strict(x).sum().backward()
    try:
        strict(x)
    except RuntimeError as error:
        assert "Expected to have finished reduction in the prior iteration" in str(error) and "other.weight" in str(
            error
        )
    else:
        raise AssertionError("parameters without gradient were not noticed")
    model = DistributedDataParallel(Branches(), find_unused_parameters=True, bucket_cap_mb=0.0001)
    model(x, other=rank == 0).sum().backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None for g in gradients), "what any process uses has a gradient everywhere"
    together = torch.cat([g.reshape(-1) for g in gradients])
    same_everywhere(together)
    model.zero_grad()
    model(x).sum().backward()
    assert model.module.other.weight.grad is None, "what no process uses has none"
    dist.destroy_process_group()


def same_everywhere(x: Any) -> None:
    rows = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, x.detach())
    assert all(torch.equal(row, rows[0]) for row in rows)


def make(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def training(rank: int, size: int, path: str, expected: Any) -> None:
    """As many steps as the one process of the test made, on a part of each batch; the parameters must agree."""
    start(rank, size, path)
    x, y = problem()
    model = DistributedDataParallel(make(seed=rank), bucket_cap_mb=0.002)  # the first one's parameters count
    assert len(model.reducer.buckets) > 2
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data, shuffle=False)
    assert len(sampler) == len(data) // size
    for _ in range(3):
        for inputs, targets in DataLoader(data, batch_size=12 // size, sampler=sampler):
            optimizer.zero_grad()
            with model.no_sync():  # half of the examples without talking
                nn.functional.mse_loss(model(inputs[::2]), targets[::2]).backward()
            nn.functional.mse_loss(model(inputs[1::2]), targets[1::2]).backward()
            optimizer.step()
    for p, wanted in zip(model.module.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-3, atol=1e-4)
        same_everywhere(p)
    state = model.state_dict()
    assert all(name.startswith("module.") for name in state)
    make(3).load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    dist.destroy_process_group()


def problem() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(48, 6, generator=generator)
    return x, x.sin().sum(1, keepdim=True)


def different_models(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    try:
        DistributedDataParallel(nn.Linear(2, 2 + rank))
    except RuntimeError as error:
        assert "DDP expects same model across all ranks" in str(error)
    else:
        raise AssertionError("different models were not noticed")


def mismatch(rank: int, size: int, path: str) -> None:
    start(rank, size, path, 5)
    try:
        dist.all_reduce(torch.ones(3 + rank))
    except dist.DistBackendError as error:
        assert "same sizes" in str(error)
    except dist.DistNetworkError as error:
        assert "closed by peer" in str(error)
    else:
        raise AssertionError("different sizes were not noticed")
    try:
        dist.barrier()
    except RuntimeError as error:
        assert "an earlier operation failed" in str(error)


def one_does_not_come(rank: int, size: int, path: str) -> None:
    start(rank, size, path, 1.0)
    if rank == 0:
        time.sleep(2.5)
        return
    began = time.monotonic()
    try:
        dist.all_reduce(torch.ones(2))
    except dist.DistNetworkError as error:
        assert "Timed out waiting 1000ms for ranks [0]" in str(error), error
    else:
        raise AssertionError("nothing was noticed")
    assert time.monotonic() - began < 2


def one_dies(rank: int, size: int, path: str) -> None:
    start(rank, size, path)
    if rank == 0:
        os._exit(0)
    try:
        dist.all_reduce(torch.ones(2))
    except dist.DistNetworkError as error:
        assert "Connection to rank 0 closed by peer" in str(error), error
    else:
        raise AssertionError("nothing was noticed")


def never_complete(rank: int, size: int, path: str) -> None:
    """Fewer processes than stated."""
    try:
        start(rank, size + 1, path, 1.0)
    except dist.DistError as error:
        assert "imed out" in str(error) or "timeout" in str(error) or "closed" in str(error), error
        assert not dist.is_initialized()
    else:
        raise AssertionError("nothing was noticed")


def by_environment(rank: int, size: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="localhost", MASTER_PORT=str(port)
    )
    dist.init_process_group()
    assert dist.get_node_local_rank() == rank
    x = torch.ones(1)
    dist.all_reduce(x)
    assert x.item() == size
    dist.destroy_process_group()
