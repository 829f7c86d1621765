"""Functions that compute derivatives of functions: `grad`, `vjp`, `jvp`, Jacobians and Hessians."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.func.examples import Unbatchable, entered, left, new_level
from rushlight.func.trees import leaves, mapped, rebuilt
from rushlight.functions.backward import grad as gradients
from rushlight.modes import enable_grad, state
from rushlight.ops import linear
from rushlight.tape import AccumulateGrad, Variable, wrap

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]


def _fresh(x: Any) -> Any:
    """`x` as an input to differentiate by: connected to what `x` depends on, if it does."""
    if not isinstance(x, Variable):
        return x
    if x._data.dtype.kind not in "fcV":
        raise RuntimeError(f"differentiable inputs must be floating or complex, but one has dtype {x.dtype}")  # type: ignore[attr-defined]
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()  # type: ignore[attr-defined]


class _Run:
    """One run of a function on fresh inputs, ready to be differentiated."""

    def __init__(
        self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: Sequence[int], has_aux: bool
    ) -> None:
        self.nested = state.grad
        with enable_grad():
            self.chosen = [mapped(_fresh, args[k]) for k in numbers]
            given = list(args)
            for k, fresh in zip(numbers, self.chosen, strict=True):
                given[k] = fresh
            result = func(*given, **kwargs)
        self.aux: Any = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError("with has_aux=True the function must return a tuple (output, aux)")
            result, self.aux = result
        self.result = result
        self.inputs = [x for x in leaves(self.chosen) if isinstance(x, Variable)]
        self.outputs = leaves(result)
        if not all(isinstance(o, Variable) for o in self.outputs):
            raise RuntimeError(f"the function must return Tensors, got {[type(o) for o in self.outputs]}")
        # only then must the derivatives themselves be differentiable
        self.outside = self.nested and _depends_on_others(self.outputs, {x._node for x in self.inputs})

    def pulled(self, vectors: Sequence[Any], create_graph: bool | None = None) -> list[Any]:
        """Gradients of the inputs, zeros where nothing depends on one."""
        pairs = [(o, v) for o, v in zip(self.outputs, vectors, strict=True) if o.requires_grad]
        if not pairs:
            return [zeros_like(x) for x in self.inputs]
        graph = self.outside if create_graph is None else create_graph
        with enable_grad():
            found = gradients([o for o, _ in pairs], self.inputs, [v for _, v in pairs], True, graph, True, True)
        return [zeros_like(x) if g is None else g for g, x in zip(found, self.inputs, strict=True)]

    def closed(self, tree: Any) -> Any:
        """Results for the caller: without the history that ends at our own fresh inputs."""
        if self.outside:
            return tree
        return mapped(lambda t: t.detach() if isinstance(t, Variable) else t, tree)  # type: ignore[attr-defined]


def zeros_like(x: Any) -> Any:
    """Zeros that require no gradient."""
    return wrap(np.zeros(x._data.shape, x._data.dtype))


def _depends_on_others(outputs: Sequence[Any], own: set[Any]) -> bool:
    """Whether a leaf other than the fresh inputs can be reached, whose gradient somebody may want."""
    todo = [o._node for o in outputs if o._node is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if type(node) is AccumulateGrad:
            # the fresh inputs of a run that has ended are gone: nobody can ask for their gradients
            if node not in own and node.variable is not None:
                return True
            continue
        for edge in node.edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                todo.append(edge)
    return False


def _numbers(argnums: Argnums, count: int) -> tuple[int, ...]:
    given = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for k in given:
        if not -count <= k < count:
            raise RuntimeError(f"Got argnum={k}, but only {count} positional inputs")
    return tuple(k % count for k in given)


def grad_and_value(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """A function that returns the gradient of scalar `func` and its value; see `grad`."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        run = _Run(func, args, kwargs, _numbers(argnums, len(args)), has_aux)
        value = run.result
        if not isinstance(value, Variable):
            raise RuntimeError(f"Expected the function given to grad to return a Tensor, got {type(value)}")
        if value._data.ndim:
            raise RuntimeError(
                "Expected the function given to grad to return a scalar tensor, got tensor with "
                f"{value._data.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        found = rebuilt(run.chosen, iter(run.pulled([wrap(np.ones((), value._data.dtype))])))
        found = run.closed(found[0] if isinstance(argnums, int) else tuple(found))
        return (found, (run.closed(value), run.closed(run.aux))) if has_aux else (found, run.closed(value))

    return wrapper


def grad(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """A function that returns the gradient of scalar `func` by its arguments number `argnums`.

    Parameters
    ----------
    func : callable
        Returns a 0-d tensor, or with `has_aux` a tuple of that and anything else, which is handed through.
    argnums : int or tuple of int

    Examples
    --------
    >>> torch.func.grad(torch.sin)(torch.tensor(0.0))
    tensor(1.)
    >>> torch.func.grad(torch.func.grad(lambda x: x**3))(torch.tensor(2.0))
    tensor(12.)
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = grad_and_value(func, argnums, has_aux)(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """`func(*primals)`, and a function that multiplies a vector with its Jacobian.

    Examples
    --------
    >>> value, pull = torch.func.vjp(torch.sin, torch.zeros(2))
    >>> pull(torch.tensor([1.0, 2.0]))
    (tensor([1., 2.]),)
    """
    run = _Run(func, primals, {}, range(len(primals)), has_aux)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        vectors = leaves(cotangents)
        if len(vectors) != len(run.outputs):
            raise RuntimeError(f"vjp: expected {len(run.outputs)} cotangents, as many as outputs, got {len(vectors)}")
        graph = run.outside or state.grad and any(v.requires_grad for v in vectors)
        found = rebuilt(run.chosen, iter(run.pulled(vectors, graph)))
        return tuple(found if graph else run.closed(found))

    value = run.closed(run.result)
    return (value, pull, run.closed(run.aux)) if has_aux else (value, pull)


def _pushed(run: _Run, tangents: Sequence[Any]) -> list[Any]:
    """Jacobian times vector: the derivative of the vector-Jacobian product by its vector, where it is linear."""
    dummies = [zeros_like(o).requires_grad_() for o in run.outputs]
    pulled = run.pulled(dummies, True)
    pairs = [(p, t) for p, t in zip(pulled, tangents, strict=True) if p.requires_grad]
    if not pairs:
        return [zeros_like(o) for o in run.outputs]
    with enable_grad():
        found = gradients(
            [p for p, _ in pairs], dummies, [t for _, t in pairs], True, run.outside or run.nested, True, True
        )
    return [zeros_like(o) if g is None else g for g, o in zip(found, run.outputs, strict=True)]


def jvp(func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """`func(*primals)` and its derivative in the direction `tangents`.

    Notes
    -----
    PyTorch: forward mode. Here reverse mode twice: the same result for functions that can be differentiated twice.

    Examples
    --------
    >>> torch.func.jvp(torch.sin, (torch.zeros(2),), (torch.tensor([1.0, 2.0]),))
    (tensor([0., 0.]), tensor([1., 2.]))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or len(primals) != len(tangents):
        raise RuntimeError("jvp(f, primals, tangents): expected primals and tangents to be tuples of the same length")
    run = _Run(func, primals, {}, range(len(primals)), has_aux)
    vectors = leaves(tangents)
    for x, t in zip(run.inputs, vectors, strict=True):
        if x._data.shape != t._data.shape:
            raise RuntimeError(
                f"jvp: a tangent must have the shape of its primal: expected {list(x._data.shape)}, got "
                f"{list(t._data.shape)}"
            )
    run.outside = run.outside or run.nested and any(t.requires_grad for t in vectors)
    pushed = run.closed(rebuilt(run.result, iter(_pushed(run, vectors))))
    value = run.closed(run.result)
    return (value, pushed, run.closed(run.aux)) if has_aux else (value, pushed)


def linearize(func: Function, *primals: Any) -> tuple[Any, Function]:
    """`func(*primals)`, and its best linear approximation there as a function of tangents."""
    run = _Run(func, primals, {}, range(len(primals)), False)
    return run.closed(run.result), lambda *tangents: run.closed(
        rebuilt(run.result, iter(_pushed(run, leaves(tangents))))
    )


def jacrev(
    func: Function, argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Function:  # fmt: skip
    """A function that returns the Jacobian of `func`: sizes of an output, then of an input.

    Examples
    --------
    >>> torch.func.jacrev(lambda x: x * x)(torch.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        run = _Run(func, args, kwargs, _numbers(argnums, len(args)), has_aux)
        tables = []
        for k, o in enumerate(run.outputs):
            found = rebuilt(run.chosen, iter(_jacobian(run, k, o)))
            tables.append(found[0] if isinstance(argnums, int) else tuple(found))
        table = run.closed(rebuilt(run.result, iter(tables)))
        return (table, run.closed(run.aux)) if has_aux else table

    return wrapper


def _jacobian(run: _Run, number: int, output: Any) -> list[Any]:
    """Of one output by all inputs, a row for each of its elements."""
    if output._data.size > 1 and not run.outside and state.trace is None:
        with contextlib.suppress(Unbatchable, Exception):  # an error of the walk's comes again below
            return _rows_at_once(run, number, output)
    rows = []
    for at in range(output._data.size):
        vectors = [zeros_like(o) for o in run.outputs]
        vectors[number]._data.reshape(-1)[at] = 1
        rows.append(run.pulled(vectors))
    shape = tuple(output._data.shape)
    if not rows:
        return [wrap(np.zeros((*shape, *x._data.shape), x._data.dtype)) for x in run.inputs]
    return [
        linear.stack(list(column), 0).reshape((*shape, *x._data.shape))
        for column, x in zip(zip(*rows, strict=True), run.inputs, strict=True)
    ]


def _rows_at_once(run: _Run, number: int, output: Any) -> list[Any]:
    """All rows by one walk, each of them one example of the gradient of the output."""
    shape, count = tuple(output._data.shape), output._data.size
    with new_level() as level:
        vectors = [zeros_like(o) for o in run.outputs]
        unit = np.eye(count, dtype=output._data.dtype).reshape(count, *shape)
        vectors[number] = wrap(entered(unit, 0, level))
        found = [left(g._data, 0, level, count) for g in run.pulled(vectors)]
    return [wrap(rows).reshape((*shape, *x._data.shape)) for rows, x in zip(found, run.inputs, strict=True)]


def jacfwd(func: Function, argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error") -> Function:
    """As `jacrev`, a column at a time in PyTorch.

    Notes
    -----
    PyTorch: forward mode. Here reverse mode: the same result, at the cost of `jacrev`.
    """
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Function, argnums: Argnums = 0) -> Function:
    """A function that returns the second derivatives of `func`.

    Examples
    --------
    >>> torch.func.hessian(lambda x: (x**3).sum())(torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
