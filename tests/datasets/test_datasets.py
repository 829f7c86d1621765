"""Readers of image data sets on small files of the right format, and downloads from a server that may misbehave."""

import gzip
import hashlib
import io
import socket
import struct
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.datasets import CIFAR10, KMNIST, MNIST, Digits, DownloadError, FashionMNIST
from rushlight.datasets.download import Resource, fetch
from rushlight.datasets.idx import read_idx
from tests.datasets.server import Server

DATA = bytes(range(256)) * 5000
WHOLE = Resource("data.bin", hashlib.md5(DATA).hexdigest())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def notes(error: BaseException) -> str:
    return "\n".join(error.__notes__)


# Downloads


def test_a_file_arrives_whole_and_is_not_fetched_twice(tmp_path: Path) -> None:
    with Server({"data.bin": DATA}) as server:
        assert fetch([server.url], WHOLE, tmp_path / "new").read_bytes() == DATA
        fetch([server.url], WHOLE, tmp_path / "new")
        assert server.log == [("/data.bin", None)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data.bin"]


def test_a_partial_file_is_completed(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA[:1000])
    with Server({"data.bin": DATA}) as server:
        assert fetch([server.url], WHOLE, tmp_path).read_bytes() == DATA
        assert server.log == [("/data.bin", "bytes=1000-")]


def test_a_connection_that_breaks_is_taken_up_again(tmp_path: Path) -> None:
    with Server({"data.bin": DATA}, cut_after=700_000) as server:
        assert fetch([server.url], WHOLE, tmp_path).read_bytes() == DATA
        assert server.log == [("/data.bin", None), ("/data.bin", "bytes=700000-")]


def test_a_server_without_ranges_starts_again(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA[:1000])
    with Server({"data.bin": DATA}, knows_ranges=False) as server:
        assert fetch([server.url], WHOLE, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("part", [b"another file", DATA + b"more", DATA], ids=["foreign", "longer", "complete"])
def test_a_partial_file_of_something_else_is_replaced(tmp_path: Path, part: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(part)
    with Server({"data.bin": DATA}) as server:
        assert fetch([server.url], WHOLE, tmp_path).read_bytes() == DATA


def test_a_damaged_file_never_gets_the_name(tmp_path: Path) -> None:
    with Server({"data.bin": DATA[:-1] + b"?"}) as server, pytest.raises(DownloadError) as caught:
        fetch([server.url], WHOLE, tmp_path)
    assert "MD5" in notes(caught.value)
    assert not (tmp_path / "data.bin").exists()


def test_the_next_mirror_helps(tmp_path: Path) -> None:
    with Server({}) as first, Server({"data.bin": DATA}, cut_after=10) as second, Server({"data.bin": b"?"}) as third:
        assert fetch([first.url, third.url, second.url], WHOLE, tmp_path).read_bytes() == DATA
        assert len(first.log) == len(third.log) == 1


def test_a_missing_file_and_no_network_say_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        offline = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with Server({}) as server, pytest.raises(RuntimeError, match=r"Error downloading data.bin") as caught:
            fetch([server.url, offline], WHOLE, tmp_path)
    assert f"{server.url}data.bin: 404" in notes(caught.value)
    assert "refused" in notes(caught.value)
    assert f"save it as {(tmp_path / 'data.bin').resolve()}" in notes(caught.value)


def test_a_server_that_says_nothing_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError) as caught:
        fetch([f"http://127.0.0.1:{silent.getsockname()[1]}"], WHOLE, tmp_path, timeout=0.2)
    assert "timed out" in notes(caught.value)


def test_two_at_once_fetch_it_once(tmp_path: Path) -> None:
    with Server({"data.bin": DATA}) as server:
        threads = [threading.Thread(target=fetch, args=([server.url], WHOLE, tmp_path)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.log) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


# The idx format


def idx(array: Any, zipped: bool = True) -> bytes:
    data = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    return gzip.compress(data) if zipped else data


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_idx_file_is_read(tmp_path: Path, zipped: bool) -> None:
    (tmp_path / "x").write_bytes(idx(IMAGES, zipped))
    read = read_idx(tmp_path / "x")
    assert np.array_equal(read, IMAGES)
    assert read.flags.writeable


HUGE = struct.pack(">HBB", 0, 8, 3) + struct.pack(">3I", 2**31, 2**31, 4)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"hello world", HUGE, gzip.compress(HUGE), idx(IMAGES)[:-9], idx(IMAGES, False)[:-1],
     idx(IMAGES, False) + b"x", b"\x1f\x8b garbage", b"\0\0\x0d" + idx(IMAGES, False)[3:], b"\0\0\x08\x00"],
    ids=range(11),
)  # fmt: skip
def test_a_broken_idx_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(RuntimeError, match="idx file"):
        read_idx(tmp_path / "x")


def test_mutated_idx_files_give_errors_or_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    whole = [np.frombuffer(idx(IMAGES[:2], zipped), np.uint8) for zipped in (True, False)]
    for _ in range(300):
        data = whole[random.integers(2)].copy()
        data[random.integers(0, min(60, data.size), 3)] = random.integers(0, 256, 3)
        (tmp_path / "x").write_bytes(data[: random.integers(1, data.size + 1)].tobytes())
        try:
            assert read_idx(tmp_path / "x").nbytes < 1 << 20
        except RuntimeError:
            pass


# MNIST and its family


def files(train: int = 7, test: int = 3) -> dict[str, bytes]:
    return {
        "train-images-idx3-ubyte.gz": idx(IMAGES[:train]), "train-labels-idx1-ubyte.gz": idx(LABELS[:train]),
        "t10k-images-idx3-ubyte.gz": idx(IMAGES[:test]), "t10k-labels-idx1-ubyte.gz": idx(LABELS[:test]),
    }  # fmt: skip


def small(kind: type[MNIST], served: dict[str, bytes], mirror: str) -> type[MNIST]:
    resources = [Resource(name, hashlib.md5(data).hexdigest()) for name, data in served.items()]
    return type(kind.__name__, (kind,), {"mirrors": [mirror], "resources": resources})


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, KMNIST])
def test_mnist_is_fetched_and_read(tmp_path: Path, kind: type[MNIST]) -> None:
    with Server(files()) as server:
        here = small(kind, server.files, server.url)
        train = here(tmp_path, download=True)
        test = here(str(tmp_path), train=False)
        assert len(server.log) == 4
    assert (len(train), len(test)) == (7, 3)
    assert (train.data.dtype, train.data.shape) == (torch.uint8, (7, 28, 28))
    assert train.targets.tolist() == LABELS.tolist()
    image, label = train[2]
    assert (label, type(label)) == (4, int)
    assert (image.shape, image.dtype) == ((1, 28, 28), torch.float32)
    assert image.numpy().tolist() == (IMAGES[2:3].astype(np.float32) / np.float32(255)).tolist()
    assert len(train.classes) == 10
    assert train.class_to_idx[train.classes[9]] == 9
    assert (tmp_path / kind.__name__ / "raw" / "t10k-labels-idx1-ubyte.gz").is_file()


