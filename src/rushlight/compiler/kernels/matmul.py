"""Matrix products as native kernels: any strides, batches, remainders, and what follows fused into the last step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rushlight.compiler.access import Access, byte_strides, whole
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.matmul_code import IR, Finish, batch_offset, write
from rushlight.compiler.kernels.matmul_pack import pack_before
from rushlight.compiler.kernels.matmul_plan import Machine, Matrix, Plan, Product, choose
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.lanes_arithmetic import BF16
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host
from rushlight.dtypes import NP_HALF

F32 = np.dtype(np.float32)
FLOATS = (F32, np.dtype(np.float64), *NP_HALF)
Ints = tuple[int, ...]


def supports(a: Access, b: Access) -> bool:
    """Whether `matmul_kernel` takes operands of these dtypes."""
    return a.dtype == b.dtype and a.dtype in FLOATS


def matmul_kernel(
    a: Access, b: Access, out: Value, *, epilogue: Epilogue | None = None, name: str = "",
    calls: tuple[Call, ...] = (), plan: Plan | None = None,
) -> Kernel:  # fmt: skip
    """The kernel of `a @ b` over the last two dims; batch dims broadcast.

    Parameters
    ----------
    a, b : Access[.., M, K] and [.., K, N], both float32, float64, bfloat16 or float16, any strides
    out : Value[.., M, N], the result; where there is an epilogue, what its outputs are made from
    epilogue : what to store instead of the product itself
    name : for people, instead of one made from the sizes
    calls : the graph's calls that the product stands for
    plan : instead of the one that `choose` finds

    Notes
    -----
    Half precision is multiplied and added in float32 and rounded once. Where the machine has products of pairs of
    bfloat16, they take numbers too small to be normal for zeros.
    """
    (kernel,) = _kernels(a, b, out, epilogue, name, calls, plan, alone=True)
    return kernel


def matmul_kernels(
    a: Access, b: Access, out: Value, *, epilogue: Epilogue | None = None, name: str = "",
    calls: tuple[Call, ...] = (), plan: Plan | None = None,
) -> list[Kernel]:  # fmt: skip
    """The same as one kernel, or as two where the first brings an operand into a better order for the second."""
    return _kernels(a, b, out, epilogue, name, calls, plan, alone=False)


def _kernels(
    a: Access, b: Access, out: Value, epilogue: Epilogue | None, name: str, calls: tuple[Call, ...],
    plan: Plan | None, *, alone: bool,
) -> list[Kernel]:  # fmt: skip
    if not supports(a, b):
        raise NotImplementedError(f"a native product of {a.dtype} and {b.dtype}")
    m, k, n = *a.shape[-2:], b.shape[-1]
    batch = tuple(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    outputs, inputs = (epilogue.outputs, epilogue.inputs) if epilogue else ((out,), ())
    shape = (*batch, m, n)
    label = "x".join(map(str, (*batch, m, k, n)))
    flops = 2 * math.prod(batch) * m * n * k
    matrices = [_matrix(x, len(batch)) for x in (a, b)]
    matrices += [_result(v, shape) for v in outputs]
    matrices += [_matrix(x, len(batch)) for x in inputs]
    m, batch, matrices = _merged(m, batch, matrices)
    left, right, result = matrices[:3]
    product = Product(batch, m, n, k, left, right, result, F32 if a.dtype in NP_HALF else a.dtype)
    if a.dtype == BF16 and host().has_bf16 and k:
        product = _by_pairs(product)
    machine = Machine(host().lanes(product.dtype), host().registers)
    plan = plan or choose(product, machine, alone)
    made = []
    if plan.before:
        turned = plan.form == "turned"
        first, product = pack_before(product, b.root if turned else a.root, plan, machine)
        made.append(first)
        a, b = (a, whole(first.writes[0])) if turned else (whole(first.writes[0]), b)
    reads = tuple(dict.fromkeys(x.root for x in (a, b, *inputs)))
    roots = [a.root, b.root, *outputs, *(x.root for x in inputs)]
    slots = {v: i for i, v in enumerate((*reads, *outputs))}
    placed = [
        replace(x, slot=slots[v])
        for x, v in zip((product.a, product.b, *matrices[2:]), roots, strict=True)
    ]  # fmt: skip
    product = replace(product, a=placed[0], b=placed[1], out=placed[2])
    extra = tuple(placed[2:]) if epilogue else ()
    key = f"matmul {product} {plan} {machine} {extra} {epilogue.key if epilogue else ''}"

    def build(module: Any, name: str) -> None:
        finish = finisher(epilogue, extra, product, plan) if epilogue else None
        write(module, name, product, plan, machine, finish)

    return [*made, Kernel(
        name=name or f"matmul {label}" + (" + epilogue" if epilogue else ""),
        key=key, build=build, reads=reads, writes=tuple(outputs),
        chunks=max(1, math.prod(plan.chunks(product.turned if plan.form == "turned" else product))),
        calls=calls + (epilogue.calls if epilogue else ()),
        inplace=_inplace(a, b, inputs, outputs, reads),
        flops=flops,
    )]  # fmt: skip


def _by_pairs(x: Product) -> Product:
    """The product whose steps take two numbers."""
    a, b = replace(x.a, column=2 * x.a.column), replace(x.b, row=2 * x.b.row)
    return replace(x, k=-(-x.k // 2), a=a, b=b, paired=x.k)


def _matrix(x: Access, batch: int) -> Matrix:
    """An operand's strides with leading batch dims of stride 0; dims of size 1 do not move."""
    strides = tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))
    strides = (0,) * (batch + 2 - len(strides)) + strides
    return Matrix(0, x.offset, strides[:-2], strides[-2], strides[-1], x.dtype)


