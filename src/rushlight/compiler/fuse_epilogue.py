"""Pointwise calls that follow a product or a convolution, carried out on its numbers while they are in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler import lanes
from rushlight.compiler.access import Access, byte_strides
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.pool_lowering import POOL_GRADIENTS, plane_dims
from rushlight.compiler.lanes import Emitter, Lanes
from rushlight.compiler.loops import Group
from rushlight.compiler.loops_nest import Form, Strides
from rushlight.compiler.loops_nodes import Node, Term
from rushlight.compiler.loops_space import Misfit, Run, Space

PRODUCTS = frozenset({"mm", "bmm", "batched_matmul"})
CONVOLUTIONS = frozenset({"convolution", "convolution_transposed"})
FUSABLE = PRODUCTS | CONVOLUTIONS | POOL_GRADIENTS
# Of what follows a convolution, which is written out for each of a block's vectors.
MOST_POINTS, MOST_EXPENSIVE = 12, 1
MOST_ARRAYS = 8


def product_group(space: Space, call: Call) -> Group:
    """A group whose one node is the result of a product."""
    runs = space.fresh(call.result.shape)
    steps = byte_strides(call.result.shape, call.result.dtype.itemsize)
    access = Access(call.result, 0, call.result.shape, steps, call.result.dtype)
    node = Node("product", call.result.dtype, runs=runs, access=access)
    return Group(space, [call], [node], {call.result: Term(node, runs)}, {})


def epilogue_of(space: Space, form: Form, group: Group, stored: Sequence[Value]) -> Epilogue | None:
    """What a product's kernel does besides the product; None where it only stores it. Raises `Misfit`."""
    product = next(n for n in group.nodes if n.kind == "product")
    seed = group.calls[0]
    sums = _check_order(space, form, product, seed)
    points = [n for n in form.nodes if n.kind == "point"]
    expensive = sum(n.is_expensive for n in points)
    if seed.op.name in CONVOLUTIONS and (len(points) > MOST_POINTS or expensive > MOST_EXPENSIVE):
        raise Misfit("too much arithmetic for the registers of a product")
    loads = [n for n in form.nodes if n.kind == "load"]
    if len(loads) + len(stored) > MOST_ARRAYS or any(n.kind in ("index", "rows") for n in form.nodes):
        raise Misfit("too many arrays beside a product")
    if len(form.nodes) == 1:
        return None
    inputs = tuple(_input(space, product, n, form.strides[n]) for n in loads)
    plain = [v for v in stored if v not in sums]
    outputs = [group.results[v].node.found() for v in plain] + [n.args[0].found() for n in sums.values()]
    return Epilogue(
        emit=_emitter(form.nodes, product, loads, outputs),
        inputs=inputs,
        outputs=tuple(plain),
        key=_key(form.nodes, outputs),
        calls=tuple(group.calls[1:]),
        sums=tuple(sums),
    )


def _check_order(space: Space, form: Form, product: Node, seed: Call) -> dict[Value, Node]:
    """The results that are sums over planes, with their nodes; raises `Misfit` where one is in another order."""
    runs = [space.resolve(run) for run in product.runs]
    order = tuple(a for run in runs for a in run)
    if not form.combined:
        if any(o != order for o in form.orders):
            raise Misfit("results in another order than the product's")
        return {}
    if seed.op.name not in POOL_GRADIENTS or any(a.kind == "reduce" for n in form.nodes for a in n.operands):
        raise Misfit("combines what a product has not finished")
    lead = tuple(a for run in runs[: -plane_dims(seed)] for a in run)
    sums: dict[Value, Node] = {}
    for store, found in zip(form.stores, form.orders, strict=True):
        node = store.node
        if node.kind == "reduce":
            sums[store.value] = node
        right = node.op == "sum" and node.dtype == product.dtype if node.kind == "reduce" else True
        if not right or found != (lead if node.kind == "reduce" else order):
            raise Misfit("results in another order than the product's")
    return sums


def _input(space: Space, product: Node, node: Node, strides: Strides) -> Access:
    """An operand seen with the dims of the product."""
    assert node.access is not None
    steps = tuple(_step(space, space.resolve(run), strides) for run in product.runs)
    shape = tuple(space.size(run) for run in product.runs)
    return Access(node.access.root, node.access.offset, shape, steps, node.access.dtype)


def _step(space: Space, run: Run, strides: Strides) -> int:
    """The stride of a dim made of several atoms."""
    step = 0
    for k, a in enumerate(reversed(run)):
        if not k:
            step = strides.get(a, 0)
            reach = step * space.sizes[a]
        elif strides.get(a, 0) != reach:
            raise Misfit("an operand that does not step as the product does")
        else:
            reach *= space.sizes[a]
    return step


Emit = Callable[[Emitter, Lanes, Sequence[Lanes]], Sequence[Lanes]]


def _emitter(nodes: list[Node], product: Node, loads: list[Node], outputs: list[Node]) -> Emit:
    def emit(emitter: Emitter, x: Lanes, operands: Sequence[Lanes]) -> Sequence[Lanes]:
        env: dict[Node, Lanes] = {product: x.astype(product.dtype), **dict(zip(loads, operands, strict=True))}
        for node in nodes:
            if node not in env and node.kind != "reduce":
                env[node] = compute(emitter, node, env)
        count = x.count
        return [env[n] if env[n].count == count else emitter.splat(env[n], count) for n in outputs]

    return emit


def compute(emitter: Emitter, node: Node, env: dict[Node, Lanes]) -> Lanes:
    """The lanes of a node that reads no memory."""
    if node.kind == "fill":
        return emitter.constant(node.args[0], node.dtype, 1)
    args: list[Any] = [env[a.found()] if isinstance(a, Node) else a for a in node.args]
    if node.kind == "cast":
        return args[0].astype(node.dtype)  # type: ignore[no-any-return]
    return lanes.apply(node.op, emitter, args, node.params).astype(node.dtype)


def _key(nodes: list[Node], outputs: list[Node]) -> str:
    numbers = {n: i for i, n in enumerate(nodes)}
    lines = []
    for n in nodes:
        args = [f"%{numbers[a.found()]}" if isinstance(a, Node) else repr(a) for a in n.args]
        op = "" if n.op is None else n.op if isinstance(n.op, str) else n.op.name
        lines.append(f"{n.kind} {op} {n.dtype} {' '.join(args)} {sorted(n.params.items()) if n.params else ''}")
    return "\n".join([*lines, f"to {[numbers[n] for n in outputs]}"])
