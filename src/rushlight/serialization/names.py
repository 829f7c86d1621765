"""PyTorch's names for Rushlight's objects in pickles, and back, so that pickles interchange."""

from __future__ import annotations

import importlib
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any

from rushlight.serialization.storage import STORAGE_TYPES

OURS, THEIRS = "rushlight", "torch"

RENAMED_MODULES = {"torch.tensor": "torch._tensor"}

# Where PyTorch keeps things under another path than Rushlight: longest first.
PATHS = (
    ("torch._C._nn", "rushlight.nn.functional"),
    ("torch._C._VariableFunctions", "rushlight"),
    ("torch._C", "rushlight"),
    ("torch._tensor", "rushlight.tensor"),
    ("torch.torch_version", "rushlight.version"),
)

# Modules directly in `torch.nn`.
NN_MODULES = ("functional", "init", "modules", "parallel", "parameter", "utils")

# Objects whose name in PyTorch does not follow from where they live here; filled by `register`.
_torch_names: dict[int, tuple[str, str]] = {}
_objects: dict[tuple[str, str], Any] = {}


def register(module: str, name: str, value: Any) -> Any:
    """Let pickles know `value` as `module.name`, and return it."""
    _torch_names.setdefault(id(value), (module, name))
    _objects[module, name] = value
    return value


def current_name(module: str, name: str) -> tuple[str, str]:
    """Today's name of what Python 2, as pickles of protocol 2 still do, or older libraries called `module.name`."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    module = IMPORT_MAPPING.get(module, module)
    return RENAMED_MODULES.get(module, module), name


def alias(module: str, name: str, value: Any) -> None:
    """Write `value` as `module.name`, where another object is found on reading."""
    _torch_names[id(value)] = (module, name)


def registered(module: str, name: str) -> Any | None:
    """The object registered under a name of PyTorch's, or None."""
    return _objects.get(current_name(module, name))


def resolve(module: str, name: str, *, importing: bool = True) -> Any:
    """The Rushlight object that stands for `module.name` of PyTorch; `AttributeError` if there is none.

    With `importing=False` only among modules that are imported already: a file must not decide what is imported.
    `torch.nn.modules.linear.Linear` is looked for in `rushlight.nn.modules.linear`, `rushlight.nn.modules`,
    `rushlight.nn`, `rushlight`: PyTorch's public names are kept in the packages, its files need not be.
    """
    found = registered(module, name)
    if found is not None:
        return found
    if name in STORAGE_TYPES:
        return STORAGE_TYPES[name]
    if name in ("_VariableFunctions", "_VariableFunctionsClass"):  # where PyTorch's built-in functions say they are
        return sys.modules[OURS]
    path = _our_path(module)
    while path:
        value = _attribute(path, name, importing)
        if value is not None:
            return value
        path = path.rpartition(".")[0]
    raise AttributeError(f"Rushlight has no {module}.{name}, which the file needs")


def torch_name(value: Any, name: str) -> tuple[str, str] | None:
    """Module and name under which PyTorch knows a Rushlight object, or None for anything else."""
    known = _torch_names.get(id(value))
    if known is not None:
        return known
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module.partition(".")[0] != OURS:
        return None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        if _attribute(path, name, importing=False) is value:
            return _their_path(path), name
    return None


def _their_path(path: str) -> str:
    """PyTorch's path of a module of ours; the files of `rushlight.nn` stand one folder deeper there."""
    parts = path.split(".")[1:]
    if len(parts) == 2 and parts[0] == "nn" and parts[1] not in NN_MODULES:
        parts[1:] = ["modules", {"containers": "container"}.get(parts[1], parts[1])]
    return ".".join((THEIRS, *parts))


def _our_path(module: str) -> str:
    for theirs, ours in PATHS:
        if module == theirs or module.startswith(theirs + "."):
            return ours
    return OURS + module[len(THEIRS) :] if module.partition(".")[0] == THEIRS else module


def _attribute(path: str, name: str, importing: bool) -> Any | None:
    if path not in sys.modules:
        if not importing:
            return None
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            return None
    value: Any = sys.modules[path]
    for part in name.split("."):
        value = getattr(value, part, None)
    return value
