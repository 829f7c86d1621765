"""Random methods of tensors: arguments and errors as PyTorch's, the numbers from `ops.random`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.dtypes import NP_COMPLEX, NP_FLOATING, dtype, from_np
from rushlight.errors import ShapeError, explain
from rushlight.functions.fast import needs_tensor, store
from rushlight.functions.shape import expand
from rushlight.generator import Generator, default_generator
from rushlight.modes import ACTIVE, state
from rushlight.ops import random as ops
from rushlight.ops.kinds import Op
from rushlight.tape import Variable, apply_inplace, bump, check_no_overlap, record, wrap

ndarray = np.ndarray
_INT64_LOWEST, _INT64_LARGEST = -(2**63), 2**63 - 1
# PyTorch's names of element types: in messages about missing kernels, and as the C++ compiler writes them
_KERNEL_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip
_CPP_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def uniform_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with uniform numbers: `uniform_(from=0, to=1, *, generator=None)`."""
    low, high = _numbers("uniform_", args, named, {"from": 0.0, "to": 1.0})
    return _fill(self, ops.draw_uniform, _checked_uniform(self._data.dtype, low, high), generator)


def normal_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with normal numbers: `normal_(mean=0, std=1, *, generator=None)`."""
    mean, std = _numbers("normal_", args, named, {"mean": 0.0, "std": 1.0})
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if self._data.size:
        _need_floating(self._data.dtype, "normal_kernel_cpu", complex_too=True)
    return _fill(self, ops.draw_normal, {"mean": mean, "std": std}, generator)


def log_normal_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with numbers whose logarithm is normal: `log_normal_(mean=1, std=2, *, generator=None)`."""
    mean, std = _numbers("log_normal_", args, named, {"mean": 1.0, "std": 2.0})
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    _need_floating(self._data.dtype, "log_normal_cpu")
    return _fill(self, ops.draw_log_normal, {"mean": mean, "std": std}, generator)


def exponential_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with exponential numbers: `exponential_(lambd=1, *, generator=None)`."""
    (rate,) = _numbers("exponential_", args, named, {"lambd": 1.0})
    if not rate > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    kind = self._data.dtype
    if kind not in NP_FLOATING:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {_KERNEL_NAMES[kind.name]}"
        )
    return _fill(self, ops.draw_exponential, {"rate": rate}, generator)


def cauchy_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with Cauchy numbers: `cauchy_(median=0, sigma=1, *, generator=None)`."""
    median, sigma = _numbers("cauchy_", args, named, {"median": 0.0, "sigma": 1.0})
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    kind = self._data.dtype
    if kind not in NP_FLOATING:
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {_CPP_NAMES[kind.name]}"
        )
    return _fill(self, ops.draw_cauchy, {"median": median, "scale": sigma}, generator)


def geometric_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with numbers of trials until the first success: `geometric_(p, *, generator=None)`."""
    if not args and "p" not in named:
        raise TypeError('geometric_() missing 1 required positional arguments: "p"')
    (p,) = _numbers("geometric_", args, named, {"p": 0.5})
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    kind = self._data.dtype
    if kind.kind == "b" or kind in NP_COMPLEX:
        raise _no_kernel("geometric_cpu", kind)
    return _fill(self, ops.draw_geometric, {"p": p}, generator)


def random_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with integers: `random_()`, `random_(to)`, `random_(from, to)`, each with `*, generator=None`."""
    low, high = _range_arguments(args, named)
    kind = self._data.dtype
    if low is None:
        if kind in NP_COMPLEX or kind.kind == "u" and kind.itemsize > 1:
            raise _no_kernel("random_kernel_cpu", kind)
        return _fill(self, ops.draw_natural, {}, generator)
    return _fill(self, ops.draw_integers, checked_range(kind, low, high), generator)


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fill with 1 with probability `p` (a number, or a tensor of one for each element), else 0."""
    kind = self._data.dtype
    if isinstance(p, Variable):
        chances = _checked_chances(self._data.shape, p)
        if kind in NP_COMPLEX:
            raise _no_kernel("bernoulli_tensor_cpu_self_", kind)
        params = {"generator": checked_generator("bernoulli_", generator)}
        check_no_overlap(self._data)
        return apply_inplace(ops.draw_bernoulli_each, (self, chances), params) if self._data.size else self
    chance = _number("bernoulli_", "p", 1, p)
    if not 0 <= chance <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={chance:g}")
    if kind in NP_COMPLEX:
        raise _no_kernel("bernoulli_scalar_cpu_", kind)
    return _fill(self, ops.draw_bernoulli, {"p": chance}, generator)


def bernoulli(input: Any, p: Any = None, *, generator: Any = None, out: Any = None) -> Any:
    """1 with the probability that `input` holds, or with probability `p` in the shape of `input`; else 0.

    Examples
    --------
    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    x = needs_tensor(input, "bernoulli")._data
    fresh = wrap(np.empty(x.shape, x.dtype))
    if p is not None:
        return bernoulli_(fresh, p, generator=generator)
    chances = _checked_chances(x.shape, input)
    params = {"generator": checked_generator("bernoulli", generator)}
    drawn = record(ops.draw_bernoulli_each, (fresh, chances), params)
    return drawn if out is None else store(drawn, out)


