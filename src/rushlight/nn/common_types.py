"""Names of argument types that model code imports for its annotations."""

from typing import Any, TypeVar

from rushlight.tensor import Tensor

T = TypeVar("T")

_scalar_or_tuple_any_t: Any = T | tuple[T, ...]
_scalar_or_tuple_1_t: Any = T | tuple[T]
_scalar_or_tuple_2_t: Any = T | tuple[T, T]
_scalar_or_tuple_3_t: Any = T | tuple[T, T, T]
_scalar_or_tuple_4_t: Any = T | tuple[T, T, T, T]
_scalar_or_tuple_5_t: Any = T | tuple[T, T, T, T, T]
_scalar_or_tuple_6_t: Any = T | tuple[T, T, T, T, T, T]

_size_any_t: Any = _scalar_or_tuple_any_t[int]
_size_1_t: Any = _scalar_or_tuple_1_t[int]
_size_2_t: Any = _scalar_or_tuple_2_t[int]
_size_3_t: Any = _scalar_or_tuple_3_t[int]
_size_4_t: Any = _scalar_or_tuple_4_t[int]
_size_5_t: Any = _scalar_or_tuple_5_t[int]
_size_6_t: Any = _scalar_or_tuple_6_t[int]

_size_any_opt_t: Any = tuple[Any, ...]
_size_2_opt_t: Any = tuple[Any, Any]
_size_3_opt_t: Any = tuple[Any, Any, Any]

_ratio_2_t: Any = _scalar_or_tuple_2_t[float]
_ratio_3_t: Any = _scalar_or_tuple_3_t[float]
_ratio_any_t: Any = _scalar_or_tuple_any_t[float]

_tensor_list_t: Any = _scalar_or_tuple_any_t[Tensor]
_maybe_indices_t: Any = _scalar_or_tuple_2_t[Tensor]
