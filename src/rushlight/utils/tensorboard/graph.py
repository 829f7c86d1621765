"""A model as a graph for TensorBoard: its operations, grouped by the modules that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from rushlight.modes import ACTIVE, no_grad, state
from rushlight.nn.module import Module
from rushlight.tape import Variable
from rushlight.utils.tensorboard import wire

PRODUCER = 22  # the version of the graph format


@dataclass(frozen=True)
class GraphNode:
    """One operation, parameter, input or output."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()

    def encoded(self) -> bytes:
        """A NodeDef message."""
        shapes = [wire.message(7, *(wire.message(2, wire.integer(1, n)) for n in shape)) for shape in self.shapes]
        attribute = wire.message(5, wire.text(1, "_output_shapes"), wire.message(2, wire.message(1, *shapes)))
        inputs = [wire.text(3, name) for name in self.inputs]
        return wire.message(1, wire.text(1, self.name), wire.text(2, self.op), *inputs, attribute)

    def __str__(self) -> str:
        shapes = ", ".join(str(list(shape)) for shape in self.shapes)
        return f"{self.name}: {shapes} = {self.op}({', '.join(self.inputs)})"


def graph_of(model: Module, inputs: Any) -> list[GraphNode]:
    """The operations of one run of `model` in evaluation mode, in their order."""
    if not isinstance(model, Module):
        raise TypeError(f"add_graph: expected a Module, received {type(model).__name__}")
    arguments = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    recorder = _Recorder(model, arguments)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad(), recorder.watching(model):
            results = model(*arguments)
    finally:
        for module, was_training in training.items():
            module.training = was_training
    for k, tensor in enumerate(_tensors(results), 1):
        recorder.add(f"output/output.{k}", "IO Node", (recorder.name_of(tensor),), [tensor])
    return recorder.nodes


def encoded_graph(nodes: list[GraphNode]) -> bytes:
    """The field of an Event that holds a GraphDef."""
    return wire.message(4, *(node.encoded() for node in nodes), wire.message(4, wire.integer(1, PRODUCER)))


class _Recorder:
    """Stands where a profiler stands: it is told of each operation."""

    def __init__(self, model: Module, inputs: tuple[Any, ...]) -> None:
        self.scopes: list[str] = []
        self.nodes: list[GraphNode] = []
        self.names: dict[int, str] = {}
        self.counts: dict[str, int] = {}
        self.kept: list[Any] = []  # while a tensor lives no other one has its id
        root = type(model).__name__
        paths = {name: _path(model, root, name) for name, _ in model.named_modules(remove_duplicate=False)}
        self.stored = {
            id(tensor): f"{paths[name.rpartition('.')[0]]}/{name.rpartition('.')[2]}"
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        }
        self.paths = {id(module): paths[name] for name, module in model.named_modules()}
        for k, tensor in enumerate(_tensors(inputs)):
            self.names[id(tensor)] = self.add(f"input/input.{k}", "IO Node", (), [tensor])

    def add(self, name: str, op: str, inputs: tuple[str, ...], results: list[Any]) -> str:
        """A node whose name is made unique."""
        count = self.counts[name] = self.counts.get(name, 0) + 1
        unique = name if count == 1 else f"{name}_{count}"
        self.nodes.append(GraphNode(unique, op, inputs, tuple(tuple(t.shape) for t in results)))
        self.kept.extend(results)
        return unique

    def name_of(self, tensor: Any) -> str:
        """The node that a tensor comes from; one that no operation made is a parameter or a constant."""
        if id(tensor) not in self.names:
            stored = self.stored.get(id(tensor))
            name, op = (stored, "Parameter") if stored else (f"{self.scope}/constant", "Constant")
            self.names[id(tensor)] = self.add(name, op, (), [tensor])
        return self.names[id(tensor)]

    @property
    def scope(self) -> str:
        """The path of the module that runs."""
        return self.scopes[-1] if self.scopes else "constants"

    def timed(self, name: str, run: Callable[..., Any], args: tuple[Any, ...], operands: tuple[Any, ...] = ()) -> Any:
        """Run an operation, and note it unless it was made of others."""
        inputs = [self.name_of(t) for t in _tensors(operands)]
        before = len(self.nodes)
        result = run(*args)
        if not any(node.op.startswith("aten::") for node in self.nodes[before:]):
            results = _tensors(result)
            made = self.add(f"{self.scope}/{name.removeprefix('aten::')}", name, tuple(inputs), results)
            self.names.update({id(t): made if k == 0 else f"{made}:{k}" for k, t in enumerate(results)})
        return result

    @contextmanager
    def watching(self, model: Module) -> Iterator[None]:
        """Within the block operations are noted, under the module that runs them."""
        before = state.profiler
        with ExitStack() as stack:
            for module in model.modules():
                for handle in (
                    module.register_forward_pre_hook(lambda m, _: self.scopes.append(self.paths[id(m)])),
                    module.register_forward_hook(lambda m, _, out: self._leave()),
                ):
                    stack.callback(handle.remove)
            state.profiler = self
            ACTIVE.append(self)
            try:
                yield
            finally:
                ACTIVE.remove(self)
                state.profiler = before

    def _leave(self) -> None:
        self.scopes.pop()


def _path(model: Module, root: str, name: str) -> str:
    """`Net/Sequential[body]/Linear[0]` for `body.0`."""
    parts, module = [root], model
    for part in filter(None, name.split(".")):
        module = module.get_submodule(part)
        parts.append(f"{type(module).__name__}[{part}]")
    return "/".join(parts)


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Variable):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []
