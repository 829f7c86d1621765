"""Tracing: run a program once on arrays that note what is done to them."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np

from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.trace_array import Buffer, Restart, TraceBreak, TracedArray, broken
from rushlight.compiler.trace_number import TracedNumber
from rushlight.compiler.trace_watch import GET, PUT, Log, unwatch, watch
from rushlight.dtypes import NP_HALF
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import OPS, Array, Composite, Op, View, view
from rushlight.ops.linear import storage_array
from rushlight.spec import Spec
from rushlight.storage import address
from rushlight.tape import Node, Variable, caller, wrap

ndarray = np.ndarray
Ints = tuple[int, ...]
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# Larger constants are not compared with earlier ones.
_SHARED = 1 << 20


@view(grad=None)
def strided_view(xp: Any, x: Array, size: Ints, stride: Ints, offset: int) -> Array:
    """Elements of the flat `x` with the given sizes, strides and offset (in elements); the caller checks bounds."""
    return np.lib.stride_tricks.as_strided(x[offset:], size, tuple(s * x.itemsize for s in stride))


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


class Trace:
    """One tracing of a program.

    Attributes
    ----------
    graph : what was noted
    log : what to take back
    lifted : tensors from outside, by id
    numbers : (container, key, position) of each Python number that is an input, with its traced number
    first_grads : tensors whose `.grad` from before was looked at
    boundaries : tensors from outside with a history
    """

    def __init__(self, flat: dict[int, Any] | None = None) -> None:
        self.graph = Graph()
        self.log = Log()
        self.flat = flat or {}
        self.storages: dict[int, Storage] = {}
        self.promoted: dict[int, TracedArray] = {}
        self.lifted: dict[int, Lifted] = {}
        self.inputs: dict[Value, Any] = {}
        self.numbers: dict[Any, TracedNumber] = {}
        self.first_grads: dict[int, tuple[Any, Any]] = {}
        self.boundaries: dict[int, tuple[Any, Any, Boundary]] = {}
        self.entries: list[tuple[Any, Any, str, Any]] = []
        self.created: list[tuple[Any, Any, bool]] = []
        self.settings: list[tuple[Any, str, Any, Any]] = []
        self.changed_settings: list[str] = []
        self.python_random: Any = None
        self.numpy_random: Any = None
        self.generators: dict[int, tuple[Any, Any]] = {}
        self.constants: dict[Any, Value] = {}
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

    where = staticmethod(caller)
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

    # Values

    def interpret(self, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Note a call of an op."""
        if isinstance(op, View):
            return self.view(op, self.as_traced(operands[0]), params)
        if isinstance(op, Composite):
            return self._inline(op, operands, params)
        if op.name in ("copy", "clone"):
            return self.snapshot(operands[0])
        if op.name == "copy_into":
            return self._overwritten(*operands)
        for p in params.values():
            if isinstance(p, (TracedArray, Variable)):
                raise broken(f"uses a value as a parameter of {op.name}")
        noted = tuple(map(self.operand, operands))
        try:
            made = self.graph.call(op, noted, params, self.where())
        except NotImplementedError as error:
            if "states no shape rule" not in str(error):
                raise
            raise broken(f"uses {op.name}, whose shape depends on values") from None
        if isinstance(made, tuple):
            return tuple(TracedArray(Buffer(v), v.spec) for v in made)
        return TracedArray(Buffer(made), made.spec)

    def _inline(self, op: Composite, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        kinds = [a.dtype for a in operands if isinstance(a, (ndarray, TracedArray))] if op.narrow else []
        half = next((k for k in kinds if k in NP_HALF), None)
        if half is None:
            return op.body(*operands, **params)
        wide = (
            a.astype(np.float32) if isinstance(a, (ndarray, TracedArray)) and a.dtype in NP_HALF else a
            for a in operands
        )  # fmt: skip
        out = op.body(*wide, **params)
        return out.astype(half) if getattr(out, "dtype", None) == np.float32 else out

    def operand(self, a: Any) -> Any:
        """An operand of a call as the graph has it."""
        if isinstance(a, TracedArray):
            return a.read()
        if isinstance(a, ndarray):
            return self.constant(a)
        if isinstance(a, (list, tuple)):
            return tuple(map(self.operand, a))
        return self.constant(np.asarray(a)) if isinstance(a, np.generic) else a

    def as_traced(self, a: Any) -> TracedArray:
        """An array, also a constant one, as a traced one."""
        if isinstance(a, TracedArray):
            return a
        value = self.constant(np.asarray(a))
        return TracedArray(Buffer(value), value.spec)

    def constant(self, a: Any) -> Value:
        """The value of an array that the program made without looking at values."""
        sizes = zip(a.shape, a.strides, strict=True)
        compact = a[tuple(slice(1) if s == 0 and n > 1 else slice(None) for n, s in sizes)]
        if compact.size > 1 and _is_uniform(compact):
            compact = compact.reshape(-1)[:1].reshape((1,) * compact.ndim)
        if compact.size == 1 and a.ndim:
            compact = compact.reshape(())
        key = (compact.shape, compact.dtype, compact.tobytes()) if compact.nbytes <= _SHARED else None
        value = self.constants.get(key) if key is not None else None
        if value is None:
            value = Value(Spec(compact.shape, compact.dtype), data=np.array(compact, order="C", copy=True))
            if key is not None:
                self.constants[key] = value
        if compact.shape == a.shape:
            return value
        made: Value = self.graph.call(OPS["expand"], (value,), {"shape": a.shape}, self.where())
        return made

    def view(self, op: Op, x: TracedArray, params: dict[str, Any]) -> Any:
        """A view of a traced array: of the same buffer."""
        if op.name == "as_strided":
            return self._as_strided(x, params)
        out = op.eager((x.phantom,), params)
        if isinstance(out, tuple):
            return tuple(
                TracedArray(x.buffer, Spec(o.shape, o.dtype), x, (op, params, i), o) for i, o in enumerate(out)
            )
        return TracedArray(x.buffer, Spec(out.shape, out.dtype), x, (op, params, None), out)

    def _as_strided(self, x: TracedArray, params: dict[str, Any]) -> Any:
        root = x
        while root.parent is not None:
            root = root.parent
        storage = root.buffer.storage
        whole = storage is None or storage.flat is root or storage.owner.size == root.size
        if root.buffer.strides is not None or not whole or root.dtype != x.dtype:
            raise broken("uses as_strided on part of a storage")
        flat = self.view(OPS["view_as"], root, {"shape": (root.size,)})
        return self.view(strided_view, flat, {k: params[k] for k in ("size", "stride", "offset")})

    def view_value(self, parent: TracedArray, op: Op, params: dict[str, Any]) -> Any:
        """The graph value (or values) of a view."""
        return self.graph.call(op, (parent.read(),), params, self.where())

    def snapshot(self, x: Any) -> TracedArray:
        """The contents of an array as memory of its own."""
        x = self.as_traced(x)
        value = x.read()
        if not x.is_contiguous:
            value = self.graph.call(OPS["copy"], (value,), {}, self.where())
        return TracedArray(Buffer(value), x.spec)

    def _overwritten(self, x: Any, src: Any) -> TracedArray:
        """What `copy_` leaves: `src` in the shape of `x`."""
        src = self.as_traced(src)
        if src.shape != x.shape:
            src = self.view(OPS["expand"], src, {"shape": tuple(np.broadcast_shapes(x.shape, src.shape))})
        return self.snapshot(src)

    def write(self, x: TracedArray, value: Any) -> None:
        """Make the memory of `x` hold `value`."""
        src = value if isinstance(value, TracedArray) else self.as_traced(np.asarray(value, x.dtype))
        if src.dtype != x.dtype:
            src = self.interpret(OPS["cast"], (src,), {"dtype": x.dtype})
        if src.shape != x.shape:
            src = self.view(OPS["expand"], src, {"shape": x.shape})
        new = self.snapshot(src).read()
        buffer = x.buffer
        storage = buffer.storage
        if storage is not None:
            storage.written = True
            if len(storage.layouts) > 1 and storage.flat is None:
                raise Restart(storage.owner)
        if x.parent is not None:
            root = x
            while root.parent is not None:
                root = root.parent
            if buffer.strides is None and x.is_contiguous and x.size == root.size and x.dtype == root.dtype:
                new = self.graph.call(OPS["view_as"], (new,), {"shape": root.shape}, self.where())
            else:
                new = self.graph.call(OPS["write_view"], (root.read(), new), {"chain": x.chain()}, self.where())
        buffer.value = new
        buffer.version += 1

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
        return TracedNumber(buffer, spec)

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
        return (self.as_traced(operands[0]), *operands[1:])

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


def _is_uniform(a: Any) -> bool:
    bits = _BITS.get(a.itemsize)
    if bits is None:
        return False
    flat = np.ascontiguousarray(a).reshape(-1).view(bits)
    return bool((flat == flat[0]).all())