def test_transforms_and_batches(tmp_path: Path) -> None:
    with Server(files()) as server:
        data = small(MNIST, server.files, server.url)(
            tmp_path, transform=lambda x: x.flatten() - 1, target_transform=lambda k: k + 10, download=True
        )
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=4)))
    assert images.shape == (4, 784)
    assert images.max() <= 0
    assert labels.tolist() == [13, 11, 14, 11]
    assert data[-1][1] == 12
    with pytest.raises(IndexError):
        data[7]


def test_unpacked_files_by_hand_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, data in files().items():
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(data))
    assert len(MNIST(tmp_path)) == 7
    assert len(MNIST(tmp_path, download=True)) == 7


def test_missing_files_say_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Dataset not found. You can use download=True") as caught:
        MNIST(tmp_path)
    assert str(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz") in notes(caught.value)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, data in (files() | {"train-labels-idx1-ubyte.gz": idx(LABELS[:5])}).items():
        (folder / name).write_bytes(data)
    with pytest.raises(RuntimeError, match="do not fit together"):
        MNIST(tmp_path)


class Halve:
    def __repr__(self) -> str:
        return "Halve(\n  by=2\n)"


def test_the_text_form_is_torchvisions(tmp_path: Path) -> None:
    with Server(files()) as server:
        data: Any = small(MNIST, server.files, server.url)(tmp_path, transform=Halve(), download=True)
    assert repr(data).splitlines() == [
        "Dataset MNIST",
        "    Number of datapoints: 7",
        f"    Root location: {tmp_path}",
        "    Split: Train",
        "    StandardTransform",
        "Transform: Halve(",
        "             by=2",
        "           )",
    ]


# CIFAR-10


def cifar_records(count: int, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.integers(0, 10, (count, 1)), random.integers(0, 256, (count, 3072))], axis=1
    ).astype(np.uint8).tobytes()  # fmt: skip


