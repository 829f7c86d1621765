"""The base of all optimizers: parameter groups, state, state dicts, hooks, and the step that applies a rule."""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import wraps
from itertools import chain
from typing import Any, ClassVar

from rushlight.errors import explain
from rushlight.modes import enable_grad
from rushlight.nn.hooks import RemovableHandle
from rushlight.optim.engine import Engine, scalar_tensor
from rushlight.tensor import Tensor

Value = Any
State = dict[str, Any]
Group = dict[str, Any]
StateDict = dict[str, Any]
ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Hook = Callable[..., Any]
HOOK_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)
_global_pre_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_post_hooks: OrderedDict[int, Hook] = OrderedDict()


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _register(table: OrderedDict[int, Hook], hook: Hook, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before the step of every optimizer.

    A hook that returns `(args, kwargs)` replaces the arguments of the step.
    """
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after the step of every optimizer."""
    return _register(_global_post_hooks, hook)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with the pre and post hooks around it; a step called by an overriding step runs them once."""

    @wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        state = self.__dict__
        if state.get("_in_step") or not (
            _global_pre_hooks
            or _global_post_hooks
            or state["_optimizer_step_pre_hooks"]
            or state["_optimizer_step_post_hooks"]
        ):
            return step(self, *args, **kwargs)
        for hook in chain(tuple(_global_pre_hooks.values()), tuple(self._optimizer_step_pre_hooks.values())):
            changed = hook(self, (self, *args), kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"{step.__qualname__}: a step pre-hook must return None or a tuple of (new_args, new_kwargs), "
                    f"but got {changed}."
                )
            (_, *args), kwargs = changed
        self._in_step = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            del self._in_step
        for hook in chain(tuple(self._optimizer_step_post_hooks.values()), tuple(_global_post_hooks.values())):
            hook(self, (self, *args), kwargs)
        return result

    hooked.hooked = True  # type: ignore[attr-defined]
    return hooked


class Optimizer:
    """Base of all optimizers.

    A subclass states its rule in `init_state` and `update` and inherits `step`, or overrides `step` itself.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        What to optimize; dicts are parameter groups: `{"params": [...], "lr": 0.01}`.
    defaults : dict
        Settings of groups that do not give their own.

    Attributes
    ----------
    param_groups : list of dict
    state : dict from parameter to dict
    scalar_state : names of the state entries that are numbers (step counts), held as 0-d Tensors

    Examples
    --------
    >>> class SignSGD(torch.optim.Optimizer):
    ...     @staticmethod
    ...     def init_state(p, group):
    ...         return {}
    ...     @staticmethod
    ...     def update(p, g, state, group):
    ...         return p - group["lr"] * g / abs(g), {}
    >>> w = torch.tensor([3.0, -5.0], requires_grad=True)
    >>> opt = SignSGD([w], {"lr": 1.0})
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w
    tensor([ 2., -4.], requires_grad=True)
    """

    scalar_state: ClassVar[tuple[str, ...]] = ("step",)
    _in_step: bool
    _optimizer_step_pre_hooks: OrderedDict[int, Hook]
    _optimizer_step_post_hooks: OrderedDict[int, Hook]
    _optimizer_state_dict_pre_hooks: OrderedDict[int, Hook]
    _optimizer_state_dict_post_hooks: OrderedDict[int, Hook]
    _optimizer_load_state_dict_pre_hooks: OrderedDict[int, Hook]
    _optimizer_load_state_dict_post_hooks: OrderedDict[int, Hook]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__ and not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._prepare()
        if isinstance(params, Tensor):
            raise explain(
                TypeError(
                    "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                    + str(params.type())
                ),
                fix="a list: [x]",
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise explain(
                ValueError("optimizer got an empty parameter list"),
                fix="register parameters as attributes of the module: self.weight = nn.Parameter(...)",
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _prepare(self) -> None:
        """What an optimizer has that is never saved."""
        for name in HOOK_TABLES:
            self.__dict__.setdefault(name, OrderedDict())
        self._engine = Engine(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()
        self.defaults.setdefault("differentiable", False)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if value is None or value is False:
                    group.setdefault(name, value)
            for p in group["params"]:
                held = self.state.get(p) or {}
                for name in self.scalar_state:
                    if name in held and not isinstance(held[name], Tensor):
                        held[name] = scalar_tensor(float(held[name]), group)

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}" if i == 0 else f"\nParameter Group {i}")
            lines.extend(f"    {key}: {group[key]}" for key in sorted(group) if key != "params")
        return "\n".join(lines) + "\n)"

    @staticmethod
    def init_state(p: Value, group: Group) -> State:
        """State of a parameter before its first step: arrays like `p`, and numbers for `scalar_state`."""
        raise NotImplementedError

    @staticmethod
    def update(p: Value, g: Value, state: State, group: Group) -> tuple[Value, State]:
        """The rule: the new parameter and the new state, as a pure expression.

        It runs on arrays, on Tensors and on recorded values. It may branch on flags, on which state there is and
        on whether a hyper-parameter is zero, never on values.
        """
        raise NotImplementedError

    def update_sparse(self, p: Tensor, grad: Tensor, group: Group, hyper: Group) -> None:
        """One step for a sparse gradient, in place; `hyper` is `group` with Tensors read as numbers."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    def check_parameter(self, p: Tensor) -> None:
        """Refuse a parameter that the rule cannot take; called before its first step."""

    def settings(self, p: Tensor, group: Group) -> Group:
        """The hyper-parameters for one parameter; rules whose defaults depend on its dtype override this."""
        return group

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients.

        Parameters
        ----------
        closure : callable, optional
            Clears the gradients, computes the loss, calls `backward` and returns the loss.

        Returns
        -------
        The closure's loss, None without one.
        """
        if type(self).update is Optimizer.update:
            raise NotImplementedError(f"{type(self).__name__} must define `update` or `step`")
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        step_group = self._engine.step
        for group in self.param_groups:
            step_group(group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros if not `set_to_none`."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                    continue
                grad = p.grad
                if grad is None:
                    continue
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimize more parameters from now on, for instance layers that are unfrozen during fine-tuning.

        Parameters
        ----------
        param_group : dict
            `params`, and settings that differ from the defaults.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params, names = _parameters_of(param_group["params"])
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for p in params:
            self._check_optimizable(p)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known: set[Tensor] = set()
        for group in self.param_groups:
            known.update(group["params"])
            if ("param_names" in param_group) != ("param_names" in group):
                how = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {how} to the optimizer"
                )
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _check_optimizable(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {_type_name(p)}")
        if not self.defaults.get("differentiable") and not (p.is_leaf or p.retains_grad):
            raise explain(ValueError("can't optimize a non-leaf Tensor"), fix="x.detach().requires_grad_()")

    def state_dict(self) -> StateDict:
        """State and settings, with parameters numbered in the order of the groups; in PyTorch's form.

        Returns
        -------
        dict with `state` (number to state of that parameter) and `param_groups`.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number: dict[int, int] = {}
        packed_groups = []
        count = 0
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for i, p in enumerate(group["params"], count):
                number.setdefault(id(p), i)
            packed["params"] = [number[id(p)] for p in group["params"]]
            count += len(packed["params"])
            packed_groups.append(packed)
        state = {number[id(p)] if isinstance(p, Tensor) else p: held for p, held in self.state.items()}
        state_dict: StateDict = {"state": state, "param_groups": packed_groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over what `state_dict` returned, here or in PyTorch.

        Parameters
        ----------
        state_dict : dict
            Groups must match this optimizer's in number and size. Names of parameters are not compared.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups = self.param_groups
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise explain(
                ValueError("loaded state dict has a different number of parameter groups"),
                expected=len(groups),
                received=len(saved_groups),
            )
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in saved_groups]:
            raise explain(
                ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                ),
                expected=[len(g["params"]) for g in groups],
                received=[len(g["params"]) for g in saved_groups],
            )
        by_number = {
            number: (p, saved)
            for group, saved in zip(groups, saved_groups, strict=True)
            for number, p in zip(saved["params"], group["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, held in state_dict["state"].items():
            if key in by_number:
                p, saved = by_number[key]
                state[p] = _adopt(held, p, saved, None)
            else:
                state[key] = held
        for group, saved in zip(groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new `(args, kwargs)`."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; it may return another one."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before `load_state_dict`; it may return another one."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after `load_state_dict`."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)


def _parameters_of(params: Any) -> tuple[list[Any], list[str]]:
    """A group's parameters as a list, and their names if they came as pairs."""
    if isinstance(params, Tensor):
        return [params], []
    if isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    items = list(params)
    names = [item[0] for item in items if isinstance(item, tuple)]
    if names and len(names) != len(items):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    return [item[1] if isinstance(item, tuple) else item for item in items], names


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _adopt(value: Any, p: Tensor, group: dict[str, Any], key: Any) -> Any:
    """A copy of a loaded state entry in the dtype of its parameter; step counts keep theirs."""
    if isinstance(value, Tensor):
        if key == "step":
            return value.clone().float() if group.get("capturable") or group.get("fused") else value.clone()
        return value.detach().clone().to(p.dtype) if p.is_floating_point() else value.detach().clone()
    if isinstance(value, dict):
        return {name: _adopt(v, p, group, name) for name, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_adopt(v, p, group, None) for v in value)  # type: ignore[call-arg]
    return value


Optimizer.step = _with_hooks(Optimizer.step)  # type: ignore[method-assign]
