"""`Module`, the base of every layer and model."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rushlight.nn.call import backward_hooks, call_with_hooks, tell_module
from rushlight.nn.hooks import (
    BACKWARD_PRE,
    CALL_HOOKS,
    RemovableHandle,
    add_hook,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from rushlight.nn.state_dict import IncompatibleKeys, ModuleState
from rushlight.nn.tree import HOOK_TABLES

__all__ = [
    "IncompatibleKeys",
    "Module",
    "RemovableHandle",
    "indent_lines",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "set_call_compiler",
]


class _CallCompiler:
    """How `Module.compile` makes a compiled call; the compiler registers itself here."""

    make: Callable[..., Callable[..., Any]] | None = None
    home = "rushlight.compiler.api"


def set_call_compiler(make: Callable[..., Callable[..., Any]] | None) -> None:
    """Register `make(function, *args, **kwargs)`, which returns a compiled form of `function`."""
    _CallCompiler.make = make


def indent_lines(text: str, spaces: int) -> str:
    """`text` with all lines but the first moved right."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(ModuleState):
    """Base of all layers and models.

    A subclass calls `super().__init__()`, assigns parameters and submodules as attributes, and defines `forward`.
    Calling the module runs `forward` and the hooks registered on it.

    Attributes
    ----------
    training : bool
        Whether the module is in training mode, see `train` and `eval`.

    Examples
    --------
    >>> class Double(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = torch.nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return x * self.scale
    >>> Double()(torch.ones(2))
    tensor([2., 2.], grad_fn=<MulBackward0>)
    """

    _backward_pre_hooks: OrderedDict[int, Any]
    _backward_hooks: OrderedDict[int, Any]
    _is_full_backward_hook: bool | None
    _forward_hooks: OrderedDict[int, Any]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: OrderedDict[int, Any]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _compiled_call_impl: Callable[..., Any] | None = None

    def _forward_unimplemented(self, *input: Any) -> Any:
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    forward: Callable[..., Any] = _forward_unimplemented

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks and `forward`."""
        # Hot path: one look at the instance's dictionary, no method calls besides forward.
        state = self.__dict__
        try:
            if (
                state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["_backward_hooks"]
                or state["_backward_pre_hooks"]
                or CALL_HOOKS
                or "_compiled_call_impl" in state
            ):
                return (self._compiled_call_impl or self._call_impl)(*args, **kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            if "_backward_hooks" not in state:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '_backward_hooks'") from None
            tell_module(self, error)
            raise

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        return call_with_hooks(self, args, kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the calls of this module; arguments as for `rushlight.compile`."""
        importlib.import_module(_CallCompiler.home)
        if _CallCompiler.make is not None:
            self._compiled_call_impl = _CallCompiler.make(self._call_impl, *args, **kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before every forward; a result replaces `args`.

        Parameters
        ----------
        prepend : bool
            Run before the hooks that are there already.
        with_kwargs : bool
            Call `hook(module, args, kwargs)`; a result is `(new_args, new_kwargs)`.

        Returns
        -------
        RemovableHandle
            `handle.remove()` takes the hook away.
        """
        facts = [(self._forward_pre_hooks_with_kwargs, with_kwargs)]
        return add_hook(self._forward_pre_hooks, hook, prepend=prepend, facts=facts)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after every forward; a result replaces `output`.

        Parameters
        ----------
        prepend : bool
            Run before the hooks that are there already.
        with_kwargs : bool
            Call `hook(module, args, kwargs, output)`.
        always_call : bool
            Call the hook also if the forward raised, with output `None`.

        Examples
        --------
        >>> relu = torch.nn.ReLU()
        >>> handle = relu.register_forward_hook(lambda module, args, output: print(args[0].shape))
        >>> y = relu(torch.ones(2, 3))
        torch.Size([2, 3])
        """
        facts = [(self._forward_hooks_with_kwargs, with_kwargs), (self._forward_hooks_always_called, always_call)]
        return add_hook(self._forward_hooks, hook, prepend=prepend, facts=facts)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before this module's backward; a result replaces `grad_output`."""
        return add_hook(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` after this module's backward; a result replaces `grad_input`."""
        self._set_backward_kind(True)
        return add_hook(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The older form of `register_full_backward_hook`, which sees only the module's last operation."""
        self._set_backward_kind(False)
        return add_hook(self._backward_hooks, hook)

    def _set_backward_kind(self, is_full: bool) -> None:
        if self._is_full_backward_hook is (not is_full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = is_full

    def _get_backward_hooks(self) -> tuple[list[Any], list[Any]]:
        return backward_hooks(self)

    def _get_backward_pre_hooks(self) -> list[Any]:
        return [*BACKWARD_PRE.values(), *self._backward_pre_hooks.values()]

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the brackets of `repr`; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indent_lines(repr(module), 2)}" for name, module in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        body = "\n  ".join(lines + children)
        return f"{self._get_name()}(\n  {body}\n)"

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_compiled_call_impl", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for table in ("_backward_pre_hooks", *HOOK_TABLES):
            self.__dict__.setdefault(table, OrderedDict())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    def _replicate_for_data_parallel(self) -> Any:
        replica = type(self).__new__(type(self))
        state = dict(self.__dict__)
        # A replica holds its tensors as plain attributes, set by who replicates.
        state.update(_parameters={}, _buffers=dict(self._buffers), _modules=dict(self._modules), _is_replica=True)
        replica.__dict__ = state
        return replica
