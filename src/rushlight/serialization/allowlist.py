"""What a weights-only load may name, call and build, and the user's additions to it."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pickle import UnpicklingError
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.nn.parameter import Parameter
from rushlight.serialization import makers, names, rebuild
from rushlight.serialization.makers import FACTORIES, MAKERS, Maker, checked
from rushlight.serialization.storage import QUANTIZED, STORAGE_TYPES, short
from rushlight.serialization.unpickle import Charge
from rushlight.tensor import Tensor

# Never allowed, not even by request: nothing in them is data.
BLOCKED = ("sys", "os", "posix", "nt")
# Beginnings of the names of PyTorch's element types that no Rushlight tensor can have.
NO_SUCH_DTYPE = ("float8_", "float4_", "complex32", "quint", "qint", "bits", "uint1", "uint2", "uint3", "uint4")

SafeGlobal = Callable[..., Any] | tuple[Callable[..., Any], str]
_user: list[SafeGlobal] = []


def add_safe_globals(safe_globals: list[SafeGlobal]) -> None:
    """Let `load` construct these classes and call these functions.

    Parameters
    ----------
    safe_globals : list
        Classes and functions, or pairs `(function, "full.path.in.the.file")`.

    Examples
    --------
    >>> from collections import deque
    >>> torch.serialization.add_safe_globals([deque])
    >>> torch.serialization.get_safe_globals()
    [<class 'collections.deque'>]
    >>> torch.serialization.clear_safe_globals()
    """
    for item in safe_globals:
        if item not in _user:
            _user.append(item)


def get_safe_globals() -> list[SafeGlobal]:
    """What `add_safe_globals` added."""
    return list(_user)


def clear_safe_globals() -> None:
    """Forget all that `add_safe_globals` added."""
    _user.clear()


class safe_globals:
    """A block in which `load` may construct more: `with safe_globals([MyClass]): ...`."""

    def __init__(self, safe_globals: list[SafeGlobal]) -> None:
        self._added = safe_globals
        self._before: list[SafeGlobal] = []

    def __enter__(self) -> None:
        self._before = list(_user)
        add_safe_globals(self._added)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _user[:] = self._before


class WeightsOnly:
    """The policy of `load(weights_only=True)`."""

    def __init__(self) -> None:
        self._user_names = _user_names()
        self._user_values = list(self._user_names.values())

    def find(self, module: str, name: str) -> object:
        """The allowed object called `module.name`."""
        module, name = names.current_name(module, name)
        path = f"{module}.{name}"
        if module in BLOCKED:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked.")
        if path in SAFE:
            return SAFE[path]
        if path in self._user_names:
            return self._user_names[path]
        if module.partition(".")[0] == names.THEIRS:
            value = self._ours(module, name)
            if value is not None:
                return value
            if (module == "torch" and name.startswith(NO_SUCH_DTYPE)) or name in QUANTIZED:
                raise NotImplementedError(f"the file holds torch.{name} data, a type that Rushlight does not have")
            if path in UNSUPPORTED:
                raise NotImplementedError(f"the file holds {UNSUPPORTED[path]}, which Rushlight does not have")
        raise UnpicklingError(unsupported_global(module, name))

    def call(self, function: object, args: tuple[Any, ...], charge: Charge) -> object:
        """The result of an allowed call."""
        maker = CALLS.get(id(function))
        if maker is not None:
            return maker(args, charge)
        if function is rebuild.rebuild_from_type_v2:
            return self._with_type(args, charge)
        if function is rebuild.rebuild_parameter_with_state:
            return self._with_state(args)
        if not self.trusts(function):
            raise UnpicklingError(f"Trying to call reduce for unrecognized function {short(function)}")
        return _run_users(function, function, args)

    def new(self, kind: object, args: tuple[Any, ...], charge: Charge) -> object:
        """A new instance of an allowed class."""
        if id(kind) in CALLS:
            return CALLS[id(kind)](args, charge)
        if not isinstance(kind, type) or not self.trusts(kind):
            raise UnpicklingError(
                "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` but got "
                f"{short(kind)}"
            )
        return _run_users(kind, kind.__new__, (kind, *args))

    def build(self, instance: Any, state: Any, charge: Charge) -> None:
        """Set the state of an allowed instance."""
        kind = type(instance)
        if kind in (OrderedDict, Counter, defaultdict):
            rebuild.set_attributes(instance, state)
        elif kind is np.ndarray:
            makers.fill_array(instance, state, charge)
        elif isinstance(instance, np.dtype):
            makers.check_dtype_state(state)
        elif self.trusts(kind):
            _run_users(kind, _build_users, (instance, state))
        else:
            raise UnpicklingError(
                "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, "
                f"but got {kind}"
            )

    def _with_type(self, args: tuple[Any, ...], charge: Charge) -> object:
        """A tensor with attributes, or of a subclass that the user allowed."""
        makers.expect(len(args) == 4 and type(args[2]) is tuple, "a tensor with attributes", args)
        function, kind, inner, state = args
        if kind not in (Tensor, Parameter) and not self.trusts(kind):
            raise UnpicklingError(f"a tensor in the file wants to be of type {short(kind)}, which is not allowed")
        if id(function) not in CALLS:
            raise UnpicklingError(f"Trying to call reduce for unrecognized function {short(function)}")
        made = CALLS[id(function)](inner, charge)
        if not isinstance(made, Tensor):
            raise UnpicklingError(f"a tensor in the file is {short(made)}")
        return rebuild.as_type(made, kind, state)

    def _with_state(self, args: tuple[Any, ...]) -> object:
        """A parameter with attributes."""
        makers.expect(len(args) == 4, "a Parameter with attributes", args)
        made = rebuild.rebuild_parameter(*args[:3])
        rebuild.set_attributes(made, args[3])
        return made

    def trusts(self, kind: object) -> bool:
        """Whether the user allowed it."""
        return any(kind is allowed for allowed in self._user_values)

    def _ours(self, module: str, name: str) -> object | None:
        """A Rushlight object that the user allowed and PyTorch knows as `module.name`."""
        if not any(str(getattr(value, "__module__", "")).startswith(names.OURS) for value in self._user_values):
            return None
        try:
            value: object = names.resolve(module, name, importing=False)
        except AttributeError:
            return None
        return value if self.trusts(value) else None


def unsupported_global(module: str, name: str) -> str:
    """PyTorch's sentence for a name that is not allowed."""
    path = name if module == "builtins" else f"{module}.{name}"
    return (
        f"Unsupported global: GLOBAL {path} was not an allowed global by default. "
        f"Please use `torch.serialization.add_safe_globals([{path}])` or the "
        f"`torch.serialization.safe_globals([{path}])` context manager to allowlist this global "
        "if you trust this class/function."
    )


