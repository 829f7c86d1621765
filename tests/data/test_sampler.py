"""Samplers: the streams are PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight
from rushlight.utils import data as D

SAMPLERS: list[tuple[str, Any]] = [
    ("random", lambda D: D.RandomSampler(range(6))),
    ("more", lambda D: D.RandomSampler(range(3), num_samples=8)),
    ("replacement", lambda D: D.RandomSampler(range(9), True, 40)),
    ("subset", lambda D: D.SubsetRandomSampler([5, 6, 7, 8])),
    ("weighted", lambda D: D.WeightedRandomSampler([0.1, 0.9, 0.4], 6)),
    ("weighted once", lambda D: D.WeightedRandomSampler([0.1, 0.9, 0.4, 2.0], 3, replacement=False)),
    ("batch", lambda D: D.BatchSampler(D.RandomSampler(range(5)), 2, False)),
    ("distributed", lambda D: D.DistributedSampler(range(11), 3, 1, seed=5)),
    ("distributed all", lambda D: D.DistributedSampler(range(2), 5, 4)),
    ("distributed drop", lambda D: D.DistributedSampler(range(11), 3, 2, shuffle=False, drop_last=True)),
]  # fmt: skip


@pytest.mark.parametrize("make", [s[1] for s in SAMPLERS], ids=[s[0] for s in SAMPLERS])
def test_stream_is_pytorchs(make: Any) -> None:
    rushlight.manual_seed(1)
    ours = make(D)
    first, second = list(ours), list(ours)
    assert len(first) == len(ours)
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    theirs = make(torch.utils.data)
    assert (first, second) == (list(theirs), list(theirs))


def test_known_streams() -> None:
    rushlight.manual_seed(0)
    assert [int(i) for i in D.DataLoader(range(10), shuffle=True)] == [6, 7, 1, 4, 2, 0, 9, 8, 3, 5]  # type: ignore
    rushlight.manual_seed(0)
    assert list(D.WeightedRandomSampler([0.1, 0.9, 0.4], 8)) == [2, 1, 1, 2, 1, 2, 1, 1]
    generator = rushlight.Generator().manual_seed(7)
    assert sorted(D.RandomSampler(range(5), generator=generator)) == [0, 1, 2, 3, 4]
    assert list(D.SequentialSampler("abc")) == [0, 1, 2]


def test_a_generator_is_used_directly() -> None:
    torch = pytest.importorskip("torch")
    found = []
    for lib in (rushlight, torch):
        generator = lib.Generator().manual_seed(7)
        sampler = lib.utils.data.RandomSampler(range(8), generator=generator)
        found.append([list(sampler), list(sampler)])
    assert found[0] == found[1]


def test_batches() -> None:
    assert list(D.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(D.BatchSampler(range(5), 2, True)) == 2 and len(D.BatchSampler(range(5), 2, False)) == 3


def test_distributed_epochs_differ() -> None:
    sampler = D.DistributedSampler(range(20), 2, 0)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    parts = [list(D.DistributedSampler(range(20), 2, rank)) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(20))


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: D.RandomSampler([]), ValueError, "num_samples should be a positive integer value, but got num_samples=0"),
    (lambda: D.RandomSampler(range(2), 1), TypeError, "replacement should be a boolean value"),  # type: ignore[arg-type]
    (lambda: D.WeightedRandomSampler([1.0], 0), ValueError, "num_samples should be a positive integer"),
    (lambda: D.WeightedRandomSampler([[1.0]], 1), ValueError, r"weights have shape \(1, 1\)"),  # type: ignore[list-item]
    (lambda: D.BatchSampler(range(2), 0, False), ValueError, "batch_size should be a positive integer value"),
    (lambda: D.BatchSampler(range(2), 1, 1), ValueError, "drop_last should be a boolean value"),  # type: ignore[arg-type]
    (lambda: D.DistributedSampler(range(2), 2, 2), ValueError, r"Invalid rank 2, rank should be in the interval"),
    (lambda: D.DistributedSampler(range(2)), ValueError, "Default process group has not been initialized"),
]  # fmt: skip


@pytest.mark.parametrize("make, kind, message", BAD, ids=[m[:30] for _, _, m in BAD])
def test_errors(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()
    with pytest.raises(NotImplementedError):
        iter(D.Sampler())
