"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.layout import broadcast_shapes
from rushlight.ops.kinds import Array, composite, opaque, sum_to_shape
from rushlight.ops.linear import conj_of, diagonal, expand, expanded_shape, permute, reshape, sum, t, transpose
from rushlight.spec import Spec, spec_of

NAMES = {
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "long int",
    "int32": "int", "bool": "bool", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
    "int16": "short", "int8": "signed char", "uint8": "unsigned char",
}  # fmt: skip


def check_same_dtype(
    a: Any, b: Any, text: str = "expected m1 and m2 to have the same dtype, but got: {} != {}", names: Any = NAMES
) -> None:
    """Products take operands of one dtype."""
    if a != b:
        raise explain(
            DTypeError(text.format(*(names.get(str(d), str(d)) for d in (a, b)))),
            received=f"{a} and {b}",
            fix="convert one: .float(), .double() or .to(other.dtype)",
        )


def product(x: Any, y: Any) -> Any:
    """np.matmul with half precision accumulated in float32."""
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    if x.ndim == 2 == y.ndim:
        return x.dot(y)
    return np.matmul(x, y)


def _mm_spec(x: Spec, y: Spec) -> Spec:
    for name, s in (("self", x), ("mat2", y)):
        if len(s.shape) != 2:
            raise ShapeError(f"{name} must be a matrix")
    check_same_dtype(x.dtype, y.dtype)
    if x.shape[1] != y.shape[0]:
        raise _cannot_multiply(x.shape, y.shape)
    return Spec((x.shape[0], y.shape[1]), x.dtype)


def _cannot_multiply(a: tuple[int, ...], b: tuple[int, ...]) -> Exception:
    fix = None
    if a[-1] == b[-1]:
        fix = f"x @ y.T multiplies {a[0]}x{a[1]} by {b[1]}x{b[0]}"
    elif a[0] == b[0]:
        fix = f"x.T @ y multiplies {a[1]}x{a[0]} by {b[0]}x{b[1]}"
    return explain(
        ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})"),
        expected=f"mat2 with {a[1]} rows",
        received=f"{b[0]} rows",
        fix=fix,
    )


@opaque(spec=_mm_spec, grad=(lambda g, y: mm(g, t(conj_of(y))), lambda g, x: mm(t(conj_of(x)), g)))
def mm(xp: Any, x: Array, y: Array) -> Array:
    """Product of two matrices."""
    return product(x, y)


def _mv_spec(x: Spec, y: Spec) -> Spec:
    if len(x.shape) != 2 or len(y.shape) != 1:
        raise ShapeError(f"vector + matrix @ vector expected, got 1, {len(x.shape)}, {len(y.shape)}")
    check_same_dtype(x.dtype, y.dtype, "expected scalar type {} but found {}")
    if x.shape[1] != y.shape[0]:
        raise explain(
            ShapeError(f"size mismatch, got input ({x.shape[0]}), mat ({x.shape[0]}x{x.shape[1]}), vec ({y.shape[0]})"),
            expected=f"a vector of {x.shape[1]}",
            received=y.shape,
        )
    return Spec((x.shape[0],), x.dtype)


@opaque(
    spec=_mv_spec,
    grad=(
        lambda g, y: reshape(g, (-1, 1)) * conj_of(reshape(y, (1, -1))),
        lambda g, x: mv(t(conj_of(x)), g),
    ),
)
def mv(xp: Any, x: Array, y: Array) -> Array:
    """Product of a matrix and a vector."""
    return product(x, y)


def _dot_spec(x: Spec, y: Spec) -> Spec:
    if len(x.shape) != 1 or len(y.shape) != 1:
        raise ShapeError(f"1D tensors expected, but got {len(x.shape)}D and {len(y.shape)}D tensors")
    check_same_dtype(
        x.dtype, y.dtype, "dot : expected both vectors to have same dtype, but found {} and {}", KERNEL_NAMES
    )
    if x.dtype == np.bool_:
        raise NotImplementedError("\"dot\" not implemented for 'Bool'")
    if x.shape != y.shape:
        raise explain(
            ShapeError(
                "inconsistent tensor size, expected tensor "
                f"[{x.shape[0]}] and src [{y.shape[0]}] to have the same number of elements, but got {x.shape[0]} and "
                f"{y.shape[0]} elements respectively"
            )
        )
    return Spec((), x.dtype)


@opaque(spec=_dot_spec, grad=(lambda g, y: g * conj_of(y), lambda g, x: g * conj_of(x)))
def dot(xp: Any, x: Array, y: Array) -> Array:
    """Sum of the products of two vectors' elements."""
    return product(x, y)


