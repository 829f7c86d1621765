"""Run one computation on Rushlight and on PyTorch from the same numbers: values and gradients must agree."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import rushlight

try:
    import torch
except ModuleNotFoundError:  # PyTorch is an oracle that not every environment has
    torch = None  # type: ignore[assignment]

TOLERANCE = {"float64": (1e-9, 1e-11), "float32": (2e-5, 2e-6), "float16": (4e-3, 2e-3), "bfloat16": (3e-2, 1e-2)}


def library(module: Any) -> Any:
    """The two names that computations use: `t` the top namespace, `F` the functionals, `nn` the layers."""
    return SimpleNamespace(t=module, F=module.nn.functional, nn=module.nn)


def tensors_of(value: Any) -> list[Any]:
    """Tensors in nested tuples, lists and packed sequences, in order."""
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors_of(v)]
    return [value] if hasattr(value, "requires_grad") else []


def numbers(t: Any) -> Any:
    """A tensor as float64 (integers and bools as they are)."""
    t = t.detach()
    return t.double().numpy() if t.is_floating_point() else t.numpy()


def close(ours: Any, theirs: Any, what: str, scale: float = 1.0) -> None:
    """Equal shape and dtype, close values."""
    name = str(theirs.dtype).removeprefix("torch.")
    assert tuple(ours.shape) == tuple(theirs.shape), what
    assert str(ours.dtype) == str(theirs.dtype), what
    rtol, atol = TOLERANCE.get(name, (0, 0))
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol * scale, atol * scale, err_msg=what)


def _leaves(lib: Any, operands: dict[str, Any], dtype: str) -> dict[str, Any]:
    made = {}
    for name, a in operands.items():
        a = np.asarray(a)
        t = lib.t.tensor(a.tolist(), dtype=getattr(lib.t, dtype if a.dtype.kind == "f" else a.dtype.name))
        t = t.reshape(a.shape)
        made[name] = t.requires_grad_() if a.dtype.kind == "f" and not name.startswith("const_") else t
    return made


def compare(
    compute: Callable[..., Any],
    operands: dict[str, Any],
    dtype: str = "float64",
    seed: int | None = None,
    scale: float = 1.0,
) -> None:
    """`compute(lib, **tensors)` on both sides; then the gradients of a random combination of its results.

    Float operands require gradients unless their name starts with "const_". `seed` is set on both sides before.
    """
    libs = [library(rushlight), library(torch)]
    leaves = [_leaves(lib, operands, dtype) for lib in libs]
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lib, given in zip(libs, leaves, strict=True):
            if seed is not None:
                lib.t.manual_seed(seed)
            results.append(tensors_of(compute(lib, **given)))
    rng = np.random.default_rng(0)
    totals: list[Any] = [0, 0]
    assert len(results[0]) == len(results[1])
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        close(a, b, f"result {i}", scale)
        assert a.requires_grad == b.requires_grad, f"result {i}"
        if b.requires_grad:
            weight = rng.standard_normal(tuple(b.shape)).tolist()
            for k, (lib, t) in enumerate(zip(libs, (a, b), strict=True)):
                totals[k] = totals[k] + (t * lib.t.tensor(weight, dtype=t.dtype).reshape(t.shape)).sum()
    if not hasattr(totals[1], "backward"):
        return
    for total in totals:
        total.backward()
    for name in operands:
        ours, theirs = (given[name].grad for given in leaves)
        assert (ours is None) == (theirs is None), name
        if theirs is not None:
            close(ours, theirs, f"gradient of {name}", 4 * scale)


def copy_weights(ours: Any, theirs: Any) -> None:
    """Give our module the weights of PyTorch's."""
    with rushlight.no_grad():
        for (name, p), (other, q) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
            assert name == other
            p.copy_(rushlight.tensor(q.detach().double().numpy()))


def errors_agree(expression: Callable[[Any], Any]) -> None:
    """Both sides raise, with the same text, and ours can be caught as PyTorch's type."""
    outcome = []
    for module in (rushlight, torch):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                outcome.append(("value", expression(library(module))))
            except Exception as error:
                outcome.append(("error", error, [str(w.message).replace("rushlight", "torch") for w in caught]))
    ours, theirs = outcome
    assert theirs[0] == "error", "PyTorch does not raise"
    assert ours[0] == "error", f"we do not raise: {theirs[1]!r}"
    assert isinstance(ours[1], type(theirs[1])), (ours[1], theirs[1])
    assert str(ours[1]).replace("rushlight.", "torch.") == str(theirs[1])
    assert ours[2] == theirs[2]
