"""`state_dict` and `load_state_dict`: the tensors of a model by name, out of it and back into it."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rushlight.errors import ShapeError, explain
from rushlight.modes import no_grad
from rushlight.nn.conversion import ModuleConversion
from rushlight.nn.hooks import BoundHook, RemovableHandle, add_hook
from rushlight.nn.parameter import Parameter, UninitializedTensorMixin
from rushlight.tensor import Tensor

EXTRA_STATE_SUFFIX = "_extra_state"
StateDict = dict[str, Any]


class IncompatibleKeys(namedtuple("IncompatibleKeys", ("missing_keys", "unexpected_keys"))):
    """Names that a state dict lacked, and names it had that the model has not."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"

    __str__ = __repr__


class ModuleState(ModuleConversion):
    """Saving and loading of parameters, buffers and extra state."""

    _state_dict_hooks: OrderedDict[int, Any]
    _state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_post_hooks: OrderedDict[int, Any]

    def get_extra_state(self) -> Any:
        """What `state_dict` keeps besides tensors; a subclass overrides this together with `set_extra_state`."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Override it in "
            "your class to return what set_extra_state() takes."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Override it in "
            "your class to take what get_extra_state() returned."
        )

    def _save_to_state_dict(self, destination: StateDict, prefix: str, keep_vars: bool) -> None:
        """Put this module's own tensors into `destination`, not those of submodules."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not ModuleState.get_extra_state:
            destination[prefix + EXTRA_STATE_SUFFIX] = self.get_extra_state()

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by dotted name.

        The tensors share memory with the model: copy them to keep a snapshot.

        Parameters
        ----------
        destination : dict, optional
            Filled and returned instead of a new one.
        prefix : str
            Put before all names.
        keep_vars : bool
            Give the parameters themselves instead of tensors detached from autograd.

        Examples
        --------
        >>> list(torch.nn.Linear(2, 1).state_dict())
        ['weight', 'bias']
        """
        if args:
            warnings.warn("Positional args are being deprecated, use kwargs instead.", FutureWarning, stacklevel=2)
            given = [*args, *(destination, prefix, keep_vars)[len(args) :]]
            destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata: dict[str, Any] = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replacement = hook(self, destination, prefix, local_metadata)
            if not getattr(hook, "_from_public_api", False):
                if replacement is not None:
                    destination = replacement
            elif replacement is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Copy this module's own tensors out of `state_dict`, noting in the lists what does not fit."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own: dict[str, Any] = dict(self._parameters)
        own.update((n, b) for n, b in self._buffers.items() if n not in self._non_persistent_buffers_set)
        is_assigned = bool(local_metadata.get("assign_to_params_buffers", False))
        for name, target in own.items():
            if target is None:
                continue
            key = prefix + name
            if key in state_dict:
                _load_one(self, name, target, state_dict[key], key, is_assigned, error_msgs)
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix + EXTRA_STATE_SUFFIX, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys.extend(_unexpected(self, state_dict, prefix, own))

    def _load_extra_state(
        self, state_dict: Mapping[str, Any], key: str, strict: bool, missing: list[str], unexpected: list[str]
    ) -> None:
        if type(self).set_extra_state is not ModuleState.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the values of `state_dict` into the parameters and buffers of the same names.

        Parameters
        ----------
        state_dict : mapping
            As `state_dict()` gave it.
        strict : bool
            Raise unless the names agree exactly.
        assign : bool
            Put the tensors of `state_dict` in the place of the model's instead of copying values; they keep
            their dtype.

        Returns
        -------
        IncompatibleKeys
            `missing_keys` and `unexpected_keys`.

        Raises
        ------
        RuntimeError
            If a size differs (then also `ShapeError`), or, with `strict`, if names differ.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        # Hooks may change the mapping: they get a copy.
        entries: Any = OrderedDict(state_dict)
        if metadata is not None:
            entries._metadata = metadata
        problems = _Problems([], [], [])
        _load_tree(self, entries, "", metadata or {}, assign, problems)
        if problems.errors or (strict and (problems.missing or problems.unexpected)):
            raise _load_error(self, state_dict, problems, strict)
        return IncompatibleKeys(problems.missing, problems.unexpected)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict`; it may change the dict."""
        hook._from_public_api = True
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict`."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return add_hook(self._load_state_dict_pre_hooks, BoundHook(hook, self if with_module else None))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the two lists in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)


class _Problems(NamedTuple):
    """What loading found wrong: names, and finished sentences."""

    missing: list[str]
    unexpected: list[str]
    errors: list[str]


def _load_tree(
    module: Any, entries: Mapping[str, Any], prefix: str, metadata: Mapping[str, Any], assign: bool, problems: _Problems
) -> None:
    """Load `module` and then its children, each from the entries under its own prefix."""
    local_metadata = dict(metadata.get(prefix[:-1], {}))
    if assign:
        local_metadata["assign_to_params_buffers"] = True
    module._load_from_state_dict(entries, prefix, local_metadata, True, *problems)
    for name, child in module._modules.items():
        if child is not None:
            child_prefix = f"{prefix}{name}."
            child_entries = {key: value for key, value in entries.items() if key.startswith(child_prefix)}
            _load_tree(child, child_entries, child_prefix, metadata, assign, problems)
    incompatible = IncompatibleKeys(problems.missing, problems.unexpected)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, incompatible) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return "
                "new values, if incompatible_keys need to be modified, it should be done inplace."
            )


def _load_one(
    module: ModuleState, name: str, target: Tensor, value: Any, key: str, is_assigned: bool, errors: list[str]
) -> None:
    """Copy or assign one tensor of a state dict; a sentence goes to `errors` if that is not possible."""
    if not isinstance(value, Tensor):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(value)}"
        )
        return
    if isinstance(target, UninitializedTensorMixin) and isinstance(value, UninitializedTensorMixin):
        return
    # Scalars were saved with shape [1] before PyTorch 0.4.
    if value.shape == (1,) and target.dim() == 0:
        value = value[0]
    if value.shape != target.shape:
        errors.append(
            f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in current "
            f"model is {target.shape}."
        )
        return
    try:
        with no_grad():
            if is_assigned:
                _assign(module, name, target, value)
            else:
                target.copy_(value)
    except Exception as error:
        errors.append(
            f'While copying the parameter named "{key}", whose dimensions in the model are {target.size()} and whose '
            f"dimensions in the checkpoint are {value.size()}, an exception occurred : {error.args}."
        )


def _assign(module: ModuleState, name: str, target: Tensor, value: Tensor) -> None:
    if isinstance(target, Parameter):
        if not isinstance(value, Parameter):
            value = Parameter(value, requires_grad=target.requires_grad)
        else:
            value.requires_grad_(target.requires_grad)
    setattr(module, name, value)


def _unexpected(module: ModuleState, state_dict: Mapping[str, Any], prefix: str, own: Mapping[str, Any]) -> list[str]:
    found = []
    for key in state_dict:
        if not key.startswith(prefix) or key == prefix + EXTRA_STATE_SUFFIX:
            continue
        name, dot, _ = key[len(prefix) :].partition(".")
        if not (name in module._modules if dot else name in own):
            found.append(key)
    return found


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _load_error(module: Any, state: Mapping[str, Any], problems: _Problems, strict: bool) -> RuntimeError:
    lines = list(problems.errors)
    missing, unexpected = (problems.missing, problems.unexpected) if strict else ([], [])
    if unexpected:
        lines.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    if missing:
        lines.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    listing = "\n\t".join(lines)
    text = f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{listing}"
    only_sizes = all(line.startswith("size mismatch") for line in lines)
    error = ShapeError(text) if only_sizes else RuntimeError(text)
    return explain(error, fix=_transposed_fix(module, state) if only_sizes else _prefix_fix(missing, unexpected))


def _transposed_fix(module: Any, state: Mapping[str, Any]) -> str | None:
    own = dict(module.named_parameters())
    for key, value in state.items():
        if key in own and tuple(value.shape) != tuple(own[key].shape) == tuple(value.shape[::-1]):
            return f'state["{key}"] = state["{key}"].T'
    return None


def _prefix_fix(missing: list[str], unexpected: list[str]) -> str | None:
    """How to rename, if the names differ only by something in front, as after `DataParallel`."""
    if not missing or not unexpected:
        return None
    extra = _common_extra(unexpected[0], missing[0])
    if extra and {f"{extra}{name}" for name in missing} == set(unexpected):
        return f'state = {{name.removeprefix("{extra}"): value for name, value in state.items()}}'
    lacking = _common_extra(missing[0], unexpected[0])
    if lacking and {f"{lacking}{name}" for name in unexpected} == set(missing):
        return f'state = {{"{lacking}" + name: value for name, value in state.items()}}'
    return None


def _common_extra(longer: str, shorter: str) -> str:
    return longer[: -len(shorter)] if longer.endswith(shorter) and len(longer) > len(shorter) else ""
