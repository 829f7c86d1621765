"""Parametrizations: a parameter computed by modules from another tensor, which is what is trained."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from rushlight.modes import no_grad
from rushlight.nn.containers import ModuleDict, ModuleList
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

M = TypeVar("M", bound=Module)


class _Cache:
    """Values computed inside `cached()`, by module and name; `depth` counts the open blocks."""

    depth = 0
    values: ClassVar[dict[tuple[int, str], Tensor]] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within this block every parametrized tensor is computed once and then kept.

    Examples
    --------
    >>> from rushlight.nn.utils import parametrize
    >>> class Double(torch.nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x
    >>> layer = parametrize.register_parametrization(torch.nn.Linear(2, 2), "weight", Double())
    >>> with parametrize.cached():
    ...     print(layer.weight is layer.weight)
    True
    """
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if _Cache.depth == 0:
            _Cache.values = {}


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, with the tensor or tensors they start from.

    Attributes
    ----------
    original : Tensor
        What is trained; `original0`, `original1` ... if `right_inverse` of the first gives several tensors.
    is_tensor : bool
        Whether there is one original.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with no_grad():
            start = _invert(list(self), original)
        if not isinstance(start, Tensor) and not isinstance(start, Sequence):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(start).__name__}"
            )
        self.is_tensor = isinstance(start, Tensor)
        self.ntensors = 1 if isinstance(start, Tensor) else len(start)
        if isinstance(start, Tensor):
            self._keep_one(original, start)
        else:
            self._keep_several(original, start)
        if not unsafe:
            self._check_result(original, shape, dtype)

    def _keep_one(self, original: Tensor, start: Tensor) -> None:
        if original.dtype != start.dtype:
            raise ValueError(
                "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {start.dtype}"
            )
        with no_grad():
            # The same object stays the parameter, so that an optimizer keeps its hold on it.
            _set_data(original, start)
        _register(self, "original", original)

    def _keep_several(self, original: Tensor, starts: Sequence[Tensor]) -> None:
        for position, start in enumerate(starts):
            if not isinstance(start, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                    f"Got element {position} of the sequence with type {type(start).__name__}."
                )
            value = Parameter(start, original.requires_grad) if isinstance(original, Parameter) else start
            if not isinstance(original, Parameter):
                value.requires_grad_(original.requires_grad)
            _register(self, f"original{position}", value)

    def _check_result(self, original: Tensor, shape: Any, dtype: Any) -> None:
        result = self()
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        for what, before, after in (("dtype", dtype, result.dtype), ("shape", shape, result.shape)):
            if before != after:
                raise ValueError(
                    f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is "
                    f"enabled.\nunparametrized {what}: {before}\nparametrized {what}: {after}"
                )

    def _originals(self) -> list[Tensor]:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes `value`, by the `right_inverse` of each module."""
        with no_grad():
            start: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                start = module.right_inverse(start)
            if self.is_tensor:
                self._assign_one(start)
            else:
                self._assign_several(start)

    def _assign_one(self, start: Any) -> None:
        if not isinstance(start, Tensor):
            raise ValueError(f"`right_inverse` should return a tensor. Got {type(start).__name__}")
        if start.dtype != self.original.dtype:
            raise ValueError(
                "The tensor returned by `right_inverse` has dtype "
                f"{start.dtype} while `original` has dtype {self.original.dtype}"
            )
        _set_data(self.original, start)

    def _assign_several(self, starts: Any) -> None:
        if not isinstance(starts, Sequence):
            raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(starts).__name__}.")
        if len(starts) != self.ntensors:
            raise ValueError(
                "'right_inverse' must return a sequence of tensors of length "
                f"{self.ntensors}. Got a sequence of length {len(starts)}."
            )
        for position, (original, start) in enumerate(zip(self._originals(), starts, strict=True)):
            if not isinstance(start, Tensor):
                raise ValueError(f"`right_inverse` must return a sequence of tensors. Got element {position} "
                                 f"of type {type(start).__name__}")  # fmt: skip
            if start.dtype != original.dtype:
                raise ValueError(
                    f"Tensor {position} returned by `right_inverse` has dtype {start.dtype} while `original{position}` "
                    f"has dtype {original.dtype}"
                )
            _set_data(original, start)

    def forward(self) -> Tensor:
        """The parametrized tensor."""
        first, *others = list(self)
        value: Tensor = first(*self._originals())
        for module in others:
            value = module(value)
        return value


def _invert(modules: list[Any], value: Any) -> Any:
    """What the parametrizations start from to give `value`; those without `right_inverse` count as the identity."""
    for module in reversed(modules):
        with contextlib.suppress(NotImplementedError):
            if hasattr(module, "right_inverse"):
                value = module.right_inverse(value)
    return value


def _set_data(target: Tensor, value: Tensor) -> None:
    if value is not target:
        target.data = value.detach()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _give_class_of_its_own(module: Module) -> None:
    """Put `module` into a new subclass of its class, which can hold properties for this module only."""
    kind = type(module)

    def get_state(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). "
            "Save module.state_dict() instead, or remove the parametrizations first."
        )

    def deep_copy(self: Any, memo: dict[int, Any]) -> Any:
        replica = self.__new__(type(self))
        memo[id(self)] = replica
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica

    members: dict[str, Any] = {"__getstate__": get_state}
    if not hasattr(kind, "__deepcopy__"):
        members["__deepcopy__"] = deep_copy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), members)


def _add_property(module: Module, name: str) -> None:
    """Let the attribute `name` of this module compute the parametrized tensor."""

    def read(self: Any) -> Tensor:
        parametrization: Any = self.parametrizations[name]
        if not _Cache.depth:
            value: Tensor = parametrization()
            return value
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = parametrization()
        return _Cache.values[key]

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def register_parametrization(module: M, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> M:
    """Compute the parameter or buffer `tensor_name` by `parametrization` from now on.

    The tensor itself becomes `module.parametrizations.<name>.original` and goes on being trained. Several
    parametrizations of one tensor are applied in the order of registration.

    Parameters
    ----------
    parametrization : Module
        Called with the original; an optional method `right_inverse` makes assignment possible.
    unsafe : bool
        Allow it to change shape or dtype.

    Examples
    --------
    >>> from rushlight.nn.utils import parametrize
    >>> class Positive(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.abs()
    >>> layer = parametrize.register_parametrization(torch.nn.Linear(2, 2), "weight", Positive())
    >>> bool((layer.weight >= 0).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        # Made before the module is changed: it may refuse.
        entry = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_class_of_its_own(module)
            module.parametrizations = ModuleDict()
        _add_property(module, tensor_name)
        module.parametrizations[tensor_name] = entry
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def _append(module: Any, name: str, parametrization: Module, unsafe: bool) -> None:
    entry = module.parametrizations[name]
    if not unsafe:
        value = getattr(module, name)
        result = parametrization(value)
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        _check_kept("Registering a parametrization", "parametrization(module.{name})", name, value, result)
        if hasattr(parametrization, "right_inverse"):
            with no_grad():
                start = parametrization.right_inverse(value)
            if not isinstance(start, Tensor):
                raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(start).__name__}")
            _check_kept("The tensor returned by parametrization.right_inverse", "right_inverse", name, value, start)
    entry.append(parametrization)
    # One unsafe parametrization makes the whole chain so.
    entry.unsafe |= unsafe


def _check_kept(who: str, form: str, name: str, before: Tensor, after: Tensor) -> None:
    for what in ("dtype", "shape"):
        old, new = getattr(before, what), getattr(after, what)
        if old != new:
            raise ValueError(
                f"{who} may not change the {what} of the tensor, unless the `unsafe` flag is enabled.\n"
                f"module.{name}.{what}: {old}\n{form.format(name=name)}.{what}: {new}"
            )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether `module` has parametrizations, or one on `tensor_name`."""
    entries = getattr(module, "parametrizations", None)
    if not isinstance(entries, ModuleDict):
        return False
    return len(entries) > 0 if tensor_name is None else tensor_name in entries


def remove_parametrizations(module: M, tensor_name: str, leave_parametrized: bool = True) -> M:
    """Undo the parametrizations of `tensor_name`.

    Parameters
    ----------
    leave_parametrized : bool
        Keep the computed value; `False` brings back the original tensor.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    entries: Any = module.parametrizations
    entry = entries[tensor_name]
    if entry.is_tensor:
        original = entry.original
        if leave_parametrized:
            with no_grad():
                _set_data(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value.detach()
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del entries[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of `module` without the subclass that parametrizations made."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give `to_module` the parametrizations of `from_module`, with the values they start from.

    Parameters
    ----------
    tensor_name : str, optional
        Transfer only those of this tensor.
    """
    if not is_parametrized(from_module):
        return to_module
    entries: Any = from_module.parametrizations
    for name in list(entries) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in entries[name]:
            register_parametrization(to_module, name, parametrization)
        target: Any = to_module.parametrizations
        with no_grad():
            for own, other in zip(target[name]._originals(), entries[name]._originals(), strict=True):
                _set_data(own, other.clone())
    return to_module
