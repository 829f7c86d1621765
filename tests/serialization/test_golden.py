"""Files that PyTorch wrote are read to the last bit, and what is written here has PyTorch's bytes."""

import io
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.serialization import safetensors
from rushlight.serialization.pickler import Pickler, Storages, dump
from rushlight.serialization.storage import owner_of
from tests.serialization import golden


def load(data: bytes, **options: Any) -> Any:
    return torch.load(io.BytesIO(data), **options)


def saved(obj: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file)
    return file.getvalue()


def shares(a: Any, b: Any) -> bool:
    return owner_of(a._data) is owner_of(b._data)


@pytest.mark.parametrize("name", ["ZIP", "LEGACY"])
def test_every_kind_of_value(name: str) -> None:
    got = load(getattr(golden, name))
    assert type(got) is OrderedDict
    assert got["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert got["t"].stride() == (1, 3)
    assert got["row"].storage_offset() == 3
    assert shares(got["t"], got["row"])
    got["row"][0] = -1
    assert got["t"][0, 1] == -1
    assert got["empty"].shape == (0, 2)
    assert got["scalar"].shape == ()
    assert got["scalar"].item() == -7
    assert [got[k].dtype for k in ("half", "brain", "flag", "byte", "z")] == [
        torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.complex64
    ]  # fmt: skip
    assert [got[k].tolist() for k in ("half", "brain", "flag", "byte", "z")] == [
        [1.5], [-2.5], [True, False], [200], [1 + 2j]
    ]  # fmt: skip
    assert got["ones"].stride() == (0,)
    assert got["ones"].tolist() == [1, 1, 1]
    assert type(got["weight"]) is torch.nn.Parameter
    assert got["weight"].requires_grad
    assert got["grad"].requires_grad
    assert got["grad"].is_leaf
    assert type(got["size"]) is torch.Size
    assert got["size"] == (2, 3)
    assert got["dtype"] is torch.bfloat16
    assert got["device"] == torch.device("cuda:1")
    assert (got["text"], got["blob"], got["big"]) == ("déjà", b"\x00\xff", -(1 << 70))
    assert got["plain"] == [None, True, 1.5, (1, "a"), {2}, 1j]
    if name == "ZIP":
        assert got["wide"].dtype is torch.uint16
        assert got["wide"].tolist() == [65535]


def test_the_oldest_format() -> None:
    got = load(golden.TAR)
    assert got["m"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert got["row"].tolist() == [3, 4, 5]
    assert shares(got["m"], got["row"])
    assert got["n"] == 3
    assert load(golden.TAR, weights_only=False)["row"].tolist() == [3, 4, 5]


def test_a_whole_module_of_pytorch() -> None:
    model = load(golden.MODULE, weights_only=False)
    assert type(model) is torch.nn.Sequential
    assert not model.training
    assert model(torch.tensor([[1.0, 1.0], [-3.0, -3.0]])).tolist() == [[6.0], [0.0]]
    assert repr(model[0]) == "Linear(in_features=2, out_features=1, bias=True)"


def test_safetensors() -> None:
    got = safetensors.load(golden.SAFETENSORS)
    assert {name: (t.dtype, t.tolist()) for name, t in got.items()} == {
        "a": (torch.float32, [1.5, -2.0]),
        "h": (torch.bfloat16, [0.5]),
        "b": (torch.int8, [[1, 2], [3, 4]]),
    }
    assert safetensors.save(got, {"format": "pt"}) == golden.SAFETENSORS


def test_saving_again_gives_the_bytes_of_pytorch() -> None:
    base = torch.arange(6.0).reshape(2, 3)
    weight = torch.nn.Parameter(torch.tensor([0.5]))
    content = OrderedDict(
        t=base.t(), row=base[1], empty=torch.zeros(0, 2), scalar=torch.tensor(-7), half=torch.tensor([1.5]).half(),
        brain=torch.tensor([-2.5]).bfloat16(), flag=torch.tensor([True, False]),
        byte=torch.tensor([200], dtype=torch.uint8), wide=torch.tensor([65535], dtype=torch.uint16),
        z=torch.tensor([1 + 2j]), ones=torch.ones(1).expand(3), weight=weight,
        grad=torch.tensor([2.0], requires_grad=True), size=torch.Size([2, 3]), dtype=torch.bfloat16,
        device=torch.device("cuda:1"), text="déjà", blob=b"\x00\xff", big=-(1 << 70),
        plain=[None, True, 1.5, (1, "a"), {2}, 1j],
    )  # fmt: skip
    file = io.BytesIO()
    torch.save(content, file)
    ours, theirs = zipfile.ZipFile(file), zipfile.ZipFile(io.BytesIO(golden.ZIP))
    names = [name for name in theirs.namelist() if "serialization_id" not in name]
    assert ours.namelist() == names
    for name in names:
        assert ours.read(name) == theirs.read(name), name
        assert ours.getinfo(name).header_offset == theirs.getinfo(name).header_offset, name


def test_both_picklers_write_the_same() -> None:
    content = load(golden.ZIP) | {"model": torch.nn.BatchNorm1d(2), "again": torch.float16, "bytes": [b"", b"a" * 300]}
    for old in (False, True):
        for protocol in (2, 3):
            slow, storages = io.BytesIO(), Storages(old)
            Pickler(slow, protocol, storages).dump(content)
            assert dump(content, protocol, old=old)[0] == slow.getvalue()


def test_data_that_looks_like_a_name() -> None:
    lookalike = "crushlight.serialization.rebuild\nrebuild_tensor_v2\n"
    got = load(saved([torch.ones(1), lookalike, lookalike.encode()]))
    assert got[1:] == [lookalike, lookalike.encode()]
    assert got[0].tolist() == [1]


def test_a_module_saves_and_loads() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3)).eval()
    file = io.BytesIO()
    torch.save(model, file)
    x = torch.ones(4, 2)
    again = load(file.getvalue(), weights_only=False)
    assert torch.equal(again(x), model(x))
    assert again is not model
    assert not again.training
    assert np.array_equal(again[2].running_var.numpy(), model[2].running_var.numpy())