def _bmm_spec(x: Spec, y: Spec) -> Spec:
    for name, s in (("batch1", x), ("batch2", y)):
        if len(s.shape) != 3:
            raise ShapeError(f"{name} must be a 3D tensor")
    check_same_dtype(x.dtype, y.dtype, "expected scalar type {} but found {}")
    if x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        raise explain(
            ShapeError(
                f"Expected size for first two dimensions of batch2 tensor to be: [{x.shape[0]}, {x.shape[2]}] "
                f"but got: [{y.shape[0]}, {y.shape[1]}]."
            )
        )
    return Spec((x.shape[0], x.shape[1], y.shape[2]), x.dtype)


@opaque(
    spec=_bmm_spec,
    grad=(lambda g, y: bmm(g, transpose(conj_of(y), 1, 2)), lambda g, x: bmm(transpose(conj_of(x), 1, 2), g)),
)
def bmm(xp: Any, x: Array, y: Array) -> Array:
    """Products of pairs of matrices."""
    return product(x, y)


def _batched_spec(x: Spec, y: Spec) -> Spec:
    check_same_dtype(x.dtype, y.dtype)
    if x.shape[-1] != y.shape[-2]:
        raise _cannot_multiply(x.shape[-2:], y.shape[-2:])
    return Spec((*broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]), x.dtype)


def _batched_grad_x(g: Any, x_spec: Spec, y: Any) -> Any:
    return sum_to_shape(batched_matmul(g, transpose(conj_of(y), -1, -2)), x_spec.shape)


def _batched_grad_y(g: Any, x: Any, y_spec: Spec) -> Any:
    return sum_to_shape(batched_matmul(transpose(conj_of(x), -1, -2), g), y_spec.shape)


@opaque(name="UnsafeViewBackward0", spec=_batched_spec, grad=(_batched_grad_x, _batched_grad_y))
def batched_matmul(xp: Any, x: Array, y: Array) -> Array:
    """Products of matrices in the last two dims, the dims before them broadcast."""
    if y.ndim == 2 and x.ndim > 2 and x.flags.c_contiguous:
        return product(x.reshape(-1, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[-1])
    return product(x, y)


@composite()
def matmul(x: Array, y: Array) -> Array:
    """The product `x @ y` for vectors, matrices and batches of matrices."""
    a, b = spec_of(x), spec_of(y)
    nx, ny = len(a.shape), len(b.shape)
    if nx == 0 or ny == 0:
        raise explain(
            ShapeError(f"both arguments to matmul need to be at least 1D, but they are {nx}D and {ny}D"),
            fix="x * y multiplies by a number",
        )
    if nx == 2 and ny == 2:
        return mm(x, y)
    if nx == 1 and ny == 1:
        return dot(x, y)
    if nx == 2 and ny == 1:
        return mv(x, y)
    if nx == 1:
        rows = reshape(x, (1, a.shape[0]))
        product_ = mm(rows, y) if ny == 2 else batched_matmul(rows, y)
        out = spec_of(product_).shape
        return reshape(product_, (*out[:-2], out[-1]))
    if ny == 1:
        product_ = batched_matmul(x, reshape(y, (b.shape[0], 1)))
        return reshape(product_, spec_of(product_).shape[:-1])
    return bmm(x, y) if nx == 3 == ny and a.shape[0] == b.shape[0] else batched_matmul(x, y)


def _addmm_spec(c: Spec, x: Spec, y: Spec, beta: float, alpha: float) -> Spec:
    made = _mm_spec(x, y)
    expanded_shape(c.shape, made.shape)
    return made


@opaque(
    spec=_addmm_spec,
    grad=(
        lambda g, c_spec, beta: sum_to_shape(g if beta == 1 else g * beta, c_spec.shape),
        lambda g, y, alpha: mm(g if alpha == 1 else g * alpha, t(conj_of(y))),
        lambda g, x, alpha: mm(t(conj_of(x)), g if alpha == 1 else g * alpha),
    ),
)
def addmm(xp: Any, c: Array, x: Array, y: Array, beta: float = 1, alpha: float = 1) -> Array:
    """beta * c + alpha * (x @ y); c broadcasts, and is not read where beta is 0."""
    out = product(x, y)
    if alpha != 1:
        out = out * alpha
    if beta == 0:
        return out
    out += c if beta == 1 else c * beta
    return out


def _baddbmm_spec(c: Spec, x: Spec, y: Spec, beta: float, alpha: float) -> Spec:
    made = _bmm_spec(x, y)
    expanded_shape(c.shape, made.shape)
    return made


@opaque(
    spec=_baddbmm_spec,
    grad=(
        lambda g, c_spec, beta: sum_to_shape(g * beta, c_spec.shape),
        lambda g, y, alpha: bmm(g * alpha, transpose(conj_of(y), 1, 2)),
        lambda g, x, alpha: bmm(transpose(conj_of(x), 1, 2), g * alpha),
    ),
)
def baddbmm(xp: Any, c: Array, x: Array, y: Array, beta: float = 1, alpha: float = 1) -> Array:
    """beta * c + alpha * (x @ y) for batches of matrices."""
    out = product(x, y) * x.dtype.type(alpha)
    return out if beta == 0 else out + c * x.dtype.type(beta)


def _parse_einsum(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise RuntimeError(
            "einsum(): more operands were provided than specified in the equation" if len(terms) < len(shapes)
            else "einsum(): fewer operands were provided than specified in the equation"
        )  # fmt: skip
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text][::-1]
    width = max(
        (len(s) - len(term.replace("...", "")) for term, s in zip(terms, shapes, strict=True) if "..." in term),
        default=0,
    )
    dots = "".join(spare[:width])
    full = []
    for k, (term, s) in enumerate(zip(terms, shapes, strict=True)):
        n = len(s) - len(term.replace("...", ""))
        if n < 0 or (n and "..." not in term):
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({len(term.replace('...', ''))}) does not match "
                f"the number of dimensions ({len(s)}) for operand {k} and no ellipsis was given"
            )
        full.append(term.replace("...", dots[len(dots) - n :] if n else ""))
    if not arrow:
        letters = "".join(full)
        once = sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1)
        right = dots + "".join(once)
    return full, right.replace("...", dots)


