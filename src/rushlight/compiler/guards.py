"""What a trace rests on in Python, and the checks of it.

A walk over everything that a function can reach by name (closure, globals, defaults, the functions it calls, its
arguments) writes one straight line of Python tests; a call whose tests pass may run the program of the trace. The same
walk keeps copies of what is mutable, so that a trace that changed something can be told, and the change taken back.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

import numpy as np

from rushlight.compiler.guards_places import Place
from rushlight.compiler.trace_array import is_users
from rushlight.compiler.trace_watch import CLOCKS
from rushlight.device import device
from rushlight.dtypes import dtype
from rushlight.errors import PACKAGE
from rushlight.generator import Generator, default_generator
from rushlight.nn.hooks import (
    BACKWARD,
    BACKWARD_PRE,
    CALL_HOOKS,
    FORWARD,
    FORWARD_PRE,
    Changes,
    RemovableHandle,
)
from rushlight.nn.module import Module
from rushlight.optim.optimizer import Optimizer, _global_post_hooks, _global_pre_hooks
from rushlight.tape import Variable
from rushlight.tensor import Tensor

PLAIN = (int, float, bool, str, bytes, complex, type(None), type(Ellipsis), np.generic)
FIXED = (dtype, device, Generator, types.ModuleType, types.BuiltinFunctionType, np.dtype, RemovableHandle)
# Attributes of modules that no call of one reads.
# Methods that nothing calls on an object that is there already.
MAKING = {"__init__", "__new__", "__init_subclass__", "__set_name__"}
# A function that uses one of these may read any attribute.
BY_STRING = {"getattr", "setattr", "vars", "dir", "__dict__", "asdict", "astuple", "fields", "replace", "attrgetter"}
UNREAD = ("_non_persistent_buffers_set", "_compiled_call_impl")
# A function that reaches more than this is not worth checking at every call.
MOST = 20000
DEEPEST = 24


About = str | Callable[[], str]
Test = tuple[str, About]


class Unguardable(Exception):
    """The function rests on something that no check can tell unchanged."""


class Names:
    """Objects that generated code refers to."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {}
        self.known: dict[int, str] = {}

    def add(self, value: Any) -> str:
        """A name for an object."""
        name = self.known.get(id(value))
        if name is None:
            name = self.known[id(value)] = f"k{len(self.known)}"
            self.space[name] = value
        return name


