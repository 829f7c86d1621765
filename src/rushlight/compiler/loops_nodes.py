"""What a fused kernel computes, element by element: a small graph of nodes over the atoms of a space.

A `Node` is a number for each step of the loops; a `Term` is a node seen as an array, with the atoms that its dims run
over. Graph calls become nodes through the builders of `loops_lower.py`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np

from rushlight.compiler.access import Access, resolve
from rushlight.compiler.graph import Value
from rushlight.compiler.loops_space import Misfit, Run, Runs, Space
from rushlight.ops.kinds import OPS, Elementwise, Op
from rushlight.spec import Spec

I64 = np.dtype(np.int64)
INDEX = "index"
"""Name of constants that hold 0, 1, 2 ... along their one dim: no memory is read for them."""
NUMBERS = (bool, int, float)

# Ops that take so long that a value needed twice is kept rather than computed again.
EXPENSIVE = frozenset(
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt pow pow_scalar rpow_scalar tanh sinh cosh sin cos tan asin acos "
    "atan atan2 asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid silu gelu gelu_slope mish softplus elu selu "
    "celu log_sigmoid logaddexp logaddexp2 div rdiv reciprocal hypot xlogy".split()
)


class Node:
    """One number per step.

    Attributes
    ----------
    kind : "load", "rows" (rows of memory looked up by an index), "index" (the step number along `runs`), "point" (an
        op), "cast", "fill", "reduce" or "product" (what another kernel leaves in registers)
    op : of a point the op, of a reduction "sum", "max", "min", "prod", "any" or "all"
    args : nodes, Python numbers or None
    runs, access : of a load, the atoms of each dim and where the elements lie; of a reduction, what it combines
    inputs, steps : what was worked out of operands and strides, kept while it holds
    """

    __slots__ = ("kind", "op", "args", "params", "dtype", "runs", "access", "alias", "inputs", "steps")

    def __init__(
        self, kind: str, dtype: Any, op: Any = None, args: tuple[Any, ...] = (), *,
        params: dict[str, Any] | None = None, runs: Runs = (), access: Access | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.dtype = np.dtype(dtype)
        self.op = op
        self.args = args
        self.params = params or {}
        self.runs = runs
        self.access = access
        self.alias: Node | None = None
        self.inputs: list[Node] | None = None
        self.steps: Any = None

    def found(self) -> Node:
        """The node that took this one's place when two groups joined, or itself."""
        node = self
        while node.alias is not None:
            node = node.alias
        return node

    @property
    def operands(self) -> list[Node]:
        """The arguments that are nodes."""
        if self.inputs is None:
            self.inputs = [a.found() for a in self.args if isinstance(a, Node)]
        return self.inputs

    @property
    def is_expensive(self) -> bool:
        """Whether computing it twice costs more than keeping it."""
        return self.kind == "point" and self.op.name in EXPENSIVE


class Term:
    """A node as an array: the atoms of each dim."""

    __slots__ = ("node", "runs")

    def __init__(self, node: Node, runs: Runs) -> None:
        self.node = node
        self.runs = runs

    @property
    def dtype(self) -> Any:
        """Its NumPy dtype."""
        return self.node.dtype

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self.runs)


