"""Files: PyTorch's formats, safetensors, and checkpoints."""

from rushlight.serialization.allowlist import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from rushlight.serialization.checkpoint import load_checkpoint, save_checkpoint
from rushlight.serialization.inspect_names import get_unsafe_globals_in_checkpoint
from rushlight.serialization.locations import default_restore_location
from rushlight.serialization.pth import load
from rushlight.serialization.rebuild import reduce_tensor
from rushlight.serialization.save import save

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "load_checkpoint",
    "reduce_tensor",
    "safe_globals",
    "save",
    "save_checkpoint",
]
