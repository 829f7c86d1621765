"""dtype objects, PyTorch's promotion rules, the default dtype, `finfo` and `iinfo`."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from rushlight.errors import DTypeError, explain


class dtype:
    """The type of a tensor's elements; compare with `is` or `==`.

    Attributes
    ----------
    np : numpy.dtype
        The NumPy type that stores the elements.
    itemsize : int
        Bytes per element.
    category : int
        0 bool, 1 integer, 2 floating, 3 complex: the order of promotion.
    """

    __slots__ = ("name", "np", "itemsize", "category", "is_floating_point", "is_complex", "is_signed")

    def __init__(self, name: str, numpy: Any, category: int) -> None:
        self.name = name
        self.np = np.dtype(numpy)
        self.itemsize = self.np.itemsize
        self.category = category
        self.is_floating_point = category == 2
        self.is_complex = category == 3
        self.is_signed = name not in ("bool", "uint8", "uint16", "uint32", "uint64")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: Any) -> dtype:
        return self

    def to_real(self) -> dtype:
        """The type of this type's real part."""
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts are of this type."""
        if self.category < 2:
            raise RuntimeError(f"Unknown Complex ScalarType for {KERNEL_NAMES[self.name]}")
        table = {float32: complex64, float64: complex128, float16: complex64, bfloat16: complex64}
        return table.get(self, self)


bool_ = dtype("bool", np.bool_, 0)
uint8 = dtype("uint8", np.uint8, 1)
int8 = dtype("int8", np.int8, 1)
int16 = dtype("int16", np.int16, 1)
int32 = dtype("int32", np.int32, 1)
int64 = dtype("int64", np.int64, 1)
uint16 = dtype("uint16", np.uint16, 1)
uint32 = dtype("uint32", np.uint32, 1)
uint64 = dtype("uint64", np.uint64, 1)
float16 = dtype("float16", np.float16, 2)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, 2)
float32 = dtype("float32", np.float32, 2)
float64 = dtype("float64", np.float64, 2)
complex64 = dtype("complex64", np.complex64, 3)
complex128 = dtype("complex128", np.complex128, 3)

ALL = (
    bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64,
    float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
ALIASES = {
    "half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip
BY_NUMPY: dict[Any, dtype] = {d.np: d for d in ALL}
KERNEL_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip
"""PyTorch's name, in messages, of the type that NumPy calls so."""
INTEGERS = frozenset(d for d in ALL if d.category == 1)

NP_FLOATING = frozenset(d.np for d in ALL if d.category == 2)
NP_COMPLEX = frozenset(d.np for d in ALL if d.category == 3)
NP_INEXACT = NP_FLOATING | NP_COMPLEX
NP_INTEGER = frozenset(d.np for d in ALL if d.category == 1)
NP_BOOL = bool_.np
NP_HALF = frozenset((float16.np, bfloat16.np))


def from_np(numpy_dtype: Any) -> dtype:
    """The dtype object of a NumPy dtype; `DTypeError` where there is none (strings, objects, float128)."""
    found = BY_NUMPY.get(numpy_dtype)
    if found is None:
        found = BY_NUMPY.get(np.dtype(numpy_dtype))
    if found is None:
        names = ", ".join(d.np.name for d in (float64, float32, float16, complex64, complex128, int64, int32))
        raise explain(
            TypeError(
                f"can't convert np.ndarray of type numpy.{np.dtype(numpy_dtype).type.__name__}. The only supported "
                "types are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, "
                "uint32, uint16, uint8, and bool."
            ),
            expected=f"one of {names} ...",
            received=np.dtype(numpy_dtype),
        )
    return found


class _Default:
    """The default floating dtype, one for the process as in PyTorch."""

    floating = float32


def get_default_dtype() -> dtype:
    """The dtype of new floating tensors."""
    return _Default.floating


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of new floating tensors.

    Parameters
    ----------
    d : dtype
        A floating dtype.

    Raises
    ------
    TypeError
        If `d` is not a floating dtype.
    """
    if not isinstance(d, dtype):
        raise explain(
            TypeError("invalid dtype object: only floating-point types are supported as the default type"),
            received=type(d).__name__,
        )
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _Default.floating = d


def default_np(category: int = 2) -> Any:
    """NumPy dtype that a Python number of `category` becomes."""
    if category == 0:
        return bool_.np
    if category == 1:
        return int64.np
    return _Default.floating.np if category == 2 else _Default.floating.to_complex().np


_SIGNED = {1: int8, 2: int16, 4: int32, 8: int64}


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both, by PyTorch's table.

    Examples
    --------
    >>> promote_types(int64, float16)
    torch.float16
    """
    if a is b:
        return a
    if a.category < b.category:
        a, b = b, a
    if a.category > b.category:
        if a is complex64 and b is float64:
            return complex128
        return a
    if a.category == 1:
        return _promote_integers(a, b)
    if {a, b} == {float16, bfloat16}:
        return float32
    return a if a.itemsize > b.itemsize else b


def _promote_integers(a: dtype, b: dtype) -> dtype:
    if a.is_signed == b.is_signed:
        return a if a.itemsize >= b.itemsize else b
    signed, unsigned = (a, b) if a.is_signed else (b, a)
    if unsigned is not uint8:
        raise DTypeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a.name} and {b.name}"
        )
    return signed if signed.itemsize > 1 else int16


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether PyTorch lets a result of type `from_` be stored as `to` (category must not fall)."""
    return from_.category <= to.category and not (from_.is_signed and not to.is_signed and to.category == 1)


class finfo:
    """Limits of a floating dtype: `bits eps max min tiny smallest_normal resolution dtype`.

    Examples
    --------
    >>> finfo(float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: dtype | None = None) -> None:
        d = get_default_dtype() if type is None else type
        if d.category < 2:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        info: Any = ml_dtypes.finfo(d.to_real().np)  # type: ignore[no-untyped-call]
        self.dtype = d.to_real().name
        self.bits = info.bits
        self.eps = float(info.eps)
        self.max = float(info.max)
        self.min = float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(f"{float(info.resolution):.0e}")

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={_short(getattr(self, k))}" for k in ("resolution", "min", "max", "eps"))
        return f"finfo({numbers}, smallest_normal={_short(self.tiny)}, tiny={_short(self.tiny)}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype: `bits min max dtype`."""

    def __init__(self, type: dtype) -> None:
        if type.category >= 2:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        if type.category == 0:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        info = np.iinfo(type.np)
        self.dtype = type.name
        self.bits = info.bits
        self.min = int(info.min)
        self.max = int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def _short(x: float) -> str:
    return f"{x:g}"
