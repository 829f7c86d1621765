"""Handles of hooks, hooks that hold for every module, and their registration functions."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

HookTable = OrderedDict[int, Any]

FORWARD_PRE: HookTable = OrderedDict()
FORWARD: HookTable = OrderedDict()
FORWARD_WITH_KWARGS: HookTable = OrderedDict()
FORWARD_ALWAYS_CALLED: HookTable = OrderedDict()
BACKWARD_PRE: HookTable = OrderedDict()
BACKWARD: HookTable = OrderedDict()
PARAMETER_REGISTRATION: HookTable = OrderedDict()
BUFFER_REGISTRATION: HookTable = OrderedDict()
MODULE_REGISTRATION: HookTable = OrderedDict()

# Every global hook that a call of a module must look at: one truth test on the hot path instead of four.
CALL_HOOKS: HookTable = OrderedDict()


class Changes:
    """Counts what is changed on any module: attributes, parameters, submodules, modes, hooks.

    The compiler looks at modules anew when it moved.
    """

    count: int = 0


class GlobalBackwardKind:
    """Whether the global backward hooks are full ones; `None` while there are none."""

    is_full: bool | None = None


class RemovableHandle:
    """Removes one hook: by `remove()`, or at the end of a `with` block.

    Parameters
    ----------
    hooks_dict : OrderedDict
        Table the hook is kept in under `id`.
    extra_dict : OrderedDict or list of OrderedDict, optional
        Further tables with facts about the hook, cleared with it.
    """

    _ids = itertools.count()

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        extra = [] if extra_dict is None else extra_dict if isinstance(extra_dict, list) else [extra_dict]
        self.id = next(RemovableHandle._ids)
        self._tables = [weakref.ref(table) for table in (hooks_dict, *extra)]

    def remove(self) -> None:
        """Take the hook out of its tables; doing it twice is harmless."""
        Changes.count += 1
        for reference in self._tables:
            table = reference()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __getstate__(self) -> Any:
        return [reference() for reference in self._tables], self.id

    def __setstate__(self, state: Any) -> None:
        tables, self.id = state
        self._tables = [weakref.ref(OrderedDict() if table is None else table) for table in tables]


class BoundHook:
    """A hook that receives the module it was registered on first; keeps no module alive, and pickles."""

    def __init__(self, hook: Callable[..., Any], module: Any = None) -> None:
        self.hook = hook
        self.module = None if module is None else weakref.ref(module)
        self.__name__ = getattr(hook, "__name__", type(hook).__name__)
        self.__doc__ = hook.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is None:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["module"] = None if self.module is None else self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.module is not None:
            self.module = weakref.ref(state["module"])


def add_hook(
    table: HookTable,
    hook: Any,
    *,
    prepend: bool = False,
    facts: Iterable[tuple[HookTable, bool]] = (),
) -> RemovableHandle:
    """Put `hook` into `table`; each `(table, is_true)` of `facts` notes the hook's number there when true."""
    facts = list(facts)
    handle = RemovableHandle(table, extra_dict=[extra for extra, _ in facts])
    table[handle.id] = hook
    Changes.count += 1
    for extra, is_true in facts:
        if is_true:
            extra[handle.id] = True
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, param)` whenever any module registers a parameter; a result replaces it."""
    return add_hook(PARAMETER_REGISTRATION, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever any module registers a buffer; a result replaces it."""
    return add_hook(BUFFER_REGISTRATION, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` whenever any module registers a child; a result replaces it."""
    return add_hook(MODULE_REGISTRATION, hook)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; a result replaces `args`."""
    return add_hook(FORWARD_PRE, hook, facts=[(CALL_HOOKS, True)])


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module; a result replaces `output`.

    Parameters
    ----------
    with_kwargs : bool
        Call `hook(module, args, kwargs, output)`.
    always_call : bool
        Call the hook even if the forward raised.
    """
    facts = [(FORWARD_WITH_KWARGS, with_kwargs), (FORWARD_ALWAYS_CALLED, always_call), (CALL_HOOKS, True)]
    return add_hook(FORWARD, hook, facts=facts)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the backward of every module; a result replaces `grad_output`."""
    return add_hook(BACKWARD_PRE, hook, facts=[(CALL_HOOKS, True)])


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` in the backward of every module; a result replaces `grad_input`."""
    if BACKWARD and GlobalBackwardKind.is_full is False:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )
    GlobalBackwardKind.is_full = True
    return add_hook(BACKWARD, hook, facts=[(CALL_HOOKS, True)])


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The older form of `register_module_full_backward_hook`, which sees only a module's last operation."""
    if BACKWARD and GlobalBackwardKind.is_full is True:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )
    GlobalBackwardKind.is_full = False
    return add_hook(BACKWARD, hook, facts=[(CALL_HOOKS, True)])
