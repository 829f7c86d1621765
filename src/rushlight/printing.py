"""Arrays as text, the way PyTorch prints tensors, and the options of that printing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rushlight.dtypes import complex64, complex128, float64, from_np, get_default_dtype

Format = Callable[[Any], str]


@dataclass
class PrintOptions:
    """Current options; `threshold` may be infinite, `sci_mode` None chooses by the values."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PRINT_OPTS = PrintOptions()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Set how tensors print; options left out keep their value, except `sci_mode`, which returns to None.

    Parameters
    ----------
    precision : int
        Digits after the point.
    threshold : float
        Tensors with more elements are summarised with `...`.
    edgeitems : int
        Elements shown at either end of a summarised dimension.
    linewidth : int
        Characters per line.
    profile : {"default", "short", "full"}
        Sets the options above; each may still be overridden.
    sci_mode : bool
        Force or forbid scientific notation.

    Examples
    --------
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1.12345])
    tensor([1.12])
    >>> torch.set_printoptions(profile="default")
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen = {**_PROFILES.get(profile or "", {}), **{k: v for k, v in given.items() if v is not None}}
    for name, value in chosen.items():
        setattr(PRINT_OPTS, name, value)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current print options, as arguments for `set_printoptions`."""
    return asdict(PRINT_OPTS)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print options for the body of a `with` statement.

    Examples
    --------
    >>> with torch.printing.printoptions(sci_mode=True):
    ...     print(torch.tensor([1.0, 2.0]))
    tensor([1.0000e+00, 2.0000e+00])
    """
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


class Formatter:
    """How every element of one real array is written: notation and common width."""

    def __init__(self, array: Any) -> None:
        self.width = 1
        kind = array.dtype.kind
        if kind in "biu":
            self.format: Format = str
            if array.size:
                self.width = max(len(str(array.min())), len(str(array.max())))
        else:
            values = array.astype(np.float64).reshape(-1)
            self._choose(values[np.isfinite(values) & (values != 0)])

    def _choose(self, values: Any) -> None:
        self.format = _whole
        if not values.size:
            return
        sizes = np.abs(values)
        smallest, largest = float(sizes.min()), float(sizes.max())
        scientific = PRINT_OPTS.sci_mode
        if scientific is None:
            scientific = largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
        template = f"%.{PRINT_OPTS.precision}{'e' if scientific else 'f'}"
        if scientific or not bool((values == np.rint(values)).all()):
            self.format = template.__mod__
        self.width = max(len(self.format(v)) for v in _extremes(values))

    def padded(self, value: Any) -> str:
        """One element, right-justified."""
        text: str = self.format(value)
        return text.rjust(self.width)


