"""What a program does with values: calls, views, writes, noted in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.trace_array import Buffer, Restart, TracedArray, broken
from rushlight.dtypes import NP_HALF
from rushlight.ops.kinds import OPS, Array, Composite, Op, View, view
from rushlight.ops.random import LAYOUT_ONLY, draw_contiguous
from rushlight.spec import Spec
from rushlight.tape import Variable, caller

ndarray = np.ndarray
Ints = tuple[int, ...]
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# Larger constants are not compared with earlier ones.
_SHARED = 1 << 20


@view(grad=None)
def strided_view(xp: Any, x: Array, size: Ints, stride: Ints, offset: int) -> Array:
    """Elements of the flat `x` with the given sizes, strides and offset (in elements); the caller checks bounds."""
    return np.lib.stride_tricks.as_strided(x[offset:], size, tuple(s * x.itemsize for s in stride))


class Values:
    """Notes calls on traced arrays.

    Attributes
    ----------
    graph : what was noted
    constants : constants by their contents
    """

    where = staticmethod(caller)

    def __init__(self) -> None:
        self.graph = Graph()
        self.constants: dict[Any, Value] = {}

    def interpret(self, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Note a call of an op."""
        if isinstance(op, View):
            return self.view(op, self.as_traced(operands[0]), params)
        if isinstance(op, Composite) and op.spec_rule is None:
            return self._inline(op, operands, params)
        if op.name in ("copy", "clone"):
            return self.snapshot(operands[0])
        if op.name == "copy_into":
            return self._overwritten(*operands)
        for p in params.values():
            if isinstance(p, (TracedArray, Variable)):
                raise broken(f"uses a value as a parameter of {op.name}")
        if op.name in LAYOUT_ONLY and operands[0].is_contiguous:
            # What is drawn into must not be rewritten: the order of a draw is that of memory.
            op, operands, params = self._on_contiguous(op, operands[0].spec, params)
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

    def _on_contiguous(self, op: Op, like: Spec, params: dict[str, Any]) -> tuple[Op, tuple[Any, ...], dict[str, Any]]:
        """A draw for a contiguous array, as a call without operands."""
        settings = tuple((name, value) for name, value in params.items() if name != "generator")
        given = {"op": op.name, "shape": like.shape, "dtype": like.dtype, "settings": settings}
        return draw_contiguous, (), {**given, "generator": params["generator"]}

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


def _is_uniform(a: Any) -> bool:
    bits = _BITS.get(a.itemsize)
    if bits is None:
        return False
    flat = np.ascontiguousarray(a).reshape(-1).view(bits)
    return bool((flat == flat[0]).all())
