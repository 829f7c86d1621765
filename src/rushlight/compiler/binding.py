"""llvmlite, where it is installed: `ir` and `llvm` are None without it.

Other files take both names from here and touch them only while they emit or load code.
"""

from __future__ import annotations

from typing import Any

try:
    import llvmlite.binding as _llvm
    import llvmlite.ir as _ir
except ImportError:
    _llvm = _ir = None

llvm: Any = _llvm
ir: Any = _ir


def is_available() -> bool:
    """Whether native code can be made here."""
    return ir is not None