def poisson(input: Any, generator: Any = None) -> Any:
    """A Poisson number for each rate in `input`, in its dtype.

    Examples
    --------
    >>> torch.poisson(torch.zeros(2))
    tensor([0., 0.])
    """
    rates = needs_tensor(input, "poisson")._data
    _need_floating(rates.dtype, "poisson_cpu")
    if not (rates >= 0).all():
        raise explain(
            RuntimeError("invalid Poisson rate, expected rate to be non-negative"), received=f"{rates.min()} among the rates"
        )
    return record(ops.poisson, (input,), {"generator": checked_generator("poisson", generator)})


def binomial(count: Any, prob: Any, generator: Any = None) -> Any:
    """A binomial number for each number of trials in `count` and probability in `prob`.

    Examples
    --------
    >>> torch.binomial(torch.tensor([5.0, 7.0]), torch.tensor([0.0, 1.0]))
    tensor([0., 7.])
    """
    counts, p = needs_tensor(count, "binomial"), needs_tensor(prob, "binomial")
    for name, t in (("count", counts), ("prob", p)):
        if t._data.dtype not in NP_FLOATING:
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: {_KERNEL_NAMES[t._data.dtype.name]}"
            )
    shape = broadcast_sizes(counts, p)
    pair = tuple(wrap(np.broadcast_to(t._data, shape)) for t in (counts, p))
    return record(ops.binomial, pair, {"generator": checked_generator("binomial", generator)})


def standard_gamma(input: Any, generator: Any = None) -> Any:
    """A gamma number of scale 1 for each shape in `input`, without gradient."""
    shapes = needs_tensor(input, "_standard_gamma")._data
    _need_floating(shapes.dtype, "gamma_cpu")
    drawn = draws.standard_gamma(checked_generator("_standard_gamma", generator), shapes.reshape(-1))
    return wrap(drawn.reshape(shapes.shape))


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Any:
    """`num_samples` categories drawn by the weights in each row of `input`.

    Parameters
    ----------
    input : Tensor[C] or Tensor[N, C], floating
        Weights, not negative; they need not add up to 1.
    num_samples : int
        Categories to draw from each row.
    replacement : bool
        Whether a category may come again.
    generator : Generator, optional
    out : Tensor, optional

    Returns
    -------
    Tensor[num_samples] or Tensor[N, num_samples], int64

    Raises
    ------
    RuntimeError
        If weights are negative or not finite, all are zero, or too few remain.

    Examples
    --------
    >>> torch.multinomial(torch.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    weights = needs_tensor(input, "multinomial")._data
    source = checked_generator("multinomial", generator)
    _check_multinomial(weights, num_samples, replacement)
    if out is not None and out._data.dtype != np.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {_KERNEL_NAMES[out._data.dtype.name]}")
    rows = weights.reshape(-1, weights.shape[-1])
    shape = (*weights.shape[:-1], num_samples)
    if not len(rows):
        drawn = np.empty(shape, np.int64)
    else:
        _check_weights(rows, replacement and num_samples > 1)
        drawn = draws.multinomial(source, rows, num_samples, replacement).reshape(shape)
    return wrap(drawn) if out is None else store(wrap(drawn), out)


def checked_generator(function: str, generator: Any) -> Generator:
    """The generator to draw from; a TypeError for anything that is none."""
    if generator is None:
        return default_generator
    if isinstance(generator, Generator):
        return generator
    raise TypeError(f"{function}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")


def broadcast_sizes(a: Any, b: Any) -> tuple[int, ...]:
    """The common shape of two tensors, or PyTorch's error."""
    try:
        return np.broadcast_shapes(a._data.shape, b._data.shape)
    except ValueError:
        first, second = a._data.shape[::-1], b._data.shape[::-1]
        at = next(i for i, (m, n) in enumerate(zip(first, second, strict=False)) if m != n and 1 not in (m, n))
        dim = max(len(first), len(second)) - 1 - at
        raise explain(
            ShapeError(
                f"The size of tensor a ({first[at]}) must match the size of tensor b ({second[at]}) at non-singleton "
                f"dimension {dim}"
            ),
            received=f"{list(a._data.shape)} and {list(b._data.shape)}",
        ) from None


