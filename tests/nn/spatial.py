"""What the tests of spatial layers share: a computation on both frameworks, compared with all its gradients."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import rushlight

try:
    import torch
except ImportError:  # the files that compare with it then skip
    torch = None  # type: ignore[assignment]
needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch")

Call = Callable[..., Any]


def double(*arrays: Any) -> list[Any]:
    """Arrays, float64 where they are floating."""
    return [np.asarray(a, np.float64) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in arrays]


def draw(rng: random.Random, *shape: int) -> Any:
    """Normal numbers of `shape`, the same for the same state of `rng`."""
    return np.random.default_rng(rng.randrange(1 << 30)).normal(size=shape)


def on_both(call: Call, arrays: Sequence[Any], tolerance: float = 1e-9, grads: bool = True) -> tuple[Any, Any]:
    """Run `call(module, *tensors)` on rushlight and torch, compare results, gradient names and all gradients."""
    results = []
    for module in (rushlight, torch):
        # 0-d and strided inputs arrive as copies: the layout is not what is compared here
        tensors = [None if a is None else module.tensor(np.array(a)) for a in arrays]
        leaves = [t for t in tensors if t is not None and t.is_floating_point()]
        for t in leaves:
            t.requires_grad_(grads)
        out = call(module, *tensors)
        outs = list(out) if isinstance(out, tuple) else [out]
        differentiable = [o for o in outs if o.requires_grad]
        rng = np.random.default_rng(len(outs))
        if differentiable:
            total = sum((o * module.tensor(rng.normal(size=tuple(o.shape))).to(o.dtype)).sum() for o in differentiable)
            total.backward()
        results.append((outs, leaves))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        assert tuple(a.shape) == tuple(b.shape) and str(a.dtype) == str(b.dtype)
        assert a.is_contiguous() == b.is_contiguous()
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)
        assert (a.grad_fn is None) == (b.grad_fn is None)
        if b.grad_fn is not None and "CopySlices" not in b.grad_fn.name():
            assert a.grad_fn.name() == b.grad_fn.name()
    for i, (a, b) in enumerate(zip(results[0][1], results[1][1], strict=True)):
        assert (a.grad is None) == (b.grad is None), f"gradient {i}"
        if b.grad is not None:
            np.testing.assert_allclose(
                a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance * 10, err_msg=f"gradient {i}"
            )
    return results[0][0], results[1][0]


def second_derivatives(call: Call, arrays: Sequence[Any], tolerance: float = 1e-7) -> None:
    """Compare d/d(inputs) of a random combination of the squared first gradients."""
    found = []
    for module in (rushlight, torch):
        tensors = [None if a is None else module.tensor(np.array(a)) for a in arrays]
        leaves = [t for t in tensors if t is not None and t.is_floating_point()]
        for t in leaves:
            t.requires_grad_()
        out = call(module, *tensors)
        weight = module.tensor(np.random.default_rng(0).normal(size=tuple(out.shape)))
        first = module.autograd.grad((out * weight * out).sum(), leaves, create_graph=True)
        total = sum((g * g).sum() for g in first)
        found.append(module.autograd.grad(total, leaves))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


def same_error(call: Call) -> None:
    """`call(module)` raises in torch; rushlight raises an error of that type with that first line."""
    with pytest.raises(Exception) as theirs:
        call(torch)
    with pytest.raises(type(theirs.value)) as ours:
        call(rushlight)
    a, b = (str(caught.value).splitlines()[0] for caught in (ours, theirs))
    assert a == b, f"\nrushlight: {a}\npytorch:   {b}"
