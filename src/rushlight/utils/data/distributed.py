"""A sampler that gives each of several processes its own part of a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rushlight.generator import Generator
from rushlight.generator.integers import permutation
from rushlight.utils.data.sampler import Sampler


def _no_group() -> tuple[int, int]:
    raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")


class World:
    """Where the number of processes and the rank of this one come from; `rushlight.distributed` sets it."""

    size_and_rank: Callable[[], tuple[int, int]] = staticmethod(_no_group)


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index of an order that all processes share.

    Parameters
    ----------
    dataset : sized
    num_replicas, rank : int, optional
        Number of processes and which one this is; default: those of the process group.
    shuffle : bool, default True
        Call `set_epoch` before each epoch, else every epoch has the same order.
    seed : int, default 0
    drop_last : bool, default False
        Leave out what does not divide evenly; otherwise some indices come twice.

    Examples
    --------
    >>> parts = [torch.utils.data.DistributedSampler(range(5), 2, rank, shuffle=False) for rank in (0, 1)]
    >>> [list(part) for part in parts]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = World.size_and_rank()[0]
        if rank is None:
            rank = World.size_and_rank()[1]
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        count = len(dataset)
        if drop_last and count % num_replicas != 0:
            self.num_samples = math.ceil((count - num_replicas) / num_replicas)
        else:
            self.num_samples = math.ceil(count / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        if self.shuffle:
            order = permutation(Generator().manual_seed(self.seed + self.epoch), count, np.int64).tolist()
        else:
            order = list(range(count))
        missing = self.total_size - count
        if missing > 0:
            order += (order * math.ceil(missing / count))[:missing]
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch
