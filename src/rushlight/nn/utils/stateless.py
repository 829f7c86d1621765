"""Calling a module with other parameters than its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from rushlight.nn.module import Module
from rushlight.tensor import Tensor

__all__ = ["functional_call"]

Tensors = dict[str, Tensor]


def call_with_tensors(
    module: Module,
    tensors: Mapping[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with `tensors` in the place of its parameters and buffers of the same names."""
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced_tensors(module, tensors, tie_weights=tie_weights, strict=strict):
        return module(*arguments, **(kwargs or {}))


def functional_call(
    module: Module,
    parameters_and_buffers: Tensors,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """The older name of `rushlight.func.functional_call`."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call_with_tensors(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)


@contextlib.contextmanager
def replaced_tensors(
    module: Module, tensors: Mapping[str, Tensor], *, tie_weights: bool = True, strict: bool = False
) -> Iterator[None]:
    """Put `tensors` into `module` for the length of a `with` block.

    On leaving, the module's own tensors come back. What the module assigned to a replaced buffer in the meantime is
    written to `tensors`, so that the caller sees the update.
    """
    values = _with_tied(module, tensors) if tie_weights else dict(tensors)
    _check_names(module, values, strict)
    slots = {name: _slot(module, name) for name in values}
    own = {name: _take(*slots[name]) for name in values}
    try:
        for name, value in values.items():
            table, key = slots[name]
            table[key] = value
        yield
    finally:
        for name, before in own.items():
            table, key = slots[name]
            after = table.get(key)
            if isinstance(tensors, dict) and name in tensors and after is not values[name] and after is not None:
                tensors[name] = after
            if before is _ABSENT:
                table.pop(key, None)
            else:
                table[key] = before


_ABSENT = object()


def _take(table: dict[str, Any], key: str) -> Any:
    return table.get(key, _ABSENT)


def _slot(module: Module, name: str) -> tuple[dict[str, Any], str]:
    """The table of the (sub)module that holds the tensor `name`, and the key in it."""
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    for table in (owner._parameters, owner._buffers):
        if key in table:
            return table, key
    if not isinstance(owner.__dict__.get(key), (Tensor, type(None))):
        raise TypeError(f"{name}: {owner.__dict__[key]} is not an instance of torch.Tensor")
    return owner.__dict__, key


def _named_tensors(module: Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _with_tied(module: Module, tensors: Mapping[str, Tensor]) -> Tensors:
    """`tensors`, each also under the other names that its parameter has in the module."""
    names_of: dict[int, list[str]] = {}
    for name, tensor in _named_tensors(module):
        names_of.setdefault(id(tensor), []).append(name)
    values = dict(tensors)
    for names in names_of.values():
        given = [name for name in names if name in tensors]
        if len(names) == 1 or not given:
            continue
        if len({id(tensors[name]) for name in given}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(given)}, which are tied. "
                "Consider using tie_weights=False"
            )
        values.update(dict.fromkeys(names, tensors[given[0]]))
    return values


def _check_names(module: Module, values: Mapping[str, Tensor], strict: bool) -> None:
    for value in values.values():
        if not isinstance(value, Tensor):
            raise TypeError(f"{value} is not an instance of torch.Tensor")
    if not strict:
        return
    own = {name for name, _ in _named_tensors(module)}
    unexpected, missing = sorted(set(values) - own), sorted(own - set(values))
    lines = [f"{what} key(s): {', '.join(map(repr, names))}." for what, names in
             (("Unexpected", unexpected), ("Missing", missing)) if names]  # fmt: skip
    if lines:
        listing = "\n\t".join(lines)
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{listing}")


def merge_tensors(given: Any) -> Tensors:
    """One dict from a dict, or from a list of dicts without common keys; the argument of `func.functional_call`."""
    if isinstance(given, Mapping):
        return dict(given) if not isinstance(given, dict) else given
    if not isinstance(given, (list, tuple)):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(given)}"
        )
    if not all(isinstance(entry, Mapping) for entry in given):
        raise ValueError(f"Expected all elements of parameter_and_buffer_dicts to be dictionaries, but got {given}")
    names = [name for entry in given for name in entry]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {name: tensor for entry in given for name, tensor in entry.items()}
