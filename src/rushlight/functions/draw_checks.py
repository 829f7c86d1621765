"""What a random draw may be asked for: PyTorch's conditions and messages."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.dtypes import KERNEL_NAMES, NP_COMPLEX, NP_FLOATING, dtype, finfo, from_np
from rushlight.errors import ShapeError, explain
from rushlight.functions.shape import expand
from rushlight.generator import Generator, default_generator

ndarray = np.ndarray
_INT64_LOWEST, _INT64_LARGEST = -(2**63), 2**63 - 1
# PyTorch's names of element types as the C++ compiler writes them
CPP_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip
_LARGEST = {kind: finfo(from_np(kind)).max for kind in NP_FLOATING}


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
                RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"),
                expected="from < to",
            )
        if kind in NP_FLOATING:
            low, high = _first_exact(kind, low), _end_exact(kind, high)
        last = high - 1
    _check_bounds(kind, low, last)
    return {"low": low, "span": last - low + 1}


def checked_uniform(kind: Any, low: float, high: float) -> dict[str, Any]:
    if kind in NP_COMPLEX:
        kind = from_np(kind).to_real().np
    need_floating(kind, "check_uniform_bounds")
    largest = _LARGEST[kind]
    if -largest <= low <= high <= largest and high - low <= largest:
        return {"low": low, "high": high}
    for name, value in (("from", low), ("to", high)):
        if not -largest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {CPP_NAMES[kind.name]}")
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    raise RuntimeError(
        f"uniform_ expects to-from <= std::numeric_limits<{KERNEL_NAMES[kind.name]}>::max(), but found "
        f"to={high:g} and from={low:g} which result in to-from to exceed the limit"
    )


def checked_chances(shape: tuple[int, ...], p: Any) -> Any:
    """`p` expanded to `shape`; its values must be probabilities."""
    chances = p if p._data.shape == shape else expand(p, shape)
    x = chances._data
    need_floating(x.dtype, "bernoulli_tensor_cpu_p_")
    if type(x) is ndarray and not ((x >= 0) & (x <= 1)).all():
        raise explain(
            RuntimeError(
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  "
                "If so, please report an enhancement request to PyTorch.)"
            ),
            expected="probabilities from 0 to 1",
            received=f"values from {x.min()} to {x.max()}",
        )
    return chances


def check_multinomial(weights: Any, count: int, replacement: bool) -> None:
    if not 0 < weights.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype not in NP_FLOATING:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {KERNEL_NAMES[weights.dtype.name]}"
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


def check_weights(rows: Any, searched: bool) -> None:
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
            RuntimeError(bad),
            expected="finite weights >= 0, one above 0 in each row",
            received=f"{rows.min()} to {rows.max()}",
        )


def need_floating(kind: Any, kernel: str, complex_too: bool = False) -> None:
    if kind not in NP_FLOATING and not (complex_too and kind in NP_COMPLEX):
        raise no_kernel(kernel, kind)


def no_kernel(kernel: str, kind: Any) -> NotImplementedError:
    return explain(
        NotImplementedError(f"\"{kernel}\" not implemented for '{KERNEL_NAMES[kind.name]}'"),
        fix="draw into a floating tensor and convert it",
    )


def _largest_integer(kind: Any) -> int:
    if kind in NP_FLOATING:
        return 1 << draws.mantissa_bits(kind)
    return 1 if kind.kind == "b" else min(int(np.iinfo(kind).max), _INT64_LARGEST)


def _check_bounds(kind: Any, low: int, last: int) -> None:
    floating = kind in NP_FLOATING
    if floating:
        top = _LARGEST[kind]
        bottom = -top
    elif kind.kind == "b":
        bottom, top = 0, 1
    else:
        bottom, top = int(np.iinfo(kind).min), min(int(np.iinfo(kind).max), _INT64_LARGEST)
    for name, value in (("from", low), ("to - 1", last)):
        if not bottom <= value <= top:
            raise explain(
                RuntimeError(f"{name} is out of bounds for {CPP_NAMES[kind.name]}"),
                expected=f"{bottom:g} to {top:g}" if floating else f"{bottom} to {top}",
                received=value,
            )
        digits = draws.mantissa_bits(kind) if floating else 64
        if abs(value) > 1 << digits:
            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations "
                f"{CPP_NAMES[kind.name]} can support discrete uniform distribution only within this range. This "
                "warning will become an error in version 1.7 release, please fix the code in advance",
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
    return KERNEL_NAMES[d.np.name]
