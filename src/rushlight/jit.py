"""TorchScript's names: `torch.jit`. Functions and modules given to them stay what they are, and run eagerly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from rushlight.nn.module import Module

__all__ = [
    "Attribute", "Final", "Future", "ScriptFunction", "ScriptModule", "annotate", "enable_onednn_fusion", "export",
    "fork", "freeze", "fuser", "ignore", "interface", "is_scripting", "is_tracing", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution", "save", "script", "script_if_tracing",
    "script_method", "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

T = TypeVar("T")


class ScriptFunction:
    """Class of PyTorch's compiled functions; nothing here is one."""


class ScriptModule(Module):
    """A base class for modules that PyTorch would compile; here a plain module."""


def script(obj: T, *args: Any, **options: Any) -> T:
    """Return `obj`: a function, module or class that runs eagerly.

    Notes
    -----
    PyTorch: compiles `obj`, and refuses Python that TorchScript lacks.

    Examples
    --------
    >>> @torch.jit.script
    ... def twice(x: torch.Tensor) -> torch.Tensor:
    ...     return 2 * x
    >>> twice(torch.ones(2))
    tensor([2., 2.])
    """
    if not callable(obj):
        raise TypeError(f"jit.script: expected a function, module or class, received {type(obj).__name__}")
    return obj


def trace(func: Any = None, example_inputs: Any = None, **options: Any) -> Any:
    """Return `func`, after one call with the example inputs as PyTorch makes it.

    Notes
    -----
    PyTorch: records the operations of that call. Here `func` itself runs each time, with all its branches.
    """
    if func is None:
        return lambda given: trace(given, example_inputs, **options)
    named = options.get("example_kwarg_inputs")
    if named is not None:
        func(**named)
    elif example_inputs is not None:
        func(*example_inputs) if isinstance(example_inputs, tuple | list) else func(example_inputs)
    return func


def trace_module(mod: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """Return `mod`, after one call of each method named in `inputs`."""
    for name, given in inputs.items():
        trace(mod if name == "forward" else getattr(mod, name), given)
    return mod


def _same(fn: T) -> T:
    return fn


export = unused = script_method = script_if_tracing = interface = _same


def ignore(drop: Any = False, **options: Any) -> Any:
    """Mark a method that PyTorch should leave to Python; with or without arguments."""
    return drop if callable(drop) else _same


def is_scripting() -> bool:
    """False: nothing is compiled."""
    return False


def is_tracing() -> bool:
    """False: nothing is recorded."""
    return False


def annotate(the_type: Any, the_value: T) -> T:
    """The value; types are for compilers."""
    return the_value


def Attribute(value: T, type: Any) -> T:
    """The value; types are for compilers."""
    return value


def freeze(mod: T, *args: Any, **options: Any) -> T:
    """Return the module, which must be in evaluation mode as PyTorch requires."""
    if getattr(mod, "training", False):
        raise RuntimeError("Freezing is currently only implemented for modules in eval mode. Please call .eval() first")
    return mod


def optimize_for_inference(mod: T, *args: Any, **options: Any) -> T:
    """Return the module."""
    return mod


def fork(func: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
    """Call the function now; `wait` gives its result."""
    future: Future[T] = Future()
    future.set_result(func(*args, **named))
    return future


def wait(future: Future[T]) -> T:
    """The result of `fork`."""
    return future.result()


@contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Accepted: a block with nothing to switch."""
    yield


@contextmanager
def fuser(name: str) -> Iterator[None]:
    """Accepted: a block with nothing to switch."""
    yield


@contextmanager
def strict_fusion() -> Iterator[None]:
    """Accepted: a block with nothing to switch."""
    yield


def set_fusion_strategy(strategy: Any) -> Any:
    """Accepted: there is nothing to set."""
    return strategy


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted: there is nothing to switch."""


def onednn_fusion_enabled() -> bool:
    """False."""
    return False


def save(m: Any, f: Any, _extra_files: Any = None) -> None:
    """Refuse: files of compiled programs are not written."""
    raise NotImplementedError("torch.jit.save is not implemented; save the state: torch.save(model.state_dict(), f)")


def load(f: Any, map_location: Any = None, _extra_files: Any = None, _restore_shapes: bool = False) -> Any:
    """Refuse: files of compiled programs are not read."""
    raise NotImplementedError(
        "torch.jit.load is not implemented; load a state dict: model.load_state_dict(torch.load(f))"
    )
