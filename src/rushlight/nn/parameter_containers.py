"""Modules that hold parameters: `ParameterList` and `ParameterDict`."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Self

from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter, UninitializedTensorMixin
from rushlight.nn.tree import type_name
from rushlight.tensor import Tensor


def position_name(module: Any, index: Any) -> str:
    """The name of the child at `index` of a list, counted from the end if negative."""
    position = operator.index(index)
    count = len(module)
    if not -count <= position < count:
        raise IndexError(f"index {position} is out of range")
    return str(position % count)


def checked_pairs(pairs: Iterable[Any], who: str) -> Iterator[tuple[str, Any]]:
    """The pairs of an iterable given to `update`, or the error that says which element is none."""
    for number, pair in enumerate(pairs):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{who} update sequence element #{number} should be Iterable; is{type(pair).__name__}")
        entry = list(pair)
        if len(entry) != 2:
            raise ValueError(f"{who} update sequence element #{number} has length {len(entry)}; 2 is required")
        yield entry[0], entry[1]


def _as_entry(value: Any) -> Any:
    """Tensors become parameters; other values are kept as they are."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _describe(name: Any, value: Any, kind: str) -> str:
    if not isinstance(value, Tensor):
        return f"  ({name}): Object of type: {type(value).__name__}"
    size = "x".join(map(str, () if isinstance(value, UninitializedTensorMixin) else value.shape))
    what = "Parameter" if isinstance(value, Parameter) else "Tensor"
    place = "" if value.device.type == "cpu" else f" ({value.device})"
    return f"  ({name}): {what} containing: [{kind} of size {size}{place}]"


class ParameterList(Module):
    """A list whose tensors are parameters of the model.

    Examples
    --------
    >>> weights = torch.nn.ParameterList([torch.zeros(2), torch.zeros(3, 4)])
    >>> [tuple(w.shape) for w in weights.parameters()]
    [(2,), (3, 4)]
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(self[position] for position in range(*idx.indices(len(self))))
        return getattr(self, position_name(self, idx))

    def __setitem__(self, idx: int, param: Any) -> None:
        setattr(self, position_name(self, idx), _as_entry(param))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[position] for position in range(len(self))])

    def __iadd__(self, parameters: Iterable[Any]) -> Self:
        return self.extend(parameters)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, value: Any) -> Self:
        """Add `value` at the end; return self."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add all of `values` at the end; return self."""
        # A tensor is iterable too, but its rows would silently become parameters.
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """One line for each entry."""
        return "\n".join(
            _describe(position, value, repr(value.dtype) if isinstance(value, Tensor) else "")
            for position, value in enumerate(self)
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """A dictionary whose tensors are parameters of the model; it keeps the order of insertion.

    Examples
    --------
    >>> weights = torch.nn.ParameterDict({"left": torch.zeros(2), "right": torch.zeros(3)})
    >>> list(weights.keys())
    ['left', 'right']
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _key_to_attr(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(
                f"Index given to ParameterDict cannot be used as a key as it is not a string (type is "
                f"'{type(key).__name__}'). Open an issue on github if you need non-string keys."
            )
        return key

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._key_to_attr(key))

    def __setitem__(self, key: str, value: Any) -> None:
        # Registered, not assigned: a key such as "keys" must be refused, not hide the method.
        name = self._key_to_attr(key)
        value = _as_entry(value)
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        else:
            setattr(self, name, value)
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, self._key_to_attr(key))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """A new dictionary with the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`, which becomes `default` if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Remove all entries."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Remove `key` and return its value."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the entry inserted last and return it."""
        key, _ = self._keys.popitem()
        self._keys[key] = None
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self[key] if key in self else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dictionary with `default` under each of `keys`."""
        return ParameterDict(OrderedDict((key, default) for key in keys))

    def keys(self) -> KeysView[str]:
        """The keys."""
        return self._keys.keys()

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of key and value."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterator[Any]:
        """The values."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Add all entries of a mapping, or of an iterable of pairs.

        Notes
        -----
        PyTorch: a plain dict is taken in the order of its sorted keys, an OrderedDict in its own.
        """
        if not isinstance(parameters, Iterable):
            raise TypeError(
                "ParametersDict.update should be called with an iterable of key/value pairs, but got "
                f"{type(parameters).__name__}"
            )
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            entries: Iterable[tuple[str, Any]] = list(parameters.items())
        elif isinstance(parameters, Mapping):
            entries = sorted(parameters.items(), key=operator.itemgetter(0))
        else:
            entries = checked_pairs(parameters, "ParameterDict")
        for key, parameter in entries:
            self[key] = parameter

    def extra_repr(self) -> str:
        """One line for each entry."""
        return "\n".join(_describe(key, value, type_name(value)) for key, value in self.items())

    def __call__(self, input: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")

    def __or__(self, other: Any) -> ParameterDict:
        combined = self.copy()
        combined.update(other)
        return combined

    def __ror__(self, other: Any) -> Any:
        # A plain dict on the left stays one.
        combined = other.copy()
        combined.update(self)
        return combined

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self
