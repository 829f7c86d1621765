"""Starting the backward walk: `backward` and `grad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.backends.sparse import SparseArray
from rushlight.errors import GradientError, ShapeError, explain
from rushlight.modes import ACTIVE, state
from rushlight.ops import linear
from rushlight.tape import Variable, as_array, run_backward, sync, wrap


def _seed(t: Any, gradient: Any, create_graph: bool) -> tuple[Any, Any]:
    if t._view is not None:
        sync(t)
    if t._node is None:
        raise GradientError("element 0 of tensors does not require grad and does not have a grad_fn")
    data = t._data
    if gradient is None:
        if data.size != 1:
            raise explain(
                GradientError("grad can be implicitly created only for scalar outputs"),
                expected="a tensor of one element",
                received=tuple(data.shape),
                fix="reduce it first: .sum().backward() or .mean().backward(), or pass gradient=",
            )
        if type(data) is np.ndarray or ACTIVE and state.trace is not None:
            g = np.array(1, data.dtype) if not data.ndim else np.ones(data.shape, data.dtype)
        else:
            g = data * 0 + 1
    else:
        if not isinstance(gradient, Variable):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        if gradient._data.shape != data.shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[0] has a shape of torch.Size({list(gradient._data.shape)}) and "
                "output[0] "
                f"has a shape of torch.Size({list(data.shape)})."
            )
        if create_graph:
            return t._node, gradient
        g = gradient._data if gradient._data.dtype == data.dtype else gradient._data.astype(data.dtype)
    return t._node, wrap(g) if create_graph else g


def _as_list(values: Any) -> list[Any]:
    return [values] if isinstance(values, Variable) or hasattr(values, "ownership_token") else list(values)


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    inputs: Any = None,
) -> None:  # fmt: skip
    """Add to `.grad` of the leaves (of `inputs` only, if given) the gradients of `tensors`.

    Parameters
    ----------
    tensors : Tensor or sequence of Tensor
    grad_tensors : Tensor or sequence of Tensor, optional
        The vector of the vector-Jacobian product; 1 for tensors of one element.
    retain_graph : bool, optional
        Keep what the graph saved, to walk it again. Defaults to `create_graph`.
    create_graph : bool
        Make the gradients differentiable.
    inputs : Tensor or sequence of Tensor, optional

    Raises
    ------
    RuntimeError
        If a tensor requires no gradient, has several elements and no gradient is given, or the graph was freed.
    """
    outputs = _as_list(tensors)
    if grad_tensors is None:
        seeds = [_seed(t, None, create_graph) for t in outputs]
    else:
        given = _as_list(grad_tensors)
        if len(given) != len(outputs):
            raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
        seeds = [_seed(t, g, create_graph) for t, g in zip(outputs, given, strict=True)]
    keep = create_graph if retain_graph is None else retain_graph
    targets = None
    if inputs is not None:
        chosen = _as_list(inputs)
        if not chosen:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        for t in chosen:
            t.retain_grad()
        targets = [_input_node(t) for t in chosen]
    run_backward(seeds, retain=keep, create_graph=create_graph, targets=targets)


def _input_node(t: Any) -> Any:
    if not isinstance(t, Variable):
        return t.ownership_token
    if t._view is not None:
        sync(t)
    if t._node is None:
        raise GradientError("One of the differentiated Tensors does not require grad")
    return t._node


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of the sum of `outputs` with respect to `inputs`, returned instead of added to `.grad`.

    Examples
    --------
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x**2, x)
    (tensor(6.),)
    """
    outs, ins = _as_list(outputs), _as_list(inputs)
    given = [None] * len(outs) if grad_outputs is None else _as_list(grad_outputs)
    if is_grads_batched:
        return tuple(_batched(outs, ins, given, create_graph, allow_unused))
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    allow_unused = allow_unused or materialize_grads
    seeds = [_seed(t, g, create_graph) for t, g in zip(outs, given, strict=True)]
    keep = create_graph if retain_graph is None else retain_graph
    nodes = [_input_node(t) for t in ins]
    captured = run_backward(seeds, retain=keep, create_graph=create_graph, targets=nodes, accumulate=False)
    results: list[Any] = []
    for number, (t, node) in enumerate(zip(ins, nodes, strict=True)):
        g = captured.get(node)
        if g is None and not allow_unused:
            raise GradientError(
                f"The differentiated Tensor at index {number} appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior."
            )
        if g is None and materialize_grads:
            g = np.zeros(t._data.shape, t._data.dtype)
        results.append(g if g is None or isinstance(g, Variable) else _tensor_over(as_array(g)))
    return tuple(results)


def _tensor_over(g: Any) -> Any:
    if type(g) is SparseArray:
        return SparseArray.tensor(g)
    if type(g) is np.ndarray:
        return wrap(g if g.base is None else linear.clone(g))
    return wrap(g.copy() if hasattr(g, "buffer") else g)


def _batched(
    outs: Sequence[Any], ins: Sequence[Any], given: Sequence[Any], create_graph: bool, allow_unused: Any
) -> Any:
    count = len(given[0])
    rows = [
        grad(outs, ins, [None if g is None else g[i] for g in given], True, create_graph, True, allow_unused)
        for i in range(count)
    ]
    stacked = []
    for column in zip(*rows, strict=True):
        stacked.append(None if column[0] is None else linear.stack(list(column), 0))
    return tuple(stacked)
