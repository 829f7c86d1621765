"""llvmlite, where it is installed: `ir` and `llvm` are None without it.

Other files take both names from here and touch them only while they emit or load code.
"""

from __future__ import annotations

from typing import Any

ir: Any = None
llvm: Any = None
try:
    import llvmlite.binding as llvm
    import llvmlite.ir as ir
except ImportError:
    pass


def is_available() -> bool:
    """Whether native code can be made here."""
    return ir is not None
