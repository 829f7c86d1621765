"""PyTorch's TypeError where a function of the namespace is given something that is not a tensor.

The functions themselves check nothing: an operand without an array fails inside, and what failed is explained
afterwards. So a right call pays for one `try` only, and methods, whose first operand is a tensor, pay nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from rushlight.tape import Variable

OPERANDS = frozenset(
    "input other mat1 mat2 vec vec1 vec2 batch1 batch2 tensor tensor1 tensor2 index mask condition end".split()
)
NUMBERS_TOO = frozenset("other end tensor condition".split())
NOTHING = object()
MODULES = frozenset(
    f"rushlight.functions.{name}"
    for name in "arithmetic combine diagonals indexing matrix reduce shape softmax".split()
)


def refusal(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], culprit: Any) -> TypeError | None:
    """The TypeError for the argument that is no tensor, None where all are; `culprit` is the object that failed."""
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[: code.co_argcount]
    given = [
        *enumerate(zip(names, args, strict=False), 1),
        *((names.index(k) + 1, (k, v)) for k, v in kwargs.items() if k in names),
    ]
    for position, (name, value) in given:
        wrong = isinstance(value, (str, list, tuple, dict)) or (
            isinstance(value, (int, float)) and name not in NUMBERS_TOO and (position == 1 or name != "input")
        )
        if value is culprit or wrong and name in OPERANDS and not isinstance(value, Variable):
            kind = type(value).__name__
            return TypeError(
                f"{function.__name__}(): argument '{name}' (position {position}) must be Tensor, not {kind}"
            )
    return None


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` whose failures at something that is no tensor are PyTorch's TypeError."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            culprit = error.obj if isinstance(error, AttributeError) and error.name == "_data" else NOTHING
            better = refusal(function, args, kwargs, culprit)
            if better is None:
                raise
        raise better

    call.__module__ = "rushlight"
    return call


def checked_functions(namespace: dict[str, Any]) -> dict[str, Any]:
    """The functions of a namespace that do not check their operands themselves, with a check."""
    return {
        name: checked(value)
        for name, value in namespace.items()
        if isinstance(value, FunctionType) and value.__module__ in MODULES
    }