def _whole(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _extremes(values: Any) -> list[float]:
    """Elements among which the longest text is: its length is monotone in the magnitude, either side of zero."""
    sides = (values[values < 0], values[values > 0])
    return [float(v) for side in sides if side.size for v in (side.min(), side.max())]


class ComplexFormatter:
    """Real and imaginary parts, each with a format of its own."""

    def __init__(self, array: Any) -> None:
        self.real, self.imaginary = Formatter(array.real), Formatter(array.imag)
        self.width = self.real.width + self.imaginary.width + 1

    def padded(self, value: complex) -> str:
        """One element; the sign stands between the parts."""
        imaginary = self.imaginary.format(value.imag) + "j"
        sign = "" if imaginary[0] in "+-" else "+"
        return self.real.padded(value.real) + sign + imaginary


def _shown(array: Any) -> Any:
    """The elements that a summary shows, as one array."""
    edge = PRINT_OPTS.edgeitems
    if array.ndim == 0:
        return array
    if not edge and array.ndim > 1:
        return array[:0]
    kept = [np.r_[0:edge, n - edge : n] if n > 2 * edge > 0 else np.arange(n) for n in array.shape]
    return array[np.ix_(*kept)]


def _values(array: Any) -> list[Any]:
    """Elements of a vector as Python numbers (bfloat16 gives its own scalar type otherwise)."""
    listed: list[Any] = (array if array.dtype.kind in "biufc" else array.astype(np.float64)).tolist()
    return listed


def _vector(array: Any, indent: int, summarize: bool, formatter: Formatter | ComplexFormatter) -> str:
    edge = PRINT_OPTS.edgeitems
    padded = formatter.padded
    if summarize and not edge:
        words = ["..."]
    elif summarize and len(array) > 2 * edge:
        words = [*map(padded, _values(array[:edge])), " ...", *map(padded, _values(array[-edge:]))]
    else:
        words = [padded(value) for value in _values(array)]
    per_line = max(1, (PRINT_OPTS.linewidth - indent) // (formatter.width + 2))
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(array: Any, indent: int, summarize: bool, formatter: Formatter | ComplexFormatter) -> str:
    if array.ndim == 0:
        return formatter.padded(_values(array.reshape(1))[0])
    if array.ndim == 1:
        return _vector(array, indent, summarize, formatter)
    edge, n = PRINT_OPTS.edgeitems, len(array)
    if summarize and n > 2 * edge:
        rows: list[Any] = [*array[:edge], None, *array[n - edge :]]
    else:
        rows = list(array)
    texts = ["..." if row is None else _nested(row, indent + 1, summarize, formatter) for row in rows]
    gap: str = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + gap.join(texts) + "]"


def format_array(array: Any, indent: int) -> str:
    """The elements of `array` in brackets, continuation lines indented by `indent` + 1 spaces.

    Only the elements that are shown are looked at, whatever the size of the array.
    """
    if array.size == 0:
        return "[]"
    summarize = array.size > PRINT_OPTS.threshold
    shown = _shown(array) if summarize else array
    formatter = ComplexFormatter(shown) if array.dtype.kind == "c" else Formatter(shown)
    return _nested(array, indent, summarize, formatter)


def add_suffixes(text: str, suffixes: Sequence[str], indent: int, newline: bool = False) -> str:
    """Append `, suffix` for each, on a new line where the line would become too long, and close the bracket."""
    column = len(text) - text.rfind("\n") + 1
    parts = [text]
    for suffix in suffixes:
        if newline or column + len(suffix) + 2 > PRINT_OPTS.linewidth:
            parts.append(",\n" + " " * indent + suffix)
            column, newline = indent + len(suffix), False
        else:
            parts.append(", " + suffix)
            column += len(suffix) + 2
    return "".join(parts) + ")"


def dtype_is_shown(array: Any) -> bool:
    """Whether the elements alone do not tell the dtype, so that PyTorch prints it."""
    d, default = from_np(array.dtype), get_default_dtype()
    if array.size == 0:
        return d is not default
    default_complex = complex128 if default is float64 else complex64
    return d is not default and d is not default_complex and d.name not in ("int64", "bool")


def tensor_repr(
    array: Any, *, requires_grad: bool = False, grad_fn: str | None = None, device: str | None = None,
    prefix: str = "tensor(",
) -> str:  # fmt: skip
    """The text of a tensor that holds `array`.

    Parameters
    ----------
    array : numpy.ndarray
    requires_grad : bool
        Adds `requires_grad=True` where there is no `grad_fn`.
    grad_fn : str, optional
        Name of the node that made the tensor.
    device : str, optional
        Shown if given; leave it out for the default device.
    prefix : str
        Class name and opening bracket.

    Examples
    --------
    >>> print(tensor_repr(np.array([1.0, 2.5], np.float32), grad_fn="AddBackward0"))
    tensor([1.0000, 2.5000], grad_fn=<AddBackward0>)
    """
    indent = len(prefix)
    suffixes = [f"device='{device}'"] if device is not None else []
    if (not array.size and array.ndim != 1) or (array.size and not PRINT_OPTS.edgeitems):
        suffixes.append(f"size={tuple(array.shape)}")
    if dtype_is_shown(array):
        suffixes.append(f"dtype={from_np(array.dtype)!r}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return add_suffixes(prefix + format_array(array, indent), suffixes, indent)
