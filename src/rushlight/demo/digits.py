"""The digits of `rushlight.datasets.Digits` as the demonstration uses them: all at once, and as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.creation import from_numpy
from rushlight.datasets.digits import LEVELS, split_places, stored_digits
from rushlight.tensor import Tensor
from rushlight.utils.data import TensorDataset

SOURCE = "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0"
SHADES = " .:-=+*#%@"


def load_digits() -> tuple[Tensor, Tensor]:
    """Images, float32 [1797, 1, 8, 8] between 0 and 1, and labels, int64 [1797].

    Examples
    --------
    >>> images, labels = load_digits()
    >>> images.shape, labels[:5].tolist()
    (torch.Size([1797, 1, 8, 8]), [0, 1, 2, 3, 4])
    """
    images, labels = stored_digits()
    return from_numpy(images.astype(np.float32)[:, None] / LEVELS), from_numpy(labels)


def split_digits(seed: int) -> tuple[TensorDataset, TensorDataset]:
    """A random fifth of the digits for the test, the rest for training."""
    images, labels = load_digits()
    train, test = split_places(len(labels), seed)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def digit_as_text(image: Any) -> list[str]:
    """The eight lines of an image between 0 and 1, two characters a pixel."""
    shades = np.round(np.asarray(image).reshape(8, 8) * (len(SHADES) - 1)).astype(int)
    return ["".join(2 * SHADES[shade] for shade in row) for row in shades]
