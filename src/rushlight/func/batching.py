"""`vmap`: a function of single examples as a function of batches.

The function runs once, on tensors whose data are `Examples`: each operation works on the whole batch. Where that is not
possible it runs once for each example: with random numbers, in-place operations, values that decide what happens next,
and where a walk backward from outside will come through it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from rushlight.func.examples import Examples, Unbatchable, entered, left, new_level
from rushlight.func.trees import leaves, rebuilt
from rushlight.modes import state
from rushlight.ops import linear
from rushlight.random import get_rng_state, set_rng_state
from rushlight.tape import Variable, wrap


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that maps `func` over a dim of its arguments and stacks the results.

    Parameters
    ----------
    func : callable
        Takes and returns tensors (also nested in tuples, lists and dicts) of one example.
    in_dims : int or nested structure
        Which dim of each positional argument to map over; None passes it whole, as keyword arguments are.
    out_dims : int or nested structure
        Where the new dim goes in each result.
    randomness : {"error", "same", "different"}
        Whether random numbers drawn by `func` are an error, the same for all examples, or different.

    Notes
    -----
    PyTorch: cannot run functions that depend on values (`if x > 0`, `.item()`) or that write to tensors from outside.
    Here they run once for each example. So do functions whose results require gradients outside of `vmap`, and those
    with random numbers.

    Examples
    --------
    >>> torch.func.vmap(torch.dot)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2))
    tensor([3., 7.])
    """
    if randomness not in ("error", "same", "different"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        values = leaves((args, kwargs))
        dims = [*_spread(in_dims, args, "in_dims"), *[None for _ in leaves(kwargs)]]
        count = _batch_size(values, dims)
        step = count if chunk_size is None or randomness != "error" else chunk_size
        if step >= count:
            return run(args, kwargs, values, dims, count)
        parts = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            part = [v if d is None else v.narrow(d, start, stop - start) for v, d in zip(values, dims, strict=True)]
            own_args, own_kwargs = rebuilt((args, kwargs), iter(part))
            parts.append(run(own_args, own_kwargs, part, dims, stop - start))
        return _chained(parts, out_dims)

    def run(args: Any, kwargs: Any, values: list[Any], dims: list[Any], count: int) -> Any:
        if randomness == "error" and state.trace is None and not any(_is_tracked(v) for v in values):
            with contextlib.suppress(Unbatchable, Exception):  # an error of `func` comes again below
                return _at_once(func, (args, kwargs), values, dims, count, out_dims)
        return _one_by_one(func, (args, kwargs), values, dims, count, out_dims, randomness)

    return batched


def _is_tracked(value: Any) -> bool:
    return state.grad and isinstance(value, Variable) and bool(value.requires_grad)  # type: ignore[attr-defined]


def _at_once(
    func: Callable[..., Any], given: Any, values: list[Any], dims: list[Any], count: int, out_dims: Any
) -> Any:
    """One run of `func` for the whole batch."""
    start = get_rng_state()
    with new_level() as level:
        entering = [v if d is None else wrap(entered(v._data, d, level)) for v, d in zip(values, dims, strict=True)]
        args, kwargs = rebuilt(given, iter(entering))
        result = func(*args, **kwargs)
    if bool((get_rng_state() != start).any()):
        raise _random_error()
    found = leaves(result)
    where = _spread(out_dims, result, "out_dims")
    results = []
    for t, dim in zip(found, where, strict=True):
        if not isinstance(t, Variable):
            raise ValueError(f"vmap: `func` must only return Tensors, got type {type(t)}.")
        if state.grad and t._node is not None:
            raise Unbatchable("a walk backward from outside")
        if dim is None:
            if isinstance(t._data, Examples) and level in t._data.levels:
                raise ValueError("vmap: `func` can not return a batched tensor with out_dim `None`")
            results.append(t)
        else:
            results.append(wrap(left(t._data, dim, level, count)))
    return rebuilt(result, iter(results))


def _random_error() -> RuntimeError:
    return RuntimeError(
        "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
        "'different' randomness flags on vmap or perform the randomness operation out of vmap"
    )


def _one_by_one(
    func: Callable[..., Any], given: Any, values: list[Any], dims: list[Any], count: int, out_dims: Any, randomness: str
) -> Any:
    """One run of `func` for each example."""
    results = []
    start = get_rng_state() if randomness != "different" else None
    for i in range(count):
        if randomness == "same" and i:
            set_rng_state(start)
        row = iter([v if d is None else v.select(d, i) for v, d in zip(values, dims, strict=True)])
        args, kwargs = rebuilt(given, row)
        results.append(func(*args, **kwargs))
        if randomness == "error" and i == 0 and bool((get_rng_state() != start).any()):
            raise _random_error()
    return _joined(results, out_dims)


def _chained(parts: list[Any], out_dims: Any) -> Any:
    """The results of several parts of the batch, one after another."""
    dims = _spread(out_dims, parts[0], "out_dims")
    columns = zip(*map(leaves, parts), strict=True)
    return rebuilt(
        parts[0],
        iter([c[0] if d is None else linear.cat(list(c), d) for c, d in zip(columns, dims, strict=True)]),
    )


def _spread(dims: Any, tree: Any, name: str) -> list[Any]:
    """One entry of `dims` for each value of `tree`; an entry stands for all values below it."""
    if isinstance(dims, int) or dims is None:
        return [dims if isinstance(leaf, Variable) else None for leaf in leaves(tree)]
    parts = list(tree.values()) if isinstance(tree, dict) else tree
    entries = [dims[k] for k in tree] if isinstance(tree, dict) else dims
    if not isinstance(parts, (list, tuple)) or len(entries) != len(parts):
        raise ValueError(
            f"vmap: {name} is not compatible with the structure of the inputs: {name} has {len(entries)} entries, the "
            f"inputs have {len(parts) if isinstance(parts, (list, tuple)) else 1}"
        )
    return [d for entry, part in zip(entries, parts, strict=True) for d in _spread(entry, part, name)]


def _batch_size(values: list[Any], dims: list[Any]) -> int:
    sizes = []
    for v, d in zip(values, dims, strict=True):
        if d is None:
            continue
        if not -v.dim() <= d < v.dim():
            raise ValueError(
                f"vmap: Got in_dim={d} for an input of dimensionality {v.dim()} so expected in_dim to satisfy "
                f"-{v.dim()} <= in_dim < {v.dim()}."
            )
        sizes.append(v.shape[d])
    if not sizes:
        raise ValueError("vmap: at least one input must be a Tensor with an in_dim that is not None.")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped "
            "dimension"
        )
    if not sizes[0]:
        raise NotImplementedError("vmap over a dim of size 0")
    return int(sizes[0])


def _joined(results: list[Any], out_dims: Any) -> Any:
    """The results of all examples, stacked value by value."""
    dims = _spread(out_dims, results[0], "out_dims")
    columns: Iterator[tuple[Any, ...]] = zip(*map(leaves, results), strict=True)
    stacked = []
    for column, dim in zip(columns, dims, strict=True):
        if not isinstance(column[0], Variable):
            raise ValueError(f"vmap: `func` must only return Tensors, got type {type(column[0])}.")
        stacked.append(column[0] if dim is None else linear.stack(list(column), dim % (column[0].dim() + 1)))  # type: ignore[attr-defined]
    return rebuilt(results[0], iter(stacked))
