"""MNIST and the data sets in its format."""

from __future__ import annotations

from pathlib import Path

from rushlight.creation import from_numpy
from rushlight.datasets.download import Resource, fetch
from rushlight.datasets.idx import read_idx
from rushlight.datasets.vision import ImageDataset, Transform, not_found, scaled
from rushlight.tensor import Tensor


class MNIST(ImageDataset):
    """Handwritten digits, 28x28, 60,000 to train on and 10,000 to test on [1]_.

    Parameters
    ----------
    root : path
        Folder of data sets; the files lie in `root/MNIST/raw`, compressed or not, as torchvision leaves them.
    train : bool, default True
        The images to train on, or those to test on.
    transform : callable, optional
        Called with each image, a float32 tensor [1, 28, 28] between 0 and 1; what it returns is the sample's image.
    target_transform : callable, optional
        Called with each class number.
    download : bool, default False
        Fetch files that are missing: checked, from several mirrors, going on where an earlier call stopped.

    Attributes
    ----------
    data : Tensor[N, 28, 28], uint8
    targets : Tensor[N], int64
    classes : list of str

    Raises
    ------
    RuntimeError
        If files are missing or damaged; `DownloadError` if they cannot be fetched, with the way to do it by hand.

    Notes
    -----
    PyTorch: torchvision gives PIL images without a transform; here a sample is the tensor that its `ToTensor` gives.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.

    Examples
    --------
    >>> data = torch.datasets.MNIST("data", download=True)  # doctest: +SKIP
    >>> image, digit = data[0]  # doctest: +SKIP
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ]
    resources = [
        Resource("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Resource("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        Resource("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        Resource("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight",
        "9 - nine",
    ]  # fmt: skip

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, train, transform, target_transform)
        if download:
            self.download()
        images, labels = (self._file(resource) for resource in self.resources[0 if train else 2 :][:2])
        pixels, classes = read_idx(images), read_idx(labels)
        if pixels.ndim != 3 or classes.shape != pixels.shape[:1] or classes.size and classes.max() >= len(self.classes):
            raise RuntimeError(f"{images} and {labels} do not fit together: {pixels.shape} images, {classes.shape}")
        self.data = from_numpy(pixels)
        self.targets: Tensor = from_numpy(classes.astype("int64"))

    @property
    def raw_folder(self) -> str:
        """Where the files are."""
        assert self.root is not None
        return str(self.root / type(self).__name__ / "raw")

    def _present(self, resource: Resource) -> Path | None:
        whole = Path(self.raw_folder) / resource.name
        return next((path for path in (whole, whole.with_suffix("")) if path.is_file()), None)

    def _file(self, resource: Resource) -> Path:
        found = self._present(resource)
        if found is None:
            raise not_found(type(self).__name__, [Path(self.raw_folder) / resource.name])
        return found

    def download(self) -> None:
        """Fetch the files that are missing."""
        for resource in self.resources:
            if self._present(resource) is None:
                fetch(self.mirrors, resource, Path(self.raw_folder))

    def image(self, index: int) -> Tensor:
        """An image [1, 28, 28], float32 between 0 and 1."""
        return scaled(self.data._data[index][None], self.scale)


class FashionMNIST(MNIST):
    """Articles of clothing from Zalando, in MNIST's format [1]_; parameters as for `MNIST`.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset", 2017. MIT licence.
    """

    mirrors = [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ]
    resources = [
        Resource("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Resource("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        Resource("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        Resource("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


class KMNIST(MNIST):
    """Japanese characters in classical cursive writing, in MNIST's format [1]_; parameters as for `MNIST`.

    References
    ----------
    .. [1] T. Clanuwat et al., "Deep learning for classical Japanese literature", 2018. CC BY-SA 4.0.
    """

    mirrors = ["https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        Resource("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        Resource("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        Resource("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        Resource("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
