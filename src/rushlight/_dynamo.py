"""The few names of `torch._dynamo` that programs use; what they configure has no counterpart here."""

from __future__ import annotations

import types
from typing import Any

from rushlight.compiler import allow_in_graph, disable, is_compiling, reset

__all__ = ["allow_in_graph", "config", "disable", "is_compiling", "reset"]

# Programs set limits and switches here; none of them changes what a compiled function computes.
config = types.SimpleNamespace(
    cache_size_limit=64, recompile_limit=64, suppress_errors=False, verbose=False, capture_scalar_outputs=True,
    optimize_ddp=True, automatic_dynamic_shapes=False, assume_static_by_default=True,
)  # fmt: skip


class MissingName(AttributeError, NotImplementedError):
    """A name that is not there, also to `hasattr` and `getattr` with a default."""


def __getattr__(name: str) -> Any:
    raise MissingName(f"torch._dynamo.{name}: the compiler here has other parts; see rushlight.compile")
