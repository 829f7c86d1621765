"""Programs that use autograd in every way its users do; each returns what it saw."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.autograd.programs import calculus, checkpoints, custom, hooks, inplace, leaves, modes, transforms, walks


def _programs(module: ModuleType) -> dict[str, Callable[[Any], Any]]:
    family = module.__name__.rpartition(".")[2]
    return {
        f"{family}.{name}": function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    name: program
    for module in (leaves, walks, hooks, inplace, modes, custom, calculus, checkpoints, transforms)
    for name, program in _programs(module).items()
}
