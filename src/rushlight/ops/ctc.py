"""Connectionist temporal classification as one op."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import numpy_ctc as kernel
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec


def _spec(
    log_probs: Spec, targets: Spec, input_lengths: Spec, target_lengths: Spec, blank: int, zero_infinity: bool
) -> tuple[Spec, Spec, Spec]:
    steps, batch, _ = log_probs.shape
    each = Spec((batch,), log_probs.dtype)
    return each, each, Spec((steps, batch, 2 * targets.shape[1] + 1), log_probs.dtype)


def _grad(
    g: Any,
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    out: Any,
    blank: int,
    zero_infinity: bool,
) -> Any:
    return ctc_loss_grad(g[0], log_probs, targets, input_lengths, target_lengths, *out[1:], blank, zero_infinity)


@opaque(
    spec=lambda g, log_probs, targets, input_lengths, target_lengths, losses, alpha, blank, zero_infinity: log_probs,
    grad=None,
    name="CtcLossBackwardBackward0",
)
def ctc_loss_grad(
    xp: Any, g: Array, log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, losses: Array,
    alpha: Array, blank: int, zero_infinity: bool,
) -> Array:  # fmt: skip
    """Gradient of ctc_loss for log_probs, which are taken to be normalised."""
    return kernel.backward(g, log_probs, targets, input_lengths, target_lengths, losses, alpha, blank, zero_infinity)


@opaque(spec=_spec, grad=(_grad, None, None, None))
def ctc_loss(
    xp: Any, log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array,
    blank: int = 0, zero_infinity: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Negative log-likelihood of each label sequence under [T, N, C] log-probabilities; 0 for inf if asked.

    For the backward pass it also gives the losses as they were, and the table of prefixes.
    """
    losses, alpha = kernel.forward(log_probs, targets, input_lengths, target_lengths, blank)
    return np.where(np.isinf(losses), 0, losses) if zero_infinity else losses, losses, alpha