def cifar_archive(**extra: bytes) -> bytes:
    parts = {f"cifar-10-batches-bin/data_batch_{k}.bin": cifar_records(2, k) for k in range(1, 6)}
    parts |= {"cifar-10-batches-bin/test_batch.bin": cifar_records(3, 0), "../evil.bin": b"x", "/tmp/evil": b"x"}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in (parts | extra).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


def small_cifar(data: bytes, mirror: str = "") -> type[CIFAR10]:
    archive = Resource("cifar-10-binary.tar.gz", hashlib.md5(data).hexdigest())
    return type("CIFAR10", (CIFAR10,), {"mirrors": [mirror], "archive": archive})


def test_cifar_is_fetched_unpacked_and_read(tmp_path: Path) -> None:
    data = cifar_archive()
    with Server({"cifar-10-binary.tar.gz": data}) as server:
        here = small_cifar(data, server.url)
        train, test = here(tmp_path, download=True), here(tmp_path, train=False, download=True)
        assert len(server.log) == 1
    assert (len(train), len(test)) == (10, 3)
    assert (train.data.dtype, train.data.shape) == (torch.uint8, (10, 32, 32, 3))
    first = np.frombuffer(cifar_records(2, 1), np.uint8).reshape(2, 3073)
    assert train.targets[:2] == first[:, 0].tolist()
    image, label = train[1]
    assert label == first[1, 0]
    assert np.array_equal((image * 255).round().byte().numpy(), first[1, 1:].reshape(3, 32, 32))
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    assert found == {"cifar-10-binary.tar.gz", *(f"cifar-10-batches-bin/{name}.bin" for name in names)}
    assert not (tmp_path / "cifar-10-batches-bin/data_batch_1.bin").is_symlink()


def test_a_cifar_archive_put_there_by_hand_is_unpacked(tmp_path: Path) -> None:
    data = cifar_archive()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(data)
    assert len(small_cifar(data)(tmp_path)) == 10


def test_damaged_cifar_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Dataset not found"):
        CIFAR10(tmp_path)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(cifar_archive()[:-50])
    with pytest.raises(RuntimeError, match="damaged"):
        CIFAR10(tmp_path)
    cut = cifar_archive()[:-2000]
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(cut)
    with pytest.raises(RuntimeError, match="cannot be unpacked"):
        small_cifar(cut)(tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    for bad, message in ((b"x" * 3072, "whole records"), (b"\x0a" + bytes(3072), "class 10")):
        (folder / "test_batch.bin").write_bytes(bad)
        with pytest.raises(RuntimeError, match=message):
            CIFAR10(tmp_path, train=False)


# The digits that come with the package


def test_the_digits() -> None:
    train, test = Digits(), Digits(train=False, transform=torch.flatten)
    assert (len(train), len(test)) == (1438, 359)
    assert sorted([*train.targets.tolist(), *test.targets.tolist()]) == sorted(
        torch.datasets.digits.stored_digits()[1].tolist()
    )
    assert train[0][0].shape == (1, 8, 8)
    assert float(train[0][0].max()) <= 1
    assert test[5][0].shape == (64,)
    assert repr(train) == "Dataset Digits\n    Number of datapoints: 1438\n    Split: Train"
