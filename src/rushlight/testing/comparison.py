"""`assert_close`, with PyTorch's tolerances and its report of the largest differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.creation import as_tensor
from rushlight.dtypes import dtype
from rushlight.sampling import rand, randint
from rushlight.tape import Variable

TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raise `AssertionError` where two tensors, numbers or containers of them are not close.

    Parameters
    ----------
    actual, expected : Tensor, number, array, or nested sequence or mapping of them
    rtol, atol : float, optional
        |actual - expected| <= atol + rtol * |expected|; by default what suits the dtype. Both or neither.
    equal_nan : bool
        Whether two NaN are equal.
    check_dtype, check_stride : bool
        Whether these must be equal too.
    msg : str or callable, optional
        The message, or a function of the message made here.

    Examples
    --------
    >>> torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "rtol and atol must both be specified or both be unspecified, but got no "
            f"{'rtol' if rtol is None else 'atol'}"
        )
    tolerance = None if rtol is None or atol is None else (rtol, atol)
    problem = _compare(actual, expected, tolerance, equal_nan, check_dtype, check_stride, "")
    if problem is not None:
        text = problem
        raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg)


def _compare(
    a: Any, b: Any, tolerance: Any, equal_nan: bool, check_dtype: bool, check_stride: bool, path: str
) -> str | None:
    rules = (tolerance, equal_nan, check_dtype, check_stride)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            missing = sorted(b.keys() - a.keys())
            return f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}"
        pairs = [(f"[{k!r}]", a[k], b[k]) for k in a]
    elif _is_sequence(a) and _is_sequence(b):
        if len(a) != len(b):
            return f"The length of the sequences mismatch: {len(a)} != {len(b)}"
        pairs = [(f"[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return _compare_tensors(a, b, *rules, path)
    for key, x, y in pairs:
        problem = _compare(x, y, *rules, path + key)
        if problem is not None:
            return problem
    return None


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str)


def _compare_tensors(
    a: Any, b: Any, tolerance: Any, equal_nan: bool, check_dtype: bool, check_stride: bool, path: str
) -> str | None:
    item = f"\n\nThe failure occurred for item {path}" if path else ""
    if isinstance(a, (bool, str, type(None))) or isinstance(b, (bool, str, type(None))):
        return None if a == b else f"{a!r} != {b!r}{item}"
    scalars = not isinstance(a, (Variable, np.ndarray)) and not isinstance(b, (Variable, np.ndarray))
    x, y = (as_tensor(v).detach() for v in (a, b))
    if x.shape != y.shape:
        return f"The values for attribute 'shape' do not match: {x.shape} != {y.shape}.{item}"
    if check_dtype and x.dtype is not y.dtype and not scalars:
        return f"The values for attribute 'dtype' do not match: {x.dtype} != {y.dtype}.{item}"
    if check_stride and x.stride() != y.stride():
        return f"The values for attribute 'stride()' do not match: {x.stride()} != {y.stride()}.{item}"
    if tolerance is None:
        tolerance = max((TOLERANCES.get(t.dtype.name, (0.0, 0.0)) for t in (x, y)), key=sum)
        if scalars and "float32" in (x.dtype.name, y.dtype.name):
            tolerance = TOLERANCES["float64"]
    rtol, atol = tolerance
    return _report(x, y, rtol, atol, equal_nan, scalars, item)


def _report(x: Any, y: Any, rtol: float, atol: float, equal_nan: bool, scalars: bool, item: str) -> str | None:
    wide = np.complex128 if x.is_complex() or y.is_complex() else np.float64
    p, q = (t._data.astype(wide) for t in (x, y))
    close = np.isclose(p, q, rtol, atol, equal_nan)
    if x.dtype.category < 2 and y.dtype.category < 2 and not rtol and not atol:
        close = x._data == y._data
    if close.all():
        return None
    kind = "Scalars" if scalars else "Tensor-likes"
    allowed = " (up to {:g} allowed)"
    difference = np.where(close, 0, np.abs(p - q))
    relative = np.where(close, 0, difference / np.where(q == 0, np.nan, np.abs(q)))
    relative = np.where(np.isnan(relative) & ~close, np.inf, relative)
    if scalars or not x._data.ndim:
        return (
            f"{kind if scalars else 'Scalars'} are not {'close' if rtol or atol else 'equal'}!\n\n"
            f"Expected {y.item()} but got {x.item()}.\n"
            f"Absolute difference: {difference.item()}{allowed.format(atol)}\n"
            f"Relative difference: {relative.item()}{allowed.format(rtol)}{item}"
        )
    bad = int((~close).sum())
    worst = [tuple(int(i) for i in np.unravel_index(np.argmax(d), d.shape)) for d in (difference, relative)]
    return (
        f"{kind} are not {'close' if rtol or atol else 'equal'}!\n\n"
        f"Mismatched elements: {bad} / {close.size} ({100 * bad / close.size:.1f}%)\n"
        f"Greatest absolute difference: {difference[worst[0]]} at index {worst[0]}{allowed.format(atol)}\n"
        f"Greatest relative difference: {relative[worst[1]]} at index {worst[1]}{allowed.format(rtol)}{item}"
    )


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True
) -> None:
    """`assert_close` that does not compare dtypes (deprecated in PyTorch)."""
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False)


def make_tensor(
    *shape: Any, dtype: dtype, device: Any = "cpu", low: float | None = None, high: float | None = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """A random tensor for a test: numbers between `low` and `high`, by default -9 to 9 (0 to 9 where unsigned)."""
    size = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if dtype.category == 0:
        return randint(0, 2, size).to(dtype)
    smallest = (-9.0 if dtype.is_signed else 0.0) if low is None else low
    largest = (9.0 if dtype.category >= 2 else 10.0) if high is None else high
    if dtype.category == 1:
        return randint(int(smallest), int(largest), size).to(dtype)
    values = (rand(size) * (largest - smallest) + smallest).to(dtype)
    return values.requires_grad_() if requires_grad else values
