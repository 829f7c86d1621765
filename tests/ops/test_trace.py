"""The declarations run on a third kind of operand: a tracer that notes ops instead of computing.

A whole training step (forward, backward, update in place) is traced once and replayed on other numbers. The
compiler will bring a tracer of its own; this one shows that nothing in the ops, the tape or the tensors is in its way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.ops.kinds import OPS, Composite
from rushlight.spec import Spec, spec_of
from rushlight.tape import wrap


class Tracer:
    """A value of a program being noted: an input, or the result of an op on earlier values."""

    op_rank = 1
    __array_ufunc__ = None

    def __init__(
        self,
        program: list[Tracer],
        spec: Spec,
        op: Any = None,
        operands: Any = (),
        params: Any = None,
        part: Any = None,
    ):
        self.program, self.spec, self.op, self.operands, self.params, self.part = (
            program,
            spec,
            op,
            operands,
            params,
            part,
        )
        program.append(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> Any:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.spec.shape))

    def interpret(self, op: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Note an op; composites are noted as their parts."""
        if isinstance(op, Composite):
            return op.body(*operands, **params)
        specs = tuple(
            None if a is None else tuple(map(spec_of, a)) if i == op.variadic else spec_of(a)
            for i, a in enumerate(operands)
        )
        spec = op.spec(specs, dict(params))
        if isinstance(spec, tuple) and not isinstance(spec, Spec):
            return tuple(Tracer(self.program, s, op, operands, params, k) for k, s in enumerate(spec))
        return Tracer(self.program, spec, op, operands, params)


def _operator(name: str, swap: bool = False) -> Any:
    return lambda a, b: OPS[name](b, a) if swap else OPS[name](a, b)


for _dunder, _name in {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "gt": "gt",
    "lt": "lt",
    "or": "bitwise_or",
    "and": "bitwise_and",
}.items():
    setattr(Tracer, f"__{_dunder}__", _operator(_name))
    setattr(Tracer, f"__r{_dunder}__", _operator(_name, swap=True))
Tracer.__neg__ = lambda a: OPS["neg"](a)  # type: ignore[attr-defined]
Tracer.__getitem__ = lambda a, index: OPS["getitem_slice"](a, index)  # type: ignore[attr-defined]


def replay(program: list[Tracer], inputs: dict[Tracer, Any]) -> dict[Tracer, Any]:
    """Compute every value of a program on arrays."""
    values = dict(inputs)

    def value(a: Any) -> Any:
        if isinstance(a, (list, tuple)):
            return [value(e) for e in a]
        return values[a] if isinstance(a, Tracer) else a

    for v in program:
        if v not in values:
            out = v.op.eager(tuple(value(a) for a in v.operands), dict(v.params))
            values[v] = out if v.part is None else out[v.part]
    return values


def mlp_step(x, w1, b1, w2, y):
    h = torch.tanh(x @ w1 + b1)
    out = (h @ w2).view(-1)
    loss = ((out - y) ** 2).mean() + (w1 * w1).sum() * 0.01
    loss.backward()
    with torch.no_grad():
        for p in (w1, b1, w2):
            p -= 0.1 * p.grad
    return loss


def softmax_step(x, w1, b1, w2, y):
    scores = torch.cat([x @ w1, x @ w1 * 2], 1)
    scores = scores - scores.amax(1, True)
    logp = scores - scores.exp().sum(1, keepdim=True).log()
    part = logp.transpose(0, 1)[1:3].reshape(-1)
    loss = -(part.mean() + (b1.exp() + w2.sum() / y.sum()).sum())
    loss.backward()
    with torch.no_grad():
        for p in (w1, b1, w2):
            p.sub_(p.grad, alpha=0.5)
    return loss


SHAPES = {"x": (5, 3), "w1": (3, 4), "b1": (4,), "w2": (4, 1), "y": (5,)}


def draw(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("step", [mlp_step, softmax_step])
def test_a_traced_training_step_equals_the_eager_one(step):
    program: list[Tracer] = []
    traced = {name: Tracer(program, Spec(shape, np.dtype(np.float32))) for name, shape in SHAPES.items()}
    parameters = ("w1", "b1", "w2")
    tensors = {name: wrap(t) for name, t in traced.items()}
    for name in parameters:
        tensors[name].requires_grad_()
    loss = step(**tensors)
    assert isinstance(loss._data, Tracer)
    assert all(isinstance(tensors[n]._data, Tracer) and tensors[n]._data is not traced[n] for n in parameters)

    for seed in range(3):
        arrays = draw(seed)
        eager = {name: wrap(a.copy()) for name, a in arrays.items()}
        for name in parameters:
            eager[name].requires_grad_()
        expected = step(**eager)
        values = replay(program, {traced[n]: a for n, a in arrays.items()})
        np.testing.assert_allclose(values[loss._data], expected.detach().numpy(), rtol=1e-5)
        for name in parameters:
            np.testing.assert_allclose(values[tensors[name]._data], eager[name].detach().numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(values[tensors[name].grad._data], eager[name].grad.numpy(), rtol=1e-5, atol=1e-6)