class Guards:
    """The checks of one trace.

    Attributes
    ----------
    checks : (test, what it is about); a test is Python source, true while nothing changed
    tensors : the tensors found, with the source that finds each
    arguments : those of them that come as arguments
    loose : places that get new values in each call
    numbers : those of them that hold numbers: (place, source, number)
    modules, optimizers : those found
    """

    def __init__(self, names: Names, loose: dict[Any, Place] | None = None) -> None:
        self.names = names
        self.loose = loose or {}
        self.numbers: list[tuple[Place, str, Any]] = []
        self.named: set[str] = set()
        self.unnamed: list[tuple[str, Callable[[], None]]] = []
        self.owners: dict[int, Any] = {}
        self.fixed_dicts: set[int] = set()
        self.paths: dict[int, str] = {}
        self.checks: list[Test] = []
        self.tensors: dict[int, tuple[Any, str]] = {}
        self.arguments: dict[int, tuple[Any, str, str]] = {}
        self.same: list[tuple[str, str]] = []
        self.modules: list[ModuleCheck] = []
        self.optimizers: list[Any] = []
        self.generators: list[Any] = [default_generator]
        self.copies: list[tuple[Any, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.globals: list[tuple[dict[str, Any], str, Any]] = []
        self.seen: dict[int, Any] = {}
        self.count = 0
        for hooks in (CALL_HOOKS, FORWARD, FORWARD_PRE, BACKWARD, BACKWARD_PRE, _global_pre_hooks, _global_post_hooks):
            if hooks:
                self.check(f"len({names.add(hooks)}) == {len(hooks)}", "the global hooks")
                for hook in hooks.values():
                    self.function(hook, "a global hook", 1)
        self.check(f"not {names.add(CALL_HOOKS)}" if not CALL_HOOKS else "True", "the global hooks")

    # The walk

    def function(self, fn: Any, path: str, depth: int = 0) -> None:
        """Everything that a function reaches by name."""
        if id(fn) in self.seen or depth > DEEPEST:
            return
        self.seen[id(fn)] = fn
        if isinstance(fn, types.MethodType):
            self.value(fn.__self__, self.names.add(fn.__self__), f"{path}.__self__", depth + 1)
            self.function(fn.__func__, path, depth + 1)
            return
        if isinstance(fn, functools.partial):
            name = self.names.add(fn)
            self.function(fn.func, path, depth + 1)
            self.value(fn.args, f"{name}.args", f"{path}.args", depth + 1)
            self.value(fn.keywords, f"{name}.keywords", f"{path}.keywords", depth + 1)
            return
        if not isinstance(fn, types.FunctionType):
            self.value(fn, self.names.add(fn), path, depth + 1)
            return
        if fn.__code__.co_filename.startswith(PACKAGE):
            self._closure(fn, path, depth) if fn.__closure__ else None
            return
        name = self.names.add(fn)
        self.check(f"{name}.__code__ is {self.names.add(fn.__code__)}", f"the code of {fn.__name__}")
        self.named |= _words(fn.__code__)
        self._closure(fn, path, depth)
        for i, value in enumerate(fn.__defaults__ or ()):
            self.value(value, f"{name}.__defaults__[{i}]", f"a default of {fn.__name__}", depth + 1)
        for key, value in (fn.__kwdefaults__ or {}).items():
            self.value(value, f"{name}.__kwdefaults__[{key!r}]", f"the default {key} of {fn.__name__}", depth + 1)
        space = fn.__globals__
        table = self.names.add(space)
        for key, attributes in global_names(fn.__code__).items():
            if key in space:
                self.globals.append((space, key, space[key]))
                place = self.loose.get(("item", id(space), key))
                if place is not None:
                    self._loose(place, space[key], f"{table}[{key!r}]", key, depth)
                    continue
                self._global(space[key], f"{table}[{key!r}]", key, attributes, depth)

    def _closure(self, fn: Any, path: str, depth: int) -> None:
        for key, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self.cells.append((cell, value))
            place = self.loose.get(("cell", id(cell), None))
            if place is not None:
                self._loose(place, value, f"{self.names.add(cell)}.cell_contents", key, depth)
                continue
            self.value(value, f"{self.names.add(cell)}.cell_contents", key, depth + 1, is_batch(value))

    def _global(self, value: Any, source: str, key: str, attributes: set[str], depth: int) -> None:
        if isinstance(value, types.ModuleType):
            self.check(f"{source} is {self.names.add(value)}", f"the global {key}")
            if is_users(getattr(value, "__file__", None)):
                for attribute in sorted(attributes & set(vars(value))):
                    self.value(vars(value)[attribute], f"{source}.{attribute}", f"{key}.{attribute}", depth + 1)
            return
        self.value(value, source, key, depth + 1, is_batch(value))

    def value(self, value: Any, source: str, path: str, depth: int = 0, argument: bool = False) -> None:
        """Check that what `source` gives stays as it is."""
        self.count += 1
        if self.count > MOST or depth > DEEPEST:
            raise Unguardable(f"{path} reaches too many objects")
        kind = type(value)
        if value in CLOCKS if kind is types.BuiltinFunctionType else False:
            raise Unguardable(f"{path} is the clock")
        if isinstance(value, Variable):
            self._tensor(value, source, path, argument)
        elif isinstance(value, PLAIN):
            self._plain(value, source, path)
        elif isinstance(value, (list, tuple)):
            self._sequence(value, source, path, depth, argument)
        elif isinstance(value, dict):
            self._dict(value, source, path, depth, argument)
        elif isinstance(value, (Module, Optimizer)) or isinstance(value, FIXED) or isinstance(value, type):
            self._object(value, source, path, depth)
        elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self._callable(value, source, path, depth)
        elif isinstance(value, np.ndarray):
            raise Unguardable(f"{path} is a NumPy array")
        elif isinstance(value, (set, frozenset)):
            copied = self.names.add(frozenset(value))
            self.check(f"{source} == {copied}", path)
            self._keep(value, path)
        elif hasattr(kind, "__next__"):
            raise Unguardable(f"{path} is an iterator")
        else:
            self._attributes(value, source, path, depth, argument)

    def _loose(self, place: Place, value: Any, source: str, path: str, depth: int) -> None:
        """Check a value at a place that gets another one in each call."""
        if type(value) in (int, float):
            self.check(f"type({source}) is {self.names.add(type(value))}", f"the type of {path}")
            self.numbers.append((place, source, value))
        else:
            self.value(value, source, path, depth + 1, True)

    def _tensor(self, t: Any, source: str, path: str, argument: bool) -> None:
        if id(t) in self.tensors:
            if argument and id(t) not in self.arguments:
                self.check(f"{source} is {self.tensors[id(t)][1]}", f"{path} is the tensor {self.tensors[id(t)][1]}")
            elif argument or id(t) in self.arguments:
                self.same.append((source, self.tensors[id(t)][1]))
                self.check(f"{source} is {self.tensors[id(t)][1]}", f"{path} and another argument are one tensor")
            else:
                self.check(f"{source} is {self.names.add(t)}", path)
            return
        if not argument:
            self.check(f"{source} is {self.names.add(t)}", path)
            self.tensors[id(t)] = (t, self.names.add(t))
            return
        self.tensors[id(t)] = (t, source)
        self.arguments[id(t)] = (t, source, path)
        for other, place in self.arguments_apart():
            if other is not t:
                self.check(f"{source} is not {place}", f"{path} and another argument are one tensor")

    def arguments_apart(self) -> Iterator[tuple[Any, str]]:
        """The argument tensors found so far; for many of them the check of all pairs would cost too much."""
        held = list(self.arguments.values())
        for t, source, _ in held if len(held) <= 8 else ():
            yield t, source

    def _plain(self, value: Any, source: str, path: str) -> None:
        if value is None or isinstance(value, (bool, type(Ellipsis))):
            self.check(f"{source} is {value!r}" if value is not Ellipsis else f"{source} is ...", path)
            return
        name, kind = self.names.add(value), self.names.add(type(value))
        if value != value:
            self.check(f"{source} != {source}", path)
        else:
            self.check(f"{source} == {name} and type({source}) is {kind}", path)

    def _sequence(self, value: Any, source: str, path: str, depth: int, argument: bool) -> None:
        if not argument and self._again(value, source, path):
            return
        kind = self.names.add(type(value))
        self.check(f"type({source}) is {kind} and len({source}) == {len(value)}", f"the length of {path}")
        if isinstance(value, list):
            self._keep(value, path)
        for i, item in enumerate(value):
            self.value(item, f"{source}[{i}]", f"{path}[{i}]", depth + 1, argument)

    def _dict(self, value: Any, source: str, path: str, depth: int, argument: bool) -> None:
        if not argument and self._again(value, source, path):
            return
        kind = self.names.add(type(value))
        self.check(f"type({source}) is {kind} and len({source}) == {len(value)}", f"the length of {path}")
        self._keep(value, path)
        if not argument:
            self.fixed_dicts.add(id(value))
        for key, item in value.items():
            shown = repr(key) if isinstance(key, (str, int)) else self.names.add(key)
            place = None if argument else self.loose.get(("item", id(value), key))
            if place is not None:
                self._loose(place, item, f"{source}[{shown}]", f"{path}[{key!r}]", depth)
                continue
            self.value(item, f"{source}[{shown}]", f"{path}[{key!r}]", depth + 1, argument)

    def _again(self, value: Any, source: str, path: str) -> bool:
        """Check identity; whether the contents are being checked already."""
        if isinstance(value, (list, dict)) or id(value) in self.seen:
            self.check(f"{source} is {self.names.add(value)}", path)
        if id(value) in self.seen:
            return True
        self.seen[id(value)] = value
        return False

    def _object(self, value: Any, source: str, path: str, depth: int) -> None:
        self.check(f"{source} is {self.names.add(value)}", path)
        if id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, Module):
            ModuleCheck(self, value, path, depth)
        elif isinstance(value, Optimizer):
            self._optimizer(value, path)
        elif isinstance(value, type):
            self._class(value, path, depth, makes=True)
        elif isinstance(value, Generator):
            self.generators.append(value)

    def _callable(self, value: Any, source: str, path: str, depth: int) -> None:
        if isinstance(value, types.MethodType):
            inner = self.names.add(value.__self__)
            self.check(f"{source}.__self__ is {inner} and {source}.__func__ is {self.names.add(value.__func__)}", path)
            self.value(value.__self__, inner, path, depth + 1)
            self.function(value.__func__, path, depth + 1)
            return
        self.check(f"{source} is {self.names.add(value)}", path)
        self.function(value, path, depth + 1)

    def settle(self) -> None:
        """Walk the methods and attributes that some function names, now that all are known."""
        while found := [(k, w) for k, w in self.unnamed if k in self.named or not self.named.isdisjoint(BY_STRING)]:
            self.unnamed = [] if len(found) == len(self.unnamed) else [u for u in self.unnamed if u not in found]
            for _, walk in found:
                walk()

    def _class(self, value: Any, path: str, depth: int, makes: bool = False) -> None:
        plain = _is_plain(value)
        for owner in value.__mro__:
            if owner is object or not _is_of_user(owner):
                continue
            for key, held in vars(owner).items():
                inner = held.__func__ if isinstance(held, (staticmethod, classmethod)) else held
                inner = inner.fget if isinstance(inner, property) else inner
                if isinstance(inner, types.FunctionType):
                    if key in MAKING and not makes:
                        continue
                    if plain and not key.startswith("__") and key not in self.named:
                        walk = functools.partial(self.function, inner, f"{path}.{key}", depth + 1)
                        self.unnamed.append((key, walk))
                    else:
                        self.function(inner, f"{path}.{key}", depth + 1)
                elif not key.startswith("__") and isinstance(held, PLAIN):
                    self.value(held, f"{self.names.add(owner)}.{key}", f"{path}.{key}", depth + 1)

    def _attributes(self, value: Any, source: str, path: str, depth: int, argument: bool) -> None:
        if argument:
            self.check(f"type({source}) is {self.names.add(type(value))}", path)
        else:
            self.check(f"{source} is {self.names.add(value)}", path)
        if id(value) in self.seen:
            return
        self.seen[id(value)] = value
        held = getattr(value, "__dict__", None)
        module = sys.modules.get(type(value).__module__)
        if not is_users(getattr(module, "__file__", None)) and type(value) is not types.SimpleNamespace:
            return
        self._class(type(value), path, depth)
        slots = [n for c in type(value).__mro__ for n in getattr(c, "__slots__", ()) if hasattr(value, n)]
        if held is not None:
            self.check(f"len({source}.__dict__) == {len(held)}", f"the attributes of {path}")
            self._keep(held, path)
            if not argument:
                self.owners[id(held)] = value
        plain = not argument and _is_plain(type(value))
        for key in [*(held or ()), *(n for n in slots if not n.startswith("__"))]:
            if plain and key not in self.named:
                self.unnamed.append((key, functools.partial(self._attribute, value, source, path, depth, key, False)))
            else:
                self._attribute(value, source, path, depth, key, argument)

    def _attribute(self, value: Any, source: str, path: str, depth: int, key: str, argument: bool) -> None:
        place = self.loose.get(("attribute", id(value), key))
        if place is not None:
            self._loose(place, getattr(value, key), f"{source}.{key}", f"{path}.{key}", depth)
        else:
            self.value(getattr(value, key), f"{source}.{key}", f"{path}.{key}", depth + 1, argument)

    def _optimizer(self, opt: Any, path: str) -> None:
        self.optimizers.append(opt)
        name = self.names.add(opt)
        self._class(type(opt), path, 1)
        groups = opt.param_groups
        self.check(f"len({name}.param_groups) == {len(groups)}", f"the groups of {path}")
        for i, group in enumerate(groups):
            held = self.names.add(group)
            self.check(f"{name}.param_groups[{i}] is {held} and len({held}) == {len(group)}", f"group {i} of {path}")
            params = self.names.add(list(group["params"]))
            test = f"len({held}['params']) == {len(group['params'])} and all(map(is_, {held}['params'], {params}))"
            self.check(test, f"the parameters of {path}")
            for key, value in group.items():
                if key != "params" and not _is_number(value):
                    self.value(value, f"{held}[{key!r}]", f"{key} of {path}", 1)
            self._keep(group, path)
        for table in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            self.check(f"len({name}.{table}) == {len(getattr(opt, table))}", f"the hooks of {path}")
            for hook in getattr(opt, table).values():
                self.function(hook, f"a hook of {path}", 2)
        step = opt.__dict__.get("step")
        if step is not None:
            self.check(f"{name}.__dict__.get('step') is {self.names.add(step)}", f"the step of {path}")

    # Results

    def check(self, test: str, about: About) -> None:
        """Add a test, and what it is about."""
        self.checks.append((test, about))

    def _keep(self, container: Any, path: str) -> None:
        self.copies.append((container, container.copy()))
        self.paths[id(container)] = path

    def rebound(self) -> str | None:
        """A variable that names another object than when the walk saw it."""
        for cell, value in self.cells:
            if cell.cell_contents is not value:
                return "a variable of an enclosing function"
        return next((f"the global {key}" for space, key, value in self.globals if space.get(key) is not value), None)

    def changed_places(self) -> list[Place]:
        """Places that hold something else than when the walk saw them."""
        found = [Place("cell", cell) for cell, value in self.cells if Place("cell", cell).get() is not value]
        found += [Place("item", space, key) for space, key, value in self.globals if space.get(key) is not value]
        for container, old in self.copies:
            owner = self.owners.get(id(container))
            kind, held = ("item", container) if id(container) in self.fixed_dicts else ("attribute", owner)
            if held is not None and container.keys() == old.keys():
                found += [Place(kind, held, key) for key in old if container[key] is not old[key]]
        for module in self.modules:
            found += module.changed_places()
        return found

    def changed_otherwise(self) -> str | None:
        """What the function changed in a way that a call cannot repeat, in words."""
        for container, old in self.copies:
            if isinstance(container, dict):
                kind = "item" if id(container) in self.fixed_dicts else "attribute"
                held = container if kind == "item" else self.owners.get(id(container))
                keys = [k for k in {**old, **container} if container.get(k, self) is not old.get(k, self)]
                if any(container.get(k, self) is self or (kind, id(held), k) not in self.loose for k in keys):
                    return self.paths[id(container)]
            elif isinstance(container, list):
                if len(container) != len(old) or not all(map(is_, container, old)):
                    return self.paths[id(container)]
            elif container != old:
                return self.paths[id(container)]
        return next((found for m in self.modules if (found := m.changed()) is not None), None)

    def restore(self) -> None:
        """Put variables, lists, dicts and attributes back as they were when the walk saw them."""
        for cell, value in self.cells:
            cell.cell_contents = value
        for space, key, value in self.globals:
            space[key] = value
        for container, old in self.copies:
            if isinstance(container, list):
                if len(container) != len(old) or not all(map(is_, container, old)):
                    container[:] = old
            elif isinstance(container, dict):
                if len(container) != len(old) or any(container.get(k, self) is not v for k, v in old.items()):
                    container.clear()
                    container.update(old)
            elif container != old:
                container.clear()
                container.update(old)
        for module in self.modules:
            module.restore()


def check_state(guards: Guards, opt: Any) -> None:
    """Check the state entries that there are now (after tracing made those that were missing)."""
    name = guards.names.add(opt)
    table, about = guards.names.add(opt.state), f"state of {type(opt).__name__}"
    guards.check(f"{name}.state is {table} and len({table}) == {len(opt.state)}", about)
    if not opt.state:
        return
    guards.check(f"all(map(is_, {table}, {guards.names.add(list(opt.state))}))", about)
    tables = list(opt.state.values())
    held = guards.names.add(tables)
    guards.check(f"all(map(is_, {table}.values(), {held}))", about)
    values = [v for d in tables for v in d.values()]
    if values:
        guards.check(f"[*map(len, {held})] == {guards.names.add([*map(len, tables)])}", about)
        inner = f"chain.from_iterable(map(dict.values, {held}))"
        guards.check(f"all(map(is_, {inner}, {guards.names.add(values)}))", about)


class ModuleCheck:
    """A module and all below it: checked again only when some module was changed (`nn.hooks.Changes`)."""

    def __init__(self, guards: Guards, module: Module, path: str, depth: int) -> None:
        self.path = path
        self.parts: list[tuple[Any, dict[str, Any], dict[str, dict[Any, Any]]]] = []
        self.count = -1
        self.loose: set[Any] = set()
        guards.modules.append(self)
        for m in module.modules():
            if m is not module:
                if id(m) in guards.seen:
                    continue
                guards.seen[id(m)] = m
            self._add(guards, m, path, depth)
        self.names = {id(m): name for name, m in module.named_modules()}
        guards.check(f"{guards.names.add(self)}.holds()", lambda: self.changed() or path)

    def _add(self, guards: Guards, m: Any, path: str, depth: int) -> None:
        held = dict(m.__dict__)
        tables = {k: dict(v) for k, v in held.items() if isinstance(v, dict) and k.startswith("_")}
        self.parts.append((m, held, tables))
        name = guards.names.add(m)
        for table in ("_parameters", "_buffers"):
            for key, t in m.__dict__.get(table, {}).items():
                place = guards.loose.get(("buffer", id(m), key)) if table == "_buffers" else None
                if place is not None:
                    self.loose.add((id(m), table, key))
                    guards._loose(place, t, f"{name}._buffers[{key!r}]", f"{path}.{key}", depth)
                elif t is not None:
                    guards.tensors.setdefault(id(t), (t, guards.names.add(t)))
        for key, value in held.items():
            place = guards.loose.get(("module", id(m), key))
            if place is not None:
                self.loose.add((id(m), key))
                guards._loose(place, value, f"{name}.{key}", f"{path}.{key}", depth)
                continue
            if key in tables:
                for hook in tables.get(key, {}).values() if "hooks" in key else ():
                    guards.function(hook, f"a hook of {type(m).__name__}", depth + 1)
                continue
            if isinstance(value, (*PLAIN, *FIXED, type)) or key in UNREAD:
                continue
            if isinstance(value, tuple) and all(isinstance(v, PLAIN) for v in value):
                continue
            guards.value(value, f"{name}.{key}" if key.isidentifier() else f"{name}.__dict__[{key!r}]",
                         f"{path}.{key}", depth + 1)  # fmt: skip
        guards._class(type(m), type(m).__name__, depth + 1)

    def holds(self) -> bool:
        """Whether no module of the tree changed."""
        if self.count == Changes.count:
            return True
        now = Changes.count
        if self.changed() is not None:
            return False
        self.count = now
        return True

    def changed(self) -> str | None:
        """What changed, in words."""
        for m, held, tables in self.parts:
            now = m.__dict__
            if len(now) != len(held):
                extra = (now.keys() ^ held.keys()) or {"an attribute"}
                return f"{sorted(extra)[0]} of {self._name(m)}"
            for key, old in held.items():
                new = now.get(key, self)
                if (
                    new is not old
                    and (id(m), key) not in self.loose
                    and not (type(new) is type(old) and isinstance(old, (PLAIN, tuple)) and new == old)
                ):
                    return f"{key} of {self._name(m)}"
            for key, table in tables.items():
                other = now[key]
                if len(other) != len(table) or not all(map(is_, other.values(), table.values())):
                    if any(v is not table.get(k, self) and (id(m), key, k) not in self.loose for k, v in other.items()):
                        return f"{key.strip('_')} of {self._name(m)}"
                    if other.keys() != table.keys():
                        return f"{key.strip('_')} of {self._name(m)}"
        return None

    def changed_places(self) -> list[Place]:
        """Attributes and buffers that hold something else."""
        found: list[Place] = []
        for m, held, tables in self.parts:
            now = m.__dict__
            if now.keys() == held.keys():
                found += [Place("module", m, key) for key in held if now[key] is not held[key]]
            if (before := tables.get("_buffers")) is not None and before.keys() == now["_buffers"].keys():
                found += [Place("buffer", m, key) for key in before if now["_buffers"][key] is not before[key]]
        return found

    def _name(self, m: Any) -> str:
        name = self.names.get(id(m), "")
        return f"{type(m).__name__} ({self.path}{'.' if name else ''}{name})"

    def restore(self) -> None:
        """Put attributes back as they were."""
        for m, held, tables in self.parts:
            now = m.__dict__
            if len(now) != len(held) or any(now.get(k, self) is not v for k, v in held.items()):
                now.clear()
                now.update(held)
                Changes.count += 1
            for key, table in tables.items():
                other = now[key]
                if len(other) != len(table) or not all(map(is_, other.values(), table.values())):
                    other.clear()
                    other.update(table)
                    Changes.count += 1


def is_batch(value: Any) -> bool:
    """Whether a variable's tensor may well be another one at the next call: checked like an argument."""
    return type(value) is Tensor and value._node is None


def _is_of_user(cls: type) -> bool:
    return is_users(getattr(sys.modules.get(cls.__module__), "__file__", None))


def _is_plain(cls: type) -> bool:
    """Whether no code but the user's reads attributes of the class's instances."""
    return all(c is object or _is_of_user(c) for c in cls.__mro__) and not hasattr(cls, "__getattr__")


def _words(code: types.CodeType) -> set[str]:
    """Names and strings in code: what it may call, also through `getattr`."""
    found = {*code.co_names, *(c for c in code.co_consts if type(c) is str)}
    return found.union(*(_words(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def same(now: Any, before: Any) -> bool:
    """Whether two series hold the same objects."""
    now = list(now)
    return len(now) == len(before) and all(map(is_, now, before))


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) in (tuple, list) and any(type(v) is float for v in value)


@functools.lru_cache(maxsize=4096)
def _names_of(code: types.CodeType) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    attributes: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.setdefault(instruction.argval, attributes)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.add(instruction.argval)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            for key, names in _names_of(const).items():
                attributes |= names
                found.setdefault(key, attributes)
    return found


def global_names(code: types.CodeType) -> dict[str, set[str]]:
    """The globals that a function names, each with the attributes that the function names anywhere."""
    return _names_of(code)
