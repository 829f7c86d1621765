"""Graph calls of products as kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.epilogue import Epilogue, Resolve, broadcast
from rushlight.compiler.kernels.matmul import matmul_kernels, supports
from rushlight.compiler.lanes_core import Emitter, Lanes


def operands(call: Call, resolve: Resolve) -> tuple[Access, Access] | None:
    """The two matrices (or batches) of a product's call, None where there is no kernel for it."""
    values = call.operands[-2:]
    if not all(isinstance(v, Value) for v in values) or 0 in call.result.shape:
        return None
    a, b = map(resolve, values)
    if a is None or b is None or not supports(a, b):
        return None
    if any(step % a.dtype.itemsize for x in (a, b) for step in (x.offset, *x.strides)):
        return None
    if len(b.shape) == 1:
        b = replace(b, shape=(*b.shape, 1), strides=(*b.strides, 0))
    if len(a.shape) == 1:
        a = replace(a, shape=(1, *a.shape), strides=(0, *a.strides))
    return a, b


def product(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> list[Kernel] | None:
    """mm, bmm, batched_matmul, mv, dot, with what follows on the elements; None where there is no kernel for them."""
    found = operands(call, resolve)
    return None if found is None else matmul_kernels(*found, call.result, epilogue=epilogue, calls=(call,))


def scaled(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> list[Kernel] | None:
    """addmm and baddbmm, beta * c + alpha * (x @ y), with what follows on the elements."""
    found = operands(call, resolve)
    alpha, beta = call.params["alpha"], call.params["beta"]
    c, dtype = call.operands[0], call.result.dtype
    if found is None or not isinstance(c, Value) or c.dtype != dtype:
        return None
    added = resolve(c)
    if added is None or not all(isinstance(f, (int, float)) for f in (alpha, beta)):
        return None
    own = (broadcast(added, call.result.shape),) if beta else ()

    def emit(emitter: Emitter, x: Lanes, values: Sequence[Lanes]) -> Sequence[Any]:
        if alpha != 1:
            x = x * float(alpha)
        if beta:
            x = x + (values[0] if beta == 1 else values[0] * float(beta))
        x = x.astype(dtype)
        return epilogue.emit(emitter, x, values[len(own) :]) if epilogue else [x]

    whole = Epilogue(
        emit,
        (*own, *(epilogue.inputs if epilogue else ())),
        epilogue.outputs if epilogue else (call.result,),
        f"{float(beta)} c + {float(alpha)} xy as {dtype} {epilogue.key if epilogue else ''}",
        epilogue.calls if epilogue else (),
    )
    return matmul_kernels(*found, call.result, epilogue=whole, calls=(call,))


SEEDS: dict[str, Callable[..., list[Kernel] | None]] = {
    "mm": product, "bmm": product, "batched_matmul": product, "mv": product, "dot": product,
    "addmm": scaled, "baddbmm": scaled,
}  # fmt: skip
"""Op name to what makes its kernel."""
