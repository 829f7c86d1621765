"""The graph's nodes, and hooks on what it keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rushlight.functions.backward import _input_node
from rushlight.modes import ACTIVE, state
from rushlight.tape import Node, Port, RemovableHandle, current_walk, will_run


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
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    nodes = [_input_node(t) for t in tensors]
    arrived = _Arrived()

    def hook_for(i: int) -> Callable[[Any], None]:
        def hook(g: Any) -> None:
            if arrived.walk is not (walk := current_walk()):
                arrived.walk, arrived.grads = walk, {}
            arrived.grads[i] = g
            if mode == "any":
                if len(arrived.grads) == 1:
                    fn(g)
            elif len(arrived.grads) == sum(map(will_run, nodes)):
                fn([arrived.grads.get(k) for k in range(len(nodes))])

        return hook

    return _Handles([t.register_hook(hook_for(i)) for i, t in enumerate(tensors)])


class _Arrived(threading.local):
    """The gradients of a group that have arrived in this thread's walk."""

    walk: Any = None
    grads: dict[int, Any] = {}


class _Handles:
    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = handles

    def remove(self) -> None:
        """Take all the hooks away."""
        for handle in self.handles:
            handle.remove()


class GradientEdge(NamedTuple):
    """A node, and which of its results."""

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Any) -> Any:
    """Where a tensor's gradient flows: `.node` and `.output_nr`; `autograd.grad` takes it in place of the tensor."""
    node = _input_node(tensor)
    return GradientEdge(node.node if isinstance(node, Port) else node, tensor.output_nr, node)


__all__ = [
    "GradientEdge",
    "Node",
    "get_gradient_edge",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]
