"""`import torch` gives Rushlight: for running programs written for PyTorch unchanged."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGE = __package__.partition(".")[0]
# Worker processes started by spawn or forkserver inherit sys.path but not sys.meta_path. The `torch` found in
# this folder installs the alias in them.
FOR_WORKERS = str(Path(__file__).parent / "for_workers")


def install_as_torch() -> None:
    """Make `import torch` and `import torch.x.y` give Rushlight and its namespaces, in this process and its workers.

    Modules that import `torch` later, third-party ones too, get Rushlight. Calling it again changes nothing.

    Raises
    ------
    RuntimeError
        If PyTorch itself has been imported already.

    Examples
    --------
    >>> torch.install_as_torch()  # doctest: +SKIP
    >>> from torch import nn  # doctest: +SKIP
    """
    ours = importlib.import_module(PACKAGE)
    present = sys.modules.get("torch")
    if present is not None and present is not ours and not str(present.__file__).startswith(FOR_WORKERS):
        raise RuntimeError(
            "install_as_torch: PyTorch is already imported; call install_as_torch() before the first `import torch`"
        )
    if not any(isinstance(finder, TorchFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchFinder())
    if FOR_WORKERS not in sys.path:
        sys.path.insert(1, FOR_WORKERS)  # place 0 belongs to the running script
    sys.modules["torch"] = ours


class TorchFinder(MetaPathFinder, Loader):
    """Finds `torch.x.y` as what `rushlight.x.y` is: a module, or a class or module used as a namespace."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, names = fullname.partition(".")
        if root != "torch" or namespace(names) is None:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system hands out what stands in sys.modules after this call, so the real module stays untouched.
        found = namespace(module.__name__.partition(".")[2])
        sys.modules[module.__name__] = found  # type: ignore[assignment]


def namespace(names: str) -> ModuleType | type | None:
    """The module or class at the dotted path `names` below the package, or None."""
    found: ModuleType | type = importlib.import_module(PACKAGE)
    for name in filter(None, names.split(".")):
        inner = getattr(found, name, None)
        if inner is None and hasattr(found, "__path__"):
            inner = submodule(f"{found.__name__}.{name}")
        if not isinstance(inner, ModuleType | type):
            return None
        found = inner
    return found


def submodule(name: str) -> ModuleType | None:
    """The module of that full name, imported if need be, or None where there is none."""
    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None
