"""Operations of the user's own: `Function` with a forward and a backward."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.errors import DTypeError, InplaceError, ShapeError
from rushlight.modes import no_grad, state
from rushlight.spec import Spec
from rushlight.tape import (
    AccumulateGrad,
    Node,
    Port,
    Variable,
    as_array,
    bump,
    changed_error,
    check_view,
    freed_error,
    make_view,
    maker_of,
    needs_grad,
    rebase,
    revive,
    wrap,
)
from rushlight.tensor import Tensor


class FunctionNode(Node):
    """The node of one call of a user's `Function`."""

    __slots__ = ("context", "function")
    ordinary = False
    context: Any
    function: Any

    @property
    def fills_missing(self) -> bool:
        """Whether gradients that did not arrive are given to `backward` as zeros."""
        return bool(self.context.materialize_grads)

    def pull(self, g: Any) -> Sequence[Any]:
        return self._run(g, lambda t: None if t is None else t._data)

    def pull_graph(self, g: Any) -> Sequence[Any]:
        return self._run(g, lambda t: t)

    def _run(self, g: Any, unwrap: Callable[[Any], Any]) -> list[Any]:
        given = tuple(g) if isinstance(g, (tuple, list)) else (g,)
        tensors = tuple(None if x is None else x if isinstance(x, Variable) else wrap(as_array(x)) for x in given)
        returned = self.function.backward(self.context, *tensors)
        grads = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        extra = grads[len(self.edges) :]
        if len(grads) < len(self.edges) or any(x is not None for x in extra):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {len(self.edges)}, "
                f"got {len(grads)})"
            )
        return [self._checked(i, x, edge, unwrap) for i, (x, edge) in enumerate(zip(grads, self.edges, strict=False))]

    def _checked(self, i: int, x: Any, edge: Any, unwrap: Callable[[Any], Any]) -> Any:
        if x is None or edge is None:
            return None
        if not isinstance(x, Variable):
            raise DTypeError(f"expected Variable or None (got {type(x).__name__})")
        spec = self.specs[i]
        if x._data.shape != spec.shape:
            if not _reduces_to(x._data.shape, spec.shape):
                raise ShapeError(
                    f"Function {self.name()} returned an invalid gradient at index {i} - got {list(x._data.shape)} but "
                    f"expected shape compatible with {list(spec.shape)}"
                )
            x = x.sum_to_size(*spec.shape)  # type: ignore[attr-defined]
        if x._data.dtype != spec.dtype:
            x = x.to(Tensor._make_subclass(Tensor, wrap(np.empty(0, spec.dtype))).dtype)
        return unwrap(x)

    def release(self) -> None:
        self.context._release()


class FunctionCtx:
    """What `forward` leaves for `backward`: attributes, and tensors through `save_for_backward`."""

    def __init__(self) -> None:
        self._to_save: tuple[Any, ...] = ()
        self._saved: list[Any] | None = []
        self._made: Any = None
        self._dirty: tuple[Any, ...] = ()
        self._fixed: tuple[Any, ...] = ()
        self.materialize_grads = True
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the backward: checked for in-place changes, freed after the walk."""
        self._to_save = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs the forward changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which outputs have no gradient."""
        self._fixed = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients arrive as zeros (the default) or as None."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors given to `save_for_backward`."""
        if self._saved is None:
            raise freed_error()
        return tuple(self._revived(entry) for entry in self._saved)

    saved_variables = saved_tensors

    @property
    def _node(self) -> Any:
        # weak, since the node holds this context
        return None if self._made is None else self._made()

    def _revived(self, entry: Any) -> Any:
        if entry is None:
            return None
        tensor, port, data, version, count, unpack = entry
        if unpack is not None:
            return unpack(tensor)
        if version is not None and version[0] != count:
            source = self._node.name() if port is not None else maker_of(tensor._node, version)
            raise changed_error(data, source, version, count, f"{self._node.name()}'s forward, by save_for_backward")
        if port is None:
            return tensor
        edge = self._node if port < 0 else Port(self._node, port)
        return revive(data, edge, version)

    def _keep(self, outputs: Sequence[Any]) -> None:
        kept: list[Any] = []
        for position, t in enumerate(self._to_save):
            if t is None:
                kept.append(None)
                continue
            if not isinstance(t, Variable):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {position} is of type {type(t).__name__}"
                )
            which = next((i for i, o in enumerate(outputs) if o is t), None)
            count = t._counter[0] if t._counter else 0
            if state.saved_hooks:
                pack, unpack = state.saved_hooks[-1]
                kept.append((pack(t), None, t._data, None, 0, unpack))
            elif which is None or self._node is None:
                kept.append((t, None, t._data, t._counter, count, None))
            else:
                kept.append((None, which if len(outputs) > 1 else -1, t._data, t._counter, count, None))
        self._saved = kept
        self._to_save = ()

    def _release(self) -> None:
        if self._saved:
            self._saved = None


