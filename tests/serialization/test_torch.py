"""Both directions with PyTorch itself, where it is installed."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32",
    "float64", "complex64", "complex128",
]  # fmt: skip


def through(obj: Any, saver: Any, loader: Any, *, old: bool = False, protocol: int = 2, **options: Any) -> Any:
    file = io.BytesIO()
    saver.save(obj, file, pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    file.seek(0)
    return loader.load(file, **options)


def same(a: Any, b: Any) -> bool:
    """Equal in value, type and layout, though one is Rushlight's and the other PyTorch's."""
    return (
        str(a.dtype) == str(b.dtype)
        and tuple(a.shape) == tuple(b.shape)
        and a.stride() == b.stride()
        and a.storage_offset() == b.storage_offset()
        and a.requires_grad == b.requires_grad
        and a.tolist() == b.tolist()
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("old", [False, True])
def test_every_dtype_and_layout(dtype: str, old: bool) -> None:
    if old and dtype in ("uint16", "uint32", "uint64"):
        pytest.skip("PyTorch itself cannot read these back from the old format")
    for lib, other in ((torch, rushlight), (rushlight, torch)):
        base = lib.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(lib, dtype))
        views = [base, base.t(), base[1], base[:, 1], base[0, 0], base[:0], base[:1].expand(4, 3), base[:, ::2]]
        got = through(views, lib, other, old=old)
        assert all(same(a, b) for a, b in zip(got, views, strict=True))
        got[0][1, 1] = 1
        assert got[3][1].item() == got[0][1, 1].item()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_of_pytorch(protocol: int) -> None:
    values = {"x": torch.ones(2), "n": [1, "a", b"b", {1}, 1 << 80], "s": torch.Size([1])}
    got = through(values, torch, rushlight, protocol=protocol)
    assert got["x"].tolist() == [1, 1]
    assert got["n"] == values["n"]
    assert got["s"] == rushlight.Size([1])


def test_state_dicts_and_parameters() -> None:
    for lib, other in ((torch, rushlight), (rushlight, torch)):
        lib.manual_seed(0)
        model = lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.BatchNorm1d(2), lib.nn.Embedding(4, 2))
        state = through(model.state_dict(), lib, other)
        assert list(state) == list(model.state_dict())
        assert state._metadata == model.state_dict()._metadata
        clone = other.nn.Sequential(other.nn.Linear(3, 2), other.nn.BatchNorm1d(2), other.nn.Embedding(4, 2))
        clone.load_state_dict(state)
        assert all(same(a, b) for a, b in zip(clone.parameters(), model.parameters(), strict=True))
        x = [[0.5, -1.0, 2.0], [1.0, 1.0, 1.0]]
        assert np.allclose(clone[:2](other.tensor(x)).tolist(), model[:2](lib.tensor(x)).tolist(), atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers_and_schedules(name: str) -> None:
    for lib, other in ((torch, rushlight), (rushlight, torch)):
        states, ends = [], []
        for here in (lib, other):
            p = here.nn.Parameter(here.tensor([1.0, -2.0]))
            optimizer = getattr(here.optim, name)([p], lr=0.1)
            schedule = here.optim.lr_scheduler.StepLR(optimizer, 2)
            if states:
                p.data.copy_(here.tensor(states[0]["p"].tolist()))
                optimizer.load_state_dict(states[0]["optimizer"])
                schedule.load_state_dict(states[0]["schedule"])
            for _ in range(3):
                optimizer.zero_grad()
                (p * p).sum().backward()
                optimizer.step()
                schedule.step()
                if not states and here is lib:
                    content = {"p": p.detach(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
                    states.append(through(content, lib, other))
                    for _ in range(3):
                        optimizer.zero_grad()
                        (p * p).sum().backward()
                        optimizer.step()
                        schedule.step()
                    break
            ends.append((p.tolist(), schedule.get_last_lr()))
        assert np.allclose(ends[0][0], ends[1][0], atol=1e-6)
        assert np.allclose(ends[0][1], ends[1][1])


def test_whole_modules_interchange() -> None:
    x = [[0.5, -1.0]]
    for lib, other in ((torch, rushlight), (rushlight, torch)):
        nn = lib.nn
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 1)).eval()
        got = through(model, lib, other, weights_only=False)
        assert type(got) is other.nn.Sequential
        assert repr(got) == repr(model)
        assert np.allclose(got(other.tensor(x)).tolist(), model(lib.tensor(x)).tolist(), atol=1e-6)


def test_generators_and_functions_interchange() -> None:
    for lib, other in ((torch, rushlight), (rushlight, torch)):
        generator = lib.Generator().manual_seed(3)
        lib.rand(5, generator=generator)
        values = [generator, lib.relu, lib.nn.functional.gelu, lib.nn.TransformerEncoderLayer(4, 2, 4)]
        got = through(values, lib, other, weights_only=False)
        assert other.rand(3, generator=got[0]).tolist() == lib.rand(3, generator=generator).tolist()
        assert got[1](other.tensor([-1.0, 2.0])).tolist() == [0, 2]
        assert got[2] is other.nn.functional.gelu
        assert repr(got[3]) == repr(values[3])


def test_bytes_are_equal() -> None:
    files = []
    for lib in (torch, rushlight):
        x = lib.arange(6.0).reshape(2, 3)
        file = io.BytesIO()
        lib.save({"x": x.t(), "row": x[1], "p": lib.nn.Parameter(lib.ones(2)), "n": [1, 2.5, "a"]}, file)
        files.append(file.getvalue())
    assert files[0].partition(b"PK\7\x08")[0] == files[1].partition(b"PK\7\x08")[0]


def test_offsets_that_pytorch_works_out_by_itself(tmp_path: Path) -> None:
    """With this setting PyTorch trusts our layout instead of reading the directory."""
    config = pytest.importorskip("torch.utils.serialization").config
    rushlight.save([rushlight.arange(5), rushlight.zeros(0), rushlight.ones(3)], tmp_path / "x.pt")
    before = config.load.calculate_storage_offsets
    config.load.calculate_storage_offsets = True
    try:
        got = torch.load(tmp_path / "x.pt", mmap=True)
    finally:
        config.load.calculate_storage_offsets = before
    assert [t.tolist() for t in got] == [[0, 1, 2, 3, 4], [], [1, 1, 1]]


def test_lazy_conjugates_and_attributes() -> None:
    z = torch.tensor([1 + 2j, 3 - 1j])
    tagged = torch.ones(2)
    tagged.note = "kept"
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.rate = [0.5]
    values = [z.conj(), z.clone().conj().imag, tagged, parameter, torch.nn.Buffer(torch.ones(1))]
    got = through(values, torch, rushlight)
    assert got[0].tolist() == [1 - 2j, 3 + 1j]
    assert got[1].tolist() == [-2, 1]
    assert got[2].note == "kept"
    assert got[3].rate == [0.5]
    assert type(got[3]) is rushlight.nn.Parameter
    assert got[4].tolist() == [1]


def test_one_storage_under_two_types() -> None:
    """PyTorch refuses to save this; what we save, it reads."""
    x = rushlight.tensor([1.0, 2.0])
    for loader in (torch, rushlight):
        bits, number = through([x, x.view(rushlight.int32)], rushlight, loader)[::-1]
        assert bits.tolist() == [0x3F800000, 0x40000000]
        number[0] = 2
        assert bits.tolist() == [0x40000000, 0x40000000]


def test_unsupported_tensors_are_named() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    for tensor, text in (
        (quantized, "qint8|quantized"),
        (torch.zeros(2).to(torch.float8_e5m2), "float8_e5m2"),
        (torch.empty(2, device="meta"), "meta"),
    ):
        with pytest.raises(NotImplementedError, match=text):
            through(tensor, torch, rushlight)


def test_messages_match() -> None:
    """What users see first, for a class that is not allowed and for a file that is cut."""
    file = io.BytesIO()
    torch.save(torch.nn.Linear(1, 1), file)
    for data, length in ((file.getvalue(), 500), (file.getvalue()[:-30], 72)):
        messages = []
        for lib in (torch, rushlight):
            with pytest.raises((RuntimeError, pickle.UnpicklingError)) as caught:
                lib.load(io.BytesIO(data))
            messages.append(str(caught.value).replace("\x1b[1m", "").replace("\x1b[0m", ""))
        assert messages[0][:length] == messages[1][:length]
