"""Collating nested samples, side by side with PyTorch."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.utils.data import default_collate, default_convert
from rushlight.utils.data.collate import collate, default_collate_fn_map

Point = collections.namedtuple("Point", "x y")

BATCHES: list[Any] = [
    lambda t: [t.tensor([1, 2]), t.tensor([3, 4])],
    lambda t: [1, 2, 3],
    lambda t: [True, False],
    lambda t: [1.5, 2.5],
    lambda t: ["a", "b"],
    lambda t: [b"a", b"b"],
    lambda t: [np.float32(1), np.float32(2)],
    lambda t: [np.ones(2, np.int32), np.zeros(2, np.int32)],
    lambda t: [(1, [2.0, "x"]), (3, [4.0, "y"])],
    lambda t: [{"a": t.ones(2), "b": {"c": 1}}, {"a": t.zeros(2), "b": {"c": 2}}],
    lambda t: [Point(1, 2.0), Point(3, 4.0)],
    lambda t: [collections.OrderedDict(z=1), collections.OrderedDict(z=2)],
    lambda t: [range(2), range(2)],
]


def plain(value: Any) -> Any:
    """A comparable form: arrays with dtype for tensors, containers with their type."""
    if hasattr(value, "numpy"):
        return ("tensor", value.numpy().dtype.name, value.tolist())
    if isinstance(value, dict):
        return (type(value), {k: plain(v) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return (type(value), [plain(v) for v in value])
    return value


@pytest.mark.parametrize("make", BATCHES)
def test_batches_are_pytorchs(make: Any) -> None:
    ours = plain(default_collate(make(rushlight)))
    assert ours
    torch = pytest.importorskip("torch")
    assert ours == plain(torch.utils.data.default_collate(make(torch)))


CONVERTED: list[Any] = [
    np.arange(3),
    np.float64(2.5),
    np.array(["a"]),
    [np.zeros(1), "a", 3, {"k": (np.ones(1), 2.0)}],
    Point(np.ones(1), 1),
    (np.ones(1), b"x"),
]


@pytest.mark.parametrize("value", CONVERTED, ids=str)
def test_conversion_is_pytorchs(value: Any) -> None:
    torch = pytest.importorskip("torch")
    assert plain(default_convert(value)) == plain(torch.utils.data.default_convert(value))


def test_errors() -> None:
    with pytest.raises(
        TypeError, match="batch must contain tensors, numpy arrays, numbers, dicts or lists; found <class"
    ):
        default_collate([object()])
    with pytest.raises(TypeError, match="found <U1"):
        default_collate([np.array("a")])
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        default_collate([rushlight.zeros(2), rushlight.zeros(3)])


def test_user_defined_types() -> None:
    class Mine:
        pass

    table = {Mine: lambda batch, *, collate_fn_map: len(batch), **default_collate_fn_map}
    assert collate([(Mine(), 1), (Mine(), 2)], collate_fn_map=table)[0] == 2


def test_samples_are_not_changed() -> None:
    samples = [{"x": [1, 2]}, {"x": [3, 4]}]
    batch = default_collate(samples)
    assert samples == [{"x": [1, 2]}, {"x": [3, 4]}] and [t.tolist() for t in batch["x"]] == [[1, 3], [2, 4]]
