"""Full backward hooks of modules: identity nodes around a forward that call the hooks when gradients pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.autograd import Function
from rushlight.modes import is_grad_enabled
from rushlight.tensor import Tensor

Gradients = tuple[Any, ...]


class BackwardHookFunction(Function):
    """The identity; in the backward it hands the gradients to a function and passes on what that returns."""

    @staticmethod
    def forward(ctx: Any, on_backward: Callable[[Gradients], Gradients], fill: bool, *tensors: Tensor) -> Any:
        """Return `tensors` as they are; `fill` asks for zeros in place of missing gradients."""
        ctx.on_backward = on_backward
        ctx.set_materialize_grads(fill)
        out = tuple(tensor.detach() for tensor in tensors)
        ctx.mark_non_differentiable(*(o for o, tensor in zip(out, tensors, strict=True) if not tensor.requires_grad))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return what the hooks make of `gradients`."""
        return (None, None, *ctx.on_backward(gradients))


class BackwardHook:
    """The backward hooks of one call of a module.

    `wrap_inputs` runs before the forward, `wrap_outputs` after it. In the backward the output side comes first: it
    runs the pre-hooks and keeps the gradients for the input side, which runs the hooks.
    """

    def __init__(self, module: Any, hooks: Sequence[Any], pre_hooks: Sequence[Any]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: Gradients | None = None
        self.input_positions: list[int] | None = None
        self.output_positions: list[int] = []
        self.input_count = 0
        self.output_count = 0

    def wrap_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """`args` with an identity node behind every tensor."""
        self.input_count = len(args)
        args, self.input_positions = _insert_node(self._gradients_of_inputs, args, fill=True)
        return args

    def wrap_outputs(self, result: Any) -> Any:
        """The forward's `result` with an identity node in front of every tensor."""
        outputs = result if isinstance(result, tuple) else (result,)
        self.output_count = len(outputs)
        outputs, positions = _insert_node(self._gradients_of_outputs, outputs, fill=False)
        self.output_positions = positions or []
        return outputs if isinstance(result, tuple) else outputs[0]

    def _gradients_of_inputs(self, gradients: Gradients) -> Gradients:
        if self.grad_outputs is None or self.input_positions is None:
            return gradients
        grad_inputs = _spread(self.input_positions, gradients, self.input_count)
        for hook in self.hooks:
            answer = hook(self.module, grad_inputs, self.grad_outputs)
            if answer is not None:
                grad_inputs = _checked(answer, len(grad_inputs), "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(grad_inputs[i] for i in self.input_positions)

    def _gradients_of_outputs(self, gradients: Gradients) -> Gradients:
        grad_outputs = _spread(self.output_positions, gradients, self.output_count)
        for hook in self.pre_hooks:
            answer = hook(self.module, grad_outputs)
            if answer is not None:
                grad_outputs = _checked(answer, len(grad_outputs), "Backward pre hook", "grad_output")
        if self.input_positions is None:
            self._call_without_inputs(grad_outputs)
        else:
            self.grad_outputs = grad_outputs
        return tuple(grad_outputs[i] for i in self.output_positions)

    def _call_without_inputs(self, grad_outputs: Gradients) -> None:
        if self.hooks:
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs since no "
                "inputs require gradients.",
                stacklevel=5,
            )
        for hook in self.hooks:
            answer = hook(self.module, (None,) * self.input_count, grad_outputs)
            if answer is not None and not (isinstance(answer, tuple) and all(g is None for g in answer)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None "
                    "for all gradients."
                )


def _insert_node(
    on_backward: Callable[[Gradients], Gradients], values: tuple[Any, ...], *, fill: bool
) -> tuple[tuple[Any, ...], list[int] | None]:
    """Pass the tensors of `values` through a `BackwardHookFunction`; `None` if no gradient can flow there."""
    positions = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not (is_grad_enabled() and any(values[i].requires_grad for i in positions)):
        return values, None
    passed = BackwardHookFunction.apply(on_backward, fill, *(values[i] for i in positions))
    changed = list(values)
    for i, tensor in zip(positions, passed, strict=True):
        changed[i] = tensor
    # A named tuple is rebuilt field by field.
    kind = type(values)
    return (kind(*changed) if hasattr(values, "_fields") else kind(changed)), positions


def _spread(positions: list[int], gradients: Gradients, count: int) -> Gradients:
    """Gradients at `positions` of a tuple of `count` values, `None` elsewhere."""
    out: list[Any] = [None] * count
    for i, gradient in zip(positions, gradients, strict=True):
        out[i] = gradient
    return tuple(out)


def _checked(answer: Any, count: int, who: str, what: str) -> Gradients:
    answers = answer if isinstance(answer, tuple) else (answer,)
    if len(answers) != count:
        raise RuntimeError(f"{who} returned an invalid number of {what}, got {len(answers)}, but expected {count}")
    return answers
