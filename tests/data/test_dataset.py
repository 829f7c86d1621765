"""Datasets and `random_split`."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight
from rushlight.utils import data as D


class Stream(D.IterableDataset):  # type: ignore[type-arg]
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def test_tensor_dataset() -> None:
    data = D.TensorDataset(rushlight.arange(4), rushlight.arange(8).reshape(4, 2))
    assert len(data) == 4
    x, y = data[1]
    assert x.item() == 1 and y.tolist() == [2, 3]
    assert [t.tolist() for t in data[1:3]] == [[1, 2], [[2, 3], [4, 5]]]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        D.TensorDataset(rushlight.zeros(2), rushlight.zeros(3))


def test_abstract_dataset() -> None:
    with pytest.raises(NotImplementedError, match="Subclasses of Dataset should implement __getitem__"):
        D.Dataset()[0]
    assert D.Dataset[int] is not None


def test_concatenation() -> None:
    joined = D.ConcatDataset([range(3), range(10, 12)])  # type: ignore[list-item]
    assert [joined[i] for i in range(5)] == [0, 1, 2, 10, 11] and joined[-1] == 11 and len(joined) == 5
    assert joined.cumulative_sizes == [3, 5]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset length"):
        joined[-6]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        D.ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        D.ConcatDataset([Stream(1)])
    a = D.TensorDataset(rushlight.zeros(2))
    assert len(a + a) == 4


def test_chain() -> None:
    chain = Stream(1, 2) + Stream(3)
    assert list(chain) == [1, 2, 3] and len(chain) == 3
    with pytest.raises(AssertionError, match="ChainDataset only supports IterableDataset"):
        list(D.ChainDataset([range(2)]))  # type: ignore[list-item]


def test_stack() -> None:
    pairs = D.StackDataset(range(3), "abc")
    assert pairs[1] == (1, "b") and len(pairs) == 3 and pairs.__getitems__([2, 0]) == [(2, "c"), (0, "a")]
    named = D.StackDataset(x=range(2), y=D.Subset(range(9), [8, 7]))  # type: ignore[arg-type]
    assert named[1] == {"x": 1, "y": 7} and named.__getitems__([0]) == [{"x": 0, "y": 8}]
    for args, kwargs, message in (
        ((range(1),), {"y": range(1)}, "both types are given"),
        ((range(1), range(2)), {}, "Size mismatch between datasets"),
        ((), {}, "At least one dataset should be passed"),
    ):
        with pytest.raises(ValueError, match=message):
            D.StackDataset(*args, **kwargs)


def test_subset() -> None:
    part = D.Subset(D.TensorDataset(rushlight.arange(10)), [7, 3])
    assert len(part) == 2 and part[1][0].item() == 3 and part[[0, 1]][0].tolist() == [7, 3]

    class Doubled(D.Subset):  # type: ignore[type-arg]
        def __getitem__(self, idx: Any) -> Any:
            return 2

    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        Doubled(range(3), [0])  # type: ignore[arg-type]


def test_random_split() -> None:
    rushlight.manual_seed(0)
    first, second = D.random_split(range(10), [7, 3])  # type: ignore[arg-type]
    assert first.indices == [4, 1, 7, 5, 3, 9, 0] and second.indices == [8, 6, 2]
    generator = rushlight.Generator().manual_seed(42)
    parts = D.random_split(range(10), [0.5, 0.3, 0.2], generator)  # type: ignore[arg-type]
    assert [p.indices for p in parts] == [[2, 6, 1, 8, 4], [5, 0, 9], [3, 7]]
    assert [len(p) for p in D.random_split(range(7), [0.5, 0.5])] == [4, 3]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        D.random_split(range(10), [5, 4])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        D.random_split(range(10), [-0.5, 1.5])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        D.random_split(range(1), [0.9, 0.1])  # type: ignore[arg-type]


def test_random_split_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for lib in (rushlight, torch):
        lib.manual_seed(3)
    ours, theirs = (lib.utils.data.random_split(range(700), [0.7, 0.3]) for lib in (rushlight, torch))
    assert [p.indices for p in ours] == [p.indices for p in theirs]
