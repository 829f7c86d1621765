"""Grad modes and the other switches that are kept per thread.

`ACTIVE` holds a token for every unusual mode that is on in any thread (inference mode, saved-tensor hooks,
autocast, tracing ...). The hot path of an op asks only `if ACTIVE`, and leaves for the general path when true.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
ACTIVE: list[Any] = []


class ThreadState(threading.local):
    """What one thread has switched on."""

    def __init__(self) -> None:
        np.seterr(all="ignore")
        self.grad = True
        self.inference = False
        self.anomaly = False
        self.check_nan = True
        self.profiler: Any = None
        self.saved_hooks: list[tuple[Callable[..., Any], Callable[..., Any]]] = []
        self.autocast: Any = None
        self.trace: Any = None


state = ThreadState()


def is_grad_enabled() -> bool:
    """Whether operations are recorded for gradients in this thread."""
    return state.grad


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on in this thread."""
    return state.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection, when on, looks for NaN in this thread."""
    return state.check_nan


def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on in this thread."""
    return state.inference


def autocasts(policy: str) -> Callable[[F], F]:
    """Decorator of a function that `amp.autocast` concerns: its tensors are cast before it runs.

    Parameters
    ----------
    policy : {"lower", "float32"}
        To the half precision of autocast (products, convolutions, attention), or to float32 (losses and the like).
    """

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def cast(*args: Any, **kwargs: Any) -> Any:
            if ACTIVE and state.autocast is not None:
                return state.autocast.call(policy, fn, args, kwargs)
            return fn(*args, **kwargs)

        return cast  # type: ignore[return-value]

    return decorate


class _Mode:
    """A switch usable as context manager and as decorator of functions, generators and classes' methods."""

    def clone(self) -> _Mode:
        """A fresh mode with the same settings, for each call of a decorated function."""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: Any) -> None:
        raise NotImplementedError

    def __call__(self, fn: F) -> F:
        if inspect.isgeneratorfunction(fn):
            return self._wrap_generator(fn)  # type: ignore[return-value]

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        return inside  # type: ignore[return-value]

    def _wrap_generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def steps(*args: Any, **kwargs: Any) -> Any:
            generator = fn(*args, **kwargs)
            resume, given = generator.send, None
            try:
                while True:
                    with self.clone():
                        value = resume(given)
                    try:
                        resume, given = generator.send, (yield value)
                    except GeneratorExit:
                        with self.clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        resume, given = generator.throw, error
            except StopIteration as stop:
                return stop.value

        return steps


class _GradMode(_Mode):
    wanted = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(state.grad)
        state.grad = self.wanted

    def __exit__(self, *exc: Any) -> None:
        state.grad = self._before.pop()


class _FunctionOrMode(type):
    """`no_grad(fn)` decorates directly, as `no_grad()(fn)` does."""

    def __call__(cls, fn: Any = None, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        return made if fn is None else made(fn)


class no_grad(_GradMode, metaclass=_FunctionOrMode):
    """Switch recording off in this thread: context manager and decorator.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    wanted = False


class enable_grad(_GradMode, metaclass=_FunctionOrMode):
    """Switch recording on in this thread: context manager and decorator."""

    wanted = True


class set_grad_enabled(_Mode):
    """Switch recording on or off at once; also usable as context manager and decorator.

    Parameters
    ----------
    mode : bool
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, (bool, int, np.bool_)):
            raise TypeError(f"set_grad_enabled(): expected a bool, received {type(mode).__name__}")
        self.mode = bool(mode)
        self.prev = state.grad
        state.grad = self.mode

    def clone(self) -> set_grad_enabled:
        """A fresh mode with the same setting."""
        return set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        state.grad = self.mode

    def __exit__(self, *exc: Any) -> None:
        state.grad = self.prev

    def __call__(self, fn: F) -> F:
        state.grad = self.prev
        return super().__call__(fn)


class _InferenceMode(_Mode):
    def __init__(self, mode: bool = True) -> None:
        self.mode = mode
        self._before: list[tuple[bool, bool]] = []

    def clone(self) -> _InferenceMode:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        self._before.append((state.grad, state.inference))
        state.inference = self.mode
        state.grad = not self.mode
        ACTIVE.append(self)

    def __exit__(self, *exc: Any) -> None:
        ACTIVE.remove(self)
        state.grad, state.inference = self._before.pop()


class inference_mode(_InferenceMode):
    """Like `no_grad`, and results can never take part in recording later: context manager and decorator."""

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode) and not isinstance(mode, bool):
            return _InferenceMode(True)(mode)
        return super().__new__(cls)
