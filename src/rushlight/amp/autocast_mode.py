"""`autocast`: runs matrix products and convolutions in half precision, and what needs range in float32.

`modes.state.autocast` holds this thread's `Caster` while autocast is on; functions that it concerns are declared with
`@modes.autocasts("lower")` or `@modes.autocasts("float32")` and ask it for their operands.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from rushlight import modes
from rushlight.dtypes import bfloat16, dtype, float16, float32, float64
from rushlight.tensor import Tensor

DEVICES = ("cpu", "cuda")
LOWER = (bfloat16, float16)


class Caster:
    """Casts the operands of functions, and remembers the casts of parameters."""

    def __init__(self, settings: _Settings) -> None:
        self.settings = settings
        self.cache: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def call(self, policy: str, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call `function` on operands cast by `policy`, with autocast off inside."""
        if kwargs.get("out") is None:
            target = float32 if policy == "float32" else self.settings.dtype["cpu"]
            args = [self.cast(a, target) for a in args]
            kwargs = {name: self.cast(a, target) for name, a in kwargs.items()}
        modes.state.autocast = None
        try:
            return function(*args, **kwargs)
        finally:
            modes.state.autocast = self

    def cast(self, value: Any, target: dtype) -> Any:
        """A floating tensor, also inside lists and tuples, as `target`; doubles and all else stay."""
        if type(value) in (list, tuple):
            return type(value)([self.cast(v, target) for v in value])
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype in (target, float64):
            return value
        if not (self.settings.cache_enabled and target is not float32 and value.dtype is float32):
            return value.to(target)
        if not (value.requires_grad and value.is_leaf):
            return value.to(target)
        key = (id(value), modes.is_grad_enabled())
        held = self.cache.get(key)
        if held is None or held[1].dtype is not target:
            held = self.cache[key] = (value, value.to(target))
        return held[1]


class _Settings(threading.local):
    """Autocast in one thread."""

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(DEVICES, False)
        self.dtype = {"cpu": bfloat16, "cuda": float16}
        self.cache_enabled = True
        self.nesting = 0
        self.caster = Caster(self)
        self.is_active = False

    def apply(self) -> None:
        """Tell the ops."""
        wanted = self.enabled["cpu"]
        modes.state.autocast = self.caster if wanted else None
        if wanted != self.is_active:
            self.is_active = wanted
            (modes.ACTIVE.append if wanted else modes.ACTIVE.remove)(self.caster)


settings = _Settings()


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows a device type."""
    return device_type in DEVICES


def _checked(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in DEVICES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
    return device_type


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on in this thread for a device type."""
    return settings.enabled[_checked(device_type)]


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switch autocast on or off in this thread."""
    settings.enabled[_checked(device_type)] = bool(enabled)
    settings.apply()


def get_autocast_dtype(device_type: str) -> dtype:
    """The half precision that autocast uses."""
    return settings.dtype[_checked(device_type)]


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set the half precision that autocast uses."""
    settings.dtype[_checked(device_type)] = dtype


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on in this thread for the CPU."""
    return settings.enabled["cpu"]


def get_autocast_cpu_dtype() -> dtype:
    """The half precision that autocast uses on the CPU."""
    return settings.dtype["cpu"]


def get_autocast_gpu_dtype() -> dtype:
    """The half precision that autocast uses on the GPU."""
    return settings.dtype["cuda"]


def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are kept until autocast ends."""
    return settings.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Keep casts of parameters, or do not."""
    settings.cache_enabled = bool(enabled)


def autocast_increment_nesting() -> int:
    """Count one more autocast block around."""
    settings.nesting += 1
    return settings.nesting


def autocast_decrement_nesting() -> int:
    """Count one autocast block less."""
    settings.nesting -= 1
    return settings.nesting


def clear_autocast_cache() -> None:
    """Forget the casts of parameters."""
    settings.caster.cache.clear()


class autocast:
    """Let matrix products, convolutions and attention run in half precision: context manager and decorator.

    Losses, products over dims and other operations that need range run in float32; everything else runs in the dtype
    that it is given.

    Parameters
    ----------
    device_type : str
        "cpu".
    dtype : dtype, optional
        bfloat16 (default) or float16.
    enabled : bool, default True
    cache_enabled : bool, optional
        Cast each parameter once per block.

    Examples
    --------
    >>> a = torch.ones(2, 2)
    >>> with torch.autocast("cpu"):
    ...     (a @ a).dtype
    torch.bfloat16
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _checked(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        if enabled and device_type == "cuda":
            warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype not in LOWER:
            name = device_type.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{name} Autocast only supports dtypes of " + ", ".join(map(repr, LOWER)) + " currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple[bool, Any, bool]] = []

    def __enter__(self) -> autocast:
        device = self.device
        self._before.append((settings.enabled[device], settings.dtype[device], settings.cache_enabled))
        settings.dtype[device] = self.fast_dtype
        settings.cache_enabled = self._cache_enabled
        autocast_increment_nesting()
        set_autocast_enabled(device, self._enabled)
        return self

    def __exit__(self, *exception: object) -> None:
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        enabled, settings.dtype[self.device], settings.cache_enabled = self._before.pop()
        set_autocast_enabled(self.device, enabled)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(func):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(func).__name__}. Did you mean to use autocast as "
                "a context manager? For example:\n    with torch.autocast(device_type=...):\n        "
                "output = model(input)"
            )

        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return inside


def _cast(value: Any, device_type: str, target: dtype) -> Any:
    """Floating tensors anywhere in `value` as `target`."""
    if isinstance(value, Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype is not float64
        return value.to(target) if fits else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {_cast(k, device_type, target): _cast(v, device_type, target) for k, v in value.items()}
    if isinstance(value, Iterable):
        parts = (_cast(v, device_type, target) for v in value)
        return type(value)(parts) if isinstance(value, (list, tuple)) else parts
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: dtype | None = None
) -> Callable[..., Any]:
    """Decorate `forward` of an `autograd.Function` for use under autocast.

    Parameters
    ----------
    device_type : str
    cast_inputs : dtype, optional
        Cast floating inputs to it and run with autocast off; without it `forward` runs under the present state.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    forward = fwd

    @functools.wraps(forward)
    def inside(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._dtype = get_autocast_dtype(device_type)
        is_on = is_autocast_enabled(device_type)
        ctx._fwd_used_autocast = is_on and cast_inputs is None
        if cast_inputs is None or not is_on:
            return forward(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return forward(ctx, *_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))

    return inside


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorate `backward` of an `autograd.Function`: it runs under the autocast state of its `forward`."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    backward = bwd

    @functools.wraps(backward)
    def inside(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return backward(ctx, *args, **kwargs)

    return inside
