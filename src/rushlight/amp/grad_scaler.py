"""Loss scaling: keeps small gradients of half precision away from zero."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from enum import Enum
from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF, float16
from rushlight.errors import explain
from rushlight.modes import ACTIVE, state
from rushlight.optim.optimizer import Optimizer
from rushlight.tape import bump, wrap
from rushlight.tensor import Tensor

NO_SCALE = "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the iteration."


class OptState(Enum):
    """How far the step of an optimizer is in this iteration."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Progress:
    """What the scaler knows of one optimizer since the last `update`."""

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found_inf: bool | None = None


class GradScaler:
    """Multiplies the loss, divides the gradients, and skips steps whose gradients overflowed.

    The scale grows by `growth_factor` after `growth_interval` steps without overflow and shrinks by `backoff_factor`
    at each overflow.

    Parameters
    ----------
    device : str, default "cuda"
        "cpu" here; with "cuda" and no GPU the scaler is disabled, with a warning.
    init_scale : float, default 2**16
    growth_factor : float, default 2.0
    backoff_factor : float, default 0.5
    growth_interval : int, default 2000
    enabled : bool, default True
        A disabled scaler does nothing: `scale` returns its argument, `step` steps.

    References
    ----------
    .. [1] P. Micikevicius et al., "Mixed Precision Training", 2017.

    Examples
    --------
    >>> scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> opt = torch.optim.SGD([w], lr=0.5)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad
    tensor([8.])
    >>> scaler.step(opt)
    >>> scaler.update()
    >>> w
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda":
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._scale: Tensor | None = None
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._per_optimizer_states: dict[int, _Progress] = defaultdict(_Progress)

    def _begun(self, function: str) -> Tensor:
        """The scale; an error where `scale` was not called first."""
        if ACTIVE and state.trace is not None:
            state.trace.refuse("asks a GradScaler whether gradients are finite")
        if self._scale is None:
            raise AssertionError(f"Attempted {function} but _scale is None.  {NO_SCALE}")
        return self._scale

    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                with nullcontext() if state.trace is None else state.trace.outside():
                    self._scale = wrap(np.array(self._init_scale, np.float32))
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of `optimizer` by the scale, in place; `step` then does not.

        Call it to clip gradients between `backward` and `step`.
        """
        if not self._enabled:
            return
        scale = self._begun("unscale_")
        progress = self._per_optimizer_states[id(optimizer)]
        if progress.stage is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        progress.found_inf = _unscale(optimizer, np.float32(1.0 / float(scale._data)))
        progress.stage = OptState.UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)`, unless a gradient is infinite or nan."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._begun("step")
        progress = self._per_optimizer_states[id(optimizer)]
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if progress.stage is OptState.READY:
            self.unscale_(optimizer)
        if progress.found_inf is None:
            raise explain(
                AssertionError("No inf checks were recorded for this optimizer."),
                expected="a parameter with a gradient",
                fix="call backward() on the scaled loss before step()",
            )
        result = None if progress.found_inf else optimizer.step(*args, **kwargs)
        progress.stage = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adjust the scale; call it once at the end of each iteration.

        Parameters
        ----------
        new_scale : float or Tensor, optional
            Set this scale instead.
        """
        if not self._enabled:
            return
        scale = self._begun("update")
        if new_scale is not None:
            _check_new_scale(new_scale)
            scale.fill_(float(new_scale))
        else:
            self._adjust(scale)
        self._per_optimizer_states = defaultdict(_Progress)

    def _adjust(self, scale: Tensor) -> None:
        found = [p.found_inf for p in self._per_optimizer_states.values() if p.found_inf is not None]
        if not found:
            raise AssertionError("No inf checks were recorded prior to update.")
        if any(found):
            scale._data[()] *= np.float32(self._backoff_factor)
            self._growth_tracker = 0
            return
        self._growth_tracker += 1
        if self._growth_tracker == self._growth_interval:
            grown = scale._data * np.float32(self._growth_factor)
            if np.isfinite(grown):
                scale._data[()] = grown
            self._growth_tracker = 0

    def get_scale(self) -> float:
        """The present scale; 1 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale._data)

    def get_growth_factor(self) -> float:
        """The factor by which the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor by which the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """The factor by which the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor by which the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many steps without overflow let the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set how many steps without overflow let the scale grow."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale and settings in PyTorch's form; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, here or in PyTorch."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_scale"] = None
        return state


def _check_new_scale(new_scale: Any) -> None:
    if isinstance(new_scale, float):
        return
    if not isinstance(new_scale, Tensor) or new_scale.numel() != 1 or new_scale.requires_grad:
        raise AssertionError(
            "new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
            "requires_grad=False."
        )


def _unscale(optimizer: Optimizer, inverse: Any) -> bool | None:
    """Multiply all gradients by `inverse`; whether one was not finite, None without gradients."""
    found: bool | None = None
    for group in optimizer.param_groups:
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            if grad.dtype is float16:
                raise explain(
                    ValueError("Attempting to unscale FP16 gradients."),
                    expected="float32 parameters, with autocast for the forward pass",
                    received="a float16 parameter",
                )
            values = grad.coalesce().values() if getattr(grad, "is_sparse", False) else grad
            data = values._data
            found = bool(found) or not np.isfinite(data).all()
            if data.dtype in NP_HALF:
                data[...] = (data.astype(np.float32) * inverse).astype(data.dtype)
            else:
                np.multiply(data, data.dtype.type(inverse), data)
            bump(values)
    return found
