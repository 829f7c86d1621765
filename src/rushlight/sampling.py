"""Tensors of random numbers; the in-place methods are in `functions.random`.

With the same seed the numbers are PyTorch's (`docs/random.md` says to which bit).
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.device import check_available
from rushlight.dtypes import NP_COMPLEX, dtype, get_default_dtype, int64
from rushlight.errors import explain
from rushlight.functions import random as methods
from rushlight.functions.draw_checks import broadcast_sizes, checked_generator, checked_range
from rushlight.functions.draw_checks import element_type_name as _type_name
from rushlight.functions.fast import needs_tensor, store
from rushlight.functions.new import finished
from rushlight.functions.random import bernoulli as bernoulli
from rushlight.functions.random import binomial as binomial
from rushlight.functions.random import multinomial as multinomial
from rushlight.functions.random import poisson as poisson
from rushlight.functions.random import sample_dirichlet as _sample_dirichlet
from rushlight.functions.random import standard_gamma as _standard_gamma
from rushlight.generator import Generator as Generator
from rushlight.generator import default_generator as default_generator
from rushlight.modes import ACTIVE, state
from rushlight.tape import Variable, wrap

__all__ = [
    "Generator", "_sample_dirichlet", "_standard_gamma", "bernoulli", "binomial", "default_generator", "multinomial",
    "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
]  # fmt: skip

_FACTORY = (
    "torch.dtype dtype = None, torch.layout layout = None, torch.device device = None, bool pin_memory = False, "
    "bool requires_grad = False"
)
_FORMS = {
    "rand": (f"(tuple of ints size, *, torch.Generator generator = None, Tensor out = None, {_FACTORY})",),
    "randn": (f"(tuple of ints size, *, torch.Generator generator = None, Tensor out = None, {_FACTORY})",),
    "randint": (
        f"(int high, tuple of ints size, *, torch.Generator generator = None, Tensor out = None, {_FACTORY})",
        f"(int low, int high, tuple of ints size, *, torch.Generator generator = None, Tensor out = None, {_FACTORY})",
    ),
    "normal": (
        "(Tensor mean, Tensor std, *, torch.Generator generator = None, Tensor out = None)",
        "(Tensor mean, float std = 1, *, torch.Generator generator = None, Tensor out = None)",
        "(float mean, Tensor std, *, torch.Generator generator = None, Tensor out = None)",
        "(float mean, float std, tuple of ints size, *, torch.Generator generator = None, Tensor out = None, "
        f"{_FACTORY})",
    ),
    "randint_like": (
        "(Tensor input, int high, *, torch.memory_format memory_format = None, torch.dtype dtype = None, ...)",
        "(Tensor input, int low, int high, *, torch.memory_format memory_format = None, torch.dtype dtype = None, ...)",
    ),
}  # fmt: skip


def rand(
    *sizes: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: dtype | None = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False, **named: Any,
) -> Any:  # fmt: skip
    """Uniform numbers from [0, 1) in the shape `size`, given as ints or as one sequence.

    Parameters
    ----------
    size : int... or sequence of int
    generator : Generator, optional
        The default generator if not given.
    out : Tensor, optional
        Receives the result.
    dtype : dtype, optional
        Floating or complex; the default dtype if not given.
    device : device, optional
    requires_grad : bool

    Returns
    -------
    Tensor[*size]

    Examples
    --------
    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> torch.rand(2, 2)
    tensor([[0.4963, 0.7682],
            [0.0885, 0.1320]])
    """
    _no_others("rand", sizes, named)
    shape = _sizes("rand", sizes, size)
    kind = _plain_kind(dtype, device, out)
    if kind is not None:
        source = checked_generator("rand", generator)
        return _drawn("uniform", source, (prod(shape), kind), shape, kind, requires_grad)
    target = _target("rand", shape, dtype, device, out)
    return _given(methods.uniform_(target, generator=generator), out, requires_grad)


def randn(
    *sizes: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: dtype | None = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False, **named: Any,
) -> Any:  # fmt: skip
    """Normal numbers of mean 0 and variance 1 in the shape `size`; parameters as of `rand`.

    Examples
    --------
    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> torch.randn(3)
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    _no_others("randn", sizes, named)
    shape = _sizes("randn", sizes, size)
    kind = _plain_kind(dtype, device, out)
    if kind is not None:
        source = checked_generator("randn", generator)
        return _drawn("normal", source, (prod(shape), kind), shape, kind, requires_grad)
    target = _target("randn", shape, dtype, device, out)
    return _given(methods.normal_(target, generator=generator), out, requires_grad)