def _pair(x: Any, a: str, y: Any, b: str, keep: str) -> tuple[Any, str]:
    """Contract two operands to one batched matrix product over the letters that `keep` does not name."""
    x, a = _sum_out(x, a, set(b) | set(keep))
    y, b = _sum_out(y, b, set(a) | set(keep))
    batch = [c for c in a if c in b and c in keep]
    inner = [c for c in a if c in b and c not in keep]
    rows = [c for c in a if c not in b]
    columns = [c for c in b if c not in a]
    sizes = {**dict(zip(a, spec_of(x).shape, strict=True))}
    for c, n in zip(b, spec_of(y).shape, strict=True):
        if sizes.get(c, 1) == 1:
            sizes[c] = n
    x = _arrange(x, a, batch + rows + inner, sizes)
    y = _arrange(y, b, batch + inner + columns, sizes)
    x = reshape(x, tuple(_product(sizes, letters) for letters in (batch, rows, inner)))
    y = reshape(y, tuple(_product(sizes, letters) for letters in (batch, inner, columns)))
    out = bmm(x, y)
    letters = batch + rows + columns
    return reshape(out, tuple(sizes[c] for c in letters)), "".join(letters)


def _product(sizes: dict[str, int], letters: list[str]) -> int:
    return math.prod(sizes[c] for c in letters)


def _arrange(x: Any, have: str, want: list[str], sizes: dict[str, int]) -> Any:
    x = permute(x, tuple(have.index(c) for c in want))
    shape = tuple(sizes[c] for c in want)
    return x if spec_of(x).shape == shape else expand(x, shape)


def _sum_out(x: Any, letters: str, keep: set[str]) -> tuple[Any, str]:
    gone = tuple(i for i, c in enumerate(letters) if c not in keep)
    if gone:
        x = sum(x, gone)
    return x, "".join(c for c in letters if c in keep)


def _diagonals(x: Any, letters: str) -> tuple[Any, str]:
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            x = diagonal(x, 0, i, j)
            letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + c
    return x, letters


def contract(equation: str, operands: list[Any]) -> Any:
    """Einstein summation by pairwise batched matrix products, left to right."""
    terms, right = _parse_einsum(equation, [tuple(spec_of(x).shape) for x in operands])
    parts = [_diagonals(x, term) for x, term in zip(operands, terms, strict=True)]
    _check_sizes(parts)
    x, a = parts[0]
    for k in range(1, len(parts)):
        rest = "".join(letters for _, letters in parts[k + 1 :])
        x, a = _pair(x, a, *parts[k], keep=right + rest)
    x, a = _sum_out(x, a, set(right))
    missing = [c for c in right if c not in a]
    if missing or len(set(right)) != len(right):
        raise RuntimeError(
            f"einsum(): output subscript {(missing or list(right))[0]} does not appear in the equation for any "
            "input operand"
            if missing else f"einsum(): output subscript {right[0]} appears more than once in the output"
        )  # fmt: skip
    order = tuple(a.index(c) for c in right)
    return x if order == tuple(range(len(order))) else permute(x, order)


def _check_sizes(parts: list[tuple[Any, str]]) -> None:
    seen: dict[str, int] = {}
    for k, (x, letters) in enumerate(parts):
        for i, (c, n) in enumerate(zip(letters, spec_of(x).shape, strict=True)):
            old = seen.setdefault(c, n)
            if old == 1:
                seen[c] = n
            elif n not in (1, old):
                raise explain(
                    ShapeError(
                        f"einsum(): subscript {c} has size {n} for operand {k} which does not broadcast with "
                        "previously "
                        f"seen size {old}"
                    ),
                    received=f"dim {i} of operand {k}",
                )
