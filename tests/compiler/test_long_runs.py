"""Same bits on any number of threads; caches and memory that do not grow."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn
from rushlight.compiler import api
from rushlight.compiler.binding import is_available

native = pytest.mark.skipif(not is_available(), reason="needs llvmlite")


class Block(nn.Module):
    """Attention and a small network, as in a language model."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        mask = torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).triu(1)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


def mlp() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(nn.Linear(96, 300), nn.ReLU(), nn.Dropout(0.2), nn.Linear(300, 10)), (130, 96)


def cnn() -> tuple[nn.Module, tuple[int, ...]]:
    body = (
        nn.Conv2d(3, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 40, 3),
        nn.ReLU(),
    )
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10)), (17, 3, 16, 16)


def gpt() -> tuple[nn.Module, tuple[int, ...]]:
    net = nn.Sequential(nn.Linear(20, 48), Block(48), nn.LayerNorm(48), nn.Flatten(), nn.Linear(48 * 33, 10))
    return net, (9, 33, 20)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@native
@pytest.mark.parametrize("build", [mlp, cnn, gpt])
def test_any_number_of_threads_gives_the_same_bits(build: Any, threads: Callable[[int], None]) -> None:
    left = []
    for count in (1, 2, 3, 8):
        threads(count)
        torch.manual_seed(0)
        net, shape = build()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

        @torch.compile(fullgraph=True)
        def step(x: Any, y: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            return loss.detach()

        losses = [step(torch.randn(shape), torch.randint(0, 10, shape[:1])).numpy().tobytes() for _ in range(4)]
        left.append((losses, [p.detach().numpy().tobytes() for p in net.state_dict().values()]))
    assert all(other == left[0] for other in left[1:])


def test_many_shapes_keep_a_bounded_number_of_traces() -> None:
    @torch.compile
    def scaled(x: Any) -> Any:
        return x * 2 + 1

    for n in range(150):  # 1,000 take a minute and keep as few
        assert scaled(torch.ones(n)).sum().item() == 3 * n
    assert len(scaled.traces) <= api.MOST_TRACES
    assert scaled(torch.ones(3)).tolist() == [3, 3, 3]


def test_many_calls_take_no_memory() -> None:
    weight = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1e-6, momentum=0.9)

    @torch.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = ((weight * x - 1) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.ones(4)
    for _ in range(100):
        step(x)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1000):
            step(x)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            step(x)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes in 10,000 calls"
    assert np.isfinite(step(x).item())
