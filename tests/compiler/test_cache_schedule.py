"""Schedules from disk: equal to those made, found only where nothing differs, of use without their code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight import config
from rushlight.compiler import cache, cache_schedule, program
from rushlight.compiler.binding import is_available
from rushlight.compiler.cache_schedule import canonical, scheduled
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.kernel import HostCall, Kernel
from rushlight.compiler.schedule import Schedule, schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.graphs import drawn

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")
nn, F = torch.nn, torch.nn.functional
F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Any:
    cache.forget()
    with config.config(cache=str(tmp_path / "code")):
        yield tmp_path / "code"
    cache.forget()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.norm, self.qkv = nn.Embedding(11, 16), nn.LayerNorm(16), nn.Linear(16, 48)

    def forward(self, x: Any) -> Any:
        q, k, v = (u.view(2, 6, 4, 4).transpose(1, 2) for u in self.qkv(self.norm(self.tokens(x))).split(16, 2))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(12, 16)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(x)[0]).flatten(0, 1)


def images(kind: Any = torch.float32) -> Any:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3),
        nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.25), nn.Linear(8, 3),
    )  # fmt: skip
    return net.to(kind), torch.randn(4, 2, 8, 8).to(kind), torch.tensor([0, 2, 1, 2])


NETWORKS: dict[str, Callable[[], Any]] = {
    "images": images,
    "half": lambda: images(torch.bfloat16),
    "attention": lambda: (Attention(), torch.randint(0, 11, (2, 6)), torch.randint(0, 16, (12,))),
    "recurrent": lambda: (Recurrent(), torch.randn(3, 4, 5), torch.randint(0, 4, (12,))),
}


def graph_of(name: str) -> Graph:
    """The graph of a training step, as it reaches the scheduler."""
    net, x, y = NETWORKS[name]()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)

    @torch.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step()
    found: Graph = step.traces[0].program.graph
    return found


def described(graph: Graph, steps: Schedule) -> list[Any]:
    """Steps with values by the order in which they appear, those of the graph first."""
    numbers: dict[Value, int] = {}
    for v in (*graph.inputs, *(v for call in graph.calls for v in call.results)):
        numbers[v] = len(numbers)

    def seen(values: tuple[Value, ...]) -> list[Any]:
        return [(numbers.setdefault(v, len(numbers)), v.shape, v.dtype, v.data is None) for v in values]

    out: list[Any] = []
    for s in steps:
        if isinstance(s, HostCall):
            out.append((s.call.op, seen(tuple(s.call.values())), seen(s.call.results)))
            continue
        ops = [c.op for c in s.calls]
        out.append((s.name, s.key, seen(s.reads), seen(s.writes), s.chunks, s.workspace, ops, s.inplace, s.flops))
    return [*out, *((a.op, b.op, why) for a, b, why in steps.reasons)]


def unable(*_: Any) -> Any:
    raise AssertionError("scheduled again")


def bits(graph: Graph, steps: Schedule) -> list[bytes]:
    """What a schedule computes from drawn numbers, updated inputs included."""
    torch.manual_seed(3)
    arrays = drawn(graph)
    results = program.build(graph, steps)(*arrays)
    return [a.tobytes() for a in (*results, *arrays)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_schedule_comes_back_as_it_was(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(name)
    made = schedule(graph)
    assert scheduled(graph).reasons or name == "recurrent"
    with monkeypatch.context() as patched:
        patched.setattr(cache_schedule, "schedule", unable)
        found = scheduled(graph)
        assert described(graph, found) == described(graph, made)
        assert bits(graph, found) == bits(graph, made)
    for path in folder.iterdir():
        if b'"steps"' not in path.read_bytes():
            path.unlink()
    cache.forget()
    assert bits(graph, found) == bits(graph, made)


def test_a_new_process_gets_the_same_losses(run_python: Any, folder: Path) -> None:
    program = """
import rushlight as torch
from rushlight.compiler import cache_schedule
net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
optimizer = torch.optim.Adam(net.parameters())
x, y = torch.randn(5, 3), torch.randn(5, 2)
made, real = [], cache_schedule.schedule
cache_schedule.schedule = lambda graph: made.append(graph) or real(graph)
@torch.compile
def step():
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    return loss
print(*[step().item().hex() for _ in range(3)])
print(len(made))
"""
    program = "import rushlight; rushlight.manual_seed(1)\n" + program
    first, second = (run_python("-c", program, RUSHLIGHT_CACHE=str(folder)).stdout.split("\n") for _ in range(2))
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("1", "0")


def chain(
    number: Any = 2.0, shape: tuple[int, ...] = (4, 6), strides: Any = None, kind: Any = F32, constant: Any = None,
    dim: int = 0, output: int = -1, update: bool = False, swap: bool = False,
) -> Graph:  # fmt: skip
    """Products by a number, a sum with a constant or an input, and a sum over a dim."""
    graph = Graph()
    x, y = graph.input(Spec(shape, kind), strides=strides), graph.input(Spec(shape, kind))
    values = [x]
    for _ in range(cache_schedule.FEWEST_CALLS):
        values.append(graph.call(OPS["mul"], (values[-1], number), {}))
    other = y if constant is None else Value(Spec(shape, kind), data=np.asarray(constant, kind))
    values.append(graph.call(OPS["sub"], (other, values[-1]) if swap else (values[-1], other), {}))
    values.append(graph.call(OPS["sum"], (values[-1],), {"dim": (dim,), "keepdim": False}))
    graph.outputs = [values[output]]
    if update:
        graph.updates = [(x, values[-2])]
    return graph


ones = np.ones((4, 6), np.float32)
VARIANTS: list[dict[str, Any]] = [
    {}, {"number": 3.0}, {"number": 2}, {"number": True}, {"number": -0.0}, {"number": 0.0}, {"number": float("nan")},
    {"shape": (6, 4)}, {"strides": (4, 16)}, {"kind": np.dtype(np.float64)}, {"constant": ones},
    {"constant": ones * 2}, {"constant": ones.T.copy().T}, {"dim": 1}, {"output": -2}, {"update": True},
    {"swap": True},
]  # fmt: skip


def test_whatever_differs_is_in_the_text() -> None:
    texts = [canonical(chain(**v)) for v in VARIANTS]
    assert len(set(texts)) == len(VARIANTS)
    assert texts == [canonical(chain(**v)) for v in VARIANTS]


def test_what_has_no_text_is_not_kept(folder: Path) -> None:
    graph = chain()
    graph.calls[-1].params["keepdim"] = np.array(False)
    assert isinstance(scheduled(graph)[-1], Kernel | HostCall)
    scheduled(chain(shape=(600, 600), constant=np.ones((600, 600))))
    assert not list(folder.iterdir())
    scheduled(chain())
    assert len(list(folder.iterdir())) == 1


def test_small_graphs_and_no_folder(tmp_path: Path, folder: Path) -> None:
    small, graph = chain(), chain()
    del small.calls[3:]
    small.outputs = [small.calls[-1].result]
    assert bits(small, scheduled(small)) == bits(small, schedule(small))
    assert not [p for p in folder.iterdir() if b'"steps"' in p.read_bytes()]
    with config.config(cache="0"):
        assert bits(graph, scheduled(graph))
