"""Names for type annotations: `torch.types`."""

from __future__ import annotations

import os
from typing import IO, Any

from rushlight.device import device
from rushlight.dtypes import dtype
from rushlight.size import Size
from rushlight.storage import UntypedStorage
from rushlight.tensor import Tensor

__all__ = ["Device", "FileLike", "Number", "Size", "Storage", "Tensor"]

Number = int | float | bool
Device = device | str | int | None
FileLike = str | os.PathLike[str] | IO[bytes]
Storage = UntypedStorage
_dtype, _device, _size = dtype, device, Size | list[int] | tuple[int, ...]
_TensorOrTensors = Tensor | tuple[Any, ...]
