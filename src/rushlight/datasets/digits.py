"""The 1,797 handwritten digits that come with the package (source and licence: demo/digits.LICENSE.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rushlight.creation import from_numpy
from rushlight.datasets.vision import ImageDataset, Transform, scaled
from rushlight.tensor import Tensor

FILE = Path(__file__).parents[1] / "demo" / "digits.npz"
TEST_SHARE = 0.2
LEVELS = 16


def stored_digits() -> tuple[Any, Any]:
    """Images, uint8 [1797, 8, 8] between 0 and 16, and labels, int64 [1797]."""
    with np.load(FILE, allow_pickle=False) as file:
        return file["images"].astype(np.uint8), file["labels"].astype(np.int64)


def split_places(count: int, seed: int) -> tuple[Any, Any]:
    """Places of a random fifth to test on, and of the rest to train on: (train, test)."""
    order = np.random.default_rng(seed).permutation(count)
    test, train = np.split(order, [round(TEST_SHARE * count)])
    return train, test


class Digits(ImageDataset):
    """Handwritten digits, 8x8, that need no download: 1,438 to train on and 359 to test on [1]_.

    Parameters
    ----------
    train : bool, default True
        The images to train on, or those to test on.
    transform : callable, optional
        Called with each image, a float32 tensor [1, 8, 8] between 0 and 1.
    target_transform : callable, optional
        Called with each class number.
    seed : int, default 0
        Of the split.

    Attributes
    ----------
    data : Tensor[N, 8, 8], uint8
        Between 0 and 16.
    targets : Tensor[N], int64
    classes : list of str

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> data = torch.datasets.Digits()
    >>> image, digit = data[0]
    >>> image.shape, len(data)
    (torch.Size([1, 8, 8]), 1438)
    """

    classes = [str(k) for k in range(10)]
    scale = float(LEVELS)

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(None, train, transform, target_transform)
        images, labels = stored_digits()
        places = split_places(len(labels), seed)[0 if train else 1]
        self.data = from_numpy(images[places])
        self.targets: Tensor = from_numpy(labels[places])

    def image(self, index: int) -> Tensor:
        """An image [1, 8, 8], float32 between 0 and 1."""
        return scaled(self.data._data[index][None], self.scale)