def randint(
    *bounds: Any, low: Any = None, high: Any = None, size: Any = None, generator: Any = None, out: Any = None,
    dtype: dtype | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, **named: Any,
) -> Any:  # fmt: skip
    """Integers from [low, high) in the shape `size`: `randint(high, size)` or `randint(low, high, size)`.

    Parameters
    ----------
    low, high : int
        Bounds; `low` is 0 if not given.
    size : sequence of int
    generator, out, dtype, device, requires_grad
        As of `rand`; the dtype is int64 if not given.

    Examples
    --------
    >>> torch.randint(3, 4, (2,))
    tensor([3, 3])
    """
    shown = [*bounds, *(v for v in (low, high, size) if v is not None)]
    _no_others("randint", shown, named)
    start, end, shape = _randint_arguments(bounds, low, high, size)
    source = checked_generator("randint", generator)
    wanted = int64 if dtype is None and out is None else out.dtype if out is not None else dtype
    check_available(device)
    _check_gradable(wanted, requires_grad)
    params = checked_range(wanted.np, start, end)  # type: ignore[union-attr]
    kind = wanted.np  # type: ignore[union-attr]
    args = (prod(shape), kind, params["low"], params["span"])
    drawn = _drawn("random_range", source, args, shape, kind, requires_grad)
    return drawn if out is None else store(drawn, out)


def randperm(
    n: Any, *, generator: Any = None, out: Any = None, dtype: dtype | None = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The numbers 0 to n - 1 in random order.

    Parameters
    ----------
    n : int
    generator, out, dtype, device, requires_grad
        As of `rand`; the dtype is int64 if not given.

    Examples
    --------
    >>> torch.randperm(4).sort().values
    tensor([0, 1, 2, 3])
    """
    count = _integer("randperm", "n", 1, n)
    check_available(device)
    source = checked_generator("randperm", generator)
    wanted = int64 if dtype is None and out is None else out.dtype if out is not None else dtype
    _check_permutation(count, wanted)
    _check_gradable(wanted, requires_grad)
    kind = wanted.np  # type: ignore[union-attr]
    drawn = _drawn("permutation", source, (count, kind), (count,), kind, requires_grad)
    return drawn if out is None else store(drawn, out)


def _drawn(function: str, source: Any, args: tuple[Any, ...], shape: Any, kind: Any, requires_grad: bool) -> Any:
    """A new tensor of numbers from a drawing function."""
    if ACTIVE and state.trace is not None:
        params = {"function": function, "args": args, "shape": shape, "dtype": kind, "generator": source}
        return state.trace.effect("draw_fresh", params).requires_grad_(requires_grad)
    return finished(getattr(draws, function)(source, *args).reshape(shape), requires_grad)


def normal(
    mean: Any = None, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None,
    dtype: dtype | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Normal numbers whose mean and deviation are tensors, or numbers with a `size`.

    Parameters
    ----------
    mean, std : Tensor or float
        Of tensors, one number is drawn for each element; they broadcast.
    size : sequence of int, optional
        Only if both are numbers.
    generator, out, dtype, device, requires_grad
        As of `rand`.

    Examples
    --------
    >>> torch.normal(torch.arange(3.0), 0.0)
    tensor([0., 1., 2.])
    """
    if isinstance(mean, Variable) or isinstance(std, Variable):
        if size is not None:
            raise _no_form("normal", (mean, std, size))
        drawn = _normal_of_tensors(mean, std, generator)
        return drawn if out is None else store(drawn, out)
    if not isinstance(mean, int | float) or not isinstance(size, tuple | list):
        raise _no_form("normal", [v for v in (mean, std, size) if v is not None])
    target = _target("normal", _sizes("normal", (), size), dtype, device, out)
    return _given(methods.normal_(target, mean, std, generator=generator), out, requires_grad)


def rand_like(
    input: Any, *, generator: Any = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Uniform numbers from [0, 1) in the shape, dtype and order in memory of `input`."""
    target = _like("rand_like", input, dtype, device, memory_format)
    return _given(methods.uniform_(target, generator=generator), None, requires_grad)


def randn_like(
    input: Any, *, generator: Any = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Normal numbers in the shape, dtype and order in memory of `input`."""
    target = _like("randn_like", input, dtype, device, memory_format)
    return _given(methods.normal_(target, generator=generator), None, requires_grad)


def randint_like(
    input: Any, *bounds: Any, low: Any = None, high: Any = None, generator: Any = None, dtype: dtype | None = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:  # fmt: skip
    """Integers in the shape, dtype and order in memory of `input`: `randint_like(input, [low,] high)`."""
    target = _like("randint_like", input, dtype, device, memory_format)
    given = [*([low] if low is not None else []), *bounds, *([high] if high is not None else [])]
    if not 1 <= len(given) <= 2:
        raise _no_form("randint_like", (input, *given))
    end = _integer("randint_like", "high", 1 + len(given), given[-1])
    start = _integer("randint_like", "low", 2, given[0]) if len(given) == 2 else 0
    return _given(methods.random_(target, start, end, generator=generator), None, requires_grad)


def _sizes(function: str, sizes: Any, size: Any) -> tuple[int, ...]:
    """The shape given as several ints, as one sequence, or by the keyword `size`."""
    if size is not None:
        if sizes:
            raise _no_form(function, (*sizes, size))
        if not isinstance(size, tuple | list):
            raise TypeError(f"{function}(): argument 'size' must be tuple of ints, not {type(size).__name__}")
        sizes = size
    elif not sizes:
        raise _no_form(function, ())
    elif len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    shape = tuple([n if type(n) is int else _size(function, sizes, i, n) for i, n in enumerate(sizes)])
    if shape and min(shape) < 0:
        bad = next(n for n in shape if n < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {bad}: {list(shape)}")
    return shape


def _size(function: str, sizes: Any, index: int, n: Any) -> int:
    if not isinstance(n, float):
        try:
            return int(n.__index__())
        except (AttributeError, TypeError):
            pass
    if index == 0:
        if len(sizes) > 1 and isinstance(n, tuple | list):
            raise _no_form(function, sizes)
        raise TypeError(f"{function}(): argument 'size' (position 1) must be tuple of ints, not {type(n).__name__}")
    if isinstance(n, tuple | list):
        raise _no_form(function, sizes)
    raise TypeError(
        f"{function}(): argument 'size' failed to unpack the object at pos {index + 1} with error "
        f'"type must be tuple of ints,but got {type(n).__name__}"'
    )


def _plain_kind(wanted: Any, device: Any, out: Any) -> Any:
    """The NumPy dtype of the usual case, new and real on the CPU; None for others."""
    if out is not None or device is not None:
        return None
    if wanted is None:
        return get_default_dtype().np
    return wanted.np if isinstance(wanted, dtype) and wanted.is_floating_point else None


def _target(function: str, shape: tuple[int, ...], wanted: Any, device: Any, out: Any) -> Any:
    """The uninitialised tensor to draw into: new, or `out` in the right shape."""
    if device is not None:
        check_available(device)
    if wanted is not None and not isinstance(wanted, dtype):
        raise _no_form(function, (shape, wanted))
    if out is None:
        return wrap(np.empty(shape, (get_default_dtype() if wanted is None else wanted).np))
    if wanted is not None and wanted is not out.dtype:
        raise RuntimeError(
            f"dtype {_type_name(wanted)} does not match dtype of out parameter ({_type_name(out.dtype)})"
        )
    if out._data.shape != shape:
        out._data = np.empty(shape, out._data.dtype)
    return out


def _like(function: str, input: Any, wanted: Any, device: Any, memory_format: Any) -> Any:
    check_available(device)
    x = needs_tensor(input, function)._data
    kind = x.dtype if wanted is None else wanted.np
    if memory_format is not None and memory_format.name == "contiguous_format":
        return wrap(np.empty(x.shape, kind))
    if memory_format is not None and memory_format.name == "channels_last":
        n, c, h, w = x.shape
        return wrap(np.empty((n, h, w, c), kind).transpose(0, 3, 1, 2))
    # Where elements share memory PyTorch gives a plain contiguous result.
    shares = 0 in x.strides and any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True))
    return wrap(np.empty(x.shape, kind) if shares else np.empty_like(x, dtype=kind))


def _given(t: Any, out: Any, requires_grad: bool) -> Any:
    return finished(t._data, True) if requires_grad and out is None else t


def _integer(function: str, name: str, position: int, value: Any) -> int:
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{function}(): argument '{name}' (position {position}) must be int, not {type(value).__name__}"
        )
    number = int(value.__index__())
    if not -(2**63) <= number < 2**63:
        raise ValueError("Overflow when unpacking long long")
    return number


def _randint_arguments(bounds: Any, low: Any, high: Any, size: Any) -> tuple[int, int, tuple[int, ...]]:
    given = [*bounds]
    if size is None and len(given) >= 2 and isinstance(given[-1], tuple | list):
        size = given.pop()
    numbers = [*([low] if low is not None else []), *given, *([high] if high is not None else [])]
    if size is None and len(numbers) == 2:
        raise TypeError(
            f"randint(): argument 'size' (position 2) must be tuple of ints, not {type(bounds[-1]).__name__}"
        )
    if not isinstance(size, tuple | list) or not 1 <= len(numbers) <= 2:
        raise _no_form("randint", [*numbers, *([] if size is None else [size])])
    end = _integer("randint", "high", len(numbers), numbers[-1])
    start = _integer("randint", "low", 1, numbers[0]) if len(numbers) == 2 else 0
    return start, end, _sizes("randint", (), size)


def _check_gradable(wanted: Any, requires_grad: bool) -> None:
    """Refuse a gradient of integers before anything is drawn."""
    if requires_grad:
        finished(np.empty(0, wanted.np), True)


def _check_permutation(n: int, wanted: Any) -> None:
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if wanted.category in (0, 3):
        raise NotImplementedError(f"\"randperm\" not implemented for '{_type_name(wanted)}'")
    if wanted.is_floating_point:
        most = 2 ** draws.mantissa_bits(wanted.np) + 1
        if n > most:
            raise RuntimeError(f"n cannot be greater than {most} for {_type_name(wanted)} type.")
    elif n > np.iinfo(wanted.np).max + 1:
        raise explain(
            RuntimeError(f"value cannot be converted to type {wanted.name}_t without overflow"),
            expected=f"n <= {np.iinfo(wanted.np).max + 1} for {wanted!r}",
            received=n,
        )


def _normal_of_tensors(mean: Any, std: Any, generator: Any) -> Any:
    """Standard normals times `std` plus `mean`, rounded after each step as PyTorch does."""
    if isinstance(std, Variable):
        if std._data.dtype in NP_COMPLEX:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if not (std._data >= 0).all():
            raise RuntimeError("normal expects all elements of std >= 0.0")
    elif not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    tensors = [t for t in (mean, std) if isinstance(t, Variable)]
    shape = broadcast_sizes(tensors[0], tensors[-1])
    result = wrap(np.empty(shape, tensors[0]._data.dtype))
    if isinstance(std, Variable):
        methods.normal_(result, generator=generator)
        return result.mul_(std).add_(mean)
    methods.normal_(result, 0.0, std, generator=generator)
    return result.add_(mean)


def _no_others(function: str, shown: Any, named: dict[str, Any]) -> None:
    if named:
        raise _no_form(function, shown, named)


def _no_form(function: str, args: Any, named: dict[str, Any] | None = None) -> TypeError:
    types = [_type(a) for a in args] + [f"{name}={_type(value)}" for name, value in (named or {}).items()]
    forms = "".join(f" * {form}\n" for form in _FORMS[function])
    return TypeError(
        f"{function}() received an invalid combination of arguments - got ({', '.join(types)}), but expected one of:\n"
        f"{forms}"
    )


def _type(value: Any) -> str:
    return type(value).__name__
