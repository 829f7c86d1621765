"""`AdaptiveLogSoftmaxWithLoss`: a softmax over many classes in clusters by frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rushlight.functions.indexing import gather, index_copy, index_select
from rushlight.functions.reduce import argmax
from rushlight.functions.shape import cat
from rushlight.functions.softmax import log_softmax
from rushlight.nn.containers import ModuleList, Sequential
from rushlight.nn.linear import Linear
from rushlight.nn.module import Module
from rushlight.tape import wrap
from rushlight.tensor import Tensor


class ASMoutput(NamedTuple):
    """Log-probability of each target, and the mean loss."""

    output: Tensor
    loss: Tensor


ASMoutput.__name__ = ASMoutput.__qualname__ = "_ASMoutput"


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax whose rare classes are reached through clusters with fewer features [1]_.

    Parameters
    ----------
    in_features, n_classes : int
        Classes are sorted by falling frequency.
    cutoffs : sequence of int
        Where each cluster after the frequent classes starts.
    div_value : float
        Cluster i has in_features / div_value ** (i + 1) features.
    head_bias : bool

    References
    ----------
    .. [1] E. Grave et al., "Efficient softmax approximation for GPUs", 2016.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(cutoffs) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1
            or len(set(cutoffs)) != len(cutoffs) or any(int(c) != c for c in cutoffs)
        ):  # fmt: skip
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(Linear(in_features, hidden, bias=False, **place), Linear(hidden, size, bias=False, **place))
            )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """Log-probabilities of the targets, [N] or [], and their mean loss."""
        if target_.dim() == 1:
            if input_.size(0) != target_.size(0):
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
            if input_.dim() != 2:
                raise RuntimeError(
                    "1D target tensor expects 2D input tensors, but found inputs with size", input_.size()
                )
        elif target_.dim() == 0:
            if input_.dim() != 1:
                raise RuntimeError(
                    "0D target tensor expects 1D input tensors, but found inputs with size", input_.size()
                )
        else:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        single = target_.dim() == 0
        x = input_.unsqueeze(0) if single else input_
        target = target_._data.reshape(-1)
        self._check_targets(target)
        positions = np.where(target < self.shortlist_size, target, 0)
        output = wrap(np.zeros(target.shape, x._data.dtype))
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            rows = np.flatnonzero((target >= low) & (target < high))
            if rows.size:
                positions[rows] = self.shortlist_size + i
                found = self._of_cluster(i, index_select(x, 0, wrap(rows)), target[rows] - low)
                output = index_copy(output, 0, wrap(rows), found)
        head = log_softmax(self.head(x), 1)
        output = output + gather(head, 1, wrap(positions[:, None])).squeeze(1)
        loss = (-output).mean()
        return ASMoutput(output.squeeze(0) if single else output, loss)

    def _of_cluster(self, i: int, x: Tensor, relative: Any) -> Tensor:
        """Log-probabilities of the targets within cluster `i`."""
        scores = log_softmax(self.tail[i](x), 1)
        return gather(scores, 1, wrap(relative[:, None])).squeeze(1)

    def _check_targets(self, target: Any) -> None:
        if target.size and (target.min() < 0 or target.max() >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{target.min()}, "
                f"{target.max()}] were found. "
            )

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes, [N, n_classes]."""
        head = log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i in range(self.n_clusters):
            scores = log_softmax(self.tail[i](input), 1)
            parts.append(scores + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest class of each row; clusters are looked at only where the head chooses them."""
        return argmax(self.log_prob(input), 1)
