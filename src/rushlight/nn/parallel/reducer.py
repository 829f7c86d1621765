"""Averaging of gradients over processes while the backward walk still runs, some megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rushlight.backends.sparse import SparseArray
from rushlight.tape import Variable, wrap

MEGABYTE = 1 << 20
UNFINISHED = (
    "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates that "
    "your module has parameters that were not used in producing loss. You can enable unused parameter detection by "
    "passing the keyword argument `find_unused_parameters=True` to `torch.nn.parallel.DistributedDataParallel`, and by "
    "making sure all `forward` function outputs participate in calculating loss. Parameters which did not receive grad "
    "for rank {rank}: {names}"
)


class Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, numbers: list[int], parameters: Sequence[Any]) -> None:
        self.numbers = numbers
        self.parameters = [parameters[k] for k in numbers]
        self.flat = np.empty(sum(p._data.size for p in self.parameters), self.parameters[0]._data.dtype)
        self.missing = len(numbers)
        self.work: Any = None

    def parts(self) -> Iterator[tuple[int, Any, Any]]:
        """Number, parameter and place of each gradient."""
        start = 0
        for number, p in zip(self.numbers, self.parameters, strict=True):
            yield number, p, self.flat[start : start + p._data.size].reshape(p._data.shape)
            start += p._data.size


def bucketed(parameters: Sequence[Any], first: float, limit: float) -> list[Bucket]:
    """Buckets of one dtype each, from the last parameter on: that is the order in which gradients arrive."""
    groups: list[list[int]] = []
    filled = 0
    for number in reversed(range(len(parameters))):
        p = parameters[number]
        most = first if len(groups) <= 1 else limit
        full = not groups or filled + p._data.nbytes > most or parameters[groups[-1][-1]]._data.dtype != p._data.dtype
        if full:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += p._data.nbytes
    return [Bucket(numbers, parameters) for numbers in groups]


class Reducer:
    """Notices gradients as they arrive, and averages full buckets in the same order in all processes.

    Parameters
    ----------
    named : list of (str, Parameter)
    group : ProcessGroup
    limit : float
        Bytes of a bucket.
    finds_unused : bool
        Whether parameters may get no gradient.
    """

    def __init__(self, named: Sequence[tuple[str, Any]], group: Any, limit: float, finds_unused: bool) -> None:
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.group, self.finds_unused = group, finds_unused
        self.buckets = bucketed(self.parameters, min(MEGABYTE, limit), limit)
        self.bucket_of = {number: bucket for bucket in self.buckets for number in bucket.numbers}
        self.is_expecting = False
        self.arrived: set[int] = set()
        self.used = np.zeros(len(named), np.uint8)
        self.next = 0
        for number, p in enumerate(self.parameters):
            p.register_post_accumulate_grad_hook(lambda _, number=number: self._arrives(number))

    def expect(self, outputs: Any) -> None:
        """A backward walk from `outputs` will come."""
        if self.is_expecting and self.arrived and not self.finds_unused:
            missing = [name for k, name in enumerate(self.names) if k not in self.arrived]
            raise RuntimeError(UNFINISHED.format(rank=self.group.rank(), names=", ".join(missing)))
        self.is_expecting = True
        self.arrived.clear()
        self.next = 0
        for bucket in self.buckets:
            bucket.missing, bucket.work = len(bucket.numbers), None
        self.used[...] = 1
        if self.finds_unused:
            reached = _leaves(outputs)
            for number, p in enumerate(self.parameters):
                if p._node not in reached:
                    self.used[number] = 0
            self._unused = [number for number in range(len(self.names)) if not self.used[number]]

    def _arrives(self, number: int) -> None:
        if not self.is_expecting or number in self.arrived:
            return
        if self.finds_unused and not self.arrived:
            for unused in self._unused:
                self._ready(unused)
        self._ready(number)
        if len(self.arrived) == len(self.names):
            self._finish()

    def _ready(self, number: int) -> None:
        self.arrived.add(number)
        bucket = self.bucket_of[number]
        bucket.missing -= 1
        while self.next < len(self.buckets) and not self.buckets[self.next].missing:
            self._start(self.buckets[self.next])
            self.next += 1

    def _start(self, bucket: Bucket) -> None:
        for _, p, place in bucket.parts():
            gradient = p.grad
            if gradient is None:
                place[...] = 0
            elif isinstance(getattr(gradient, "_data", None), SparseArray) or gradient.is_sparse:
                raise NotImplementedError("DistributedDataParallel: sparse gradients")
            else:
                place[...] = gradient._data
        bucket.work = self.group.average(bucket.flat)

    def _finish(self) -> None:
        self.is_expecting = False
        if self.finds_unused:
            self.group.maximum(self.used).wait()  # a parameter may be used by other processes only
        for bucket in self.buckets:
            bucket.work.wait()
            for number, p, place in bucket.parts():
                if p.grad is not None:
                    p.grad._data[...] = place
                elif self.used[number]:
                    p.grad = wrap(place.copy())


def _leaves(outputs: Any) -> set[Any]:
    """The leaf nodes behind all tensors of a nested result."""
    todo = [t._node for t in _tensors(outputs) if t._node is not None]
    seen = set(todo)
    while todo:
        for edge in todo.pop().edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                todo.append(edge)
    return seen


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Variable):
        if value._view is not None:
            value.requires_grad  # type: ignore[attr-defined]  # noqa: B018  # brings the node of a view up to date
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []
