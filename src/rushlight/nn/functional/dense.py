"""Affine and bilinear maps."""

from __future__ import annotations

from typing import Any

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.functions.arithmetic import add
from rushlight.functions.draw_checks import CPP_NAMES
from rushlight.functions.matrix import matmul
from rushlight.functions.shape import reshape
from rushlight.modes import ACTIVE, state
from rushlight.nn.functional.arguments import require_tensor
from rushlight.ops import dense as ops
from rushlight.tape import record

_FORMS = {
    (ndim, has_bias): ops.linear_form(ndim, has_bias) for ndim in range(1, 3) for has_bias in (False, True)
}  # fmt: skip


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias over the last dim of `input`.

    Parameters
    ----------
    input : Tensor[*, in_features]
    weight : Tensor[out_features, in_features] or Tensor[in_features]
    bias : Tensor[out_features] or Tensor[], optional

    Returns
    -------
    Tensor[*, out_features]

    Raises
    ------
    ShapeError
        If the last size of `input` is not that of `weight`.

    Examples
    --------
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(1, 3), torch.tensor([0.5]))
    tensor([[3.5000],
            [3.5000]])
    """
    if ACTIVE and state.autocast is not None:
        return state.autocast.call("lower", linear, (input, weight, bias), {})
    try:
        x, w = input._data, weight._data
        kind = x.dtype
        fits = x.shape[-1] == w.shape[1] and len(w.shape) == 2 and kind == w.dtype
        if bias is not None:
            b = bias._data
            fits = fits and b.shape == w.shape[:1] and b.dtype == kind
    except (AttributeError, IndexError):
        fits = False
    if not fits:
        return _unusual_linear(input, weight, bias)
    ndim = len(x.shape)
    form = _FORMS.get((ndim, bias is not None)) or ops.linear_form(ndim, bias is not None)
    return record(form, (bias, input, weight), {})


def _unusual_linear(input: Any, weight: Any, bias: Any) -> Any:
    """Forms other than rows times a matrix plus a vector, and the errors."""
    for position, (name, value) in enumerate((("input", input), ("weight", weight), ("bias", bias)), 1):
        if name != "bias" or value is not None:
            require_tensor("linear", name, position, value)
    x, w = input._data, weight._data
    if not x.shape or not w.shape:
        raise ShapeError(
            f"both arguments to linear need to be at least 1D, but they are {len(x.shape)}D and {len(w.shape)}D"
        )
    if len(w.shape) > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(w.shape)}D")
    _check_linear_dtypes(x.dtype, w.dtype, bias)
    if x.shape[-1] != w.shape[-1]:
        raise _linear_error(tuple(x.shape), tuple(w.shape))
    if len(w.shape) == 1:
        if bias is not None and bias._data.shape:
            raise ShapeError("mat2 must be a matrix, got 1-D tensor")
        out = matmul(input, weight)
    else:
        out = linear(input, weight)
    return out if bias is None else _plus_bias(out, bias)


def _plus_bias(out: Any, bias: Any) -> Any:
    have, want = tuple(bias._data.shape), tuple(out._data.shape)
    aligned = want[len(want) - len(have) :] if len(have) <= len(want) else ()
    if len(have) > len(want) or any(n not in (1, m) for n, m in zip(have, aligned, strict=True)):
        rows = (int(out._data.size // max(want[-1], 1)), want[-1])
        raise explain(
            ShapeError(
                f"The expanded size of the tensor ({want[-1]}) must match the existing size ({have[-1]}) at "
                f"non-singleton dimension {len(rows) - 1}.  Target sizes: {list(rows)}.  Tensor sizes: {list(have)}"
            ),
            expected=f"bias [{want[-1]}]",
            received=f"bias {list(have)}",
        )
    return add(out, bias)


def _check_linear_dtypes(x: Any, w: Any, bias: Any) -> None:
    if x != w:
        with_bias = bias is not None
        names = [(KERNEL_NAMES if with_bias else CPP_NAMES)[d.name] for d in (x, w)]
        text = "mat1 and mat2 must have the same dtype, but got {} and {}" if with_bias else (
            "expected m1 and m2 to have the same dtype, but got: {} != {}"
        )  # fmt: skip
        raise explain(
            DTypeError(text.format(*names)),
            expected=f"input of the weight's dtype, {w.name}",
            received=x.name,
            fix=f"input.to(torch.{w.name})",
        )
    if bias is not None and bias._data.dtype != x:
        names = [KERNEL_NAMES[d.name] for d in (x, bias._data.dtype)]
        raise explain(
            DTypeError(f"self and mat2 must have the same dtype, but got {names[1]} and {names[0]}"),
            received=bias.dtype,
        )


def _linear_error(x: tuple[int, ...], w: tuple[int, ...]) -> Exception:
    rows = 1
    for n in x[:-1]:
        rows *= n
    columns = f"{w[1]}x{w[0]}" if len(w) == 2 else f"{w[0]}"
    fix = None
    for start in range(len(x) - 1):
        size = 1
        for n in x[start:]:
            size *= n
        if size == w[-1]:
            fix = f"input.flatten({start}) has shape {[*x[:start], size]}"
    if fix is None and len(x) == 2 and x[0] == w[-1]:
        fix = f"input.T has shape {[x[1], x[0]]}"
    return explain(
        ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {columns})"),
        expected=f"input [..., {w[-1]}]",
        received=f"input {list(x)}",
        weight=f"{list(w)}   (out_features, in_features)",
        fix=fix or f"Linear(in_features={x[-1]}, ...)",
    )


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """input1 @ weight[k] @ input2 for each k, over the last dims, plus bias.

    Parameters
    ----------
    input1 : Tensor[*, in1]
    input2 : Tensor[*, in2]
    weight : Tensor[out, in1, in2]
    bias : Tensor[out], optional
    """
    for position, (name, value) in enumerate((("input1", input1), ("input2", input2), ("weight", weight)), 1):
        require_tensor("bilinear", name, position, value)
    x, y, w = (tuple(v._data.shape) for v in (input1, input2, weight))
    if len(x) != len(y):
        raise ShapeError(f"bilinear(): input dimensions do not match: got {len(x)} and {len(y)}")
    for i, (n, m) in enumerate(zip(x[:-1], y[:-1], strict=True)):
        if n != m:
            raise ShapeError(f"bilinear(): input batch dimensions do not match at dim {i}: got {n} and {m}")
    for which, n, m in (("input1", x[-1], w[1]), ("input2", y[-1], w[2])):
        if n != m:
            raise explain(
                ShapeError(f"bilinear(): {which} size does not match weight size: got {n} but expected {m}"),
                weight=f"{list(w)}   (out, in1, in2)",
            )
    if bias is not None and tuple(bias._data.shape) != w[:1]:
        raise ShapeError(
            f"bilinear(): bias size does not match weight size: got {bias._data.shape[0] if bias.dim() else 0} but "
            f"expected {w[0]}"
        )
    out = ops.bilinear(reshape(input1, (-1, x[-1])), reshape(input2, (-1, y[-1])), weight, bias)
    return reshape(out, (*x[:-1], w[0]))
