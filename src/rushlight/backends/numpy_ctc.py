"""Connectionist temporal classification in NumPy: all sequences and label positions of a step at once.

A. Graves et al., "Connectionist Temporal Classification", 2006. Labels are extended by blanks before, between and
after them: position 2i + 1 holds label i. Probabilities are kept as logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def _extended(targets: Array, blank: int) -> Array:
    out = np.full((targets.shape[0], 2 * targets.shape[1] + 1), blank, np.int64)
    out[:, 1::2] = targets
    return out


def _may_skip(labels: Array, blank: int) -> Array:
    """Positions reachable from two before: not a blank, and another label than there."""
    allowed = np.zeros(labels.shape, np.bool_)
    allowed[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    return allowed


def _shifted(a: Array, by: int) -> Array:
    out = np.full(a.shape, -np.inf, a.dtype)
    if by > 0:
        out[:, by:] = a[:, :-by]
    else:
        out[:, :by] = a[:, -by:]
    return out


def _sum_of(*logs: Array) -> Array:
    top = np.maximum.reduce(logs)
    finite = np.where(top == -np.inf, 0, top)
    total = np.zeros_like(top)
    for a in logs:
        total += np.exp(a - finite)
    return np.log(total) + finite


def forward(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """Negative log-likelihood of each sequence, and the logarithms of prefix probabilities [T, N, positions].

    `log_probs` is [T, N, C], `targets` [N, S] padded with any valid class.
    """
    steps, batch, _ = log_probs.shape
    labels = _extended(targets, blank)
    skip = _may_skip(labels, blank)
    rows = np.arange(batch)
    alpha = np.full((steps, batch, labels.shape[1]), -np.inf, log_probs.dtype)
    if not steps:
        return np.where(target_lengths == 0, 0.0, np.inf).astype(log_probs.dtype), alpha
    alpha[0, :, 0] = log_probs[0, :, blank]
    if labels.shape[1] > 1:
        alpha[0, :, 1] = np.where(target_lengths > 0, log_probs[0, rows, labels[:, 1]], -np.inf)
    for t in range(1, steps):
        before = alpha[t - 1]
        two = np.where(skip, _shifted(before, 2), -np.inf)
        alpha[t] = _sum_of(before, _shifted(before, 1), two) + np.take_along_axis(log_probs[t], labels, 1)
    last = alpha[np.maximum(input_lengths - 1, 0), rows]
    end = np.take_along_axis(last, (2 * target_lengths)[:, None], 1)[:, 0]
    label = np.take_along_axis(last, np.maximum(2 * target_lengths - 1, 0)[:, None], 1)[:, 0]
    likelihood = _sum_of(end, np.where(target_lengths > 0, label, -np.inf))
    empty = input_lengths == 0
    likelihood = np.where(empty, np.where(target_lengths == 0, 0.0, -np.inf), likelihood)
    return -likelihood.astype(log_probs.dtype), alpha


def _suffixes(log_probs: Array, labels: Array, input_lengths: Array, target_lengths: Array, blank: int) -> Array:
    """Logarithms of the probabilities of what remains from each step and position on, [T, N, positions]."""
    steps, batch, _ = log_probs.shape
    onto = np.zeros(labels.shape, np.bool_)
    onto[:, :-2] = _may_skip(labels, blank)[:, 2:]
    positions = np.arange(labels.shape[1])[None, :]
    ends = (positions == 2 * target_lengths[:, None]) | (positions == 2 * target_lengths[:, None] - 1)
    inside = positions <= 2 * target_lengths[:, None]
    beta = np.full((steps, batch, labels.shape[1]), -np.inf, log_probs.dtype)
    after = np.full(labels.shape, -np.inf, log_probs.dtype)
    for t in range(steps - 1, -1, -1):
        two = np.where(onto, _shifted(after, -2), -np.inf)
        reached = _sum_of(after, _shifted(after, -1), two)
        reached = np.where((input_lengths == t + 1)[:, None], np.where(ends, 0.0, -np.inf), reached)
        reached = np.where(inside & (input_lengths > t)[:, None], reached, -np.inf)
        after = beta[t] = reached + np.take_along_axis(log_probs[t], labels, 1)
    return beta


def backward(
    g: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    losses: Array,
    alpha: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    """Gradient for the scores whose log_softmax `log_probs` is: probabilities minus expected label frequencies."""
    labels = _extended(targets, blank)
    both = alpha + _suffixes(log_probs, labels, input_lengths, target_lengths, blank)
    steps = log_probs.shape[0]
    grad = np.exp(log_probs)
    with np.errstate(all="ignore"):
        share = np.exp(both + losses[None, :, None] - np.take_along_axis(log_probs, labels[None], 2))
    share = np.where(both == -np.inf, 0, share)
    times, rows, _ = np.indices(both.shape, sparse=True)
    np.subtract.at(grad, (times, rows, np.broadcast_to(labels[None], both.shape)), share)
    grad *= g[None, :, None]
    grad[np.arange(steps)[:, None] >= input_lengths[None, :]] = 0
    if zero_infinity:
        grad[:, np.isinf(losses)] = 0
    return grad
