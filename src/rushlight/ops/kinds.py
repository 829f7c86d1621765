"""The kinds of operations and how one is declared: a body, a gradient formula, a shape rule, in one block.

An op is called with operands. What they are decides what happens: NumPy arrays run the body, Tensors run and
record (`tape.py`), traced values emit (`compiler`). A formula's parameter names say what is kept for the
backward pass: `g` the incoming gradient, `out` the result, an operand's name its value, `<operand>_spec` its
shape and dtype, any other name a static parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.backends import numpy as xp_numpy
from rushlight.backends.memory_format import follow
from rushlight.dtypes import ALL, KERNEL_NAMES, NP_HALF, bool_, dtype, from_np, get_default_dtype, int64, promote_types
from rushlight.layout import broadcast_shapes, contiguous_strides, wrap_dim, wrap_dims
from rushlight.ops import native
from rushlight.spec import Spec, spec_of

ndarray = np.ndarray
Array = Any
Arrays = Sequence[Any]
Mask = Any
Formulas = Callable[..., Any] | tuple[Callable[..., Any] | None, ...] | None

OPS: dict[str, Op] = {}
KINDS = "biufc"
KIND = {
    d: "bi"[d.category]
    if d.category < 2 and d.is_signed or d is bool_
    else "u"
    if d.category == 1
    else "bifc"[d.category]
    for d in ALL
}
_DATA = {"Array", "Array | None", "Arrays", "Mask"}


class Formula:
    """A gradient formula and the names it wants."""

    __slots__ = ("fn", "names")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        code = fn.__code__
        self.names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class Op:
    """A declared operation; subclasses say how each kind of body runs."""

    op_rank = 0
    differentiable = True

    def __init__(
        self, body: Callable[..., Any], grad: Formulas = None, joint: Callable[..., Any] | None = None, name: str = ""
    ) -> None:
        code = body.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        names = [n for n in code.co_varnames[:count] if n != "xp"]
        roles = {n: body.__annotations__.get(n, "") for n in names}
        self.name = body.__name__
        self.body = body
        self.__doc__ = body.__doc__
        self.takes_xp = "xp" in code.co_varnames[:count]
        self.inputs = tuple(n for n in names if roles[n] in _DATA)
        if tuple(names[: len(self.inputs)]) != self.inputs:
            raise ValueError(f"op {self.name!r}: operands come first, then static parameters; received {names}")
        self.variadic = next((i for i, n in enumerate(self.inputs) if roles[n] == "Arrays"), None)
        self.masks = frozenset(i for i, n in enumerate(self.inputs) if roles[n] == "Mask")
        self.defaults = _defaults(body)
        self.static = tuple(n for n in names if n not in self.inputs)
        self.node_name = name or _camel(self.name) + "Backward0"
        self.joint = Formula(joint) if joint else None
        if self.joint is not None and self.name in native.JOINTS:
            self.joint.fn = native.joint(self.name, self.joint.fn, self.joint.names)
        self.grads = self._formulas(grad)
        self.differentiable = self.joint is not None or any(self.grads)
        self.declared = self.joint is not None or grad is not None
        self.floor = native.FLOORS.get(self.name)
        self._plan_saving()
        if OPS.setdefault(self.name, self) is not self:
            raise ValueError(f"op {self.name!r} is declared twice")

    def _formulas(self, grad: Formulas) -> tuple[Formula | None, ...]:
        if grad is None:
            return (None,) * len(self.inputs)
        given = grad if isinstance(grad, tuple) else (grad,)
        if len(given) != len(self.inputs):
            raise ValueError(f"op {self.name!r}: {len(given)} formulas for {len(self.inputs)} operands {self.inputs}")
        formulas = tuple(Formula(f) if f else None for f in given)
        if self.name in native.FLOORS:
            for i, formula in enumerate(formulas):
                if formula is not None:
                    formula.fn = native.formula(self.name, i, formula.fn)
        return formulas

    def _plan_saving(self) -> None:
        """Number the names that formulas want; recording fills one tuple in that order."""
        wanted = [self.joint] if self.joint else [f for f in self.grads if f]
        names = dict.fromkeys(n for f in wanted for n in f.names if n not in ("g", "needs"))
        self.saved_names = tuple(names)
        self.saved_plan = tuple(self._source(n) for n in names)
        self.formula_slots = tuple(
            tuple(self.saved_names.index(n) for n in f.names[1:]) if f else () for f in self.grads
        )
        for f in self.grads:
            if f and f.names[0] != "g":
                raise ValueError(f"op {self.name!r}: a formula's first parameter must be g")
        self.keeps_input = tuple(("input", i) in self.saved_plan for i in range(len(self.inputs)))
        self.keeps_out = ("out", 0) in self.saved_plan
        # which inputs' gradients need a saved slot: values kept only for gradients nobody wants are dropped
        self.slot_users = tuple(
            frozenset(i for i, f in enumerate(self.grads) if f and n in f.names) if not self.joint else None
            for n in self.saved_names
        )

    def _source(self, name: str) -> tuple[str, Any]:
        if name == "out":
            return ("out", 0)
        if name in self.inputs:
            return ("input", self.inputs.index(name))
        if name.endswith("_spec") and name[:-5] in self.inputs:
            return ("spec", self.inputs.index(name[:-5]))
        if name in self.static:
            return ("static", name)
        raise ValueError(f"op {self.name!r}: no operand or parameter {name!r} for a gradient formula")

    def named(self, params: dict[str, Any]) -> str:
        """The name of the node that records a call with these parameters."""
        return self.node_name

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split a call's arguments into operands and static parameters, in declared order with defaults."""
        n = len(self.inputs)
        operands = list(args[:n])
        for name in self.inputs[len(operands) :]:
            if name in kwargs:
                operands.append(kwargs.pop(name))
            elif name in self.defaults:
                operands.append(self.defaults[name])
            else:
                raise TypeError(f'{self.name}() missing 1 required positional arguments: "{name}"')
        params = dict(zip(self.static, args[n:], strict=False))
        for name in self.static[len(params) :]:
            if name in kwargs:
                params[name] = kwargs.pop(name)
            elif name in self.defaults:
                params[name] = self.defaults[name]
            else:
                raise TypeError(f'{self.name}() missing 1 required positional arguments: "{name}"')
        if kwargs or len(args) > n + len(self.static):
            extra = next(iter(kwargs), None)
            raise TypeError(
                f"{self.name}() got an unexpected keyword argument '{extra}'" if extra
                else f"{self.name}() takes {n + len(self.static)} positional arguments but {len(args)} were given"
            )  # fmt: skip
        return tuple(operands), params

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        operands, params = self.bind(args, kwargs)
        return self.apply(operands, params)

    def apply(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Run on operands already split from their parameters: the one with the highest rank decides how."""
        top = None
        rank = 0
        for a in operands if self.variadic is None else self.flat(operands):
            r = getattr(a, "op_rank", 0)
            if r > rank:
                top, rank = a, r
        if top is not None:
            return top.interpret(self, operands, params)
        if self.floor is not None and native.pays(self.name, operands):
            return self._natively(operands, params)
        return self.eager(operands, params)

    def _natively(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Run on large arrays: by a compiled kernel where there is one."""
        key = (self.name, *params.items(), *map(type, params.values())) if params else (self.name,)
        out = native.run(
            key, lambda *operands: self._symbolic(operands, params), operands, lambda *a: self.eager(a, params)
        )
        return self.eager(operands, params) if out is native.MISSING else out

    def _symbolic(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        top = max(operands, key=lambda a: getattr(a, "op_rank", 0))
        return top.interpret(self, operands, params)

    def flat(self, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """Operands with a variadic one spliced in."""
        v = self.variadic
        if v is None:
            return operands
        return (*operands[:v], *operands[v], *operands[v + 1 :])

    def eager(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Run the body on arrays."""
        if self.takes_xp:
            return self.body(xp_numpy, *operands, **params)
        return self.body(*operands, **params)

    def prepare(self, operands: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        """Chores before a Tensor or tracer runs: dtype promotion, normalised parameters (changes `params`)."""
        return operands

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Shape and dtype of the result."""
        raise NotImplementedError(f"op {self.name!r} states no shape rule")

    def finish(self, grad: Any, spec: Spec) -> Any:
        """Bring an operand's gradient to the operand's shape, and to its dtype where that has half precision."""
        if spec.dtype in NP_HALF and np_dtype(grad) != spec.dtype:
            return OPS["cast"].apply((grad,), {"dtype": spec.dtype})
        return grad

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} op {self.name}>"

    def __reduce__(self) -> Any:
        return (OPS.__getitem__, (self.name,))


def _defaults(body: Callable[..., Any]) -> dict[str, Any]:
    code = body.__code__
    positional = code.co_varnames[: code.co_argcount]
    given = body.__defaults__ or ()
    found = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
    return {**found, **(body.__kwdefaults__ or {})}


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)


class Elementwise(Op):
    """Each element of the result depends on one element of each operand; operands broadcast.

    `kinds` are the letters of the dtypes it takes (of b i u f c, as in NumPy's `dtype.kind`); others are refused with
    the sentence `refusal`, or with PyTorch's usual one about a kernel where `refusal` is a single word.
    """

    def __init__(
        self, body: Callable[..., Any], grad: Formulas = None, *, result: str = "promote", name: str = "",
        kinds: str = KINDS,
        refusal: str = "",
    ) -> None:  # fmt: skip
        super().__init__(body, grad, name=name)
        self.kinds = kinds
        self.refusal = refusal or self.name + "_cpu"
        if result not in ("promote", "float", "bool", "same"):
            raise ValueError(f"op {self.name!r}: result={result!r}")
        self.result = result
        self.ufunc = _single_ufunc(self)

    def eager(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        for a in operands:
            if type(a) is ndarray and a.dtype in NP_HALF:
                return self._in_single(operands, params, a.dtype)
        if self.ufunc is not None:
            return self.ufunc(*operands)
        return self.body(xp_numpy, *operands, **params)

    def _in_single(self, operands: tuple[Any, ...], params: dict[str, Any], kind: Any) -> Any:
        """Half precision: computed in float32 and rounded once, as PyTorch's kernels do."""
        wide = tuple(a.astype(np.float32) if type(a) is ndarray and a.dtype in NP_HALF else a for a in operands)
        out = self.body(xp_numpy, *wide, **params)
        return out.astype(kind) if out.dtype == np.float32 and self.result != "bool" else out

    def prepare(self, operands: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        """Cast operands to the dtype PyTorch's promotion gives."""
        wanted = result_dtype(a for i, a in enumerate(operands) if i not in self.masks)
        if self.kinds is not KINDS and KIND[wanted] not in self.kinds:
            raise self.refused(wanted)
        if self.result == "float" and wanted.category < 2:
            wanted = get_default_dtype()
        target = wanted.np
        out = []
        for i, a in enumerate(operands):
            if i in self.masks or a is None:
                out.append(a)
            elif isinstance(a, (int, float, complex)):
                out.append(_fit_number(a, target))
            else:
                out.append(a if np_dtype(a) == target else OPS["cast"].apply((a,), {"dtype": target}))
        return tuple(out)

    def refused(self, wanted: dtype) -> Exception:
        """The error for operands of a dtype that the op does not take."""
        if " " in self.refusal:
            return NotImplementedError(self.refusal)
        return NotImplementedError(f"\"{self.refusal}\" not implemented for '{KERNEL_NAMES[wanted.name]}'")

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Spec:
        known = [s for s in specs if s is not None]
        shape = broadcast_shapes(*(s.shape for s in known))
        kinds = [s.dtype for i, s in enumerate(specs) if s is not None and s.dtype is not None and i not in self.masks]
        if self.result == "bool":
            return Spec(shape, np.dtype(np.bool_))
        probes = [np.empty(0, k) for k in kinds]
        return Spec(shape, np.result_type(*probes) if probes else np.dtype(np.float32))

    def finish(self, grad: Any, spec: Spec) -> Any:
        return super().finish(grad if grad.shape == spec.shape else sum_to_shape(grad, spec.shape), spec)


# What a reduction gives for a dtype, by the word that its declaration says.
RESULTS: dict[str, Callable[[Any], Any]] = {
    "promote": lambda d: d,
    "total": lambda d: np.dtype(np.int64) if d.kind in "biu" else d,
    "real": lambda d: np.empty(0, d).real.dtype,
    "bool": lambda d: d if d == np.uint8 else np.dtype(np.bool_),
    "count": lambda d: np.dtype(np.int64),
}


class Reduction(Op):
    """Combines the elements along `dim` (None: all; an int or a tuple) with an associative function."""

    def __init__(
        self, body: Callable[..., Any], grad: Formulas = None, *, identity: Any = None,
        combine: Callable[..., Any] | None = None, result: str = "promote", name: str = "", by_dim: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(body, grad, name=name)
        self.by_dim = by_dim
        self.identity = identity
        self.combine = combine
        self.result = result

    def eager(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        out = self.body(xp_numpy, *operands, **params) if self.takes_xp else self.body(*operands, **params)
        if type(out) is ndarray and out.ndim > 1 and not out.flags.c_contiguous:
            return np.ascontiguousarray(out)  # NumPy keeps the order of the operand's dims
        return out

    def named(self, params: dict[str, Any]) -> str:
        """`SumBackward1` where PyTorch has an overload of its own for `dim`, else the op's one name."""
        return self.node_name[:-1] + "1" if self.by_dim and params["dim"] is not None else self.node_name

    def prepare(self, operands: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        params["dim"] = normal_dims(params["dim"], len(operands[0].shape))
        return operands

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Spec:
        s = specs[0]
        dims = normal_dims(params["dim"], len(s.shape))
        dims = tuple(range(len(s.shape))) if dims is None else dims
        keepdim = params.get("keepdim", False)
        shape = tuple(1 if i in dims else n for i, n in enumerate(s.shape) if keepdim or i not in dims)
        return Spec(shape, RESULTS[self.result](s.dtype))


class View(Op):
    """Shows the same memory with another layout. The body maps an array to an array that shares its memory.

    It never reads an element, so its shape rule is the body itself, run on an array without memory.
    """

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        s = specs[0]
        strides = tuple(k * s.dtype.itemsize for k in contiguous_strides(s.shape))
        phantom = np.lib.stride_tricks.as_strided(np.empty(1, s.dtype), s.shape, strides)
        out = self.eager((phantom,), params)
        return tuple(Spec(o.shape, o.dtype) for o in out) if isinstance(out, tuple) else Spec(out.shape, out.dtype)


class Composite(Op):
    """A body over other ops. Without a formula of its own its inner ops record.

    `fast` is a kernel on arrays that gives what the body gives, where a benchmark shows that it pays. With a shape rule
    the op stays whole in graphs, for a kernel to carry out. `follows` as for `Opaque`.
    """

    def __init__(
        self, body: Callable[..., Any], grad: Formulas = None, *, fast: Callable[..., Any] | None = None,
        spec: Callable[..., Any] | None = None, joint: Callable[..., Any] | None = None, name: str = "",
        follows: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(body, grad, joint, name)
        self.follows = follows
        self.fast = fast or body
        self.narrow = fast is None and self.declared
        self.spec_rule = spec

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        if self.spec_rule is None:
            return super().spec(specs, params)
        return self.spec_rule(*specs, **params)

    def eager(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        if self.narrow:
            for a in operands:
                if type(a) is ndarray and a.dtype in NP_HALF:
                    return self._in_single(operands, params, a.dtype)
        out = self.fast(*operands, **params)
        return follow(out, operands[: self.follows]) if self.follows and type(operands[0]) is ndarray else out

    def _in_single(self, operands: tuple[Any, ...], params: dict[str, Any], kind: Any) -> Any:
        """Half precision: the body computed in float32 and rounded once."""
        wide = (a.astype(np.float32) if type(a) is ndarray and a.dtype in NP_HALF else a for a in operands)
        out = self.body(*wide, **params)
        return out.astype(kind) if getattr(out, "dtype", None) == np.float32 else out


class Opaque(Op):
    """A body in NumPy with a shape rule that also checks the operands.

    If one of the first `follows` operands, [N, C, *], has its channels last in memory, results of that rank have, too.
    """

    def __init__(
        self, body: Callable[..., Any], grad: Formulas = None, *, spec: Callable[..., Any] | None = None,
        joint: Callable[..., Any] | None = None, name: str = "", follows: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(body, grad, joint, name)
        self.spec_rule = spec
        self.follows = follows

    def eager(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        out = super().eager(operands, params)
        return follow(out, operands[: self.follows]) if self.follows else out

    def prepare(self, operands: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        if self.spec_rule is not None:
            self.spec(tuple(self._specs(operands)), params)
        return operands

    def _specs(self, operands: tuple[Any, ...]) -> list[Any]:
        return [
            None if a is None else tuple(spec_of(e) for e in a) if i == self.variadic else spec_of(a)
            for i, a in enumerate(operands)
        ]

    def spec(self, specs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        if self.spec_rule is None:
            return super().spec(specs, params)
        return self.spec_rule(*specs, **params)


def np_dtype(a: Any) -> Any:
    """NumPy dtype of an array, tensor or tracer."""
    return getattr(a, "_data", a).dtype


def _fit_number(a: Any, target: Any) -> Any:
    if target.kind in "iu" and not isinstance(a, bool):
        return np.asarray(a).astype(target)
    return a


def _of_number(a: Any) -> dtype:
    if isinstance(a, bool):
        return bool_
    if isinstance(a, int):
        return int64
    return get_default_dtype() if isinstance(a, float) else get_default_dtype().to_complex()


def _combine(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """Join the dtype of operands that count more (with dims) with that of those that count less."""
    if higher is None or lower is None:
        return higher or lower
    if higher.category >= lower.category:
        return higher
    if higher.category == 2:
        return higher.to_complex()
    return promote_types(higher, lower)


def result_dtype(operands: Any) -> dtype:
    """The dtype of an operation's result: tensors with dims, then 0-d tensors, then Python numbers decide.

    The rules are those of PyTorch's documentation of type promotion.
    """
    found: list[dtype | None] = [None, None, None]
    for a in operands:
        if a is None:
            continue
        if isinstance(a, (int, float, complex)):
            rank, d = 2, _of_number(a)
        else:
            data = getattr(a, "_data", a)
            # a traced Python number (`compiler`) counts as what it stands for
            rank, d = (0 if len(data.shape) else 2 if hasattr(data, "is_number") else 1), from_np(data.dtype)
            if rank == 2 and d.category == 2:
                d = get_default_dtype()
        old = found[rank]
        found[rank] = d if old is None else promote_types(old, d)
    result = _combine(found[0], _combine(found[1], found[2]))
    return get_default_dtype() if result is None else result


def normal_dims(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """`dim` of a reduction as a tuple of non-negative ints, None for all."""
    if dim is None:
        return None
    if isinstance(dim, int):
        return (wrap_dim(dim, ndim),) if ndim else () if wrap_dim(dim, 0) == 0 else None
    dims = tuple(dim)
    if not dims:
        return None
    return wrap_dims(dims, ndim) if ndim else ()


_sum_to_shape: list[Callable[..., Any]] = []


def sum_to_shape(grad: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the dims that broadcasting added or stretched."""
    lead = len(grad.shape) - len(shape)
    dims = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(shape) if n == 1 and grad.shape[i + lead] != 1)
    if dims:
        grad = OPS["sum"].apply((grad,), {"dim": dims, "keepdim": True})
    return OPS["reshape"].apply((grad,), {"shape": shape}) if lead else grad


class _Probe:
    """Stands for an operand while a body is read: remembers the one NumPy function that was called on it."""

    def __init__(self, function: str = "", args: tuple[Any, ...] = ()) -> None:
        self.function, self.args = function, args

    def __neg__(self) -> _Probe:
        return _Probe("negative", (self,))

    def __invert__(self) -> _Probe:
        return _Probe("invert", (self,))


class _ProbeNamespace:
    def __getattr__(self, function: str) -> Callable[..., _Probe]:
        return lambda *args: _Probe(function, args)


_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
for _dunder, _function in _OPERATORS.items():
    setattr(_Probe, f"__{_dunder}__", lambda a, b, f=_function: _Probe(f, (a, b)))


def _single_ufunc(op: Elementwise) -> Any:
    """The NumPy ufunc that is the whole body, if the body is one call on the operands in order."""
    if op.static:
        return None
    operands = tuple(_Probe() for _ in op.inputs)
    try:
        result = op.body(_ProbeNamespace(), *operands)
    except (TypeError, AttributeError):
        return None
    if not isinstance(result, _Probe) or len(result.args) != len(operands):
        return None
    if any(a is not b for a, b in zip(result.args, operands, strict=True)):
        return None
    function = getattr(xp_numpy, result.function, None)
    return function if isinstance(function, np.ufunc) else None


Declaration = Callable[[Callable[..., Any]], Any]


def _declare(kind: Callable[..., Any]) -> Callable[..., Declaration]:
    """The decorator that makes an op of a kind from its body."""

    def with_rules(grad: Formulas = None, **rules: Any) -> Declaration:
        return lambda body: kind(body, grad, **rules)

    return with_rules


elementwise = _declare(Elementwise)
reduction = _declare(Reduction)
view = _declare(View)
composite = _declare(Composite)
opaque = _declare(Opaque)
