"""Device names, and which devices there are."""

from __future__ import annotations

import re
from typing import Any

from rushlight.errors import DeviceError, explain

TYPES = ("cpu", "cuda", "mps", "xpu", "meta", "mkldnn", "hip", "xla", "vulkan", "ipu", "hpu", "mtia")
_FORM = re.compile(r"([a-z]+)(?::(\d+))?\Z")


class device:
    """A place where tensors live: `device('cpu')`, `device('cuda', 1)`, `device('cuda:1')`.

    Examples
    --------
    >>> device('cuda:1')
    device(type='cuda', index=1)
    """

    __slots__ = ("type", "index")

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            self.type: str = type.type
            self.index: int | None = type.index
            return
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(
                f"device(): argument 'device' must be torch.device, str or int, not {type.__class__.__name__}"
            )
        found = _FORM.match(type)
        if found is None or found[1] not in TYPES:
            if found is None and not type.isalpha():
                raise RuntimeError(f"Invalid device string: '{type}'" if type else "Device string must not be empty")
            raise RuntimeError(
                "Expected one of cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, xla, lazy, "
                f"vulkan, mps, meta, hpu, mtia, privateuseone device type at start of device string: {type}"
            )
        if found[2] is not None and index is not None:
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {type}")
        self.type = found[1]
        self.index = int(found[2]) if found[2] is not None else index

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return (device, (str(self),))


CPU = device("cpu")


def check_available(place: Any) -> device:
    """`place` as a device that exists on this machine, else PyTorch's error for it."""
    if place is None or place is CPU:
        return CPU
    wanted = place if isinstance(place, device) else device(place)
    if wanted.type == "cpu":
        return wanted
    if wanted.type == "cuda":
        raise explain(
            DeviceError(
                "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
            ),
            expected="cpu (the only device here)",
            received=wanted,
            fix="device = 'cuda' if torch.cuda.is_available() else 'cpu'",
        )
    raise NotImplementedError(f"tensors on device '{wanted}' are not supported; this build has cpu only")
