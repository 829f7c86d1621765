"""Attention whose results are moved about and copied afterwards writes them where they are wanted.

Heads are a dim of their own before attention and part of the features after it, so programs turn each result and copy
it, and join the gradients of queries, keys and values that came from one product. `followed` traces the dims of a
result through such views; what the kernels then write is that memory, and the views of it cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.passes.rewriter import moved
from rushlight.compiler.passes.shapes import PERMUTES, RESHAPES, order_of
from rushlight.ops.attention import attention, attention_grad
from rushlight.ops.kinds import OPS, Array, opaque
from rushlight.spec import Spec

Ints = tuple[int, ...]
# Of each dim the pieces that it runs over, outermost first; pieces of size 1 are left out.
Runs = list[Ints]
# With fewer queries products with a softmax between them are faster.
LEAST_QUERIES = 8
# With fewer matrices there are copies of the gradients of queries, which another kernel adds.
LEAST_MATRICES = 16
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def _turned(shape: Ints, order: Ints) -> Ints:
    return tuple(shape[d] for d in order)


def _laid_spec(q: Spec, k: Spec, v: Spec, mask: Any, drop: Any, scale: float, causal: bool, order: Ints) -> Any:
    out, total = attention.spec((q, k, v, mask, drop), {"scale": scale, "causal": causal})
    return Spec(_turned(out.shape, order), out.dtype), total


@opaque(spec=_laid_spec)
def attention_laid(
    xp: Any, q: Array, k: Array, v: Array, mask: Array | None = None, drop: Array | None = None,
    scale: float = 1.0, causal: bool = False, order: Ints = (),
) -> tuple[Array, Array]:  # fmt: skip
    """`attention` whose first result has its dims in another order."""
    out, total = attention.eager((q, k, v, mask, drop), {"scale": scale, "causal": causal})
    return np.ascontiguousarray(out.transpose(order)), total


def _laid_grad_spec(
    g: Spec, q: Spec, k: Spec, v: Spec, mask: Any, drop: Any, out: Spec, total: Spec,
    scale: float, causal: bool, orders: tuple[Ints, ...],
) -> Any:  # fmt: skip
    if len(orders) == 1:
        return (Spec(_turned((3, *q.shape), orders[0]), q.dtype),)
    return tuple(Spec(_turned(x.shape, o), q.dtype) for x, o in zip((q, k, v), orders, strict=True))


@opaque(spec=_laid_grad_spec)
def attention_grad_laid(
    xp: Any, g: Array, q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None, out: Array, total: Array,
    scale: float = 1.0, causal: bool = False, orders: tuple[Ints, ...] = (),
) -> tuple[Array, ...]:  # fmt: skip
    """`attention_grad` whose results have their dims in other orders; of one order, they are stacked before it."""
    given = {"scale": scale, "causal": causal, "mask_needs": False}
    grads = attention_grad.eager((g, q, k, v, mask, drop, out, total), given)
    if len(orders) == 1:
        return (np.ascontiguousarray(np.stack(grads).transpose(orders[0])),)
    return tuple(np.ascontiguousarray(x.transpose(o)) for x, o in zip(grads, orders, strict=True))


@dataclass
class Followed:
    """A value as it is seen after some views.

    Attributes
    ----------
    value : what is seen
    runs : of each of its dims the pieces
    calls : the calls on the way
    """

    value: Value
    runs: Runs
    calls: list[Call] = field(default_factory=list)

    def order(self, pieces: Sequence[int]) -> Ints:
        """All pieces as they lie in row-major memory of the value."""
        seen = [p for run in self.runs for p in run]
        return (*(p for p in pieces if p not in seen), *seen)


def layouts(graph: Graph) -> Graph:
    """Let attention write its results in the order of dims in which they are used.

    Before::

        %0: f32[2, 8, 6] = input(name='x')
        %1: f32[2, 8, 6], %2: f32[2, 8, 1] = attention(%0, %0, %0, None, None, scale=1.0, causal=True)
        %3: f32[8, 2, 6] = transpose(%1, dim0=0, dim1=1)
        %4: f32[8, 12] = unsafe_view(%3, shape=(8, 12))
        %5: f32[8, 12] = neg(%4)
        return %5, %2

    After::

        %0: f32[2, 8, 6] = input(name='x')
        %1: f32[8, 2, 6], %2: f32[2, 8, 1] = attention_laid(%0, %0, %0, None, None, scale=1.0, causal=True, order=(1, 0, 2))
        %3: f32[8, 12] = unsafe_view(%1, shape=(8, 12))
        %4: f32[8, 12] = neg(%3)
        return %4, %2
    """  # noqa: E501
    if not any(call.op in (attention, attention_grad) for call in graph.calls):
        return graph
    return _Layouts(graph).run()


class _Layouts:
    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.users = graph.users()
        self.kept = set(graph.kept())
        self.new = Graph(inputs=list(graph.inputs))
        self.now: dict[Value, Value] = {}
        self.gone: set[int] = set()

    def run(self) -> Graph:
        """The new graph."""
        for call in self.old.calls:
            if id(call) in self.gone:
                continue
            if call.op is attention and self._forward(call) or call.op is attention_grad and self._backward(call):
                continue
            self._copied(call)
        self.new.outputs = [self.now.get(v, v) for v in self.old.outputs]
        self.new.updates = [(target, self.now.get(v, v)) for target, v in self.old.updates]
        return self.new

    def _operands(self, call: Call) -> tuple[Any, ...]:
        def new(a: Any) -> Any:
            if isinstance(a, (tuple, list)):
                return tuple(map(new, a))
            return self.now.get(a, a) if isinstance(a, Value) else a

        return tuple(map(new, call.operands))

    def _copied(self, call: Call) -> None:
        if any(v in self.now for v in call.values()):
            fresh = moved(call, self._operands(call))
            self.now.update(zip(call.results, fresh.results, strict=True))
            call = fresh
        self.new.calls.append(call)

    def _forward(self, call: Call) -> bool:
        out = call.results[0]
        ndim = len(out.shape)
        if out.dtype not in DTYPES or out.shape[-2] < LEAST_QUERIES or out in self.kept:
            return False
        seen = self._follow(Followed(out, _runs(out.shape)), range(ndim), out.shape)
        order = seen.order(range(ndim))
        if order == tuple(range(ndim)) or order[-1] != ndim - 1:
            return False
        params = {**call.params, "order": order}
        made, total = self.new.call(attention_laid, self._operands(call), params, call.where)
        if any(user.op is attention_grad for user in self.users[out]):
            back = tuple(order.index(d) for d in range(ndim))
            self.now[out] = self.new.call(OPS["permute"], (made,), {"dims": back}, call.where)
        self.now[call.results[1]] = total
        self._stand_for(seen, made, call)
        return True

    def _backward(self, call: Call) -> bool:
        results = call.results
        if call.params["mask_needs"] or results[0].dtype not in DTYPES or any(0 in r.shape for r in results):
            return False
        if math.prod(results[0].shape[:-2]) < LEAST_MATRICES:
            return False
        if any(user.op is attention_grad for r in results for user in self.users.get(r, ())):
            return False
        ends = [self._follow(Followed(r, _runs(r.shape)), range(len(r.shape)), r.shape) for r in results]
        params = {k: v for k, v in call.params.items() if k != "mask_needs"}
        both = self._joined(results, ends)
        if both is not None:
            ndim = len(results[0].shape) + 1
            order = both.order(range(ndim))
            if order[-1] == ndim - 1:
                ends, orders = [both], (order,)
                return self._replace(call, ends, {**params, "orders": orders})
        several = tuple(end.order(range(len(r.shape))) for end, r in zip(ends, results, strict=True))
        plain = tuple(range(len(results[0].shape)))
        if any(o[-1] != plain[-1] for o in several) or all(o == plain for o in several):
            return False
        return self._replace(call, ends, {**params, "orders": several})

    def _replace(self, call: Call, ends: Sequence[Followed], params: dict[str, Any]) -> bool:
        made = self.new.call(attention_grad_laid, self._operands(call), params, call.where)
        for end, value in zip(ends, made, strict=True):
            self._stand_for(end, value, call)
        return True

    def _stand_for(self, seen: Followed, made: Value, call: Call) -> None:
        """Let what is seen in the end be a view of what is made."""
        self.gone.update(map(id, seen.calls))
        shape = seen.value.shape
        self.now[seen.value] = self.new.call(OPS["unsafe_view"], (made,), {"shape": shape}, call.where)

    def _follow(self, start: Followed, pieces: Sequence[int], sizes: Ints) -> Followed:
        """What becomes of a value that is used by one view only, and of that, and so on."""
        size = dict(zip(pieces, sizes, strict=True))
        now = start
        while (user := self._only_user(now.value, beside=attention_grad if now is start else None)) is not None:
            if user.op.name in PERMUTES:
                runs: Runs | None = [now.runs[d] for d in order_of(user)]
            elif user.op.name in RESHAPES:
                runs = _regrouped([p for run in now.runs for p in run], size, user.result.shape)
            else:
                break
            if runs is None:
                break
            now = Followed(user.result, runs, [*now.calls, user])
        return now

    def _only_user(self, value: Value, beside: Any = None) -> Call | None:
        users = [u for u in self.users.get(value, ()) if u.op is not beside]
        return users[0] if len(users) == 1 and value not in self.kept else None

    def _joined(self, results: Sequence[Value], ends: Sequence[Followed]) -> Followed | None:
        """The three gradients joined in order to one value, whose first piece says which it is of."""
        user = self._only_user(ends[0].value)
        parts = tuple(end.value for end in ends)
        alike = len({r.shape for r in results}) == 1 and all(end.runs == ends[0].runs for end in ends)
        if user is None or user.op.name not in ("cat", "stack") or tuple(user.operands[0]) != parts or not alike:
            return None
        if len(set(parts)) != 3 or any(self._only_user(p) is not user for p in parts):
            return None
        dim = user.params["dim"] % len(user.result.shape)
        runs = [tuple(p + 1 for p in run) for run in ends[0].runs]
        if user.op.name == "stack":
            runs.insert(dim, (0,))
        else:
            runs[dim] = (0, *runs[dim])
        calls = [*(c for end in ends for c in end.calls), user]
        shape = (3, *results[0].shape)
        return self._follow(Followed(user.result, runs, calls), range(len(shape)), shape)


def _runs(shape: Ints) -> Runs:
    return [() if n == 1 else (d,) for d, n in enumerate(shape)]


def _regrouped(pieces: list[int], size: dict[int, int], shape: Ints) -> Runs | None:
    """The pieces dealt out to the dims of `shape`; None where one would have to be cut."""
    left, runs = list(pieces), []
    for n in shape:
        run: list[int] = []
        while math.prod(size[p] for p in run) < n and left:
            run.append(left.pop(0))
        if math.prod(size[p] for p in run) != n:
            return None
        runs.append(tuple(run))
    return runs
