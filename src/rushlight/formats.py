"""Memory formats and layouts: names that PyTorch's functions take."""

from __future__ import annotations

from typing import Any


class _Name:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: Any) -> _Name:
        return self


class memory_format(_Name):
    """How the elements of a tensor are ordered in memory."""


class layout(_Name):
    """How a tensor is stored: `strided` or sparse."""


contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")
strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
