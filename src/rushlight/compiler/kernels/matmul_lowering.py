"""Graph calls of products as kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.epilogue import Epilogue, Resolve, broadcast, follow
from rushlight.compiler.kernels.matmul import matmul_kernel, supports
from rushlight.compiler.lanes_core import Emitter, Lanes


def operands(call: Call, resolve: Resolve) -> tuple[Access, Access] | None:
    """The two matrices (or batches) of a product's call, None where there is no kernel for it."""
    values = call.operands[-2:]
    if not all(isinstance(v, Value) for v in values) or 0 in call.results[0].shape:
        return None
    a, b = map(resolve, values)
    if a is None or b is None or not supports(a, b):
        return None
    if len(b.shape) == 1:
        b = replace(b, shape=(*b.shape, 1), strides=(*b.strides, 0))
    if len(a.shape) == 1:
        a = replace(a, shape=(1, *a.shape), strides=(0, *a.strides))
    return a, b


def product(
    call: Call, resolve: Resolve, after: Sequence[Call] = (), stored: Sequence[Value] | None = None,
    epilogue: Epilogue | None = None,
) -> Kernel | None:  # fmt: skip
    """The kernel of mm, bmm, batched_matmul, mv, dot.

    Parameters
    ----------
    call : the product
    resolve : from a value to where it lies
    after : pointwise calls on the product that the kernel carries out too
    stored : the results to keep, by default the product only
    epilogue : the same, made by the caller

    Returns
    -------
    None where this cannot be one native kernel
    """
    found = operands(call, resolve)
    if found is not None and epilogue is not None:
        return matmul_kernel(*found, call.result, epilogue=epilogue, calls=(call,))
    return None if found is None else _kernel(call, found, None, resolve, after, stored)


def scaled(
    call: Call, resolve: Resolve, after: Sequence[Call] = (), stored: Sequence[Value] | None = None
) -> Kernel | None:
    """The kernel of addmm and baddbmm, beta * c + alpha * (x @ y); arguments as those of `product`."""
    found = operands(call, resolve)
    alpha, beta = call.params["alpha"], call.params["beta"]
    c = call.operands[0]
    if found is None or not isinstance(c, Value) or c.dtype != call.result.dtype:
        return None
    added = resolve(c)
    if added is None or not all(isinstance(f, (int, float)) for f in (alpha, beta)):
        return None

    def emit(_: Emitter, x: Lanes, values: Sequence[Lanes]) -> Sequence[Any]:
        if alpha != 1:
            x = x * float(alpha)
        if beta:
            x = x + (values[0] if beta == 1 else values[0] * float(beta))
        return [x.astype(call.result.dtype)]

    inputs = (broadcast(added, call.result.shape),) if beta else ()
    epilogue = Epilogue(emit, inputs, (call.result,), f"addmm {float(alpha)} {float(beta)}")
    return _kernel(call, found, epilogue, resolve, after, stored)


def _kernel(
    call: Call, found: tuple[Access, Access], epilogue: Epilogue | None, resolve: Resolve, after: Sequence[Call],
    stored: Sequence[Value] | None,
) -> Kernel | None:  # fmt: skip
    if after or stored is not None and tuple(stored) != (call.result,):
        epilogue = follow(call.result, after, (call.result,) if stored is None else stored, resolve, epilogue)
        if epilogue is None:
            return None
    return matmul_kernel(*found, call.result, epilogue=epilogue, calls=(call,))


SEEDS: dict[str, Callable[..., Kernel | None]] = {
    "mm": product, "bmm": product, "batched_matmul": product, "mv": product, "dot": product,
    "addmm": scaled, "baddbmm": scaled,
}  # fmt: skip
"""Op name to what makes its kernel."""