def _user_names() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in _user:
        if not isinstance(item, tuple):
            found[f"{item.__module__}.{item.__qualname__}"] = item
            continue
        if len(item) != 2:
            raise ValueError(
                f"Expected tuple of length 2 (global, str of callable full path), but got tuple of length: {len(item)}"
            )
        if type(item[1]) is not str:
            raise TypeError(f"Expected second item in tuple to be str of callable full path, but got: {type(item[1])}")
        found[item[1]] = item[0]
    return found


def _run_users(what: object, function: Any, args: tuple[Any, ...]) -> object:
    """Call code that the user vouched for; a failed look-up in it must not pass for a damaged pickle."""
    try:
        result: object = function(*args)
        return result
    except LookupError as error:
        raise UnpicklingError(f"{what} failed: {error!r}") from error


def _build_users(instance: Any, state: Any) -> None:
    """What the standard library does for BUILD."""
    if hasattr(instance, "__setstate__"):
        instance.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        vars(instance).update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)


UNSUPPORTED = {
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no data",
    "torch._utils._rebuild_wrapper_subclass": "a wrapper tensor subclass",
    "torch._utils._rebuild_xla_tensor": "an XLA tensor",
}


def _safe() -> dict[str, Any]:
    table: dict[str, Any] = {
        "collections.OrderedDict": OrderedDict,
        "collections.Counter": Counter,
        "collections.defaultdict": defaultdict,
        "_codecs.encode": makers.encode,
        "ml_dtypes.bfloat16": ml_dtypes.bfloat16,
        "numpy.dtype": np.dtype,
        "numpy.ndarray": np.ndarray,
    }
    for kind in (*FACTORIES, bytes, bytearray, complex, frozenset):
        table[f"builtins.{kind.__name__}"] = kind
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray.scalar"] = makers.numpy_scalar
        table[f"{core}.multiarray._reconstruct"] = makers.numpy_shell
        table[f"{core}.numeric._frombuffer"] = makers.numpy_array
    for name, storage_kind in STORAGE_TYPES.items():
        paths = (f"torch.{name}", f"torch.cuda.{name}", f"torch.storage.{name}")
        table.update(dict.fromkeys(paths, storage_kind))
    for (module, name), value in rebuild.NAMES.items():
        table[f"{module}.{name}"] = value
    return table


def _calls() -> dict[int, Maker]:
    table = {id(kind): maker for kind, maker in MAKERS.items()}
    for maker in (makers.encode, makers.numpy_scalar, makers.numpy_shell, makers.numpy_array):
        table[id(maker)] = maker
    for function in rebuild.CHECKED:
        table[id(function)] = checked(function)
    return table


SAFE = _safe()
CALLS = _calls()
