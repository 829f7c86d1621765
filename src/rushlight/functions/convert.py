"""Conversions: dtype and device, Python values, NumPy, DLPack."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from rushlight import dtypes
from rushlight.device import check_available, device
from rushlight.dtypes import dtype
from rushlight.errors import explain
from rushlight.functions.shape import cast, contiguous
from rushlight.ops import linear
from rushlight.tape import Variable, record

TYPE_NAMES = {
    "torch.FloatTensor": dtypes.float32, "torch.DoubleTensor": dtypes.float64, "torch.HalfTensor": dtypes.float16,
    "torch.BFloat16Tensor": dtypes.bfloat16, "torch.LongTensor": dtypes.int64, "torch.IntTensor": dtypes.int32,
    "torch.ShortTensor": dtypes.int16, "torch.CharTensor": dtypes.int8, "torch.ByteTensor": dtypes.uint8,
    "torch.BoolTensor": dtypes.bool_, "torch.ComplexFloatTensor": dtypes.complex64,
    "torch.ComplexDoubleTensor": dtypes.complex128,
}  # fmt: skip
NAMES = {d: n for n, d in TYPE_NAMES.items()}


def to(input: Any, *args: Any, **kwargs: Any) -> Any:
    """The tensor with another dtype or device: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`."""
    wanted, place, force = _parse_to(args, kwargs)
    if place is not None:
        check_available(place)
    out = input if wanted is None else cast(input, wanted)
    form = kwargs.get("memory_format")
    if form is not None and getattr(form, "name", "") != "preserve_format":
        out = contiguous(out, form)
    return record(linear.clone, (input,), {}) if force and out is input else out


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, bool]:
    wanted, place = kwargs.get("dtype"), kwargs.get("device")
    force = kwargs.get("copy", False)
    rest = list(args)
    if rest and isinstance(rest[0], Variable):
        other = rest.pop(0)
        return dtypes.from_np(other._data.dtype), None, force
    for a in rest:
        if isinstance(a, dtype):
            wanted = a
        elif isinstance(a, (str, device)) or type(a) is int:
            place = a
        elif isinstance(a, bool):
            continue
        elif a is not None:
            raise TypeError(f"to() received an invalid combination of arguments - got ({type(a).__name__})")
    return wanted, place, force


def type_(input: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The type's name such as 'torch.FloatTensor', or the tensor with another dtype."""
    if dtype is None:
        return NAMES[dtypes.from_np(input._data.dtype)]
    return cast(input, as_dtype(dtype))


def as_dtype(wanted: Any) -> dtype:
    """A dtype from a dtype, a tensor type's name or a tensor type."""
    if isinstance(wanted, dtype):
        return wanted
    if isinstance(wanted, str) and wanted in TYPE_NAMES:
        return TYPE_NAMES[wanted]
    own = getattr(wanted, "legacy_dtype", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    raise ValueError(f"invalid type: {wanted!r}")


def _caster(wanted: dtype) -> Any:
    def convert(input: Any, memory_format: Any = None) -> Any:
        return cast(input, wanted)

    convert.__name__ = convert.__qualname__ = f"to_{wanted.name}"
    convert.__doc__ = f"The tensor with dtype {wanted.name}."
    return convert


to_float, to_double, to_half, to_bfloat16, to_int, to_long, to_short, to_char, to_byte, to_bool, *_complex = map(
    _caster,
    (
        dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.int32,
        dtypes.int64, dtypes.int16, dtypes.int8,
        dtypes.uint8, dtypes.bool_, dtypes.complex64, dtypes.complex128,
    ),
)  # fmt: skip
to_cfloat, to_cdouble = _complex


def cpu(input: Any, memory_format: Any = None) -> Any:
    """The tensor on the CPU: itself."""
    return input


def cuda(input: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """The tensor on a GPU; an error where there is none."""
    return to(input, "cuda" if device is None else device)


def item(input: Any) -> Any:
    """The one element as a Python number."""
    data = input._data
    if data.size != 1:
        raise explain(
            RuntimeError(f"a Tensor with {data.size} elements cannot be converted to Scalar"),
            expected="a tensor of one element",
            received=tuple(data.shape),
            fix=".tolist(), or reduce it first: .sum(), .mean()",
        )
    value = data.item()
    return float(value) if data.dtype == dtypes.bfloat16.np and not hasattr(value, "op_rank") else value


def tolist(input: Any) -> Any:
    """The elements as nested lists of Python numbers."""
    data = input._data
    return data.astype(np.float32).tolist() if data.dtype == dtypes.bfloat16.np else data.tolist()


def numpy(input: Any, *, force: bool = False) -> Any:
    """A NumPy array over the same memory."""
    if force:
        return input._data.view()
    if input._node is not None:
        raise explain(
            RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
            fix="tensor.detach().numpy()",
        )
    if input._data.dtype == dtypes.bfloat16.np:
        raise TypeError("Got unsupported ScalarType BFloat16")
    return input._data.view()


def array_protocol(input: Any, dtype: Any = None, copy: Any = None) -> Any:
    """`np.asarray(tensor)`."""
    data = numpy(input)
    if dtype is not None and data.dtype != dtype:
        return data.astype(dtype)
    return data.copy() if copy else data


def to_bool_value(input: Any) -> bool:
    """Truth of the one element."""
    size = input._data.size
    if size > 1:
        raise explain(
            RuntimeError("Boolean value of Tensor with more than one value is ambiguous"), fix=".any() or .all()"
        )
    if size == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    return bool(input._data.item() if input._data.dtype.kind != "V" else float(input._data))


def _one_number(input: Any, wanted: str = "") -> Any:
    if input._data.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    value = item(input)
    if wanted and isinstance(value, complex):
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {wanted} without overflow")
        return value.real
    return value


def to_int_value(input: Any) -> int:
    """The one element as an int."""
    return int(_one_number(input, "int64_t"))


def to_float_value(input: Any) -> float:
    """The one element as a float."""
    return float(_one_number(input, "double"))


def to_complex_value(input: Any) -> complex:
    """The one element as a complex number."""
    return complex(_one_number(input))


def to_index(input: Any) -> int:
    """The one integer element, where Python wants an index."""
    if input._data.dtype.kind not in "iub" or input._data.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return operator.index(input._data.item())


def length(input: Any) -> int:
    """Size of the first dim."""
    if not input._data.ndim:
        raise TypeError("len() of a 0-d tensor")
    return int(input._data.shape[0])
