"""The graph's nodes, and hooks on what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.functions.backward import _input_node
from rushlight.modes import ACTIVE, state
from rushlight.tape import Node, RemovableHandle


class saved_tensors_hooks:
    """Within the block, `pack_hook` receives each kept tensor and `unpack_hook` gives it back when needed.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), torch.from_numpy):
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pair = (pack_hook, unpack_hook)

    def __enter__(self) -> None:
        ACTIVE.append(self)
        state.saved_hooks.append(self.pair)

    def __exit__(self, *exc: Any) -> None:
        ACTIVE.remove(self)
        state.saved_hooks.pop()


class save_on_cpu(saved_tensors_hooks):
    """Keep tensors for the backward on the CPU: where they are already."""

    def __init__(self, pin_memory: bool = False) -> None:
        super().__init__(lambda t: t, lambda t: t)


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all") -> Any:
    """Call `fn` with the gradients of several tensors once all (or any) have arrived."""
    waiting: list[Any] = [None] * len(tensors)
    seen: set[int] = set()

    def hook_for(i: int) -> Callable[[Any], None]:
        def hook(g: Any) -> None:
            if mode == "any":
                if not seen:
                    fn(g)
                seen.add(i)
                return
            waiting[i] = g
            seen.add(i)
            if len(seen) == len(tensors):
                fn(list(waiting))
                seen.clear()

        return hook

    handles = [t.register_hook(hook_for(i)) for i, t in enumerate(tensors)]
    return _Handles(handles)


class _Handles:
    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = handles

    def remove(self) -> None:
        """Take all the hooks away."""
        for handle in self.handles:
            handle.remove()


def get_gradient_edge(tensor: Any) -> Any:
    """(node, number of the result) that a tensor's gradient flows into."""
    return _input_node(tensor), tensor.output_nr


__all__ = ["Node", "get_gradient_edge", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks"]
