"""Trading time for memory: parts of a model whose intermediate values are computed again in the backward walk."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rushlight.autograd.function import Function
from rushlight.autograd.graph import saved_tensors_hooks
from rushlight.functions.backward import backward as run_backward
from rushlight.modes import ACTIVE, enable_grad, state
from rushlight.random import fork_rng, get_rng_state, set_rng_state
from rushlight.tape import Variable, current_walk

Contexts = Callable[[], tuple[Any, Any]]
_MODES = {"early_stop": True}


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function differs from the first."""


def noop_context_fn() -> tuple[Any, Any]:
    """Contexts of the first and of the second run that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether a second run ends as soon as all values are there (the default), for checkpoints made in the block."""
    before = _MODES["early_stop"]
    _MODES["early_stop"] = enable
    try:
        yield
    finally:
        _MODES["early_stop"] = before


class _Surroundings:
    """What a function's result depends on besides its arguments: the random state and autocast."""

    def __init__(self, preserve_rng_state: bool) -> None:
        self.random = get_rng_state() if preserve_rng_state else None
        self.autocast = state.autocast

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Within the block, as they were."""
        before = state.autocast
        ACTIVE.append(self)
        with fork_rng(enabled=self.random is not None):
            if self.random is not None:
                set_rng_state(self.random)
            state.autocast = self.autocast
            try:
                yield
            finally:
                state.autocast = before
                ACTIVE.remove(self)


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same values without history; what required a gradient requires one again."""
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Variable) else x for x in inputs)  # type: ignore[attr-defined]


class CheckpointFunction(Function):
    """The reentrant form: no graph in the forward; the backward computes one and walks it."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        ctx.run_function = run_function
        ctx.surroundings = _Surroundings(preserve_rng_state)
        ctx.inputs = [None if isinstance(a, Variable) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Variable)]
        ctx.save_for_backward(*[a for a in args if isinstance(a, Variable)])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if (walk := current_walk()) is not None and walk.targets:
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                "parameter to .backward(). To resolve this error, you can either set use_reentrant=False, or call "
                ".backward() without passing the `inputs` argument."
            )
        inputs = list(ctx.inputs)
        for i, t in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[i] = t
        detached = detach_variable(tuple(inputs))
        with ctx.surroundings.restored(), enable_grad():
            result = ctx.run_function(*detached)
        outputs = (result,) if isinstance(result, Variable) else tuple(result)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if isinstance(o, Variable) and o._node is not None]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        run_backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *(x.grad if isinstance(x, Variable) else None for x in detached))  # type: ignore[attr-defined]


class _Enough(Exception):
    """All values of a second run are there."""


class _Frame:
    """One checkpointed call: the shapes of what its first run kept, and how to run it again."""

    def __init__(self, again: Callable[[], Any], early_stop: bool, check: bool) -> None:
        self.again = again
        self.early_stop = early_stop
        self.check = check
        self.kept: list[tuple[Any, Any]] = []
        self.walk: Any = None
        self.found: dict[int, Any] = {}

    def pack(self, t: Any) -> int:
        """Keep a number instead of the values."""
        self.kept.append((t.shape, t.dtype))
        return len(self.kept) - 1

    def unpack(self, number: int) -> Any:
        """The values, from a second run; each walk has one of its own."""
        walk = current_walk()
        if number not in self.found or self.walk is not walk:
            self.walk, self.found = walk, self.recomputed()
        return self.found[number] if walk is None else self.found.pop(number)

    def recomputed(self) -> dict[int, Any]:
        """Run again, and note what is kept this time."""
        found: dict[int, Any] = {}

        def note(t: Any) -> Any:
            found[len(found)] = t.detach()
            if self.early_stop and len(found) == len(self.kept):
                raise _Enough
            return t.detach()

        with contextlib.suppress(_Enough), saved_tensors_hooks(note, lambda t: t), enable_grad():
            self.again()
        self.compare(found)
        return found

    def compare(self, found: dict[int, Any]) -> None:
        """Raise if the second run kept other tensors than the first."""
        if len(found) != len(self.kept):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.kept)}\nNumber of tensors "
                "saved during "
                f"recomputation: {len(found)}."
            )
        differing = [
            f"tensor at position {i}:\nsaved metadata: {kept}\nrecomputed metadata: {(found[i].shape, found[i].dtype)}"
            for i, kept in enumerate(self.kept)
            if self.check and kept != (found[i].shape, found[i].dtype)
        ]
        if differing:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                "during the "
                "forward pass.\n" + "\n".join(differing)
            )


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, context_fn: Contexts = noop_context_fn,
    determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, keeping only its arguments: what its backward needs is computed again then.

    Parameters
    ----------
    function : callable
        Must do the same when it runs a second time with the same arguments and random state.
    use_reentrant : bool
        False (recommended) works with `autograd.grad`, keyword arguments and nested structures; True only with
        `backward`.
    preserve_rng_state : bool
        Let the second run draw the same random numbers. Defaults to True.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.utils.checkpoint.checkpoint(lambda t: (t * 3).exp().sum(), x, use_reentrant=False).backward()
    >>> x.grad
    tensor([60.2566, 60.2566])
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, "
            "calling checkpoint without use_reentrant will raise an exception. use_reentrant=False is "
            "recommended, but if "
            "you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs "
            "for more "
            "details on the differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    if debug:
        raise NotImplementedError("checkpoint(debug=True)")
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if not any(isinstance(a, Variable) and a.requires_grad for a in args):  # type: ignore[attr-defined]
            warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
        return CheckpointFunction.apply(function, preserve, *args)
    first, second = context_fn()
    surroundings = _Surroundings(preserve)

    def again() -> None:
        with surroundings.restored(), second:
            function(*args, **kwargs)

    frame = _Frame(again, early_stop and _MODES["early_stop"], determinism_check == "default")
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run a `Sequential` (or a list of functions) in segments, each a checkpoint but the last.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> torch.utils.checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=False).shape
    torch.Size([1, 1])
    """
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts: Sequence[Any] = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(parts) // segments
    starts = [k * size for k in range(segments - 1)]
    for start in starts:
        segment = _in_turn(parts[start : start + size])
        input = checkpoint(segment, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return _in_turn(parts[(segments - 1) * size :])(input)


def _in_turn(parts: Sequence[Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        for part in parts:
            value = part(value)
        return value

    return run


__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "checkpoint",
    "checkpoint_sequential",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_early_stop",
]