def _result(value: Value, shape: Ints) -> Matrix:
    strides = byte_strides(shape, value.dtype.itemsize)
    return Matrix(0, 0, strides[:-2], strides[-2], strides[-1], value.dtype)


def _merged(m: int, batch: Ints, matrices: list[Matrix]) -> tuple[int, Ints, list[Matrix]]:
    """Fewer dims: batch dims that all step through alike become one, or rows where the right operand stays."""
    while batch and batch[-1] == 1:
        batch, matrices = batch[:-1], [replace(x, batch=x.batch[:-1]) for x in matrices]
    if not batch:
        return m, batch, matrices
    left, right, *rest = matrices
    if right.batch[-1] == 0 and all(x.batch[-1] == x.row * m or m == 1 for x in (left, *rest)):
        height = batch[-1]
        joined = [replace(x, batch=x.batch[:-1], row=x.batch[-1] if m == 1 else x.row) for x in (left, *rest)]
        return _merged(m * height, batch[:-1], [joined[0], replace(right, batch=right.batch[:-1]), *joined[1:]])
    for i in range(len(batch) - 1):
        if all(x.batch[i] == x.batch[i + 1] * batch[i + 1] for x in matrices):
            matrices = [replace(x, batch=x.batch[:i] + x.batch[i + 1 :]) for x in matrices]
            return _merged(m, (*batch[:i], batch[i] * batch[i + 1], *batch[i + 2 :]), matrices)
    return m, batch, matrices


def _inplace(
    a: Access, b: Access, inputs: Sequence[Access], outputs: Sequence[Value], reads: Sequence[Value]
) -> tuple[tuple[int, int], ...]:
    """An output may take the memory of an operand of the epilogue that is read at the same place only."""
    uses: dict[Value, list[Access]] = {}
    for x in (a, b, *inputs):
        uses.setdefault(x.root, []).append(x)
    return tuple(
        (w, r)
        for w, value in enumerate(outputs)
        for r, root in enumerate(reads)
        if root is not a.root and root is not b.root and root.dtype == value.dtype
        and all(x.is_whole and x.size == math.prod(value.shape) for x in uses[root])
    )  # fmt: skip


def finisher(epilogue: Epilogue, matrices: Sequence[Matrix], x: Product, plan: Plan) -> Finish:
    """What the code of a product calls for each vector of finished numbers; `matrices` are outputs, then inputs."""
    oriented = [m.turned if plan.form == "turned" and not plan.turns_back(x) else m for m in matrices]
    outputs, inputs = oriented[: len(epilogue.outputs)], oriented[len(epilogue.outputs) :]

    def place(code: Code, slots: IR, m: Matrix, where: tuple[Index, Index, Index]) -> IR:
        index, i, j = where
        base = code.b.load(code.at(slots, 8 * m.slot), typ=ir.PointerType())
        offset = code.add(batch_offset(code, m, x.batch, index), m.offset)
        return code.at(base, code.add(offset, code.add(code.mul(i, m.row), code.mul(j, m.column))))

    def operand(code: Code, pointer: IR, m: Matrix, mask: Lanes | None) -> Lanes:
        e = code.emitter
        if m.column == m.dtype.itemsize:
            return e.load(pointer, m.dtype, code.lanes, mask)
        if m.column == 0:
            return e.splat(e.load(pointer, m.dtype, 1), code.lanes)
        steps = e.sequence(range(code.lanes), np.dtype(np.int64))
        return e.gather(pointer, steps, m.dtype, mask, scale=m.column)

    def finish(code: Code, slots: IR, index: Index, i: Index, j: Index, number: IR, mask: Mask) -> None:
        where, lanes = (index, i, j), code.lanes_of(mask)
        operands = [operand(code, place(code, slots, m, where), m, lanes) for m in inputs]
        results = epilogue.emit(code.emitter, Lanes(code.emitter, number, code.dtype, code.lanes), operands)
        for m, result in zip(outputs, results, strict=True):
            code.emitter.store(result, place(code, slots, m, where), lanes)

    return finish
