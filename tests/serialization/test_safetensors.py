"""safetensors: the bytes of the safetensors package, and errors for everything else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.serialization import safetensors
from rushlight.serialization.safetensors import SafetensorError, load, load_file, safe_open, save, save_file


def sample() -> dict[str, Any]:
    return {
        "z": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(True), "é\"\n\x7f\x01": torch.zeros(0, 4),
        "half": torch.ones(3).half(), "brain": torch.ones(1).bfloat16(), "long": torch.tensor([1 << 40]),
        "b": torch.tensor([-1], dtype=torch.int8), "u": torch.tensor([7], dtype=torch.uint16),
        "c": torch.tensor([1 + 2j]), "d": torch.tensor([0.1], dtype=torch.float64),
    }  # fmt: skip


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, dtype: str = "U8", shape: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_round_trip(tmp_path: Path) -> None:
    tensors = sample()
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, {"format": "pt"})
    assert path.read_bytes() == save(tensors, {"format": "pt"})
    for got in (load_file(path), load(path.read_bytes()), torch.load(path)):
        assert got.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert got[name].dtype is tensor.dtype
            assert got[name].tolist() == tensor.tolist()
            assert got[name].shape == tensor.shape
    got["z"][0, 0] = 7
    assert load_file(path)["z"][0, 0] == 0


def test_same_bytes_as_the_package(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.numpy")
    arrays = {name: t.numpy() for name, t in sample().items() if t.dtype is not torch.bfloat16}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for metadata in (None, {}, {"format": "pt"}):
        assert save(tensors, metadata) == theirs.save(arrays, metadata)
    again = theirs.load(save(sample() | {"brain": torch.ones(1)}))
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_same_bytes_as_the_package_with_pytorch() -> None:
    pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    data = save(sample(), {"format": "pt"})
    assert theirs.save(theirs.load(data), {"format": "pt"}) == data


def test_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(sample(), path, {"k": "v"})
    with safe_open(path, framework="pt") as file:
        assert file.keys() == sorted(sample())
        assert file.offset_keys()[0] == "long"
        assert file.metadata() == {"k": "v"}
        assert file.get_tensor("a").item() is True
        part = file.get_slice("z")
        assert (part.get_shape(), part.get_dtype()) == ([2, 3], "F32")
        assert part[:, 1:].tolist() == [[1, 2], [4, 5]]
        with pytest.raises(SafetensorError, match="File does not contain tensor nope"):
            file.get_tensor("nope")
    with pytest.raises(SafetensorError, match="File is closed"):
        file.keys()
    with safe_open(path, framework="np") as file:
        assert isinstance(file.get_tensor("z"), np.ndarray)
    with pytest.raises(SafetensorError, match="framework abacus is invalid"):
        safe_open(path, framework="abacus")
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        load_file(tmp_path / "nope")


def test_misaligned_data() -> None:
    data = raw({"a": entry(0, 1), "b": entry(1, 5, "F32", [1])}, b"\1" + np.float32(1.5).tobytes())
    assert load(data)["b"].tolist() == [1.5]


def test_what_cannot_be_saved() -> None:
    x = torch.zeros(2, 3)
    for bad, error, text in (
        ([x], ValueError, r"Expected a dict of \[str, torch.Tensor\] but received <class 'list'>"),
        ({"a": 1}, ValueError, "Key `a` is invalid, expected torch.Tensor but received <class 'int'>"),
        ({1: x}, TypeError, "must be a string"),
        ({"a": x.t()}, ValueError, "You are trying to save a non contiguous tensor: `a`"),
        ({"a": x, "b": x[1]}, RuntimeError, "Some tensors share memory"),
        ({"a": torch.zeros(1, dtype=torch.complex128)}, NotImplementedError, "no type for a"),
    ):
        with pytest.raises(error, match=text):
            save(bad)
    with pytest.raises(TypeError, match="strings to strings"):
        save({"a": x}, {"n": 1})
    assert set(load(save({"a": x[0], "b": x[1]}))) == {"a", "b"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 8,
        (100).to_bytes(8, "little") + b"{}",
        raw(b"[]"),
        raw(b"{"),
        raw(b"\xff\xfe"),
        raw(b"[" * 100_000),
        raw(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        raw(b'{"a": NaN}'),
        raw(b'{"a": ' + b"9" * 5000 + b"}"),
        raw({}, b"x"),
        raw({"a": 1}),
        raw({"a": entry(0, 2)}, b"x"),
        raw({"a": entry(0, 1)}, b"xy"),
        raw({"a": entry(1, 2)}, b"xy"),
        raw({"a": entry(0, 1), "b": entry(0, 1)}, b"x"),
        raw({"a": entry(0, 1, "X9")}, b"x"),
        raw({"a": entry(0, 4, "F32", [2])}, b"xxxx"),
        raw({"a": entry(0, 0, "F32", [1 << 62, 1 << 62])}),
        raw({"a": entry(0, 1, shape=[-1])}, b"x"),
        raw({"a": entry(0, 1, shape=[1.0])}, b"x"),
        raw({"a": entry(0, 1, shape=[True])}, b"x"),
        raw({"a": entry(0, 1, shape=[1] * 100)}, b"x"),
        raw({"a": entry(1, 0)}, b"x"),
        raw(json.dumps({"a": entry(0, 1), "b": entry(1, 1)}).replace('"b"', '"a"').encode(), b"x"),
        raw({"__metadata__": {"a": 1}, "a": entry(0, 1)}, b"x"),
    ],
)
def test_damaged_files(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(SafetensorError, match="Error while deserializing"):
        load(data)
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(SafetensorError, match="Error while deserializing"):
        load_file(tmp_path / "x.safetensors")


def test_types_that_do_not_exist_here() -> None:
    with pytest.raises(NotImplementedError, match="float8_e5m2"):
        load(raw({"a": entry(0, 1, "F8_E5M2")}, b"x"))
    assert safetensors.DTYPES["F8_E5M2"] is not None
