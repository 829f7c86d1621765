"""Recording: run an op on tensors and note it on the tape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rushlight.dtypes import NP_HALF
from rushlight.errors import InplaceError, ShapeError, explain
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import Composite, Elementwise, Op, View
from rushlight.spec import Spec
from rushlight.tape.node import Node, Port, freed_error, node_class, short_name
from rushlight.tape.variable import Variable, as_array, make_view, wrap
from rushlight.tape.where import caller

_new = object.__new__


def sync(t: Any) -> None:
    """Give a view whose storage changed in place since its node was made a node over its parent's present one."""
    stale: list[Any] = []
    while t._view is not None and t._counter is not None and t._counter[0] != t._view[4]:
        stale.append(t)
        t = t._view[0]
    for v in reversed(stale):
        parent, op, params, index, _ = v._view
        tracked = op is not None and (parent._node is not None or v._node is not None)
        if tracked and index is not None and v._node is not None:
            if not state.grad:
                return
            raise several_views_error(
                f"Output {index} of {short_name(v._node)} is a view and its base or another view of its base has been "
                "modified inplace."
            )
        v._view = (parent, op, params, index, v._counter[0])
        if tracked:
            v._node = _view_node(op, parent, params, index, v._data) if parent._node is not None else None


def several_views_error(what: str) -> RuntimeError:
    """The error for a view that is one of several results and was changed, or whose base was."""
    return InplaceError(
        f"{what} This view is the output of a function that returns multiple views. Such functions do not allow "
        "the output "
        "views to be modified inplace. You should replace the inplace operation by an out-of-place one."
    )


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
        if out.dtype in NP_HALF or any(e is not None and a.shape != shape for a, e in zip(raw, edges, strict=True)):
            node.specs = tuple(
                Spec(a.shape, a.dtype) if e is not None else None for a, e in zip(raw, edges, strict=True)
            )
    elif type(out) is not tuple and out.dtype in NP_HALF and op.variadic is None:
        node.specs = tuple(Spec(a.shape, a.dtype) if e is not None else None for a, e in zip(raw, edges, strict=True))
    if op.saved_plan:
        _save(node, op, operands, raw, params, out, edges)
    else:
        node.saved = node.versions = ()
    if state.anomaly and node.where is None:
        node.where = caller()
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
                if a._counter is None:
                    raise inference_error()
                versions.append((slot, a._counter, a._counter[0]))
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
    if ACTIVE and state.profiler is not None:
        return state.profiler.timed(f"aten::{op.name}", _record, (op, operands, params), operands)
    return _record(op, operands, params)


def _record(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    if isinstance(op, Composite) and not op.declared:
        return op.body(*operands, **params)
    operands = op.prepare(operands, params)
    raw = _unwrap(op, operands)
    if ACTIVE and state.trace is not None and "generator" in params:
        raw = state.trace.drawing(raw)
    try:
        out = op.apply(raw, params)
    except ValueError as error:
        raise diagnosed(op, raw, params, error) from None
    recording = state.grad and op.differentiable and not state.inference and needs_grad(op.flat(operands))
    if isinstance(op, View):
        return _wrap_view(op, operands[0], params, out, recording)
    if isinstance(out, tuple):
        return _wrap_several(op, operands, raw, params, out, recording)
    out = as_array(out)
    t = wrap(out)
    if recording and out.dtype.kind in "fcV":
        node = make_node(op, operands, raw, params, out)
        t._node = node
        _finish_saving(node, t)
    return t


def _finish_saving(node: Node, t: Any) -> None:
    """Point the kept result at its tensor's version, and pack kept values when hooks ask for it."""
    if node.op.keeps_out and node.versions:
        node.versions = tuple(
            (s, t._counter, t._counter[0]) if node.op.saved_plan[s][0] == "out" else (s, v, n)
            for s, v, n in node.versions
        )
    if ACTIVE and state.saved_hooks and node.versions:
        pack_saved(node)


def pack_saved(node: Node) -> None:
    """Hand the kept values to the innermost saved-tensor hooks; they are unpacked when needed."""
    pack, unpack = state.saved_hooks[-1]
    values = list(node.saved or ())
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
        body = {"__slots__": (), "ordinary": False, "pull": _pull_packed, "pull_graph": _pull_packed_graph}
        _PACKED[cls] = type(cls.__name__, (cls,), body)
    return _PACKED[cls]


def _unpacked(node: Any) -> tuple[Any, ...]:
    if node.saved is None:
        raise freed_error()
    values, packed, unpack = node.saved
    return tuple(unpack(packed[i])._data if i in packed else v for i, v in enumerate(values))


def _pull_packed(self: Any, g: Any) -> Any:
    return self.formulas(g, _unpacked(self))


def _pull_packed_graph(self: Any, g: Any) -> Any:
    packed = self.saved
    self.saved = _unpacked(self)
    try:
        return self.formulas(g, self.lifted())
    finally:
        self.saved = packed


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
    return explain(
        RuntimeError(f"{op.name}: {error}"), received=", ".join(str(list(getattr(a, "shape", []))) for a in raw)
    )


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
    return make_view(
        parent, op, params, out, None, make_node(op, (parent,), (parent._data,), params, out) if recording else None
    )


def _wrap_several(
    op: Op,
    operands: tuple[Any, ...],
    raw: tuple[Any, ...],
    params: dict[str, Any],
    out: tuple[Any, ...],
    recording: bool,
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
