"""Changes in place: what may be changed, the write, and the history that views and bases get."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import InplaceError, ShapeError, explain
from rushlight.modes import ACTIVE, state
from rushlight.ops.kinds import Op, result_dtype
from rushlight.tape.node import AccumulateGrad, CopySlices, Node, Port, hooks_of, short_name
from rushlight.tape.record import _finish_saving, _unwrap, diagnosed, make_node, needs_grad, several_views_error, sync
from rushlight.tape.variable import as_array, wrap
from rushlight.tape.where import caller

ndarray = np.ndarray


def check_writable(t: Any) -> None:
    """Raise PyTorch's error where `t` must not be changed in place."""
    if t._counter is None:
        if not state.inference:
            raise InplaceError(
                "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a "
                "normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more "
                "details."
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
    base = None if t._view is None else root_of(t)._node
    if base is None:
        return
    check_view(t)
    if isinstance(base, AccumulateGrad):
        raise explain(
            InplaceError("a view of a leaf Variable that requires grad is being used in an in-place operation."),
            fix="change it inside `with torch.no_grad():`, or work on a copy: t.clone()",
        )


def check_view(t: Any) -> None:
    """Raise where a change of view `t` cannot be recorded: it was taken under no_grad, or is one of several."""
    view = t
    while view._view is not None:
        if view._view[1] is None and view._node is not None:
            raise InplaceError(
                f"Output 0 of {short_name(view._node)} is a view and is being modified inplace. This view was created "
                "inside a custom Function (or because an input was returned as-is) and the autograd logic to handle "
                "view+inplace would override the custom backward associated with the custom Function, leading to "
                "incorrect "
                "gradients. This behavior is forbidden. You can fix this by cloning the output of the custom Function."
            )
        if view._view[1] is None:
            raise InplaceError(
                "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given "
                "that this "
                "use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both "
                "the view "
                "and the inplace either both inside the no_grad block (if you don't want the inplace to be "
                "tracked) or both "
                "outside (if you want the inplace to be tracked)."
            )
        if view._view[3] is not None:
            node = t._node
            made = "A view was created in no_grad mode and is being modified inplace with grad mode enabled."
            if node is not None:
                number = node.index if isinstance(node, Port) else 0
                made = f"Output {number} of {short_name(node)} is a view and is being modified inplace."
            raise several_views_error(made)
        view = view._view[0]


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
    if ACTIVE and state.profiler is not None:
        return state.profiler.timed(f"aten::{op.name}_", _apply_inplace, (op, operands, params), operands)
    return _apply_inplace(op, operands, params)


def _apply_inplace(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    t = operands[0]
    check_writable(t)
    try:
        operands = op.prepare(operands, params)
    except NotImplementedError:
        check_castable(result_dtype(operands).np, t._data.dtype)
        raise
    raw = _unwrap(op, operands)
    if ACTIVE and state.trace is not None and "generator" in params:
        raw = state.trace.drawing(raw)
    x = t._data
    check_no_overlap(x)
    for y in op.flat(raw):
        check_no_partial_overlap(x, y)
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
    if (
        state.grad
        and op.differentiable
        and not state.inference
        and needs_grad(op.flat(operands))
        and x.dtype.kind in "fcV"
    ):
        if t._view is not None:
            check_view(t)
        kept = raw
        if op.keeps_input and op.keeps_input[0] and raw[0] is x:
            kept = (x.copy() if hasattr(x, "copy") else x, *raw[1:])
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
    if ACTIVE and state.trace is not None:
        state.trace.write_tensor(t, out)
    elif ACTIVE and (hasattr(t._data, "overwrite") or hasattr(out, "overwrite")):
        (t._data if hasattr(t._data, "overwrite") else out).overwrite(t._data, out)  # the examples of a `vmap`
    elif type(out) is ndarray or type(t._data) is ndarray and not hasattr(out, "op_rank"):
        t._data[...] = out
    else:
        t._data = out
    bump(t)


def set_history(t: Any, node: Node, out: Any) -> None:
    """Make `node` the newest step of `t`'s history, and of its base's when `t` is a view."""
    if node.op.keeps_out:
        slot = next(s for s, (kind, _) in enumerate(node.op.saved_plan) if kind == "out")
        saved = node.saved or ()
        node.saved = (*saved[:slot], t._data, *saved[slot + 1 :])
    _finish_saving(node, t)
    t._counter[2:] = (short_name(node),)
    if t._view is None:
        if t._node is not None and t._node.hooks is not None and t._node.hooks.retain is not None:
            hooks_of(node).retain, t._node.hooks.retain = t._node.hooks.retain, None
        t._node = node
        return
    rebase(t, node)


def rebase(t: Any, node: Node, operand: int = 0) -> None:
    """Give the base of view `t` a history in which `node` changed the view, its operand number `operand`."""
    root, chain = root_of(t), chain_of(t)
    root._node = CopySlices(root._node, node, chain, operand)
    _mark_stale(t)
    sync(t)


def _mark_stale(t: Any) -> None:
    while t._view is not None:
        t._view = (*t._view[:4], -1)
        t = t._view[0]


def check_no_overlap(x: Any) -> None:
    """Raise where two elements of `x` are the same memory."""
    if (
        type(x) is ndarray
        and 0 in x.strides
        and x.size
        and any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True))
    ):
        raise InplaceError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


def check_no_partial_overlap(x: Any, y: Any) -> None:
    """Raise where the array `x`, to be written, and an operand share some elements but are not one array."""
    if y is x or type(y) is not ndarray or (y if y.base is None else y.base) is not (x if x.base is None else x.base):
        return
    if x.shape == y.shape and x.strides == y.strides and x.ctypes.data == y.ctypes.data or not x.size or not y.size:
        return
    if is_dense(x) and is_dense(y) and np.may_share_memory(x, y):
        raise InplaceError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            "memory "
            "location. Please clone() the tensor before performing the operation."
        )


def is_dense(x: Any) -> bool:
    """Whether the elements of `x` fill a stretch of memory, each place once, in any order."""
    step = x.itemsize
    for s, n in sorted((s, n) for s, n in zip(x.strides, x.shape, strict=True) if n != 1):
        if s != step:
            return False
        step *= n
    return True


_ORDER = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2, "c": 3}


def check_castable(source: Any, target: Any) -> None:
    """Raise where a result would lose its category (float into int, int into bool) by an in-place write."""
    if _ORDER[source.kind] > _ORDER[target.kind]:
        names = [KERNEL_NAMES.get(d.name, d.name) for d in (source, target)]
        raise RuntimeError(f"result type {names[0]} can't be cast to the desired output type {names[1]}")