class _FunctionMeta(type):
    _node_class: Any

    def __init__(cls, name: str, bases: Any, namespace: Any) -> None:
        super().__init__(name, bases, namespace)
        cls._node_class = type(name + "Backward", (FunctionNode,), {"__slots__": ()})


class Function(FunctionCtx, metaclass=_FunctionMeta):
    """Base of operations with a backward of the user's own; call them through `apply`.

    Examples
    --------
    >>> class Exp(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, i):
    ...         result = i.exp()
    ...         ctx.save_for_backward(result)
    ...         return result
    ...     @staticmethod
    ...     def backward(ctx, grad_output):
    ...         (result,) = ctx.saved_tensors
    ...         return grad_output * result
    >>> x = torch.tensor(0.0, requires_grad=True)
    >>> Exp.apply(x).backward()
    >>> x.grad
    tensor(1.)
    """

    setup_context: Any = None
    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The computation; with `ctx` first unless `setup_context` is defined."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the inputs from those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke "
            "them on the class itself. Instantiating an autograd function will raise an error in a future version "
            "of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the forward and record the call."""
        context = FunctionCtx()
        tensors = [a for a in args if isinstance(a, Variable)]
        recording = state.grad and needs_grad(tensors)
        context.needs_input_grad = tuple(isinstance(a, Variable) and a._node is not None for a in args)
        with no_grad():
            if cls.setup_context is not None:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, result)
            else:
                result = cls.forward(context, *args, **kwargs)
        for t in context._dirty:
            bump(t)
        outputs = list(result) if isinstance(result, tuple) else [result]
        outputs = [_distinct(o, args, context, recording) for o in outputs]
        if recording:
            _record(cls, context, args, outputs)
        context._keep(outputs)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def _distinct(output: Any, args: Sequence[Any], context: FunctionCtx, recording: bool) -> Any:
    """An output that is one of the inputs, or has a history from elsewhere, becomes a tensor of its own."""
    if not isinstance(output, Variable) or any(output is d for d in context._dirty):
        return output
    if any(output is a for a in args):
        return make_view(output, None, {}, output._data, None, None)
    if recording and output._node is not None:
        return output.detach()  # type: ignore[attr-defined]
    return output


def _record(cls: Any, context: FunctionCtx, args: Sequence[Any], outputs: Sequence[Any]) -> None:
    node = object.__new__(cls._node_class)
    node.edges = tuple(a._node if isinstance(a, Variable) else None for a in args)
    node.specs = tuple(Spec(a._data.shape, a._data.dtype) if isinstance(a, Variable) else None for a in args)
    node.saved = node.versions = ()
    node.where = node.hooks = None
    node.context = context
    node.function = cls
    node.out_specs = tuple(Spec(o._data.shape, o._data.dtype) if isinstance(o, Variable) else None for o in outputs)
    for i, t in enumerate(outputs):
        if not isinstance(t, Variable) or t._data.dtype.kind not in "fcV" or any(t is f for f in context._fixed):
            continue
        dirty = any(t is d for d in context._dirty)
        if dirty and t._view is not None:
            _replace_history(t, node, len(outputs), next((k for k, a in enumerate(args) if a is t), 0))
            continue
        if dirty and isinstance(t._node, AccumulateGrad):
            raise InplaceError("a leaf Variable that requires grad has been used in an in-place operation.")
        t._node = node if len(outputs) == 1 else Port(node, i)
    context._made = weakref.ref(node)


def _replace_history(t: Any, node: FunctionNode, count: int, operand: int) -> None:
    """Make `node`, which changed view `t` in place, the newest step of the history of `t`'s base."""
    check_view(t)
    if count != 1:
        raise InplaceError(
            f"If your Function changes a view in place it must have one output, but {node.name()} has {count}."
        )
    rebase(t, node, operand)


def _reduces_to(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a gradient of this shape can be summed to `wanted`."""
    lead = len(shape) - len(wanted)
    return lead >= 0 and all(n in (1, m) for n, m in zip(wanted, shape[lead:], strict=True))


class _Once(Function):
    """Passes a gradient on; differentiating it is an error."""

    @staticmethod
    def forward(ctx: Any, value: Any, *grads: Any) -> Any:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a backward whose gradients cannot be differentiated again: trying to is an error."""

    @functools.wraps(fn)
    def backward(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            found = fn(ctx, *grads)
        if not state.grad or not needs_grad(grads):
            return found
        several = found if isinstance(found, tuple) else (found,)
        guarded = tuple(_Once.apply(v, *grads) if isinstance(v, Variable) else v for v in several)
        return guarded if isinstance(found, tuple) else guarded[0]

    return backward


class InplaceFunction(Function):
    """`Function` with an `inplace` flag, as PyTorch has it."""


NestedIOFunction = Function