def checked_range(kind: Any, low: int, high: int | None) -> dict[str, Any]:
    """`low` and `span` of `random_(low, high)`, moved to numbers that a floating dtype has; `high=None`: no end."""
    if kind in NP_COMPLEX:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if high is None:
        if low == _INT64_LOWEST:
            return {"low": low, "span": 2**64}
        last = _largest_integer(kind)
    else:
        if low >= high:
            raise explain(
                RuntimeError(
                    f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
                ),
                expected="from < to",
            )
        if kind in NP_FLOATING:
            low, high = _first_exact(kind, low), _end_exact(kind, high)
        last = high - 1
    _check_bounds(kind, low, last)
    return {"low": low, "span": last - low + 1}


def _fill(t: Any, op: Op, params: dict[str, Any], generator: Any) -> Any:
    """Write the draws of `op` into `t`; by the short way where nothing records."""
    params["generator"] = checked_generator(op.name.replace("draw_", "") + "_", generator)
    x = t._data
    plain = not ACTIVE and t._version is not None and type(x) is ndarray and t._view is None
    if plain and (t._node is None or not state.grad):
        if x.size:
            check_no_overlap(x)
            x[...] = op.eager((x,), params)
            bump(t)
        return t
    return apply_inplace(op, (t,), params)


def _numbers(function: str, args: tuple[Any, ...], named: dict[str, Any], defaults: dict[str, float]) -> list[float]:
    """The arguments of a draw in order: positional, by name (which may be a keyword of Python), or the default."""
    if len(args) > len(defaults):
        raise TypeError(f"{function}() takes {len(defaults)} positional arguments but {len(args)} were given")
    names = list(defaults)
    given = dict(zip(names, args, strict=False))
    for name in named:
        if name not in defaults:
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")
        if name in given:
            raise TypeError(f"{function}() got multiple values for argument '{name}'")
    given |= named
    return [_number(function, name, i + 1, given[name]) if name in given else defaults[name] for i, name in enumerate(names)]


def _number(function: str, name: str, position: int, value: Any) -> float:
    if isinstance(value, int | float | np.number):
        return float(value)
    if isinstance(value, Variable) and value._data.size == 1 and value._data.dtype not in NP_COMPLEX:
        return float(value._data.reshape(()))
    raise TypeError(f"{function}(): argument '{name}' (position {position}) must be float, not {type(value).__name__}")


def _range_arguments(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[int | None, int | None]:
    names = ("to",) if len(args) + len(named) < 2 else ("from", "to")
    given = dict(zip(names, args, strict=False)) | named
    fits = len(args) + len(named) == len(given) <= 2 and set(given) <= {"from", "to"}
    ints = all(value is None or isinstance(value, int | np.integer) for value in given.values())
    if not fits or not ints or set(given) == {"from"}:
        shown = [type(value).__name__ for value in args] + [f"{k}={type(v).__name__}" for k, v in named.items()]
        raise TypeError(
            f"random_() received an invalid combination of arguments - got ({', '.join(shown)}), but expected one of:\n"
            " * (*, torch.Generator generator = None)\n"
            " * (int from, int to, *, torch.Generator generator = None)\n"
            " * (int to, *, torch.Generator generator = None)\n"
        )
    if not given:
        return None, None
    high = given["to"]
    return int(given.get("from", 0)), None if high is None else int(high)


def _checked_uniform(kind: Any, low: float, high: float) -> dict[str, Any]:
    if kind in NP_COMPLEX:
        kind = from_np(kind).to_real().np
    _need_floating(kind, "check_uniform_bounds")
    largest = _largest(kind)
    for name, value in (("from", low), ("to", high)):
        if not -largest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {_CPP_NAMES[kind.name]}")
    if not low <= high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{_KERNEL_NAMES[kind.name]}>::max(), but found "
            f"to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )
    return {"low": low, "high": high}


def _checked_chances(shape: tuple[int, ...], p: Any) -> Any:
    """`p` expanded to `shape`; its values must be probabilities."""
    chances = p if p._data.shape == shape else expand(p, shape)
    x = chances._data
    _need_floating(x.dtype, "bernoulli_tensor_cpu_p_")
    if type(x) is ndarray and not ((x >= 0) & (x <= 1)).all():
        raise explain(
            RuntimeError(
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  If "
                "so, please report an enhancement request to PyTorch.)"
            ),
            expected="probabilities from 0 to 1",
            received=f"values from {x.min()} to {x.max()}",
        )
    return chances


def _check_multinomial(weights: Any, count: int, replacement: bool) -> None:
    if not 0 < weights.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype not in NP_FLOATING:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {_KERNEL_NAMES[weights.dtype.name]}"
        )
    if count <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    categories = weights.shape[-1]
    if not replacement and count > categories:
        raise explain(
            RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement"),
            expected=f"num_samples <= {categories}",
            received=count,
            fix="pass replacement=True",
        )
    if categories > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")


