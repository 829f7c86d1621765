"""Tensors in ordinary pickles and copies."""

import copy
import io
import pickle
from typing import Any

import pytest

import rushlight as torch


class Tagged(torch.Tensor):
    """A subclass of a user's."""


@pytest.mark.parametrize("protocol", range(2, 6))
def test_tensors(protocol: int) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    values = [base.t(), base[1], torch.nn.Parameter(torch.ones(2)), torch.tensor(1, dtype=torch.uint16)]
    values += [torch.ones(1).bfloat16(), torch.ones(2, requires_grad=True), torch.zeros(0), torch.tensor(2.0)]
    got = pickle.loads(pickle.dumps(values, protocol))
    for a, b in zip(got, values, strict=True):
        assert type(a) is type(b)
        assert (a.dtype, a.shape, a.requires_grad, a.tolist()) == (b.dtype, b.shape, b.requires_grad, b.tolist())
        assert not a.numel() or a.stride() == b.stride()
    got[1][0] = -1
    assert got[0][0, 1] == -1
    assert base[1, 0] == 3


def test_attributes_and_subclasses() -> None:
    x = torch.ones(2)
    x.note = "kept"
    tagged = torch.ones(2).as_subclass(Tagged)
    tagged.note = [1]
    file = io.BytesIO()
    torch.save([x, tagged], file)
    file.seek(0)
    for a, b in (pickle.loads(pickle.dumps([x, tagged])), torch.load(file, weights_only=False)):
        assert a.note == "kept"
        assert type(b) is Tagged
        assert b.note == [1]
        assert b.tolist() == [1, 1]
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Tagged was not an allowed global"):
        torch.load(file)
    with torch.serialization.safe_globals([Tagged]):
        file.seek(0)
        assert type(torch.load(file)[1]) is Tagged


def test_non_leaves_become_leaves() -> None:
    x = torch.ones(2, requires_grad=True)
    y = pickle.loads(pickle.dumps(x * 2))
    assert y.requires_grad
    assert y.is_leaf


def test_modules_and_optimizers() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    again, other = pickle.loads(pickle.dumps([model, optimizer]))
    assert torch.equal(again(torch.ones(1, 2)), model(torch.ones(1, 2)))
    assert other.param_groups[0]["params"][0] is again[0].weight
    assert repr(other) == repr(optimizer)


def test_storages() -> None:
    x = torch.arange(3.0)
    file = io.BytesIO()
    torch.save([x.storage(), x.untyped_storage(), x], file)
    file.seek(0)
    typed, untyped, tensor = torch.load(file)
    assert typed.tolist() == [0, 1, 2]
    assert untyped.nbytes() == 12
    tensor[0] = 5
    assert typed.tolist() == [5, 1, 2]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_sharing(how: Any) -> None:
    x = torch.arange(4.0)
    a, b = how([x, x[2:]])
    b[0] = 9
    assert a.tolist() == [0, 1, 9, 3]
    assert x.tolist() == [0, 1, 2, 3]
