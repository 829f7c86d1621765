"""Running one program twice, eagerly and compiled, and comparing all that it leaves."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

import rushlight as torch


def plain(value: Any) -> Any:
    """A result with tensors as (class, array, requires_grad, name of grad_fn)."""
    if isinstance(value, torch.Tensor):
        fn = value.grad_fn
        return type(value).__name__, value.detach().numpy().copy(), value.requires_grad, fn and fn.name()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, {k: plain(v) for k, v in vars(value).items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


def assert_same(a: Any, b: Any, rtol: float = 2e-5, atol: float = 1e-6, path: str = "result") -> None:
    """Equal structure, equal types, close arrays."""
    assert type(a) is type(b), f"{path}: {a!r} against {b!r}"
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape, path
        np.testing.assert_allclose(b, a, rtol=rtol, atol=atol, err_msg=path)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for k in a:
            assert_same(a[k], b[k], rtol, atol, f"{path}.{k}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, rtol, atol, f"{path}[{i}]")
    elif isinstance(a, float):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=atol, err_msg=path)
    else:
        assert a == b, f"{path}: {a!r} against {b!r}"


def state_of(objects: Any) -> Any:
    """Everything about modules, optimizers and tensors that a step may change."""
    found: list[Any] = []
    for o in objects:
        if isinstance(o, torch.nn.Module):
            for p in (*o.parameters(), *o.buffers()):
                found.append((p.detach().numpy().copy(), None if p.grad is None else plain(p.grad), p._version))
        elif isinstance(o, torch.optim.Optimizer):
            found.append(plain(o.state_dict()))
        elif isinstance(o, torch.Tensor):
            found.append((plain(o), None if o.grad is None else plain(o.grad), o._version))
        else:
            found.append(plain(o))
    found.append(plain(torch.get_rng_state()))
    return found


def check(make: Any, calls: Any = 4, traces: int | None = None, warns: bool = False, **tolerance: float) -> Any:
    """`make(torch)` gives (step, objects); each call of the compiled step must leave what the eager one leaves.

    `calls` is a number, or a list of functions `call(step, objects)`.
    """
    runs = [lambda step, objects: step()] * calls if isinstance(calls, int) else calls
    sides = []
    for compiled in (False, True):
        torch.manual_seed(0)
        step, *objects = make()
        fn = torch.compile(step) if compiled else step
        seen = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if warns or not compiled else "error")
            for run in runs:
                result = run(fn, objects)
                seen.append((plain(result), state_of(objects)))
        sides.append(seen)
    for k, (a, b) in enumerate(zip(*sides, strict=True)):
        assert_same(a, b, path=f"call {k}", **tolerance)
    if traces is not None:
        assert len(fn.traces) == traces, [t.reason for t in fn.traces]
    return fn
