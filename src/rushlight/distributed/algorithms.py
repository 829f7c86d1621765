"""Collective operations on arrays over a mesh: each process moves about as many bytes as the data has [1]_.

References
----------
.. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", 2005.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from rushlight.distributed.mesh import Mesh
from rushlight.distributed.reduction import RedOpType, combine, finish

(
    ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, GATHER, SCATTER, ALL_TO_ALL, BARRIER, REDUCE, POINT_TO_POINT,
) = range(1, 11)  # fmt: skip


def _neighbours(mesh: Mesh) -> tuple[int, int]:
    return (mesh.rank + 1) % mesh.size, (mesh.rank - 1) % mesh.size


def _cut(count: int, parts: int) -> list[slice]:
    bounds = [count * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _reduced_around(mesh: Mesh, tag: int, kind: int, flat: Any, op: RedOpType, parts: list[slice]) -> None:
    """Send parts around the ring; afterwards part `rank` of `flat` combines those of all processes."""
    after, before = _neighbours(mesh)
    for step in range(mesh.size - 1):
        outgoing = flat[parts[(mesh.rank - step - 1) % mesh.size]]
        mine = flat[parts[(mesh.rank - step - 2) % mesh.size]]
        arriving = np.empty_like(mine)
        mesh.exchange(tag, kind, [(after, outgoing)], [(before, arriving)])
        combine(op, mine, arriving)


def _gathered_around(mesh: Mesh, tag: int, kind: int, flat: Any, parts: list[slice]) -> None:
    """Part `rank` of each process goes to all."""
    after, before = _neighbours(mesh)
    for step in range(mesh.size - 1):
        outgoing = flat[parts[(mesh.rank - step) % mesh.size]]
        arriving = flat[parts[(mesh.rank - step - 1) % mesh.size]]
        mesh.exchange(tag, kind, [(after, outgoing)], [(before, arriving)])


def all_reduce(mesh: Mesh, tag: int, flat: Any, op: RedOpType) -> None:
    """Combine `flat` of all processes, in place; in the same order everywhere, hence to the same bits."""
    parts = _cut(flat.size, mesh.size)
    _reduced_around(mesh, tag, ALL_REDUCE, flat, op, parts)
    finish(op, flat[parts[mesh.rank]], mesh.size)
    _gathered_around(mesh, tag, ALL_REDUCE, flat, parts)


def reduce_scatter(mesh: Mesh, tag: int, flat: Any, op: RedOpType) -> Any:
    """Part `rank` of the combination of all `flat`, which is changed."""
    parts = _cut(flat.size, mesh.size)
    _reduced_around(mesh, tag, REDUCE_SCATTER, flat, op, parts)
    finish(op, flat[parts[mesh.rank]], mesh.size)
    return flat[parts[mesh.rank]]


def all_gather(mesh: Mesh, tag: int, flat: Any) -> None:
    """Fill `flat`, whose part `rank` is there, with those of all processes."""
    _gathered_around(mesh, tag, ALL_GATHER, flat, _cut(flat.size, mesh.size))


def broadcast(mesh: Mesh, tag: int, flat: Any, root: int) -> None:
    """Fill `flat` with that of `root`, along a tree."""
    place = (mesh.rank - root) % mesh.size
    step = 1
    while step < mesh.size:
        other = (mesh.rank + (step if place < step else -step)) % mesh.size
        if place < step and place + step < mesh.size:
            mesh.exchange(tag, BROADCAST, [(other, flat)], [])
        elif step <= place < 2 * step:
            mesh.exchange(tag, BROADCAST, [], [(other, flat)])
        step *= 2


def reduce(mesh: Mesh, tag: int, flat: Any, op: RedOpType, root: int) -> None:
    """Combine `flat` of all processes into that of `root`, in the order of the ranks."""
    if mesh.rank != root:
        mesh.exchange(tag, REDUCE, [(root, flat)], [])
        return
    others = [rank for rank in range(mesh.size) if rank != root]
    arriving = {rank: np.empty_like(flat) for rank in others}
    mesh.exchange(tag, REDUCE, [], list(arriving.items()))
    for rank in others:
        combine(op, flat, arriving[rank])
    finish(op, flat, mesh.size)


def gather(mesh: Mesh, tag: int, flat: Any, into: list[Any] | None, root: int) -> None:
    """Bring `flat` of each process to `root`."""
    if mesh.rank != root:
        mesh.exchange(tag, GATHER, [(root, flat)], [])
        return
    assert into is not None
    into[root][...] = flat
    mesh.exchange(tag, GATHER, [], [(rank, part) for rank, part in enumerate(into) if rank != root])


def scatter(mesh: Mesh, tag: int, flat: Any, parts: list[Any] | None, root: int) -> None:
    """Fill `flat` of each process with its part from `root`."""
    if mesh.rank != root:
        mesh.exchange(tag, SCATTER, [], [(root, flat)])
        return
    assert parts is not None
    mesh.exchange(tag, SCATTER, [(rank, part) for rank, part in enumerate(parts) if rank != root], [])
    flat[...] = parts[root]


def all_to_all(mesh: Mesh, tag: int, outgoing: list[Any], incoming: list[Any]) -> None:
    """Part k goes to process k, from which part k comes."""
    incoming[mesh.rank][...] = outgoing[mesh.rank]
    others = [rank for rank in range(mesh.size) if rank != mesh.rank]
    mesh.exchange(
        tag, ALL_TO_ALL, [(rank, outgoing[rank]) for rank in others], [(rank, incoming[rank]) for rank in others]
    )


def barrier(mesh: Mesh, tag: int) -> None:
    """Return when all processes are here."""
    distance = 1
    while distance < mesh.size:
        after, before = (mesh.rank + distance) % mesh.size, (mesh.rank - distance) % mesh.size
        mesh.exchange(tag, BARRIER, [(after, b"\0")], [(before, bytearray(1))])
        distance *= 2
