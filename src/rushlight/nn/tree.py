"""The tree of a model: attributes that are parameters, buffers and submodules, and their look-up by name."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from rushlight.errors import explain
from rushlight.nn.hooks import BUFFER_REGISTRATION, MODULE_REGISTRATION, PARAMETER_REGISTRATION, Changes
from rushlight.nn.parameter import Buffer, Parameter
from rushlight.tensor import Tensor

HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def type_name(value: Any) -> str:
    """The name PyTorch gives the type of `value` in messages: `torch.FloatTensor`, `int`, `package.Class`."""
    if isinstance(value, Tensor):
        return str(value.type())
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module in ("builtins", "__builtin__") else f"{module}.{kind.__qualname__}"


class ModuleTree:
    """Attribute registration and look-up; every `Module` is one."""

    _version: int = 1
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Any]

    call_super_init: bool = False
    dump_patches: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = f"{type(self).__name__}.__init__()"
            if kwargs:
                raise TypeError(f"{name} got an unexpected keyword argument '{next(iter(kwargs))}'")
            raise TypeError(f"{name} takes 1 positional argument but {len(args) + 1} were given")
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_non_persistent_buffers_set"] = set()
        state["_backward_pre_hooks"] = OrderedDict()
        state["_backward_hooks"] = OrderedDict()
        state["_is_full_backward_hook"] = None
        for table in HOOK_TABLES:
            state[table] = OrderedDict()
        state["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but is not trained, such as a running mean.

        Parameters
        ----------
        name : str
            Attribute under which the buffer is found.
        tensor : Tensor or None
            `None` reserves the name; it does not appear in `state_dict`.
        persistent : bool
            Whether `state_dict` holds it.
        """
        Changes.count += 1
        if "_buffers" not in self.__dict__:
            raise _not_initialised("buffer")
        _check_name(self, name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            kind = type_name(tensor)
            raise TypeError(f"cannot assign '{kind}' object to buffer '{name}' (torch Tensor or None required)")
        tensor = _through_registration_hooks(BUFFER_REGISTRATION, self, name, tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a trainable tensor under the attribute `name`; `None` reserves the name."""
        Changes.count += 1
        if "_parameters" not in self.__dict__:
            raise _not_initialised("parameter")
        _check_name(self, name, "parameter", self._parameters)
        if param is not None:
            _check_parameter(name, param)
        self._parameters[name] = _through_registration_hooks(PARAMETER_REGISTRATION, self, name, param)

    def add_module(self, name: str, module: Any) -> None:
        """Add a child module under the attribute `name`; `None` reserves the name."""
        if not isinstance(module, ModuleTree) and module is not None:
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        if not isinstance(name, str):
            raise TypeError(f"module name should be a string. Got {type_name(name)}")
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'module name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError('module name can\'t be empty string ""')
        Changes.count += 1
        self._modules[name] = _through_registration_hooks(MODULE_REGISTRATION, self, name, module)

    def register_module(self, name: str, module: Any) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    def get_submodule(self, target: str) -> Any:
        """The module at the dotted path `target`, such as `"net.0.conv"`; `""` is this one.

        Examples
        --------
        >>> net = torch.nn.Sequential(torch.nn.Sequential(torch.nn.ReLU()))
        >>> net.get_submodule("0.0")
        ReLU()
        """
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise _no_attribute(module, name)
            module = getattr(module, name)
            if not isinstance(module, ModuleTree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put `module` at the dotted path `target`.

        Parameters
        ----------
        strict : bool
            Raise if nothing is there yet; otherwise the last name may be new.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, ModuleTree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise _no_attribute(parent, name)
        if hasattr(parent, name) and not isinstance(getattr(parent, name), ModuleTree):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path `target`."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise _no_attribute(module, name)
        found = getattr(module, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the dotted path `target`."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise _no_attribute(module, name)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        found: Tensor = getattr(module, name)
        return found

    def __getattr__(self, name: str) -> Any:
        # Called only when the ordinary look-up failed. `__dict__` first: a subclass that forgot
        # super().__init__() has no tables, and must get the message below, not a recursion.
        state = self.__dict__
        if "_modules" in state:
            table = state["_modules"]
            if name in table:
                return table[name]
            table = state["_parameters"]
            if name in table:
                return table[name]
            table = state["_buffers"]
            if name in table:
                return table[name]
        error = AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        error.name, error.obj = name, self
        raise error

    def __setattr__(self, name: str, value: Any) -> None:
        Changes.count += 1
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise _not_initialised("parameters")
            _remove_name(self, name, "_buffers", "_modules")
            self.register_parameter(name, value)
            return
        parameters = state.get("_parameters")
        if parameters is None:
            if isinstance(value, ModuleTree):
                raise _not_initialised("module")
            if isinstance(value, Buffer):
                raise _not_initialised("buffer")
        elif name in parameters:
            if value is not None:
                raise _cannot_assign(value, name, "parameter")
            self.register_parameter(name, None)
            return
        elif isinstance(value, ModuleTree):
            _remove_name(self, name, "_parameters", "_buffers")
            state["_modules"][name] = _through_registration_hooks(MODULE_REGISTRATION, self, name, value)
            return
        elif name in state["_modules"]:
            if value is not None:
                raise _cannot_assign(value, name, "child module")
            state["_modules"][name] = _through_registration_hooks(MODULE_REGISTRATION, self, name, None)
            return
        elif name in state["_buffers"] or isinstance(value, Buffer):
            self._assign_buffer(name, value)
            return
        object.__setattr__(self, name, value)

    def _assign_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise _cannot_assign(value, name, "buffer")
        if isinstance(value, Buffer):
            _remove_name(self, name, "_parameters", "_modules")
            persistent = bool(getattr(value, "persistent", True))
            if name not in self._buffers:
                self.register_buffer(name, value, persistent)
                return
            (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)
        self._buffers[name] = _through_registration_hooks(BUFFER_REGISTRATION, self, name, value)

    def __delattr__(self, name: str) -> None:
        Changes.count += 1
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted({name for name in names if not name[:1].isdigit()})


def _not_initialised(what: str) -> AttributeError:
    error = AttributeError(f"cannot assign {what} before Module.__init__() call")
    return explain(error, fix="call super().__init__() first in __init__")


def _no_attribute(module: Any, name: str) -> AttributeError:
    return AttributeError(f"{module._get_name()} has no attribute `{name}`")


def _check_name(module: Any, name: Any, what: str, table: dict[str, Any]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} name should be a string. Got {type_name(name)}")
    if "." in name:
        raise KeyError(f'{what} name can\'t contain "."')
    if name == "":
        raise KeyError(f'{what} name can\'t be empty string ""')
    if hasattr(module, name) and name not in table:
        raise KeyError(f"attribute '{name}' already exists")


def _check_parameter(name: str, param: Any) -> None:
    if not isinstance(param, Parameter):
        kind = type_name(param)
        error = TypeError(f"cannot assign '{kind}' object to parameter '{name}' (torch.nn.Parameter or None required)")
        raise explain(error, fix="wrap the tensor: nn.Parameter(tensor)")
    if param.grad_fn is not None:
        raise ValueError(
            f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. "
            f"To express '{name}' as a function of another Tensor, compute the value in the forward() method."
        )


def _cannot_assign(value: Any, name: str, what: str) -> TypeError:
    wanted = {
        "parameter": "torch.nn.Parameter or None",
        "child module": "torch.nn.Module or None",
        "buffer": "torch.nn.Buffer, torch.Tensor or None",
    }[what]
    error = TypeError(f"cannot assign '{type_name(value)}' as {what} '{name}' ({wanted} expected)")
    fix = None
    if what == "parameter" and isinstance(value, Tensor):
        fix = f"m.{name} = nn.Parameter(tensor), or copy the values: with torch.no_grad(): m.{name}.copy_(tensor)"
    return explain(error, fix=fix)


def _remove_name(module: Any, name: str, *tables: str) -> None:
    """Forget `name` as a plain attribute and in `tables`, so that it lives in one place only."""
    state = module.__dict__
    state.pop(name, None)
    for table in tables:
        state[table].pop(name, None)
    state["_non_persistent_buffers_set"].discard(name)


def _through_registration_hooks(hooks: dict[int, Any], module: Any, name: str, value: Any) -> Any:
    for hook in hooks.values():
        replacement = hook(module, name, value)
        if replacement is not None:
            value = replacement
    return value
