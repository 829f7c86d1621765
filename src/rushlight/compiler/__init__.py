"""Array programs become native code: a traced step is a graph, fused into kernels that one native call runs.

The names here are those of `torch.compiler`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from rushlight.compiler.registry import COMPILED
from rushlight.modes import ACTIVE, state


def is_compiling() -> bool:
    """Whether this code is being traced by `rushlight.compile`."""
    return bool(ACTIVE) and state.trace is not None


def is_dynamo_compiling() -> bool:
    """The same as `is_compiling`."""
    return is_compiling()


def is_exporting() -> bool:
    """Whether a program is being exported: never."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A function that always runs eagerly: a compiled one that calls it is compiled up to there.

    Usable as a decorator with and without arguments.

    Notes
    -----
    PyTorch: with `recursive=False` calls inside the function are compiled; here they are not.
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

    @functools.wraps(fn)
    def eager(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            state.trace.refuse("calls a function that is not to be compiled")
        return fn(*args, **kwargs)

    return eager


def reset() -> None:
    """Forget every trace; compiled functions are traced anew."""
    for compiled in list(COMPILED):
        compiled.reset()


def cudagraph_mark_step_begin() -> None:
    """Nothing: there are no CUDA graphs on the CPU."""


def allow_in_graph(fn: Any) -> Any:
    """The function as it is: tracing goes through every function."""
    return fn


def assume_constant_result(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is: what it makes of Python values is constant in a trace."""
    return fn


def list_backends(exclude_tags: Iterable[str] = ("debug", "experimental")) -> list[str]:
    """Names that `compile(backend=...)` stands for."""
    return ["inductor"]
