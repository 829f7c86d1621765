"""CIFAR-10, read from its binary version: the Python version is pickles, which could run code."""

from __future__ import annotations

import os
import tarfile
import zlib
from pathlib import Path

import numpy as np

from rushlight.creation import from_numpy
from rushlight.datasets.download import Resource, fetch, is_intact
from rushlight.datasets.vision import ImageDataset, Transform, not_found, scaled
from rushlight.serialization.atomic import atomic_file
from rushlight.tensor import Tensor

SIDE = 32
IMAGE_BYTES = 3 * SIDE * SIDE
RECORD = 1 + IMAGE_BYTES  # the class, then the red, green and blue planes
LARGEST_PART = 64 << 20  # bytes; the real ones have 30,730,000


class CIFAR10(ImageDataset):
    """Colour photographs of ten kinds of objects, 32x32, 50,000 to train on and 10,000 to test on [1]_.

    Parameters
    ----------
    root : path
        Folder of data sets; the files lie in `root/cifar-10-batches-bin`.
    train : bool, default True
        The images to train on, or those to test on.
    transform : callable, optional
        Called with each image, a float32 tensor [3, 32, 32] between 0 and 1; what it returns is the sample's image.
    target_transform : callable, optional
        Called with each class number.
    download : bool, default False
        Fetch and unpack files that are missing (162 MB): checked, going on where an earlier call stopped.

    Attributes
    ----------
    data : Tensor[N, 32, 32, 3], uint8
    targets : list of int
    classes : list of str

    Raises
    ------
    RuntimeError
        If files are missing or damaged; `DownloadError` if they cannot be fetched, with the way to do it by hand.

    Notes
    -----
    PyTorch: torchvision reads the pickled version in `cifar-10-batches-py`; order and contents are the same. Its `data`
    is a NumPy array (`data.numpy()` here), its samples are PIL images without a transform.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Examples
    --------
    >>> data = torch.datasets.CIFAR10("data", train=False, download=True)  # doctest: +SKIP
    """

    mirrors = ["https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"]
    archive = Resource("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
    base_folder = "cifar-10-batches-bin"
    train_files = [f"data_batch_{k}.bin" for k in range(1, 6)]
    test_files = ["test_batch.bin"]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, train, transform, target_transform)
        names = self.train_files if train else self.test_files
        if download and self._missing(self.train_files + self.test_files):
            self.download()
        elif self._missing(names) and self._archive.is_file():
            self.unpack()
        missing = self._missing(names)
        if missing:
            raise not_found(type(self).__name__, [self._folder / missing[0]])
        records = np.concatenate([self._records(self._folder / name) for name in names])
        self.targets: list[int] = records[:, 0].tolist()
        self.data = from_numpy(np.ascontiguousarray(records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)))

    @property
    def _folder(self) -> Path:
        assert self.root is not None
        return self.root / self.base_folder

    @property
    def _archive(self) -> Path:
        return self._folder.parent / self.archive.name

    def _missing(self, names: list[str]) -> list[str]:
        return [name for name in names if not (self._folder / name).is_file()]

    def _records(self, path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        size = path.stat().st_size
        if not size or size % RECORD or size > LARGEST_PART:
            raise RuntimeError(f"{path} is not a CIFAR-10 file: its {size} bytes are not whole records of {RECORD}")
        records = np.fromfile(path, np.uint8).reshape(-1, RECORD)
        if int(records[:, 0].max()) >= len(self.classes):
            raise RuntimeError(f"{path} is not a CIFAR-10 file: it has class {records[:, 0].max()}")
        return records

    def download(self) -> None:
        """Fetch the archive unless it is there, and unpack it."""
        fetch(self.mirrors, self.archive, self._folder.parent)
        self.unpack()

    def unpack(self) -> None:
        """Take the six data files out of the archive: by their names only, so that no path in it leads anywhere."""
        if not is_intact(self._archive, self.archive.md5):
            raise RuntimeError(f"{self._archive} is damaged: its MD5 sum is not {self.archive.md5}; delete it")
        wanted = self.train_files + self.test_files
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(self._archive, "r:gz") as archive:
                for member in archive:
                    name = member.name.removeprefix("./").removeprefix(f"{self.base_folder}/")
                    if name in wanted and member.isreg():
                        self._save_member(archive, member, self._folder / name)
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise RuntimeError(f"{self._archive} cannot be unpacked: {error}; delete it and download again") from error

    def _save_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        if member.size > LARGEST_PART:
            raise tarfile.ReadError(f"{member.name} claims {member.size} bytes")
        source = archive.extractfile(member)
        assert source is not None
        data = source.read()
        if len(data) != member.size:
            raise tarfile.ReadError(f"{member.name} is cut off")
        with atomic_file(os.fspath(target)) as file:
            file.write(data)

    def image(self, index: int) -> Tensor:
        """An image [3, 32, 32], float32 between 0 and 1."""
        return scaled(np.ascontiguousarray(self.data._data[index].transpose(2, 0, 1)), self.scale)
