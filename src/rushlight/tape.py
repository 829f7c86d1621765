"""The tape: nodes, recording, in-place history and the backward walk.

A tensor that requires a gradient has a node: the one of the op that made it, `AccumulateGrad` for a leaf, a `Port`
for one of several results. A node keeps edges (the nodes of its operands) and the values its formulas name, never
tensors. `backward` hands formulas raw arrays; with `create_graph` it hands them tensors.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from rushlight.backends import numpy as xp_numpy
from rushlight.errors import PACKAGE, GradientError, InplaceError, ShapeError, explain
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import Composite, Elementwise, Formula, Op, View
from rushlight.spec import Spec

ndarray = np.ndarray
_new = object.__new__
_getframe = sys._getframe


class Variable:
    """What every tensor holds; `tensor.Tensor` adds the public surface.

    Attributes
    ----------
    _data : array
        Always an array, also for 0-d.
    _node : Node or None
        Not None exactly where a gradient is required.
    _version : list
        [number of in-place changes, where the last one was]; shared by all views of a storage.
    _view : tuple or None
        (parent, op, params, index of the result, version when its node was made) of a view.
    """

    __slots__ = ("_data", "_node", "_counter", "_view", "_grad", "__weakref__")
    op_rank = 2

    def interpret(self, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Run `op` and record it."""
        return record(op, operands, params)


_plain: type[Variable] = Variable


def plain_tensor(cls: type[Variable]) -> type[Variable]:
    """Class decorator: results of ops are instances of `cls`."""
    global _plain
    _plain = cls
    return cls


def wrap(data: Any) -> Any:
    """A tensor over `data` that requires no gradient and shares its memory."""
    t = _new(_plain)
    t._data = data
    t._node = None
    t._counter = [0]
    t._view = None
    if ACTIVE and state.inference:
        t._counter = None
    return t


def as_array(out: Any) -> Any:
    """A result as an array; NumPy's scalars become 0-d arrays, tracers and other arrays stay."""
    if type(out) is ndarray or not isinstance(out, np.generic):
        return out
    return np.asarray(out)


# A node class per op, so that `type(grad_fn).__name__` is PyTorch's name.


