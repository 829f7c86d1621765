"""Tracing: run a program once on arrays that note what is done to them."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np

from rushlight.compiler.graph import Value
from rushlight.compiler.trace_array import Buffer, Restart, TraceBreak, TracedArray, broken
from rushlight.compiler.trace_number import Known, TracedNumber
from rushlight.compiler.trace_values import Values, strided_view
from rushlight.compiler.trace_watch import GET, PUT, Log, unwatch, watch
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import OPS
from rushlight.ops.linear import storage_array
from rushlight.spec import Spec
from rushlight.storage import address
from rushlight.tape import Node, wrap

ndarray = np.ndarray


class Boundary(Node):
    """Stands for the history of a tensor from outside the program."""

    __slots__ = ("tensor",)
    ordinary = False
    keeps_tensors = False

    def __init__(self, tensor: Any, real: Any) -> None:
        self.edges = ()
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.tensor = tensor

    def pull(self, g: Any) -> Any:
        raise TraceBreak("walks backward into history from outside the compiled function")

    pull_graph = pull


class Storage:
    """Memory from outside the program: its owner and the layouts in which tensors show it."""

    __slots__ = ("layouts", "owner", "written", "flat")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.layouts: dict[Any, TracedArray] = {}
        self.written = False
        self.flat: TracedArray | None = None


class Lifted:
    """A tensor from outside the program and what stands for its array."""

    __slots__ = ("array", "storage", "tensor", "traced")

    def __init__(self, tensor: Any, array: Any, traced: TracedArray, storage: Storage) -> None:
        self.tensor = tensor
        self.array = array
        self.traced = traced
        self.storage = storage


class Trace(Values):
    """One tracing of a program.

    Attributes
    ----------
    log : what to take back
    lifted : tensors from outside, by id
    numbers : (container, key, position) of each Python number that is an input, with its traced number
    first_grads : tensors whose `.grad` from before was looked at
    boundaries : tensors from outside with a history
    """

    def __init__(self, flat: dict[int, Any] | None = None) -> None:
        super().__init__()
        self.log = Log()
        self.flat = flat or {}
        self.storages: dict[int, Storage] = {}
        self.promoted: dict[int, TracedArray] = {}
        # Kept, so that no other array gets the id of one in `promoted`.
        self.owners: list[Any] = []
        self.lifted: dict[int, Lifted] = {}
        self.inputs: dict[Value, Any] = {}
        self.numbers: dict[Any, TracedNumber] = {}
        self.first_grads: dict[int, tuple[Any, Any]] = {}
        self.boundaries: dict[int, tuple[Any, Any, Boundary]] = {}
        self.entries: list[tuple[Any, Any, str, Any]] = []
        self.created: list[tuple[Any, Any, bool]] = []
        self.settings: list[tuple[Any, str, Any, Any]] = []
        self.changed_settings: list[str] = []
        self.number_tests: list[tuple[str, str]] = []
        self.prints: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.python_random: Any = None
        self.numpy_random: Any = None
        self.generators: dict[int, tuple[Any, Any]] = {}
        self.outer: Trace | None = None

    def __enter__(self) -> Trace:
        self.outer = state.trace
        watch()
        ACTIVE.append(self)
        state.trace = self
        return self

    def __exit__(self, *exc: Any) -> None:
        state.trace = self.outer
        ACTIVE.remove(self)
        unwatch()

    def undo(self) -> None:
        """Leave every tensor and generator as before the trace."""
        self.log.undo()
        if self.python_random is not None:
            random.setstate(self.python_random)
            np.random.set_state(self.numpy_random)
        for generator, before in self.generators.values():
            generator.load_bytes(before)

    step_group: ClassVar[Any] = None

    def refuse(self, what: str) -> None:
        """Stop tracing: the program does what cannot be traced."""
        raise broken(what)

    # Tensors from outside

    def seen(self, t: Any, value: Any) -> Any:
        """What `_data` of a tensor is for the program."""
        if id(t) in self.log.born:
            if self.promoted and type(value) is ndarray:
                return self.again(t, value)
            return value
        if type(value) is not ndarray:
            if type(value) is TracedNumber:
                return value
            raise broken(f"uses a {type(value).__name__}")
        traced = self.lift(t, value)
        self.log.note("_data", t)
        PUT["_data"](t, traced)
        return traced

    def again(self, t: Any, value: Any) -> Any:
        """A constant of the program, whose memory may have been written to with values since."""
        root = self.promoted.get(id(storage_array(value)))
        if root is None:
            return value
        traced = self.strided(root, value, storage_array(value))
        PUT["_data"](t, traced)
        return traced

    def lift(self, t: Any, a: Any) -> TracedArray:
        """The traced array for a tensor's array."""
        owner = storage_array(a)
        storage = self.storages.get(id(owner))
        if storage is None:
            storage = self.storages[id(owner)] = Storage(owner)
        layout = (address(a), a.shape, a.strides, a.dtype)
        traced = storage.layouts.get(layout)
        if traced is None:
            traced = self._new_layout(storage, layout, t, a)
        self.lifted[id(t)] = Lifted(t, a, traced, storage)
        return traced

    def _new_layout(self, storage: Storage, layout: Any, t: Any, a: Any) -> TracedArray:
        owner = storage.owner
        if id(owner) in self.flat:
            if storage.flat is None:
                storage.flat = self._input(flat_of(owner, a.dtype), storage, ("flat", owner))
            traced = self.strided(storage.flat, a, owner)
        else:
            if storage.layouts and storage.written:
                raise Restart(owner)
            traced = self._input(a, storage, ("tensor", t))
        storage.layouts[layout] = traced
        return traced

    def _input(self, a: Any, storage: Storage, source: Any) -> TracedArray:
        strides = None if a.flags.c_contiguous else a.strides
        spec = Spec(a.shape, a.dtype)
        value = self.graph.input(spec, strides=strides)
        buffer = Buffer(value, strides, source)
        buffer.storage = storage
        self.inputs[value] = buffer
        return TracedArray(buffer, spec)

    def strided(self, root: TracedArray, a: Any, owner: Any) -> TracedArray:
        """A view of a flat buffer of `owner` with the layout of `a`."""
        if a.dtype != root.dtype:
            raise broken("changes memory that is seen with several dtypes")
        item = a.itemsize
        offset = (address(a) - address(owner)) // item if a.size else 0
        params = {"size": a.shape, "stride": tuple(s // item for s in a.strides), "offset": offset}
        seen: TracedArray = self.view(strided_view, root, params)
        return seen

    def seen_node(self, t: Any, node: Any) -> Any:
        """The node of a tensor: history from outside is not followed."""
        if id(t) in self.log.born or type(node) is Boundary:
            return node
        if ("_node", id(t)) in self.log.before:
            return node
        held = self.boundaries.get(id(t))
        if held is None:
            held = self.boundaries[id(t)] = (t, node, Boundary(t, node))
        self.log.note("_node", t)
        PUT["_node"](t, held[2])
        return held[2]

    def seen_grad(self, t: Any, grad: Any) -> None:
        """Note that the program looked at a gradient from before."""
        if id(t) not in self.log.born and ("_grad", id(t)) not in self.log.before:
            self.first_grads.setdefault(id(t), (t, grad))

    def array_of(self, t: Any) -> Any:
        """The array that a tensor from outside really holds."""
        held = self.lifted.get(id(t))
        return GET["_data"](t) if held is None else held.array

    def write_tensor(self, t: Any, value: Any) -> None:
        """Write an array into a tensor; a constant's memory becomes a buffer by a traced one."""
        data = t._data
        if isinstance(data, ndarray) and not isinstance(value, TracedArray):
            data[...] = value
            return
        if not isinstance(data, TracedArray):
            owner = storage_array(data)
            root = self.as_traced(flat_of(owner, data.dtype))
            self.promoted[id(owner)] = root
            self.owners.append(owner)
            data = t._data
        self.write(data, value)

    # Numbers, generators, optimizers

    def number_of(self, x: TracedArray) -> TracedNumber:
        """The one element of `x` as a number."""
        kind = np.dtype(np.int64 if x.dtype.kind in "iu" else np.float64)
        flat = self.view(OPS["view_as"], self.snapshot(x), {"shape": ()})
        if flat.dtype != kind:
            flat = self.interpret(OPS["cast"], (flat,), {"dtype": kind})
        return TracedNumber(Buffer(flat.read()), Spec((), kind))

    def number_input(self, container: Any, key: Any, value: Any, position: int | None = None) -> TracedNumber:
        """A Python number of the user's as an input."""
        full = (id(container), key, position)
        held = self.numbers.get(full)
        if held is None:
            spec = Spec((), np.dtype(np.float64))
            made = self.graph.input(spec)
            buffer = Buffer(made, None, ("number", container, key, position))
            self.inputs[made] = buffer
            held = self.numbers[full] = TracedNumber(buffer, spec)
            held.nonzero = value != 0
        return held

    def argument_input(self, source: str, value: Any) -> TracedNumber:
        """A number among the arguments as an input."""
        spec = Spec((), np.dtype(np.int64 if type(value) is int else np.float64))
        made = self.graph.input(spec)
        buffer = Buffer(made, None, ("argument", source, value))
        self.inputs[made] = buffer
        return TracedNumber(buffer, spec, known=Known(source, value))

    def lift_settings(self, optimizers: Any) -> None:
        """Replace the floats in parameter groups by inputs, so that nothing reads them as constants."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for key, value in list(group.items()):
                    if key != "params" and (lifted := self._lifted_setting(group, key, value)) is not value:
                        self.settings.append((group, key, value, lifted))
                        group[key] = lifted

    def _lifted_setting(self, group: Any, key: str, value: Any) -> Any:
        if type(value) is float:
            return self.number_input(group, key, value)
        if type(value) in (tuple, list) and any(type(v) is float for v in value):
            return type(value)(
                self.number_input(group, key, v, i) if type(v) is float else v for i, v in enumerate(value)
            )
        return value

    def drop_settings(self) -> None:
        """Put the floats back."""
        for group, key, value, lifted in self.settings:
            if group.get(key) is not lifted:
                self.changed_settings.append(key)
            group[key] = value
        self.settings.clear()

    def effect(self, name: str, params: dict[str, Any], *operands: Any) -> Any:
        """Note a draw without operands, or a change of a generator; its result as a tensor."""
        noted = tuple(self.operand(t._data) for t in operands)
        made = self.graph.call(OPS[name], noted, params, self.where())
        return wrap(TracedArray(Buffer(made), made.spec))

    def drawing(self, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """The operands of a draw: never all constants, which would be drawn now."""
        x = self.as_traced(operands[0])
        made = x.buffer.value.call
        if made is not None and made.op.name == "expand" and not x.is_contiguous:
            # A constant of one number comes expanded; the order of a draw is that of memory.
            (one,) = made.values()
            if one.data is not None:
                whole = np.array(np.broadcast_to(one.data, x.buffer.value.shape), order="C")
                x.buffer.value = Value(x.buffer.value.spec, data=whole)
                x.buffer.version += 1
        return (x, *operands[1:])

    def keep_generators(self, generators: Any) -> None:
        """Remember states, to see whether something drew while the program was traced."""
        self.python_random = random.getstate()
        self.numpy_random = np.random.get_state(legacy=False)
        for generator in generators:
            self.generators[id(generator)] = (generator, generator.state_bytes())

    def drew(self) -> bool:
        """Whether a generator moved, of ours, Python's or NumPy's."""
        if random.getstate() != self.python_random or _words(np.random.get_state(legacy=False)) != _words(
            self.numpy_random
        ):
            return True
        return any(generator.state_bytes() != before for generator, before in self.generators.values())

    def optimize(self, engine: Any, group: dict[str, Any]) -> None:
        """Note the step of an optimizer over one group."""
        Trace.step_group(self, engine, group)

    def new_entry(self, optimizer: Any, p: Any, name: str, value: Any) -> None:
        """State of a parameter that the program makes: an output that becomes state after the run."""
        self.entries.append((optimizer, p, name, value))
        optimizer.state[p][name] = value

    def forget_entries(self) -> None:
        """Take the program's new state out of the optimizers again."""
        for optimizer, p, name, _ in self.entries:
            held = optimizer.state.get(p, {})
            held.pop(name, None)
            if not held:
                optimizer.state.pop(p, None)

    def forget_created(self) -> None:
        """Take out state that was made for this trace."""
        for optimizer, p, there in self.created:
            if there:
                optimizer.state[p].clear()
            else:
                optimizer.state.pop(p, None)

    def original(self, t: Any) -> _Original:
        """A block in which a tensor from outside holds its real array."""
        return _Original(self, t)

    def outside(self) -> _Outside:
        """A block that runs as if no trace were on."""
        return _Outside(self)


class _Original:
    def __init__(self, trace: Trace, t: Any) -> None:
        self.tensor = t
        self.array = trace.array_of(t)

    def __enter__(self) -> None:
        self.traced = GET["_data"](self.tensor)
        PUT["_data"](self.tensor, self.array)

    def __exit__(self, *exc: Any) -> None:
        PUT["_data"](self.tensor, self.traced)


class _Outside:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __enter__(self) -> None:
        state.trace = None

    def __exit__(self, *exc: Any) -> None:
        state.trace = self.trace


def flat_of(owner: Any, dtype: Any) -> Any:
    """All elements of an array that owns its memory, as one dim."""
    if owner.flags.c_contiguous:
        flat = owner.reshape(-1)
    elif owner.flags.f_contiguous:
        flat = owner.T.reshape(-1)
    else:
        raise TraceBreak("changes memory of an unusual layout")
    return flat if flat.dtype == dtype else flat.view(dtype)


def _words(state: Any) -> Any:
    """What of NumPy's state can be compared."""
    return state["has_gauss"], state["state"]["pos"], state["state"]["key"].tobytes()
