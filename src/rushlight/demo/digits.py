"""The 1,797 handwritten digits that come with the package (source and licence: digits.LICENSE.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rushlight.creation import from_numpy
from rushlight.tensor import Tensor
from rushlight.utils.data import TensorDataset

FILE = Path(__file__).with_name("digits.npz")
SOURCE = "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0"
TEST_SHARE = 0.2
SHADES = " .:-=+*#%@"


def load_digits() -> tuple[Tensor, Tensor]:
    """Images, float32 [1797, 1, 8, 8] between 0 and 1, and labels, int64 [1797].

    Examples
    --------
    >>> images, labels = load_digits()
    >>> images.shape, labels[:5].tolist()
    (torch.Size([1797, 1, 8, 8]), [0, 1, 2, 3, 4])
    """
    with np.load(FILE, allow_pickle=False) as file:
        images = file["images"].astype(np.float32)[:, None] / 16
        return from_numpy(images), from_numpy(file["labels"].astype(np.int64))


def split_digits(seed: int) -> tuple[TensorDataset, TensorDataset]:
    """A random fifth of the digits for the test, the rest for training."""
    images, labels = load_digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def digit_as_text(image: Any) -> list[str]:
    """The eight lines of an image between 0 and 1, two characters a pixel."""
    shades = np.round(np.asarray(image).reshape(8, 8) * (len(SHADES) - 1)).astype(int)
    return ["".join(2 * SHADES[shade] for shade in row) for row in shades]
