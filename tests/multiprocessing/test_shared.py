"""Tensors in memory that several processes map: moved there, passed on, trained in, and gone afterwards."""

import copy
import gc
import io
import multiprocessing
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn, shared
from tests.multiprocessing import jobs

pytestmark = pytest.mark.skipif(not shared.CAN_SHARE, reason="open files cannot be passed between processes")
METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]
mp = torch.multiprocessing


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
    return mp.get_context(request.param)


def run(context: Any, target: Any, *args: Any) -> None:
    process = context.Process(target=target, args=args)
    process.start()
    process.join(60)
    assert process.exitcode == 0


# In one process


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64, torch.int8])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (300, 200)])
def test_values_stay(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randint(0, 2, shape).to(dtype)
    before = tensor.clone()
    assert not tensor.is_shared()
    assert tensor.share_memory_() is tensor
    assert tensor.is_shared()
    assert torch.equal(tensor, before)
    assert (tensor.dtype, tensor.shape, tensor.stride()) == (before.dtype, before.shape, before.stride())
    place = tensor.data_ptr()
    assert tensor.share_memory_().data_ptr() == place


def test_all_tensors_over_the_memory_move_together() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    row, turned, detached, every_second = base[1], base.t(), base.detach(), base[:, ::2]
    row.share_memory_()
    for tensor in (base, row, turned, detached, every_second):
        assert tensor.is_shared()
    row[0] = -1
    assert base[1, 0] == turned[0, 1] == detached[1, 0] == every_second[1, 0] == -1
    assert turned.stride() == (1, 4)
    assert row.storage_offset() == 4
    assert base.untyped_storage().nbytes() == 48
    base.add_(1)
    assert row.tolist() == [0, 6, 7, 8]


def test_a_gradient_flows_through_views_of_shared_memory() -> None:
    weight = torch.ones(4, requires_grad=True)
    weight.share_memory_()
    (weight[1:] * 2).sum().backward()
    assert weight.grad.tolist() == [0, 2, 2, 2]
    with torch.no_grad():
        weight[0] = 5
    assert weight.tolist() == [5, 1, 1, 1]


def test_data_shares_its_parameter() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.data.share_memory_()
    assert parameter.is_shared()


def test_a_model_in_few_descriptors() -> None:
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)) for _ in range(50))).share_memory()
    assert all(tensor.is_shared() for tensor in model.state_dict().values())
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) < descriptors + 20
    optimizer = torch.optim.Adam(model.parameters())
    places = [p.data_ptr() for p in model.parameters()]
    model(torch.randn(4, 8)).sum().backward()
    optimizer.step()
    assert places == [p.data_ptr() for p in model.parameters()], "an optimizer's step writes in place"
    assert model[0][1].num_batches_tracked.is_shared()


def test_copies_and_files_are_not_shared() -> None:
    tensor = torch.ones(3).share_memory_()
    assert not tensor.clone().is_shared()
    assert not copy.deepcopy(tensor).is_shared()
    assert not pickle.loads(pickle.dumps(tensor)).is_shared()
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    assert torch.load(file).tolist() == [1, 1, 1]
    assert np.shares_memory(tensor.numpy(), tensor[1:].numpy())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors as Linux shows them")
def test_memory_goes_with_the_last_tensor() -> None:
    def blocks() -> int:
        gc.collect()
        return Path("/proc/self/maps").read_text().count("memfd:rushlight")

    before, descriptors = blocks(), len(os.listdir("/proc/self/fd"))
    tensor = torch.zeros(100_000).share_memory_()
    view = tensor[5:]
    assert blocks() == before + 1
    del tensor
    assert view.sum() == 0
    del view
    assert blocks() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


# Between processes


def test_arguments_of_a_process_are_shared(context: Any) -> None:
    tensor, turned = torch.zeros(5).share_memory_(), torch.arange(6).view(2, 3).share_memory_().t()
    if context.get_start_method() == "fork":
        run(context, jobs.add_one, tensor, turned)
    else:  # what is not shared yet is moved on its way
        plain = torch.ones(20_000)
        run(context, jobs.add_one, tensor, turned, turned[1], plain)
        assert plain.is_shared()
        assert plain[-1] == 2
        turned[1] //= 2
    assert tensor.tolist() == [1] * 5
    assert turned.tolist() == [[0, 6], [2, 8], [4, 10]]


def test_queues_pass_memory_not_copies(context: Any) -> None:
    incoming, outgoing = context.Queue(), context.Queue()
    process = context.Process(target=jobs.answer, args=(incoming, outgoing))
    process.start()
    tensor = torch.ones(3)
    incoming.put(tensor)
    reply = outgoing.get(timeout=60)
    assert tensor.tolist() == [42, 1, 1]
    assert reply.tolist() == [44, 45, 46, 47, 48]
    assert reply.is_shared()
    incoming.put("end")
    process.join(60)
    assert process.exitcode == 0


def test_a_pool(context: Any) -> None:
    with context.Pool(2) as pool:
        results = pool.map(jobs.square, [torch.full((2,), float(k)) for k in range(6)])
    assert [r.tolist() for r in results] == [[k * k] * 2 for k in range(6)]


@pytest.mark.parametrize("method", [m for m in METHODS if m != "forkserver"])
def test_hogwild(method: str) -> None:
    model = nn.Linear(1, 1).share_memory()
    mp.start_processes(_train, (model,), nprocs=2, start_method=method)
    assert abs(model.weight.item() - 3) < 0.05
    assert abs(model.bias.item() + 1) < 0.05


def _train(index: int, model: nn.Module) -> None:
    jobs.train(model, index)


def test_parameters_stay_parameters() -> None:
    receive, send = mp.Pipe(duplex=False)
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "hello"
    send.send([parameter, parameter[:1].detach(), torch.ones(2, requires_grad=True)])
    got, view, leaf = receive.recv()
    assert isinstance(got, nn.Parameter)
    assert (got.requires_grad, got.note, leaf.requires_grad, leaf.is_leaf) == (True, "hello", True, True)
    view[0] = 7
    assert parameter[0] == got[0] == 7
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf"):
        send.send(parameter * 2)


def test_a_sender_that_has_ended_is_named(context: Any) -> None:
    queue = context.Queue()
    run(context, jobs.put_and_end, queue)
    with pytest.raises(RuntimeError, match="the process that sent it has ended") as caught:
        queue.get(timeout=10)
    assert "Event" in caught.value.__notes__[0]


def test_a_killed_process_leaves_nothing(context: Any) -> None:
    names = _shared_files()
    tensor, ready = torch.zeros(100_000).share_memory_(), context.Event()
    process = context.Process(target=jobs.hold, args=(tensor, ready))
    process.start()
    assert ready.wait(60)
    assert tensor[1] != 0
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    tensor[1] = 5  # ours still
    assert tensor.sum() == 5
    assert not [name for name in _shared_files() - names if "rushlight" in name]


def _shared_files() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
