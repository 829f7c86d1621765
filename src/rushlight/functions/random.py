"""Random methods of tensors: arguments and errors as PyTorch's, the numbers from `ops.random`."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.dtypes import KERNEL_NAMES, NP_COMPLEX, NP_FLOATING
from rushlight.errors import explain
from rushlight.functions.draw_checks import (
    CPP_NAMES,
    broadcast_sizes,
    check_multinomial,
    check_weights,
    checked_chances,
    checked_generator,
    checked_range,
    checked_uniform,
    need_floating,
    no_kernel,
)
from rushlight.functions.fast import needs_tensor, store
from rushlight.modes import ACTIVE, state
from rushlight.ops import pathwise
from rushlight.ops import random as ops
from rushlight.ops.kinds import Op
from rushlight.tape import Variable, apply_inplace, bump, check_no_overlap, record, wrap

ndarray = np.ndarray


def uniform_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with uniform numbers: `uniform_(from=0, to=1, *, generator=None)`."""
    low, high = _numbers("uniform_", args, named, {"from": 0.0, "to": 1.0})
    return _fill(self, ops.draw_uniform, checked_uniform(self._data.dtype, low, high), generator)


def normal_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with normal numbers: `normal_(mean=0, std=1, *, generator=None)`."""
    mean, std = _numbers("normal_", args, named, {"mean": 0.0, "std": 1.0})
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if self._data.size:
        need_floating(self._data.dtype, "normal_kernel_cpu", complex_too=True)
    return _fill(self, ops.draw_normal, {"mean": mean, "std": std}, generator)


def log_normal_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with numbers whose logarithm is normal: `log_normal_(mean=1, std=2, *, generator=None)`."""
    mean, std = _numbers("log_normal_", args, named, {"mean": 1.0, "std": 2.0})
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    need_floating(self._data.dtype, "log_normal_cpu")
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
            f"specified {KERNEL_NAMES[kind.name]}"
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
            f"specified {CPP_NAMES[kind.name]}"
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
        raise no_kernel("geometric_cpu", kind)
    return _fill(self, ops.draw_geometric, {"p": p}, generator)


def random_(self: Any, *args: Any, generator: Any = None, **named: Any) -> Any:
    """Fill with integers: `random_()`, `random_(to)`, `random_(from, to)`, each with `*, generator=None`."""
    low, high = _range_arguments(args, named)
    kind = self._data.dtype
    if low is None:
        if kind in NP_COMPLEX or (kind.kind == "u" and kind.itemsize > 1):
            raise no_kernel("random_kernel_cpu", kind)
        return _fill(self, ops.draw_natural, {}, generator)
    return _fill(self, ops.draw_integers, checked_range(kind, low, high), generator)


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fill with 1 with probability `p` (a number, or a tensor of one for each element), else 0."""
    kind = self._data.dtype
    if isinstance(p, Variable):
        chances = checked_chances(self._data.shape, p)
        if kind in NP_COMPLEX:
            raise no_kernel("bernoulli_tensor_cpu_self_", kind)
        params = {"generator": checked_generator("bernoulli_", generator)}
        check_no_overlap(self._data)
        return apply_inplace(ops.draw_bernoulli_each, (self, chances), params) if self._data.size else self
    chance = _number("bernoulli_", "p", 1, p)
    if not 0 <= chance <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={chance:g}")
    if kind in NP_COMPLEX:
        raise no_kernel("bernoulli_scalar_cpu_", kind)
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
    chances = checked_chances(x.shape, input)
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
    need_floating(rates.dtype, "poisson_cpu")
    if not (rates >= 0).all():
        raise explain(
            RuntimeError("invalid Poisson rate, expected rate to be non-negative"),
            received=f"{rates.min()} among the rates",
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
                f"binomial only supports floating-point dtypes for {name}, got: {KERNEL_NAMES[t._data.dtype.name]}"
            )
    shape = broadcast_sizes(counts, p)
    pair = tuple(wrap(np.broadcast_to(t._data, shape)) for t in (counts, p))
    return record(ops.binomial, pair, {"generator": checked_generator("binomial", generator)})


def standard_gamma(input: Any, generator: Any = None) -> Any:
    """A gamma number of scale 1 for each shape in `input`."""
    need_floating(needs_tensor(input, "_standard_gamma")._data.dtype, "gamma_cpu")
    return record(pathwise.standard_gamma, (input,), {"generator": checked_generator("_standard_gamma", generator)})


def sample_dirichlet(input: Any, generator: Any = None) -> Any:
    """A point of the simplex for each row of concentrations in `input`."""
    need_floating(needs_tensor(input, "_sample_dirichlet")._data.dtype, "dirichlet")
    return record(pathwise.sample_dirichlet, (input,), {"generator": checked_generator("_sample_dirichlet", generator)})


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
    check_multinomial(weights, num_samples, replacement)
    if out is not None and out._data.dtype != np.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {KERNEL_NAMES[out._data.dtype.name]}")
    rows = weights.reshape(-1, weights.shape[-1])
    shape = (*weights.shape[:-1], num_samples)
    if not len(rows):
        drawn = np.empty(shape, np.int64)
    else:
        check_weights(rows, replacement and num_samples > 1)
        drawn = draws.multinomial(source, rows, num_samples, replacement).reshape(shape)
    return wrap(drawn) if out is None else store(wrap(drawn), out)


def _fill(t: Any, op: Op, params: dict[str, Any], generator: Any) -> Any:
    """Write the draws of `op` into `t`; by the short way where nothing records."""
    params["generator"] = checked_generator(op.name.replace("draw_", "") + "_", generator)
    x = t._data
    plain = not ACTIVE and t._counter is not None and type(x) is ndarray and t._view is None
    if plain and (t._node is None or not state.grad):
        if x.size:
            check_no_overlap(x)
            x[...] = op.eager((x,), params)
            bump(t)
        return t
    return apply_inplace(op, (t,), params)


def _numbers(function: str, args: tuple[Any, ...], named: dict[str, Any], defaults: dict[str, float]) -> list[float]:
    """The arguments of a draw in order: positional, by name (which may be a keyword of Python), or the default."""
    if not args and not named:
        return list(defaults.values())
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
    return [
        _number(function, name, i + 1, given[name]) if name in given else defaults[name] for i, name in enumerate(names)
    ]


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
