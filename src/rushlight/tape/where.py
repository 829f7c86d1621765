"""Where the user's program was: cheap to note, turned into `file:line` when somebody asks."""

from __future__ import annotations

import sys
from typing import Any

from rushlight.errors import PACKAGE

_getframe = sys._getframe
_INTERNAL: dict[str, bool] = {}


def caller() -> Any:
    """(code, instruction) of the innermost frame outside this package: cheap now, a line number later."""
    frame: Any = _getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        internal = _INTERNAL.get(name)
        if internal is None:
            internal = _INTERNAL[name] = name.startswith(PACKAGE)
        if not internal:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None


def place(where: Any) -> str:
    """`file:line` of what `caller` returned."""
    if where is None:
        return "an unknown line"
    code, instruction = where
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
    return f"{code.co_filename}:{line}"
