"""The network of the demonstration and its training loop, as a user would write them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rushlight import nn, optim
from rushlight.modes import no_grad
from rushlight.random import manual_seed
from rushlight.tensor import Tensor
from rushlight.utils.data import DataLoader, TensorDataset

BATCH = 64
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Progress:
    """Where the training stands: within an epoch `done` < 1, at its end the figures are there too.

    `stepping` are the seconds of all training steps so far, `first_step` those of the very first, in which a compiled
    step is compiled.
    """

    epoch: int
    done: float
    loss: float
    train_accuracy: float = 0.0
    test_accuracy: float = 0.0
    seconds: float = 0.0
    stepping: float = 0.0
    first_step: float = 0.0


def build_model() -> nn.Module:
    """Two convolutions, pooling and two linear layers for 8x8 images of ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def train(
    model: nn.Module, data: TensorDataset, test: TensorDataset, epochs: int, seed: int, compiled: bool = False
) -> Iterator[Progress]:
    """Train `model`, and report after every batch and every epoch."""
    manual_seed(seed)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    # through the public namespace, which imports the compiler when it is first asked for
    run = sys.modules["rushlight"].compile(step) if compiled else step
    stepping = first = 0.0
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        model.train()
        for batch, (images, labels) in enumerate(loader, 1):
            before = time.perf_counter()
            total += run(images, labels).item() * len(labels)
            stepping += time.perf_counter() - before
            first = first or stepping
            if batch < len(loader):
                yield Progress(epoch, batch / len(loader), total / (batch * BATCH))
        accuracies = accuracy(model, data), accuracy(model, test)
        took = time.perf_counter() - started
        yield Progress(epoch, 1.0, total / len(data), *accuracies, took, stepping, first)


def scores(model: nn.Module, images: Tensor) -> Tensor:
    """What the model in evaluation mode says of each image, one row of ten numbers each."""
    model.eval()
    with no_grad():
        result: Tensor = model(images)
    return result


def accuracy(model: nn.Module, data: TensorDataset) -> float:
    """The share of the images whose label the model gets right."""
    images, labels = data.tensors
    share: float = (scores(model, images).argmax(1) == labels).float().mean().item()
    return share
