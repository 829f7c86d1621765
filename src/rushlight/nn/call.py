"""Calling a module that has hooks, and what an error raised in a forward is told about the model."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rushlight.errors import PACKAGE, user_line
from rushlight.nn.backward_hooks import BackwardHook
from rushlight.nn.hooks import (
    BACKWARD,
    BACKWARD_PRE,
    FORWARD,
    FORWARD_ALWAYS_CALLED,
    FORWARD_PRE,
    FORWARD_WITH_KWARGS,
    BoundHook,
    GlobalBackwardKind,
)
from rushlight.tensor import Tensor

_PLACE = "_rushlight_place"
_DEEPEST = 100


def call_with_hooks(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward(*args, **kwargs)` with all hooks of the module and the global ones around it."""
    called: set[int] = set()
    try:
        return _call(module, args, kwargs, called)
    except Exception:
        _call_always_called(module, args, kwargs, called)
        raise


def _call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
    full, others = backward_hooks(module)
    pre = [*BACKWARD_PRE.values(), *module._backward_pre_hooks.values()]
    args, kwargs = _call_forward_pre_hooks(module, args, kwargs)
    backward_hook = BackwardHook(module, full, pre) if full or pre else None
    if backward_hook is not None:
        args = backward_hook.wrap_inputs(args)
    result = module.forward(*args, **kwargs)
    result = _call_forward_hooks(module, args, kwargs, result, called)
    if backward_hook is not None:
        if not isinstance(result, (Tensor, tuple)):
            _warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}"
            )
        result = backward_hook.wrap_outputs(result)
    if others:
        _hook_last_operation(module, others, args, result)
    return result


def backward_hooks(module: Any) -> tuple[list[Any], list[Any]]:
    """The full backward hooks that hold for `module`, and the older ones."""
    full: list[Any] = []
    others: list[Any] = []
    (full if GlobalBackwardKind.is_full else others).extend(BACKWARD.values())
    (full if module._is_full_backward_hook else others).extend(module._backward_hooks.values())
    return full, others


def _call_forward_pre_hooks(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for number, hook in (*FORWARD_PRE.items(), *module._forward_pre_hooks.items()):
        if number in module._forward_pre_hooks_with_kwargs:
            answer = hook(module, args, kwargs)
            if answer is None:
                continue
            if not (isinstance(answer, tuple) and len(answer) == 2):
                raise RuntimeError(
                    f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {answer}."
                )
            args, kwargs = answer
        else:
            answer = hook(module, args)
            if answer is not None:
                args = answer if isinstance(answer, tuple) else (answer,)
    return args, kwargs


def _call_forward_hooks(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, called: set[int]
) -> Any:
    for number, hook in (*FORWARD.items(), *module._forward_hooks.items()):
        called.add(number)
        answer = _forward_hook(module, number, hook, args, kwargs, result)
        if answer is not None:
            result = answer
    return result


def _forward_hook(
    module: Any, number: int, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> Any:
    if number in FORWARD_WITH_KWARGS or number in module._forward_hooks_with_kwargs:
        return hook(module, args, kwargs, result)
    return hook(module, args, result)


def _call_always_called(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> None:
    """After an error: run the hooks that asked for it and were not reached."""
    for number, hook in (*FORWARD.items(), *module._forward_hooks.items()):
        wanted = number in FORWARD_ALWAYS_CALLED or number in module._forward_hooks_always_called
        if not wanted or number in called:
            continue
        try:
            _forward_hook(module, number, hook, args, kwargs, None)
        except Exception as error:
            _warn(
                "module forward hook with ``always_call=True`` raised an exception that was silenced as another error "
                f"was raised in forward: {error}"
            )


def _hook_last_operation(module: Any, hooks: list[Any], args: tuple[Any, ...], result: Any) -> None:
    tensor = result
    while not isinstance(tensor, Tensor):
        if isinstance(tensor, dict):
            tensor = next(value for value in tensor.values() if isinstance(value, Tensor))
        else:
            tensor = tensor[0]
    node = tensor.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(BoundHook(hook, module))
    complaint = _complaint_about_old_hook(args, result, node)
    if complaint is not None:
        _warn(
            f"Using {complaint} is deprecated and will be removed in future versions. Please use "
            "register_full_backward_hook to get the documented behavior.",
            FutureWarning,
        )


def _complaint_about_old_hook(args: tuple[Any, ...], result: Any, node: Any) -> str | None:
    """Why the older kind of backward hook does not see the gradients of the whole module, if it does not."""
    if not isinstance(result, (Tensor, tuple)):
        return "non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors"
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(r, Tensor) for r in results):
        return "non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors"
    if not all(isinstance(a, Tensor) for a in args):
        return "non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of Tensors"
    if len({id(r.grad_fn) for r in results if r.grad_fn is not None}) > 1:
        return "non-full backward hooks when outputs are generated by different autograd Nodes"
    direct = {id(a.grad_fn) for a in args if a.grad_fn is not None}
    reached = {id(edge[0]) for edge in node.next_functions if edge[0] is not None}
    if not direct <= reached:
        return "non-full backward hooks when the forward contains multiple autograd Nodes"
    return None


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(message, category, stacklevel=_frames_inside() + 1)


def _frames_inside() -> int:
    depth, frame = 0, _frame_above()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        depth, frame = depth + 1, frame.f_back
    return depth + 1


def _frame_above() -> FrameType | None:
    return sys._getframe(2)


@dataclass
class _Place:
    """Where in a model an error was raised, as far as it has travelled."""

    module: Any
    detail: str
    note: int
    names: list[str]


def tell_module(module: Any, error: Exception) -> None:
    """Note on `error` which module of the model it was raised in; each enclosing module lengthens the path.

    Runs on failure only, once for every module that the error passes on its way out.
    """
    place = getattr(error, _PLACE, None)
    if place is None:
        line = _line_of(error)
        detail = _headline(module) + ("" if line is None else f"\n  at         {line}")
        place = _Place(module, detail, len(getattr(error, "__notes__", ())), [])
        try:
            setattr(error, _PLACE, place)
        except AttributeError:
            return
        error.add_note("")
    elif place.module is not module:
        # The limit is for an exception object that is raised again and again.
        place.names = [_name_in(module, place.module), *place.names][:_DEEPEST]
        place.module = module
    path = ".".join((type(module).__name__, *place.names))
    if place.note < len(error.__notes__):
        error.__notes__[place.note] = f"  module     {path}{place.detail}"


def _headline(module: Any) -> str:
    """What to say about the module besides its path: its own line, if it has no children and prints options."""
    text = "" if module._modules else repr(module)
    return "" if "\n" in text or text in ("", f"{type(module).__name__}()") else f"   {text}"


def _name_in(module: Any, inner: Any) -> str:
    return next((name for name, found in module.named_modules() if found is inner), f"<{type(inner).__name__}>")


def _line_of(error: Exception) -> str | None:
    """The user's line that failed, unless the error names it already."""
    if any("\n  at " in f"\n{note}" for note in getattr(error, "__notes__", ())):
        return None
    return _innermost_user_line(error.__traceback__) or user_line()


def _innermost_user_line(trace: TracebackType | None) -> str | None:
    found = None
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            found = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