class Node:
    """One recorded operation.

    Attributes
    ----------
    edges : tuple of Node or None
        Node of each operand; None where no gradient is wanted.
    saved : tuple or None
        Values in the order of `op.saved_names`; None once freed.
    versions : tuple
        (slot, version list, version when kept) of each kept tensor.
    specs : tuple of Spec or None
        Specs of the operands where a formula's result may need summing to them.
    """

    __slots__ = ("edges", "saved", "versions", "specs", "where", "hooks", "out_specs", "__weakref__")
    op: ClassVar[Any] = None
    pairs: ClassVar[Any] = ()
    fills_missing: Any = True

    edges: tuple[Any, ...]

    def name(self) -> str:
        """The name PyTorch prints, such as `AddBackward0`."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes of the operands, each with the number of the result it made."""
        return tuple((e.node, e.index) if isinstance(e, Port) else (e, 0) for e in self.edges)

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad_inputs, grad_outputs)` after this node ran; it may return new gradients."""
        return hooks_of(self).add("post", hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad_outputs)` before this node runs; it may return new gradients."""
        return hooks_of(self).add("pre", hook)

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict for notes of the user's own, kept with the node."""
        return hooks_of(self).metadata

    def check(self) -> None:
        """Raise if the kept values were freed, or overwritten since they were kept."""
        if self.saved is None:
            raise freed_error()
        for slot, version, kept in self.versions:
            if version is not None and version[0] != kept:
                raise overwritten_error(self, slot, version, kept)

    def pull(self, g: Any) -> Sequence[Any]:
        """Gradients of the operands from the gradient of the result, on raw arrays."""
        self.check()
        return self.formulas(g, self.saved)

    def pull_graph(self, g: Any) -> Sequence[Any]:
        """As `pull`, on tensors, so that the gradients can be differentiated again."""
        self.check()
        return self.formulas(g, self.lifted())

    def formulas(self, g: Any, saved: tuple[Any, ...]) -> Sequence[Any]:
        """Apply each wanted formula and bring its result to the operand's shape."""
        op = self.op
        if op.joint is not None:
            return self._joint(g, saved)
        grads: list[Any] = []
        specs = self.specs
        for i, edge in enumerate(self.edges):
            if edge is None:
                grads.append(None)
                continue
            which = op.variadic
            k = i if which is None or i < which else which
            fn, slots = self.pairs[k]
            if fn is None:
                raise no_formula(op)
            got = fn(g, *[saved[s] for s in slots])
            if which is not None and k == which:
                grads.extend(list(got)[i - which :])
                return grads
            if specs is not None:
                got = op.finish(got, specs[i])
            grads.append(got)
        return grads

    def _joint(self, g: Any, saved: tuple[Any, ...]) -> Sequence[Any]:
        op = self.op
        scope = dict(zip(op.saved_names, saved, strict=True))
        scope["g"] = g
        scope["needs"] = tuple(e is not None for e in self.edges)
        grads = list(op.joint.fn(**{n: scope[n] for n in op.joint.names}))
        if op.variadic is not None:
            v = op.variadic
            grads[v : v + 1] = grads[v]
        return [None if e is None else x for e, x in zip(self.edges, grads, strict=True)]

    def lifted(self) -> tuple[Any, ...]:
        """The kept values as tensors connected to the graph."""
        op = self.op
        values = list(self.saved or ())
        for slot, version, _ in self.versions:
            kind, key = op.saved_plan[slot]
            if kind == "out":
                values[slot] = self._lift_out(values[slot], version)
            elif key == op.variadic:
                values[slot] = [revive(v, self.edges[key + j], version) for j, v in enumerate(values[slot])]
            else:
                edge = key if op.variadic is None or key < op.variadic else key - len(op.inputs)
                values[slot] = revive(values[slot], self.edges[edge], version)
        return tuple(values)

    def _lift_out(self, value: Any, version: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(revive(v, Port(self, i), version) for i, v in enumerate(value))
        return revive(value, self, version)

    def release(self) -> None:
        """Forget the kept values."""
        if self.versions:
            self.saved = None


def revive(data: Any, node: Any, version: Any) -> Any:
    """A tensor over a kept value, attached to `node`."""
    if data is None or isinstance(data, (int, float, bool, complex)):
        return data
    t = wrap(data)
    t._node = node
    t._counter = version if version is not None else [0]
    return t


_NODES: dict[Any, type[Node]] = {}


def node_class(op: Op, name: str = "") -> type[Node]:
    """The class of nodes that record `op`."""
    name = name or op.node_name
    found = _NODES.get((op, name))
    if found is None:
        pairs = tuple((f.fn if f else None, slots) for f, slots in zip(op.grads, op.formula_slots, strict=True))
        found = type(name, (Node,), {"__slots__": (), "op": op, "pairs": pairs})
        _NODES[op, name] = found
    return found


class AccumulateGrad(Node):
    """The end of the walk at a leaf: adds to its `.grad`."""

    __slots__ = ("leaf",)

    def __init__(self, leaf: Any) -> None:
        self.edges = ()
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.leaf = weakref.ref(leaf)

    @property
    def variable(self) -> Any:
        """The leaf tensor, None when it is gone."""
        return self.leaf()


class Port(Node):
    """One of several results of a node."""

    __slots__ = ("node", "index")

    def __init__(self, node: Node, index: int) -> None:
        self.edges = (node,)
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.node = node
        self.index = index


class CopySlices(Node):
    """A base whose view was changed in place: the view's region takes `fn`'s gradient, the rest passes."""

    __slots__ = ("fn", "chain")

    def __init__(self, base_edge: Any, fn: Node, chain: list[Any]) -> None:
        self.edges = (base_edge, *fn.edges[1:])
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.fn = fn
        self.chain = chain

    def _split(self, g: Any, copy: Callable[[Any], Any], pull: Callable[[Any], Sequence[Any]], write: Any) -> Sequence[Any]:
        whole = copy(g)
        region = replay(whole, self.chain)
        grads = pull(copy(region))
        write(region, grads[0])
        return (whole, *grads[1:])

    def pull(self, g: Any) -> Sequence[Any]:
        return self._split(g, lambda a: np.array(a, copy=True), self.fn.pull, _write_region)

    def pull_graph(self, g: Any) -> Sequence[Any]:
        return self._split(g, lambda t: t.clone(), self.fn.pull_graph, lambda t, v: t.zero_() if v is None else t.copy_(v))

    def check(self) -> None:
        self.fn.check()

    def release(self) -> None:
        self.fn.release()


def _write_region(region: Any, value: Any) -> None:
    region[...] = 0 if value is None else value


def replay(base: Any, chain: list[Any]) -> Any:
    """Take the view that `chain` describes of `base`."""
    for op, params, index in chain:
        base = op.apply((base,), dict(params))
        if index is not None:
            base = base[index]
    return base


class Hooks:
    """Hooks of a node: on its incoming gradient, after it ran, and to keep `.grad` of a non-leaf."""

    __slots__ = ("tensor", "pre", "post", "accumulated", "retain", "metadata", "count")

    def __init__(self) -> None:
        self.tensor: dict[int, Callable[..., Any]] = {}
        self.pre: dict[int, Callable[..., Any]] = {}
        self.post: dict[int, Callable[..., Any]] = {}
        self.accumulated: dict[int, Callable[..., Any]] = {}
        self.retain: Any = None
        self.metadata: dict[str, Any] = {}
        self.count = 0

    def add(self, kind: str, hook: Callable[..., Any]) -> Any:
        """Keep `hook`; the handle removes it."""
        table = getattr(self, kind)
        self.count += 1
        table[self.count] = hook
        return RemovableHandle(table, self.count)


class RemovableHandle:
    """Removes a hook: `handle.remove()`, or on leaving a `with` block."""

    def __init__(self, table: dict[int, Callable[..., Any]], key: int) -> None:
        self._table = table
        self.id = key

    def remove(self) -> None:
        """Take the hook away; harmless when repeated."""
        self._table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def hooks_of(node: Any) -> Hooks:
    """The hooks of a node, made on first use."""
    if node.hooks is None:
        node.hooks = Hooks()
    found: Hooks = node.hooks
    return found


# Errors


def freed_error() -> RuntimeError:
    return GradientErrorFreed(
        "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
        "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
        "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
        "saved tensors after calling backward."
    )


class GradientErrorFreed(GradientError):
    """Backward through a graph whose kept values are gone."""


def no_formula(op: Op) -> Exception:
    return NotImplementedError(f"derivative for aten::{op.name} is not implemented")


def overwritten_error(node: Node, slot: int, version: list[Any], kept: int) -> RuntimeError:
    """The error for a kept value that was changed in place, naming both lines."""
    value = node.saved[slot] if node.saved else None
    kind, key = node.op.saved_plan[slot]
    what = "output 0 of " + node.name() + "," if kind == "out" else ""
    source = f"{_type_name(value)} {list(getattr(value, 'shape', []))}"
    text = (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{source}]{', which is ' + what if what else ''} is at version {version[0]}; expected version {kept} instead. "
        "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )
    operand = "its result" if kind == "out" else f"operand '{node.op.inputs[key]}'"
    return explain(
        InplaceError(text),
        kept=f"{node.op.name} kept {operand} at {place(node.where)}",
        changed=f"in place at {place(version[1] if len(version) > 1 else None)}",
        fix="use the out-of-place form there, or .clone() the tensor before changing it",
    )


_TYPE_NAMES = {
    "float32": "torch.FloatTensor", "float64": "torch.DoubleTensor", "float16": "torch.HalfTensor",
    "bfloat16": "torch.BFloat16Tensor", "int64": "torch.LongTensor", "int32": "torch.IntTensor",
    "bool": "torch.BoolTensor", "complex64": "torch.ComplexFloatTensor", "complex128": "torch.ComplexDoubleTensor",
}  # fmt: skip


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(str(getattr(value, "dtype", "")), "torch.FloatTensor")


_INTERNAL: dict[str, bool] = {}


def caller() -> Any:
    """(code, instruction) of the innermost frame outside this package: cheap now, a line number later."""
    frame: Any = _getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        internal = _INTERNAL.get(name)
        if internal is None:
            internal = _INTERNAL[name] = name.startswith(PACKAGE)
        if not internal:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None


def place(where: Any) -> str:
    """`file:line` of what `caller` returned."""
    if where is None:
        return "an unknown line"
    code, instruction = where
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
    return f"{code.co_filename}:{line}"


# Recording


def sync(t: Any) -> None:
    """Give a view whose storage changed in place since its node was made a node over its parent's present one."""
    stale: list[Any] = []
    while t._view is not None and t._counter is not None and t._counter[0] != t._view[4]:
        stale.append(t)
        t = t._view[0]
    for v in reversed(stale):
        parent, op, params, index, _ = v._view
        v._view = (parent, op, params, index, v._counter[0])
        if op is None or (parent._node is None and v._node is None):
            continue
        v._node = _view_node(op, parent, params, index, v._data) if parent._node is not None else None


def _view_node(op: Op, parent: Any, params: dict[str, Any], index: int | None, data: Any) -> Any:
    node = make_node(op, (parent,), (parent._data,), params, data)
    if index is None:
        return node
    whole = op.apply((parent._data,), dict(params))
    node.out_specs = tuple(Spec(o.shape, o.dtype) for o in whole)
    return Port(node, index)


def make_node(op: Op, operands: Sequence[Any], raw: Sequence[Any], params: dict[str, Any], out: Any) -> Node:
    """The node that records one run of `op`."""
    node = _new(node_class(op, op.named(params)))
    flat = op.flat(tuple(operands))
    edges = tuple(a._node if isinstance(a, Variable) else None for a in flat)
    node.edges = edges
    node.hooks = node.where = node.out_specs = None
    node.specs = None
    if isinstance(op, Elementwise):
        shape = out.shape
        if any(e is not None and a.shape != shape for a, e in zip(raw, edges, strict=True)):
            node.specs = tuple(Spec(a.shape, a.dtype) if e is not None else None for a, e in zip(raw, edges, strict=True))
    if op.saved_plan:
        _save(node, op, operands, raw, params, out, edges)
    else:
        node.saved = node.versions = ()
    return node


def _save(
    node: Node, op: Op, operands: Sequence[Any], raw: Sequence[Any], params: dict[str, Any], out: Any, edges: Any
) -> None:
    saved: list[Any] = []
    versions: list[Any] = []
    for slot, (kind, key) in enumerate(op.saved_plan):
        users = op.slot_users[slot]
        if kind == "static":
            saved.append(params[key])
        elif kind == "spec":
            saved.append(_spec_of(raw[key]))
        elif users is not None and op.variadic is None and not any(edges[i] is not None for i in users):
            saved.append(None)
        elif kind == "out":
            saved.append(out)
            versions.append((slot, None, 0))
        else:
            saved.append(raw[key])
            a = operands[key]
            if isinstance(a, Variable):
                versions.append((slot, a._counter, a._counter[0] if a._counter else 0))
            elif key == op.variadic:
                versions.append((slot, None, 0))
    node.saved = tuple(saved)
    node.versions = tuple(versions)
    if versions:
        node.where = caller()


def _spec_of(a: Any) -> Any:
    if a is None:
        return None
    if isinstance(a, (list, tuple)):
        return tuple(_spec_of(e) for e in a)
    return Spec(a.shape, a.dtype) if hasattr(a, "shape") else Spec((), None)


def _unwrap(op: Op, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    v = op.variadic
    return tuple(
        a._data if isinstance(a, Variable)
        else [e._data if isinstance(e, Variable) else e for e in a] if i == v
        else a
        for i, a in enumerate(operands)
    )  # fmt: skip


def needs_grad(flat: Iterable[Any]) -> bool:
    """Whether any operand requires a gradient; refreshes stale views on the way."""
    found = False
    for a in flat:
        if isinstance(a, Variable):
            if a._view is not None:
                sync(a)
            if a._node is not None:
                found = True
    return found


def record(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Run `op` on tensors: the general path, which every specialised caller must equal."""
    if isinstance(op, Composite) and not op.declared:
        return op.body(*operands, **params)
    operands = op.prepare(operands, params)
    raw = _unwrap(op, operands)
    try:
        out = op.apply(raw, params)
    except ValueError as error:
        raise diagnosed(op, raw, params, error) from None
    recording = state.grad and op.differentiable and needs_grad(op.flat(operands))
    if isinstance(op, View):
        return _wrap_view(op, operands[0], params, out, recording)
    if isinstance(out, tuple):
        return _wrap_several(op, operands, raw, params, out, recording)
    out = as_array(out)
    t = wrap(out)
    if recording and out.dtype.kind in "fcV":
        if ACTIVE:
            _check_inference(op, operands)
        node = make_node(op, operands, raw, params, out)
        t._node = node
        _finish_saving(node, t)
    return t


def _finish_saving(node: Node, t: Any) -> None:
    """Point the kept result at its tensor's version, and pack kept values when hooks ask for it."""
    if node.op.keeps_out and node.versions:
        node.versions = tuple(
            (s, t._counter, t._counter[0]) if node.op.saved_plan[s][0] == "out" else (s, v, n) for s, v, n in node.versions
        )
    if ACTIVE and state.saved_hooks and node.versions:
        pack_saved(node)


def pack_saved(node: Node) -> None:
    """Hand the kept values to the innermost saved-tensor hooks; they are unpacked when needed."""
    pack, unpack = state.saved_hooks[-1]
    values = list(node.saved)
    packed: dict[int, Any] = {}
    for slot, _, _ in node.versions:
        if hasattr(values[slot], "dtype"):
            packed[slot] = pack(wrap(values[slot]))
            values[slot] = None
    node.__class__ = _packed_class(type(node))
    node.saved = (tuple(values), packed, unpack)


_PACKED: dict[type[Node], type[Node]] = {}


def _packed_class(cls: type[Node]) -> type[Node]:
    """The class of `cls`'s nodes while their kept values are in the hands of saved-tensor hooks."""
    if cls not in _PACKED:

        def check(self: Any) -> None:
            if self.saved is None:
                raise freed_error()
            if len(self.saved) == 3 and isinstance(self.saved[1], dict):
                values, packed, unpack = self.saved
                self.saved = tuple(unpack(packed[i])._data if i in packed else v for i, v in enumerate(values))
            Node.check(self)

        _PACKED[cls] = type(cls.__name__, (cls,), {"__slots__": (), "check": check})
    return _PACKED[cls]


def _check_inference(op: Op, operands: tuple[Any, ...]) -> None:
    for i, a in enumerate(operands):
        if isinstance(a, Variable) and a._counter is None and op.keeps_input[i]:
            raise inference_error()


def inference_error() -> RuntimeError:
    return RuntimeError(
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
        "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it "
        "in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`."
    )


def diagnosed(op: Op, raw: tuple[Any, ...], params: dict[str, Any], error: Exception) -> Exception:
    """The shape error that explains why NumPy refused, if the shape rule finds one."""
    if isinstance(error, ShapeError):
        return error
    try:
        op.spec(tuple(None if a is None else _spec_of(a) for a in raw), params)
    except (ShapeError, RuntimeError, IndexError, TypeError) as found:
        if not isinstance(found, NotImplementedError):
            return found
    return explain(RuntimeError(f"{op.name}: {error}"), received=", ".join(str(list(getattr(a, "shape", []))) for a in raw))


def _wrap_view(op: View, parent: Any, params: dict[str, Any], out: Any, recording: bool) -> Any:
    if isinstance(out, tuple):
        node = None
        if recording:
            node = make_node(op, (parent,), (parent._data,), params, out)
            node.out_specs = tuple(Spec(o.shape, o.dtype) for o in out)
        return tuple(
            make_view(parent, op, params, o, i, None if node is None else Port(node, i)) for i, o in enumerate(out)
        )
    out = as_array(out)
    return make_view(parent, op, params, out, None, make_node(op, (parent,), (parent._data,), params, out) if recording else None)


def make_view(parent: Any, op: Any, params: dict[str, Any], out: Any, index: int | None, node: Any) -> Any:
    """A tensor over `out`, which shares `parent`'s memory."""
    t = _new(_plain)
    t._data = out
    t._node = node
    t._counter = version = parent._counter
    if version is None:
        t._view = None
        return t
    if node is None and parent._node is not None and op.differentiable:
        op = None
    t._view = (parent, op, params, index, version[0])
    return t


def _wrap_several(
    op: Op, operands: tuple[Any, ...], raw: tuple[Any, ...], params: dict[str, Any], out: tuple[Any, ...], recording: bool
) -> tuple[Any, ...]:
    arrays = tuple(as_array(o) for o in out)
    results = tuple(wrap(o) for o in arrays)
    if recording:
        node = make_node(op, operands, raw, params, arrays)
        node.out_specs = tuple(Spec(o.shape, o.dtype) for o in arrays)
        for i, t in enumerate(results):
            if t._data.dtype.kind in "fcV":
                t._node = Port(node, i)
        if ACTIVE and state.saved_hooks and node.versions:
            pack_saved(node)
    return results


# In place


def check_writable(t: Any) -> None:
    """Raise PyTorch's error where `t` must not be changed in place."""
    if t._counter is None:
        if not state.inference:
            raise InplaceError(
                "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a "
                "normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
            )
        return
    if t._view is not None:
        sync(t)
    if not state.grad:
        return
    if isinstance(t._node, AccumulateGrad):
        raise explain(
            InplaceError("a leaf Variable that requires grad is being used in an in-place operation."),
            fix="change it inside `with torch.no_grad():`, or work on a copy: t.clone()",
        )
    if t._view is not None and isinstance(root_of(t)._node, AccumulateGrad):
        if _has_untracked(t):
            raise no_grad_view_error()
        raise explain(
            InplaceError("a view of a leaf Variable that requires grad is being used in an in-place operation."),
            fix="change it inside `with torch.no_grad():`, or work on a copy: t.clone()",
        )


def no_grad_view_error() -> RuntimeError:
    return InplaceError(
        "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use "
        "case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the "
        "inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside (if "
        "you want the inplace to be tracked)."
    )


def _has_untracked(t: Any) -> bool:
    while t._view is not None:
        if t._view[1] is None:
            return True
        t = t._view[0]
    return False


def root_of(t: Any) -> Any:
    """The tensor that a view was first taken of."""
    while t._view is not None:
        t = t._view[0]
    return t


def chain_of(t: Any) -> list[Any]:
    """The views that lead from the root to `t`."""
    chain: list[Any] = []
    while t._view is not None:
        parent, op, params, index, _ = t._view
        chain.append((op, params, index))
        t = parent
    return chain[::-1]


def bump(t: Any) -> None:
    """Count an in-place change of `t`'s storage, and remember where."""
    version = t._counter
    if version is not None:
        version[0] += 1
        version[1:] = (caller(),)


def apply_inplace(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Run `op` and write its result into the first operand, with the history PyTorch would give it."""
    t = operands[0]
    check_writable(t)
    operands = op.prepare(operands, params)
    raw = _unwrap(op, operands)
    x = t._data
    check_no_overlap(x)
    try:
        out = as_array(op.apply(raw, params))
    except ValueError as error:
        raise diagnosed(op, raw, params, error) from None
    if out.shape != x.shape:
        raise explain(
            ShapeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(out.shape)}"),
            expected=x.shape,
            received=out.shape,
            fix="use the out-of-place form",
        )
    check_castable(out.dtype, x.dtype)
    node = None
    if state.grad and op.differentiable and needs_grad(op.flat(operands)) and x.dtype.kind in "fcV":
        kept = raw
        if op.keeps_input and op.keeps_input[0] and raw[0] is x:
            kept = (x.copy(), *raw[1:])
            operands = (_detached_copy(t, kept[0]), *operands[1:])
        node = make_node(op, operands, kept, params, out)
    write(t, out)
    if node is not None:
        set_history(t, node, out)
    return t


def _detached_copy(t: Any, data: Any) -> Any:
    """What `t` was before the change: the same node over a copy of the values."""
    old = wrap(data)
    old._node = t._node
    return old


def write(t: Any, out: Any) -> None:
    """Store `out` in `t`'s memory; a traced value takes its place instead."""
    if type(out) is ndarray or type(t._data) is ndarray and not hasattr(out, "op_rank"):
        t._data[...] = out
    else:
        t._data = out
    bump(t)


def set_history(t: Any, node: Node, out: Any) -> None:
    """Make `node` the newest step of `t`'s history, and of its base's when `t` is a view."""
    if node.op.keeps_out:
        slot = next(s for s, (kind, _) in enumerate(node.op.saved_plan) if kind == "out")
        node.saved = (*node.saved[:slot], t._data, *node.saved[slot + 1 :])
    _finish_saving(node, t)
    if t._view is None:
        t._node = node
        return
    if _has_untracked(t):
        raise no_grad_view_error()
    root, chain = root_of(t), chain_of(t)
    root._node = CopySlices(root._node, node, chain)
    _mark_stale(t)
    sync(t)


def _mark_stale(t: Any) -> None:
    while t._view is not None:
        t._view = (*t._view[:4], -1)
        t = t._view[0]


def check_no_overlap(x: Any) -> None:
    """Raise where two elements of `x` are the same memory."""
    if 0 in x.strides and any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True)):
        raise InplaceError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


_ORDER = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2, "c": 3}
_CAST_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long", "float16": "Half",
    "bfloat16": "BFloat16", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip


def check_castable(source: Any, target: Any) -> None:
    """Raise where a result would lose its category (float into int, int into bool) by an in-place write."""
    if _ORDER[source.kind] > _ORDER[target.kind]:
        names = [_CAST_NAMES.get(d.name, d.name) for d in (source, target)]
        raise RuntimeError(f"result type {names[0]} can't be cast to the desired output type {names[1]}")


def inplace(op: Op) -> Callable[..., Any]:
    """Derive `op_` from `op`: same formula, result written back into the first operand."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        operands, params = op.bind((self, *args), kwargs)
        return apply_inplace(op, operands, params)

    method.__name__ = method.__qualname__ = op.name + "_"
    method.__doc__ = f"In-place form of `{op.name}`."
    return method


# The walk


def leaf_node(t: Any) -> AccumulateGrad:
    """The node that ends the walk at leaf `t`."""
    return AccumulateGrad(t)


def run_backward(
    seeds: Sequence[tuple[Any, Any]], *, retain: bool, create_graph: bool, targets: Sequence[Any] | None = None,
    accumulate: bool = True,
) -> dict[Any, Any]:  # fmt: skip
    """Walk the graph from `seeds` (node, gradient); returns the gradients that arrive at `targets`.

    Each node runs once, when all gradients of its result have arrived: linear in the number of edges, no recursion.
    """
    waiting = _count_edges(seeds)
    wanted = None if targets is None else _leading_to(seeds, waiting, set(targets))
    walk = _Walk(retain, create_graph, accumulate, set(targets or ()), wanted)
    before = state.grad
    state.grad = create_graph
    try:
        walk.run(seeds, waiting)
    finally:
        state.grad = before
    return walk.captured


def _count_edges(seeds: Sequence[tuple[Any, Any]]) -> dict[Any, int]:
    waiting: dict[Any, int] = {}
    todo: list[Any] = []
    for node, _ in seeds:
        if node not in waiting:
            waiting[node] = 0
            todo.append(node)
    while todo:
        for edge in todo.pop().edges:
            if edge is None:
                continue
            count = waiting.get(edge)
            if count is None:
                waiting[edge] = 1
                todo.append(edge)
            else:
                waiting[edge] = count + 1
    return waiting


def _leading_to(seeds: Sequence[tuple[Any, Any]], waiting: dict[Any, int], targets: set[Any]) -> set[Any]:
    """Nodes from which a target can be reached."""
    left = dict(waiting)
    order = [n for n in left if left[n] == 0]
    for node in order:
        for edge in node.edges:
            if edge is not None:
                left[edge] -= 1
                if left[edge] == 0:
                    order.append(edge)
    found: set[Any] = set()
    for node in reversed(order):
        if node in targets or any(e in found for e in node.edges):
            found.add(node)
    return found


class _Walk:
    """State of one backward walk."""

    def __init__(self, retain: bool, create_graph: bool, accumulate: bool, targets: set[Any], wanted: set[Any] | None) -> None:
        self.retain = retain
        self.create_graph = create_graph
        self.accumulate = accumulate
        self.targets = targets
        self.wanted = wanted
        self.captured: dict[Any, Any] = {}
        self.grads: dict[Any, Any] = {}
        self.owned: set[int] = set()

    def run(self, seeds: Sequence[tuple[Any, Any]], waiting: dict[Any, int]) -> None:
        grads = self.grads
        for node, g in seeds:
            self.add(node, g.view() if type(g) is ndarray else g)
        ready = [n for n in dict.fromkeys(n for n, _ in seeds) if waiting[n] == 0]
        while ready:
            node = ready.pop()
            g = grads.pop(node, None)
            if self.owned:
                self.owned.discard(id(g))
            results = self.visit(node, g) if g is not None else ()
            edges = node.edges
            for i, edge in enumerate(edges):
                if edge is None:
                    continue
                r = results[i] if results else None
                if r is not None:
                    if r is g and type(g) is ndarray and len(edges) > 1:
                        r = g.view()  # several receivers: having a base tells them that it is not theirs
                    if edge in grads or type(node) is Port:
                        self.add(edge, r, node)
                    else:
                        grads[edge] = r
                left = waiting[edge] - 1
                waiting[edge] = left
                if left == 0:
                    ready.append(edge)

    def add(self, edge: Any, g: Any, source: Any = None) -> None:
        """Add a gradient to what has arrived at `edge`; results of several outputs arrive in slots."""
        grads = self.grads
        if type(source) is Port:
            slots = grads.setdefault(edge, [None] * len(edge.out_specs))
            old = slots[source.index]
            slots[source.index] = g if old is None else old + g
            return
        old = grads.get(edge)
        if old is None:
            grads[edge] = g
        elif id(old) in self.owned and old.shape == g.shape and not self.create_graph:
            np.add(old, g, out=old)
        else:
            total = as_array(old + g) if not self.create_graph else old + g
            grads[edge] = total
            if type(total) is ndarray:
                self.owned.add(id(total))

    def visit(self, node: Any, g: Any) -> Sequence[Any]:
        """Run one node on its gradient; returns the gradients of its operands."""
        if type(g) is list:
            g = self._materialise(node, g)
        if node.hooks is not None:
            g = self._before(node, g)
        if node in self.targets:
            self.captured[node] = g
        if type(node) is Port:
            return (g,)
        if type(node) is AccumulateGrad:
            if self.accumulate and (self.wanted is None or node in self.targets):
                accumulate(node, g, self)
            return ()
        if self.wanted is not None and not any(e in self.wanted for e in node.edges if e is not None):
            return ()
        results = node.pull_graph(g) if self.create_graph else node.pull(g)
        if state.anomaly:
            check_anomaly(node, results)
        if node.hooks is not None and node.hooks.post:
            results = self._after(node, results, g)
        if not self.retain:
            node.release()
        return results

    def _materialise(self, node: Any, slots: list[Any]) -> tuple[Any, ...]:
        filled = tuple(
            xp_numpy.expand(np.zeros((), s.dtype), s.shape) if g is None and node.fills_missing else g
            for g, s in zip(slots, node.out_specs, strict=True)
        )
        return tuple(wrap(g) if type(g) is ndarray else g for g in filled) if self.create_graph else filled

    def _tensor(self, g: Any) -> Any:
        return g if isinstance(g, Variable) or g is None else wrap(as_array(g))

    def _raw(self, g: Any) -> Any:
        return g if self.create_graph or not isinstance(g, Variable) else g._data

    def _before(self, node: Any, g: Any) -> Any:
        hooks = node.hooks
        several = isinstance(g, tuple)
        if not several:
            for hook in list(hooks.tensor.values()):
                given = self._tensor(g)
                got = hook(given)
                if got is not None:
                    check_hook_result(given, got)
                    given = got
                g = self._raw(given)
                g = g.view() if type(g) is ndarray else g
        for hook in list(hooks.pre.values()):
            got = hook(tuple(map(self._tensor, g)) if several else (self._tensor(g),))
            if got is not None:
                got = got if isinstance(got, tuple) else (got,)
                g = tuple(map(self._raw, got)) if several else self._raw(got[0])
        if hooks.retain is not None and not several:
            t = hooks.retain()
            if t is not None:
                kept = self._tensor(g)
                t._grad = kept if self.create_graph else wrap(kept._data.copy())
        return g

    def _after(self, node: Any, results: Sequence[Any], g: Any) -> Sequence[Any]:
        incoming = tuple(map(self._tensor, g)) if isinstance(g, tuple) else (self._tensor(g),)
        for hook in list(node.hooks.post.values()):
            got = hook(tuple(map(self._tensor, results)), incoming)
            if got is not None:
                results = tuple(map(self._raw, got if isinstance(got, tuple) else (got,)))
        return results


def check_hook_result(given: Any, got: Any) -> None:
    """A tensor hook must return a gradient of the same shape."""
    if not isinstance(got, Variable):
        raise TypeError(f"expected Variable, but hook returned '{type(got).__name__}'")
    if got._data.shape != given._data.shape:
        raise ShapeError(
            f"hook '<hook>' has changed the size of value (original: {list(given._data.shape)}, got {list(got._data.shape)})"
        )


def check_anomaly(node: Any, results: Sequence[Any]) -> None:
    """In anomaly mode: raise at the first node that makes a NaN, naming the line of its forward."""
    for i, r in enumerate(results):
        data = r._data if isinstance(r, Variable) else r
        if type(data) is ndarray and data.dtype.kind in "fc" and np.isnan(data).any():
            raise explain(
                RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output."),
                forward=f"recorded at {place(node.where)}",
            )


def accumulate(node: AccumulateGrad, g: Any, walk: _Walk) -> None:
    """Add `g` to a leaf's `.grad`: in place, unless the gradient itself is differentiable."""
    leaf = node.leaf()
    if leaf is None:
        return
    old = leaf.grad
    if walk.create_graph:
        leaf._grad = g if old is None else old + g
    elif old is None:
        leaf._grad = wrap(_own(as_array(g), leaf._data))
    elif old._node is not None or type(old._data) is not ndarray:
        leaf._grad = wrap(as_array(old._data + g))
    else:
        np.add(old._data, g, out=old._data, casting="unsafe")
        bump(old)
    if node.hooks is not None:
        for hook in list(node.hooks.accumulated.values()):
            hook(leaf)


def _own(g: Any, like: Any) -> Any:
    """`g` as an array that nothing else holds, of the leaf's dtype."""
    if type(g) is not ndarray:
        return g
    if g.dtype != like.dtype:
        return g.astype(like.dtype)
    if g.base is not None or not g.flags.writeable:
        return g.copy()
    return g
