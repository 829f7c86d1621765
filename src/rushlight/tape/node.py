"""Nodes: one recorded operation, the end of the walk at a leaf, one of several results, a base changed by a view."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from rushlight.backends.sparse import SparseArray
from rushlight.errors import GradientError, InplaceError, explain
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import Op
from rushlight.tape.variable import as_array, wrap
from rushlight.tape.where import place

_new = object.__new__
ndarray = np.ndarray


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
    ordinary: ClassVar[bool] = True
    keeps_tensors: ClassVar[bool] = True
    fills_missing: Any = True

    edges: tuple[Any, ...]
    saved: tuple[Any, ...] | None
    versions: tuple[Any, ...]
    specs: Any
    where: Any
    hooks: Any
    out_specs: Any

    def name(self) -> str:
        """The name PyTorch prints, such as `AddBackward0`."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes of the operands, each with the number of the result it made."""
        masks = () if self.op is None else self.op.masks
        edges = [e for i, e in enumerate(self.edges) if i not in masks]
        return tuple((e.node, e.index) if isinstance(e, Port) else (e, 0) for e in edges)

    def __getattr__(self, name: str) -> Any:
        """What PyTorch calls `_saved_self`, `_saved_result` ...: a kept value, by the name of its role."""
        if name.startswith("_saved_") and self.op is not None:
            return self.kept(name.removeprefix("_saved_"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def kept(self, role: str) -> Any:
        """The value kept in a role: `self`, `other`, `result`, or an operand's or parameter's own name."""
        inputs = self.op.inputs
        number = {"self": 0, "other": 1}.get(role, inputs.index(role) if role in inputs else None)
        for slot, (kind, key) in enumerate(self.op.saved_plan):
            if (kind, key) in (("out", 0) if role == "result" else ("input", number), ("static", role)):
                self.check()
                return self.lifted()[slot]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute '_saved_{role}'")

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
        return self.formulas(g, self.saved or ())

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
        grads = [None if e is None else x for e, x in zip(self.edges, grads, strict=True)]
        if self.specs is not None:
            grads = [x if x is None else op.finish(x, s) for x, s in zip(grads, self.specs, strict=True)]
        return grads

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
        if self.keeps_tensors:
            self.saved = None


def revive(data: Any, node: Any, version: Any) -> Any:
    """A tensor over a kept value, attached to `node`."""
    if data is None or isinstance(data, (int, float, bool, complex)):
        return data
    t = wrap(data)
    # integer results (indices) are kept too, but have no gradient
    t._node = node if data.dtype.kind in "fcV" else None
    t._counter = version if version is not None else [0]
    return t


def _bound(fn: Any, slots: tuple[int, ...]) -> Any:
    """`fn` as a function of the gradient and the tuple of kept values."""
    if fn is None or not slots:
        return fn and (lambda g, saved: fn(g))
    if len(slots) == 1:
        i = slots[0]
        return lambda g, saved: fn(g, saved[i])
    if len(slots) == 2:
        i, j = slots
        return lambda g, saved: fn(g, saved[i], saved[j])
    return lambda g, saved: fn(g, *[saved[s] for s in slots])


def _one_operand(op: Any, formula: Any) -> Any:
    """`Node.formulas` of an op on one operand."""
    finish = op.finish

    def formulas(self: Any, g: Any, saved: Any) -> Any:
        if formula is None:
            raise no_formula(op)
        got = formula(g, saved)
        return (got if self.specs is None else finish(got, self.specs[0]),)

    return formulas


def _two_by_value(op: Any, first: Any, i: int, second: Any, j: int) -> Any:
    """`Node.formulas` of an op on two operands, such as a product, whose formulas want one kept value each."""
    finish = op.finish

    def formulas(self: Any, g: Any, saved: Any) -> Any:
        a, b = self.edges
        if a is not None:
            a = first(g, saved[i])
        if b is not None:
            b = second(g, saved[j])
        specs = self.specs
        if specs is not None:
            a = a if a is None else finish(a, specs[0])
            b = b if b is None else finish(b, specs[1])
        return (a, b)

    return formulas


def _two_operands(op: Any, first: Any, second: Any) -> Any:
    """`Node.formulas` of an op on two operands."""
    finish = op.finish

    def formulas(self: Any, g: Any, saved: Any) -> Any:
        a, b = self.edges
        if a is not None:
            if first is None:
                raise no_formula(op)
            a = first(g, saved)
        if b is not None:
            if second is None:
                raise no_formula(op)
            b = second(g, saved)
        specs = self.specs
        if specs is not None:
            a = a if a is None else finish(a, specs[0])
            b = b if b is None else finish(b, specs[1])
        return (a, b)

    return formulas


def _specialised(op: Any, pairs: Any) -> dict[str, Any]:
    if op.joint is not None or op.variadic is not None:
        return {}
    if len(pairs) == 1:
        return {"formulas": _one_operand(op, _bound(*pairs[0]))}
    if len(pairs) == 2 and all(fn is not None and len(slots) == 1 for fn, slots in pairs):
        (first, (i,)), (second, (j,)) = pairs
        return {"formulas": _two_by_value(op, first, i, second, j)}
    if len(pairs) == 2:
        return {"formulas": _two_operands(op, _bound(*pairs[0]), _bound(*pairs[1]))}
    return {}


_NODES: dict[Any, type[Node]] = {}


def node_class(op: Op, name: str = "") -> type[Node]:
    """The class of nodes that record `op`."""
    name = name or op.node_name
    found = _NODES.get((op, name))
    if found is None:
        pairs = tuple((f.fn if f else None, slots) for f, slots in zip(op.grads, op.formula_slots, strict=True))
        keeps = any(kind in ("input", "out") for kind, _ in op.saved_plan)
        body = {"__slots__": (), "op": op, "pairs": pairs, "keeps_tensors": keeps, **_specialised(op, pairs)}
        found = type(name, (Node,), body)
        _NODES[op, name] = found
    return found


class AccumulateGrad(Node):
    """The end of the walk at a leaf: adds to its `.grad`."""

    __slots__ = ("leaf",)
    keeps_tensors = False

    def __init__(self, leaf: Any) -> None:
        self.edges = ()
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.leaf = weakref.ref(leaf)

    def name(self) -> str:
        """PyTorch's name of it."""
        return "torch::autograd::AccumulateGrad"

    def formulas(self, g: Any, saved: Any) -> Sequence[Any]:
        """Add `g` to the leaf's `.grad`, in place where there is one."""
        leaf = self.leaf()
        if leaf is None:
            return ()
        old = leaf._grad
        if old is None:
            leaf._grad = wrap(_own(g, leaf._data)) if type(g) is not SparseArray else SparseArray.tensor(g)
        elif ACTIVE and state.trace is not None and old._node is None:
            state.trace.write_tensor(old, old._data + g)
            if old._counter is not None:
                old._counter[0] += 1
        elif old._node is not None or type(old._data) is not ndarray:
            total = old._data + g
            leaf._grad = wrap(as_array(total)) if type(total) is not SparseArray else SparseArray.tensor(total)
        else:
            np.add(old._data, g, out=old._data, casting="unsafe")
            if old._counter is not None:
                old._counter[0] += 1
        return ()

    def add_tensor(self, g: Any) -> None:
        """As `formulas`, with a gradient that has a history of its own."""
        leaf = self.leaf()
        if leaf is not None:
            leaf._grad = g if leaf._grad is None else leaf._grad + g

    @property
    def variable(self) -> Any:
        """The leaf tensor, None when it is gone."""
        return self.leaf()


def _own(g: Any, like: Any) -> Any:
    """`g` as an array that nothing else holds, of the leaf's dtype and, where the leaf has no gaps, in its layout."""
    if type(g) is not ndarray:
        return g.copy() if hasattr(g, "copy") else as_array(g)
    if g.strides != like.strides and g.shape == like.shape:
        out = np.empty_like(like)
        if out.strides == like.strides:
            np.copyto(out, g, casting="unsafe")
            return out
    if g.dtype is not like.dtype and g.dtype != like.dtype:
        return g.astype(like.dtype)
    if g.base is not None or not g.flags.writeable:
        return g.copy("K" if g.strides == like.strides else "C")
    return g


class Port(Node):
    """One of several results of a node."""

    __slots__ = ("node", "index")
    ordinary = False

    def __init__(self, node: Node, index: int) -> None:
        self.edges = (node,)
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.node = node
        self.index = index


class CopySlices(Node):
    """A base whose view was changed in place: the view's region takes `fn`'s gradient, the rest passes."""

    __slots__ = ("fn", "chain", "operand")
    ordinary = False

    def __init__(self, base_edge: Any, fn: Node, chain: list[Any], operand: int = 0) -> None:
        self.edges = (*fn.edges[:operand], base_edge, *fn.edges[operand + 1 :])
        self.saved = ()
        self.versions = ()
        self.specs = self.where = self.hooks = self.out_specs = None
        self.fn = fn
        self.chain = chain
        self.operand = operand

    def _split(
        self, g: Any, copy: Callable[[Any], Any], pull: Callable[[Any], Sequence[Any]], write: Any
    ) -> Sequence[Any]:
        whole = copy(g)
        region = replay(whole, self.chain)
        grads = list(pull(copy(region)))
        write(region, grads[self.operand])
        grads[self.operand] = whole
        return grads

    def pull(self, g: Any) -> Sequence[Any]:
        return self._split(g, _copied, self.fn.pull, _write_region)

    def pull_graph(self, g: Any) -> Sequence[Any]:
        return self._split(
            g, lambda t: t.clone(), self.fn.pull_graph, lambda t, v: t.zero_() if v is None else t.copy_(v)
        )

    def name(self) -> str:
        """PyTorch's name of it."""
        return "torch::autograd::CopySlices"

    def check(self) -> None:
        self.fn.check()

    def release(self) -> None:
        self.fn.release()


def _copied(a: Any) -> Any:
    return a.copy() if hasattr(a, "buffer") else np.array(a, copy=True)


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


def leaf_node(t: Any) -> AccumulateGrad:
    """The node that ends the walk at leaf `t`."""
    if not hasattr(t, "_grad"):
        t._grad = None
    return AccumulateGrad(t)


def freed_error() -> RuntimeError:
    return GradientError(
        "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
        "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
        "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
        "saved tensors after calling backward."
    )


def no_formula(op: Op) -> Exception:
    return NotImplementedError(f"derivative for aten::{op.name} is not implemented")


def overwritten_error(node: Node, slot: int, version: list[Any], kept: int) -> RuntimeError:
    """The error for a kept value that was changed in place, naming both lines."""
    value = node.saved[slot] if node.saved else None
    kind, key = node.op.saved_plan[slot]
    if kind == "out":
        source, operand = short_name(node), "its result"
    else:
        edge = None if key == node.op.variadic else node.edges[key]
        source, operand = maker_of(edge, version), f"operand '{node.op.inputs[key]}'"
    return changed_error(value, source, version, kept, f"{node.op.name} kept {operand} at {place(node.where)}")


def maker_of(node: Any, version: list[Any]) -> str:
    """Name of the op that made, or last changed, a tensor with this node and version."""
    return version[2] if len(version) > 2 else "" if node is None or type(node) is AccumulateGrad else short_name(node)


def changed_error(value: Any, name: str, version: list[Any], expected: int, kept: str) -> RuntimeError:
    """The error for `value`, a result of the op `name`, that was changed in place after version `expected`."""
    text = (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{_type_name(value)} "
        f"{list(getattr(value, 'shape', []))}]{f', which is output 0 of {name},' if name else ''} is at "
        f"version {version[0]}; expected version {expected} instead. Hint: enable anomaly detection to find the "
        "operation "
        "that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
    return explain(
        InplaceError(text),
        kept=kept,
        changed=f"in place at {place(version[1] if len(version) > 1 else None)}",
        fix="use the out-of-place form there, or .clone() the tensor before changing it",
    )


def short_name(node: Any) -> str:
    """The name of a node as PyTorch's error messages give it: `Exp` for `ExpBackward0`."""
    name: str = (node.node if isinstance(node, Port) else node).name()
    return name.partition("Backward")[0] or name


_TYPE_NAMES = {
    "float32": "torch.FloatTensor", "float64": "torch.DoubleTensor", "float16": "torch.HalfTensor",
    "bfloat16": "torch.BFloat16Tensor", "int64": "torch.LongTensor", "int32": "torch.IntTensor",
    "bool": "torch.BoolTensor", "complex64": "torch.ComplexFloatTensor", "complex128": "torch.ComplexDoubleTensor",
}  # fmt: skip


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(str(getattr(value, "dtype", "")), "torch.FloatTensor")
