"""Exceptions, and the one builder of their messages.

`str(error)` is the sentence PyTorch users match on. What helps beyond it (expected, received, the fix, the
user's line) travels as a note of the exception, so tracebacks show it below the message and programs that
compare or print the message see PyTorch's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

PACKAGE = str(Path(__file__).parent)
E = TypeVar("E", bound=BaseException)


def _shown_as(builtin: type[BaseException]) -> Callable[[type[E]], type[E]]:
    """Let a class of ours read as PyTorch's in tracebacks and in `type(error).__name__`; it pickles as that class."""

    def decorate(cls: type[E]) -> type[E]:
        cls.__name__ = cls.__qualname__ = builtin.__name__
        cls.__module__ = "builtins"
        setattr(cls, "__reduce__", lambda self: (builtin, self.args))  # noqa: B010
        return cls

    return decorate


@_shown_as(RuntimeError)
class ShapeError(RuntimeError, ValueError):
    """Sizes that do not fit together."""


@_shown_as(RuntimeError)
class DTypeError(RuntimeError, TypeError):
    """A dtype that an operation does not take."""


@_shown_as(RuntimeError)
class DeviceError(RuntimeError, AssertionError):
    """A device that is not there, or operands on different devices."""


@_shown_as(RuntimeError)
class InplaceError(RuntimeError):
    """A value that autograd kept was overwritten, or may not be."""


@_shown_as(RuntimeError)
class GradientError(RuntimeError):
    """A gradient was asked for that does not exist."""


@_shown_as(RuntimeError)
class BoundsError(RuntimeError, IndexError):
    """A position outside a tensor, in an operand that holds positions."""


class OutOfMemoryError(RuntimeError):
    """A device has no memory left. The CPU never raises it; programs that catch it need the name."""


OutOfMemoryError.__module__ = "torch"


def user_line() -> str | None:
    """`file:line` of the innermost frame outside this package, with its source text left to the traceback."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def explain(error: E, **rows: object) -> E:
    """Attach aligned rows (`expected=`, `received=`, `fix=` ...) to `error` as a note, and return it.

    Examples
    --------
    >>> error = explain(ShapeError("sizes differ"), expected=[2, 3], received=[3, 2], fix="x.T has shape [2, 3]")
    >>> str(error)
    'sizes differ'
    >>> print(error.__notes__[0].splitlines()[0])
      expected   [2, 3]
    """
    shown = {name: value for name, value in rows.items() if value is not None}
    line = user_line()
    if line is not None:
        shown["at"] = line
    width = max((len(name) for name in shown), default=0)
    error.add_note("\n".join(f"  {name:<{width}}   {_text(value)}" for name, value in shown.items()))
    return error


def _text(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def shorten_tracebacks(error: BaseException) -> BaseException:
    """Leave this package's own frames out of the traceback of `error` and of the errors that led to it.

    Only for a program that is about to print the error and end: the frames are gone for debuggers.
    """
    todo, seen = [error], set()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = _outside(current.__traceback__) or current.__traceback__
        todo.extend(e for e in (current.__cause__, current.__context__) if e is not None)
    return error


def _outside(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that lies outside of this package."""
    entries = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
            entries.append(trace)
        trace = trace.tb_next
    kept = None
    for entry in reversed(entries):
        kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept
