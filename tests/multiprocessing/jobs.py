"""What the processes of these tests run; started by spawn, they import it by name."""

import os
import time
from typing import Any

import rushlight as torch
import rushlight.multiprocessing  # a plain `import rushlight` loads it on first use
from rushlight import nn


def add_one(tensor: Any, *more: Any) -> None:
    """Write into shared memory."""
    assert tensor.is_shared()
    tensor += 1
    for other in more:
        other.mul_(2)


def answer(incoming: Any, outgoing: Any) -> None:
    """Receive a tensor, change it, and send another."""
    tensor = incoming.get(timeout=30)
    tensor[0] = 42
    outgoing.put(torch.arange(5) + tensor.sum().long())
    incoming.get(timeout=30)


def square(tensor: Any) -> Any:
    """For a pool."""
    return tensor * tensor


def put_and_end(queue: Any) -> None:
    """Send a tensor and end before it has arrived."""
    queue.put(torch.ones(3))
    queue.close()
    queue.join_thread()


def hold(tensor: Any, ready: Any) -> None:
    """Map shared memory until killed."""
    tensor[1] = os.getpid()
    ready.set()
    time.sleep(60)


def line_data(seed: int) -> tuple[Any, Any]:
    """y = 3 x - 1 with noise."""
    torch.manual_seed(seed)
    x = torch.rand(256, 1)
    return x, 3 * x - 1 + 0.01 * torch.randn(256, 1)


def train(model: nn.Module, seed: int, steps: int = 300) -> None:
    """Train a model that other processes train at the same time."""
    x, y = line_data(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
