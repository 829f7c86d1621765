"""Settings of the process and questions about tensors, with PyTorch's names."""

from __future__ import annotations

from typing import Any

from rushlight.device import device as Device
from rushlight.dtypes import dtype
from rushlight.functions.shape import broadcast_shapes_
from rushlight.ops.kinds import result_dtype
from rushlight.storage import TypedStorage, UntypedStorage
from rushlight.tape import Variable
from rushlight.tensor import Tensor

e = 2.718281828459045
pi = 3.141592653589793
inf = float("inf")
nan = float("nan")
newaxis = None
broadcast_shapes = broadcast_shapes_


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Variable)


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage."""
    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_floating_point(input: Any) -> bool:
    """Whether the dtype is floating."""
    return bool(input.dtype.is_floating_point)


def is_complex(input: Any) -> bool:
    """Whether the dtype is complex."""
    return bool(input.dtype.is_complex)


def is_conj(input: Any) -> bool:
    """False: conjugates are computed at once."""
    return False


def is_inference(input: Any) -> bool:
    """Whether it was made in inference mode."""
    return bool(input.is_inference())


def numel(input: Any) -> int:
    """Number of elements."""
    return int(input.numel())


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype that an operation on both gives.

    Examples
    --------
    >>> torch.result_type(torch.tensor([1, 2]), 1.0)
    torch.float32
    """
    return result_dtype((tensor1, tensor2))


def typename(obj: Any) -> str:
    """The name of a tensor's type, or of any object's."""
    return str(obj.type()) if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__qualname__}"


class _Settings:
    deterministic = False
    warn_only = False
    matmul_precision = "highest"
    device = Device("cpu")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for deterministic algorithms: all of them are."""
    _Settings.deterministic, _Settings.warn_only = bool(mode), warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """Whether deterministic algorithms were asked for."""
    return _Settings.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether they were asked for with warnings only."""
    return _Settings.warn_only


def set_float32_matmul_precision(precision: str) -> None:
    """Accept "highest", "high" or "medium": products of float32 are always computed in float32 here."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            f"Float32 matmul precision must be one of ['highest', 'high', 'medium'], received {precision!r}"
        )
    _Settings.matmul_precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given last."""
    return _Settings.matmul_precision


def get_default_device() -> Device:
    """The device of new tensors."""
    return _Settings.device


def set_default_device(device: Any) -> None:
    """Set the device of new tensors; only the CPU is there."""
    wanted = Device("cpu") if device is None else Device(device)
    if wanted.type != "cpu":
        raise NotImplementedError(f"set_default_device({str(wanted)!r}): this build has cpu only")
    _Settings.device = wanted


def set_flush_denormal(mode: bool) -> bool:
    """False: flushing denormal numbers is not supported."""
    return False


def set_warn_always(b: bool) -> None:
    """Accepted; Python's warning filters decide."""


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` would give: Python's warning filters decide."""
    return False


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 or "default", 1 or "warn", 2 or "error": how operations that are not deterministic are met; there are none."""
    names = {"default": 0, "warn": 1, "error": 2}
    level = names.get(debug_mode, -1) if isinstance(debug_mode, str) else int(debug_mode)
    if level not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected 0, 1, 2 or default, warn, error, received {debug_mode!r}"
        )
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: see `set_deterministic_debug_mode`."""
    return (1 if _Settings.warn_only else 2) if _Settings.deterministic else 0


def sym_int(a: Any) -> int:
    """`a` as an int; sizes are plain ints here."""
    return int(a)


def sym_float(a: Any) -> float:
    """`a` as a float."""
    return float(a)


def sym_not(a: Any) -> bool:
    """Not `a`."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The greater of two numbers, a float if either is one."""
    found = max(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_min(a: Any, b: Any) -> Any:
    """The smaller of two numbers, a float if either is one."""
    found = min(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found
