"""PyTorch's path of `Module`; the code is in `rushlight.nn.module` and the files it is made of."""

from rushlight.nn.hooks import BoundHook as _WrappedHook
from rushlight.nn.module import (
    Module,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from rushlight.nn.module import indent_lines as _addindent
from rushlight.nn.state_dict import EXTRA_STATE_SUFFIX as _EXTRA_STATE_KEY_SUFFIX
from rushlight.nn.state_dict import IncompatibleKeys as _IncompatibleKeys

__all__ = [
    "_EXTRA_STATE_KEY_SUFFIX",
    "Module",
    "_IncompatibleKeys",
    "_WrappedHook",
    "_addindent",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]
