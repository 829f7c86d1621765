"""What differs between machines, and nothing else; and PyTorch's switches for libraries (`torch.backends.cudnn` ...).

The switches are accepted and kept, for programs that set them; NumPy computes in any case.
"""

import importlib
from types import ModuleType

SWITCHES = frozenset("cpu cuda cudnn mkl mkldnn mps openmp opt_einsum".split())


def __getattr__(name: str) -> ModuleType:
    """Import the switches of one library when first asked for."""
    if name in SWITCHES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
