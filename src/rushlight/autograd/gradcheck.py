"""Gradients compared with finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.functions.backward import grad
from rushlight.modes import enable_grad
from rushlight.tape import Variable, wrap


class GradcheckError(RuntimeError):
    """Analytical and numerical gradients differ."""


def _tensors(values: Any) -> list[Any]:
    given = [values] if isinstance(values, Variable) else list(values)
    return [v for v in given if isinstance(v, Variable)]


def _differentiable(values: Any) -> list[Any]:
    return [v for v in _tensors(values) if v._data.dtype.kind in "fc" and v._node is not None]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:  # fmt: skip
    """Whether the gradients of `func` equal central differences within `atol + rtol * |numerical|`.

    Parameters
    ----------
    func : callable
        Takes the inputs, returns a tensor or a tuple of tensors.
    inputs : Tensor or tuple
        Those that require a gradient should be float64.

    Raises
    ------
    GradcheckError
        If they differ, unless `raise_exception=False`.

    Examples
    --------
    >>> torch.autograd.gradcheck(torch.sin, torch.ones(2, dtype=torch.float64, requires_grad=True))
    True
    """
    given = (inputs,) if isinstance(inputs, Variable) else tuple(inputs)
    checked = _differentiable(given)
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have "
            "requires_grad=True."
        )
    if any(x._data.dtype not in (np.float64, np.complex128) for x in checked):
        warnings.warn(
            "an input requires gradient and is not a double precision floating point: the check will likely fail",
            stacklevel=2,
        )
    try:
        for number, out in enumerate(_differentiable(_run(func, given))):
            _compare(func, given, checked, number, out, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _run(func: Callable[..., Any], given: Sequence[Any]) -> Any:
    with enable_grad():
        return func(*given)


def _compare(
    func: Callable[..., Any],
    given: Sequence[Any],
    checked: Sequence[Any],
    number: int,
    out: Any,
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    for i, x in enumerate(checked):
        for unit in (1, 1j) if out._data.dtype.kind == "c" else (1,):
            numerical = _numerical(func, given, x, number, eps, unit)
            analytical = _analytical(x, out, unit)
            if not np.allclose(analytical, numerical.reshape(analytical.shape), rtol, atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {number} with respect to input {i},\n"
                    f"numerical:{wrap(numerical)!r}\nanalytical:{wrap(analytical)!r}\n"
                )


def _outputs(func: Callable[..., Any], given: Sequence[Any], number: int) -> Any:
    return _differentiable(_run(func, given))[number]._data.copy()


def _numerical(func: Callable[..., Any], given: Sequence[Any], x: Any, number: int, eps: float, unit: complex) -> Any:
    """Central differences of Re(conj(unit) * out): a row per element of x, d/d re + i d/d im of a complex one."""
    memory = x._data
    rows = []
    for at in np.ndindex(memory.shape):
        kept = memory[at]
        row: Any = 0
        for step in (1, 1j) if memory.dtype.kind == "c" else (1,):
            memory[at] = kept + eps * step
            up = _outputs(func, given, number)
            memory[at] = kept - eps * step
            down = _outputs(func, given, number)
            memory[at] = kept
            row = row + np.real(np.conj(unit) * (up - down)) / (2 * eps) * step
        rows.append(np.asarray(row).reshape(-1))
    return np.stack(rows) if rows else np.zeros(0)


def _analytical(x: Any, out: Any, unit: complex) -> Any:
    """The gradient for `unit` at each element of the output: a row per element of x."""
    columns = []
    for at in np.ndindex(out._data.shape):
        one = np.zeros(out._data.shape, out._data.dtype)
        one[at] = unit
        (g,) = grad([out], [x], [wrap(one)], True, False, True, True)
        columns.append(np.zeros(x._data.size, x._data.dtype) if g is None else g._data.reshape(-1).copy())
    return np.stack(columns, 1) if columns else np.zeros((x._data.size, 0))


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """`gradcheck` of the gradients themselves."""
    given = (inputs,) if isinstance(inputs, Variable) else tuple(inputs)
    outs = _differentiable(_run(func, given))
    if grad_outputs is None:
        source = np.random.default_rng(0)
        vectors = [_random_like(source, o._data) for o in outs]
    else:
        vectors = _tensors(grad_outputs)
    count = len(vectors)

    def gradients(*args: Any) -> Any:
        own, vs = args[:-count], args[-count:]
        results = _differentiable(_run(func, own))
        found = grad(results, _differentiable(own), list(vs), True, True, True, True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradients, (*given, *vectors), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)


def _random_like(source: Any, data: Any) -> Any:
    values = source.standard_normal(data.shape)
    if data.dtype.kind == "c":
        values = values + 1j * source.standard_normal(data.shape)
    return wrap(np.asarray(values, data.dtype)).requires_grad_()