class Builder:
    """Makes the nodes of one call.

    Attributes
    ----------
    nodes : made so far, operands before their users
    loads : the operand values read, with their terms
    indirect : the operand values of which rows are looked up
    """

    def __init__(self, space: Space, copied: Container[Value] = ()) -> None:
        self.space = space
        self.copied = copied
        self.nodes: list[Node] = []
        self.loads: dict[Value, Term] = {}
        self.indirect: set[Value] = set()

    def add(self, node: Node, runs: Runs) -> Term:
        """Keep a node."""
        self.nodes.append(node)
        return Term(node, runs)

    def load(self, value: Value) -> Term:
        """The elements of a value in memory; a view of memory is read in place."""
        if value in self.loads:
            return self.loads[value]
        if value.is_constant and value.data.size == 1:
            return self.fill(value.data.item(), value.dtype, ((),) * len(value.shape))
        if value.is_constant and value.name == INDEX:
            dim = int(np.argmax(value.shape))
            return self.index(self.space.fresh(value.shape), dim)
        access = resolve(value, self.copied)
        if access is None:
            raise Misfit("reads a view that needs a copy")
        self.loads[value] = term = self._load(access)
        return term

    def rows(self, value: Value, index: Term) -> Term:
        """`value[index]`, rows of a matrix; NaN where an index is out of range."""
        access = resolve(value, self.copied)
        if access is None:
            raise Misfit("reads a view that needs a copy")
        columns = self.space.fresh(access.shape[1:])
        node = Node("rows", access.dtype, None, (index.node,), runs=columns, access=access)
        self.indirect.add(value)
        return self.add(node, (*index.runs, *columns))

    def _load(self, access: Access) -> Term:
        runs = self.space.fresh(access.shape)
        return self.add(Node("load", access.dtype, runs=runs, access=access), runs)

    def shape(self, term: Term) -> tuple[int, ...]:
        """Sizes of a term's dims."""
        return tuple(self.space.size(run) for run in term.runs)

    def call(self, op: Op | str, *args: Any, dtype: Any = None, **params: Any) -> Term:
        """A pointwise op on terms, numbers and None."""
        if isinstance(op, str):
            op = OPS[op]
        terms = [a for a in args if isinstance(a, Term)]
        runs = self.space.broadcast([t.runs for t in terms])
        if dtype is None:
            specs = (None if a is None else Spec((), a.dtype if isinstance(a, Term) else None) for a in args)
            dtype = op.spec(tuple(specs), dict(params)).dtype
        nodes = tuple(a.node if isinstance(a, Term) else a for a in args)
        return self.add(Node("point", dtype, op, nodes, params=params), runs)

    def cast(self, term: Term, dtype: Any) -> Term:
        """Another dtype."""
        dtype = np.dtype(dtype)
        if term.dtype == dtype:
            return term
        return self.add(Node("cast", dtype, None, (term.node,)), term.runs)

    def fill(self, value: Any, dtype: Any, runs: Runs) -> Term:
        """A constant."""
        return self.add(Node("fill", dtype, None, (value,)), runs)

    def index(self, runs: Runs, dim: int) -> Term:
        """The index along a dim, as int64 with that dim only (others of size 1)."""
        run = runs[dim]
        kept = tuple(run if i == dim else () for i in range(len(runs)))
        return self.add(Node("index", I64, runs=(run,)), kept)

    def reduce(self, how: str, term: Term, dims: Iterable[int], keepdim: bool, dtype: Any = None) -> Term:
        """Elements combined along dims; `how` as in `Node.op`."""
        dims = set(dims)
        taken = tuple(term.runs[d] for d in sorted(dims))
        kept = tuple(() if i in dims else run for i, run in enumerate(term.runs) if keepdim or i not in dims)
        if not any(taken):
            return self.cast(Term(term.node, kept), dtype or term.dtype)
        node = Node("reduce", dtype or term.dtype, how, (term.node,), runs=taken)
        return self.add(node, kept)

    def view(self, term: Term, name: str, shape: tuple[int, ...], params: dict[str, Any]) -> Term:
        """A term through a view op that only renames dims."""
        return Term(term.node, view_runs(self.space, term.runs, name, shape, params))


RENAMING = frozenset("view_as unsafe_view unsqueeze squeeze squeeze_dim alias expand permute transpose t".split())


def view_runs(space: Space, runs: Runs, name: str, shape: tuple[int, ...], params: dict[str, Any]) -> Runs:
    """The atoms of each dim after a view op."""
    if name == "permute":
        return tuple(runs[d] for d in params["dims"])
    if name == "transpose":
        order = list(runs)
        i, j = params["dim0"], params["dim1"]
        order[i], order[j] = order[j], order[i]
        return tuple(order)
    if name == "t":
        return tuple(reversed(runs))
    if name == "expand":
        return _expanded(space, runs, shape)
    if name in RENAMING:
        return space.reshape(runs, shape)
    raise Misfit(f"{name} of a value without memory")


def _expanded(space: Space, runs: Runs, shape: tuple[int, ...]) -> Runs:
    lead = len(shape) - len(runs)
    out: list[Run] = list(space.fresh(shape[:lead]))
    for run, n in zip(runs, shape[lead:], strict=True):
        out.append(run if run or n == 1 else (space.atom(n),))
    return tuple(out)


def is_pointwise(op: Op) -> bool:
    """Whether an op works element by element."""
    return isinstance(op, Elementwise)