def _check_weights(rows: Any, searched: bool) -> None:
    """PyTorch words the same conditions in two ways, for the search of sums and for the race."""
    bad = None
    if searched:
        if (rows < 0).any():
            bad = "invalid multinomial distribution (encountering probability entry < 0)"
        elif not np.isfinite(rows.astype(np.float64)).all():
            bad = "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
    elif not ((rows >= 0).all() and (rows < np.inf).all()):
        bad = "probability tensor contains either `inf`, `nan` or element < 0"
    if bad is None and not (rows.astype(np.float64).sum(-1) > 0).all():
        bad = "invalid multinomial distribution (sum of probabilities <= 0)"
    if bad is not None:
        raise explain(
            RuntimeError(bad), expected="finite weights >= 0, one above 0 in each row", received=f"{rows.min()} to {rows.max()}"
        )


def _need_floating(kind: Any, kernel: str, complex_too: bool = False) -> None:
    if kind not in NP_FLOATING and not (complex_too and kind in NP_COMPLEX):
        raise _no_kernel(kernel, kind)


def _no_kernel(kernel: str, kind: Any) -> NotImplementedError:
    return explain(
        NotImplementedError(f"\"{kernel}\" not implemented for '{_KERNEL_NAMES[kind.name]}'"),
        fix="draw into a floating tensor and convert it",
    )


def _largest(kind: Any) -> float:
    return {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}.get(kind.name) or float(np.finfo(kind).max)


def _largest_integer(kind: Any) -> int:
    if kind in NP_FLOATING:
        return 1 << draws.mantissa_bits(kind)
    return 1 if kind.kind == "b" else min(int(np.iinfo(kind).max), _INT64_LARGEST)


def _check_bounds(kind: Any, low: int, last: int) -> None:
    floating = kind in NP_FLOATING
    if floating:
        top = _largest(kind)
        bottom = -top
    elif kind.kind == "b":
        bottom, top = 0, 1
    else:
        bottom, top = int(np.iinfo(kind).min), min(int(np.iinfo(kind).max), _INT64_LARGEST)
    for name, value in (("from", low), ("to - 1", last)):
        if not bottom <= value <= top:
            raise explain(
                RuntimeError(f"{name} is out of bounds for {_CPP_NAMES[kind.name]}"),
                expected=f"{bottom:g} to {top:g}" if floating else f"{bottom} to {top}",
                received=value,
            )
        digits = draws.mantissa_bits(kind) if floating else 64
        if abs(value) > 1 << digits:
            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations {_CPP_NAMES[kind.name]} "
                "can support discrete uniform distribution only within this range. This warning will become an error in "
                "version 1.7 release, please fix the code in advance",
                stacklevel=4,
            )


def _as_integer(kind: Any, value: int) -> int:
    """`value` after a conversion to a floating dtype and back; unchanged if it is out of range."""
    rounded = float(value) if kind == np.float64 else float(np.float32(value).astype(kind))
    return int(rounded) if np.isfinite(rounded) else value


def _first_exact(kind: Any, low: int) -> int:
    """The first bound from `low` on that no rounding to `kind` falls below."""
    rounded = _as_integer(kind, low + 1)
    if rounded < low:
        return rounded + (1 << (abs(low + 1).bit_length() - draws.mantissa_bits(kind)))
    return low


def _end_exact(kind: Any, high: int) -> int:
    """The last bound up to `high` that no rounding to `kind` reaches."""
    rounded = _as_integer(kind, high - 1)
    if rounded >= high:
        return rounded - (1 << (abs(high - 1).bit_length() - draws.mantissa_bits(kind)))
    return high


def element_type_name(d: dtype) -> str:
    """PyTorch's name of an element type in messages: `Long` for int64."""
    return _KERNEL_NAMES[d.np.name]
