"""What all image data sets share: samples, transforms, their text form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.creation import from_numpy
from rushlight.errors import explain
from rushlight.tensor import Tensor
from rushlight.utils.data import Dataset

Transform = Callable[[Any], Any]


class ImageDataset(Dataset[tuple[Any, Any]]):
    """Images with a class each.

    Attributes
    ----------
    data : Tensor, uint8
        All images as stored.
    targets : Tensor or list of int
        The class of each.
    classes : list of str
        Names of the classes.
    """

    classes: list[str] = []
    data: Tensor
    targets: Any
    scale = 255.0

    def __init__(
        self,
        root: str | Path | None,
        train: bool,
        transform: Transform | None,
        target_transform: Transform | None,
    ) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self.train = train
        self.transform = transform
        self.target_transform = target_transform

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Number of each class by its name."""
        return {name: k for k, name in enumerate(self.classes)}

    def image(self, index: int) -> Tensor:
        """An image [channels, height, width], float32 between 0 and 1."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        image: Any = self.image(index)
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """The line that names the part."""
        return f"Split: {'Train' if self.train else 'Test'}"

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"Root location: {self.root}")
        lines += self.extra_repr().splitlines()
        if self.transform is not None or self.target_transform is not None:
            lines.append("StandardTransform")
        text = "\n".join([f"Dataset {type(self).__name__}", *(f"    {line}" for line in lines)])
        for title, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                text += f"\n{title}" + f"\n{' ' * len(title)}".join(repr(transform).splitlines())
        return text


def scaled(values: Any, scale: float) -> Tensor:
    """Stored bytes [channels, height, width] as float32 between 0 and 1, rounded as torchvision's `ToTensor` does."""
    image: Tensor = from_numpy(values.astype(np.float32) / np.float32(scale))
    return image


def not_found(name: str, wanted: list[Path]) -> RuntimeError:
    """The error for files that are not there."""
    return explain(
        RuntimeError("Dataset not found. You can use download=True to download it"),
        expected=" and ".join(map(str, wanted)),
        fix=f"{name}(root, download=True), or put the files there by hand",
    )
