"""Modules without initialised parameters."""

from __future__ import annotations

import inspect
from typing import Any

from rushlight.nn.module import Module
from rushlight.random import fork_rng

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """Make a module whose parameters will be overwritten anyway, such as by `load_state_dict`.

    The class must take the argument `device`.

    Notes
    -----
    PyTorch: leaves the memory uninitialised. Here the parameters have what the class gives them, so that nothing
    depends on leftover memory; the random generator stays where it was.
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with fork_rng(devices=[]):
        return module_cls(*args, **kwargs)
