"""Operations of several processes on tensors: PyTorch's `all_reduce`, `broadcast` and others."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from rushlight.distributed import algorithms
from rushlight.distributed.group import Work
from rushlight.distributed.mesh import Mesh
from rushlight.distributed.reduction import RedOpType, ReduceOp
from rushlight.distributed.world import GroupMember, chosen, get_group_rank
from rushlight.tape import Variable


def _asked(
    group: Any, async_op: bool, operation: Callable[[Mesh, int], Any], then: Callable[[], None] | None = None
) -> Work | None:
    """Run an operation in a group, and what follows when it has ended; wait for it unless it is asynchronous."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return None

    def both(mesh: Mesh, number: int) -> None:
        operation(mesh, number)
        if then is not None:
            then()

    work: Work = found.run(both)
    if async_op:
        return work
    work.wait()
    return None


def _flat(tensor: Any, name: str = "tensor") -> Any:
    """The elements of a tensor as a contiguous copy, or the tensor's memory itself where it is contiguous."""
    if not isinstance(tensor, Variable):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor")
    return np.ascontiguousarray(tensor._data).reshape(-1)


def _write(tensor: Any, flat: Any) -> None:
    """Put elements into a tensor, unless they lie there already; counts as a change in place."""
    data = tensor._data
    if not np.shares_memory(data, flat):
        data[...] = flat.reshape(data.shape)
    if tensor._counter is not None:
        tensor._counter[0] += 1


def _root(group: Any, given: int | None, of_group: int | None, name: str) -> int:
    """The rank within the group of the process that is the source or the target."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return -1
    if of_group is not None:
        return of_group
    if given is None:
        raise ValueError(f"Must specify `{name}` or `group_{name}`")
    return get_group_rank(found, given)


def all_reduce(tensor: Any, op: RedOpType = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Combine the tensors of all processes, in place; all get the same bits.

    Examples
    --------
    >>> import rushlight.distributed as dist
    >>> from rushlight.distributed import HashStore
    >>> dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    >>> x = torch.tensor([1.0, 2.0])
    >>> dist.all_reduce(x)
    >>> x
    tensor([1., 2.])
    >>> dist.destroy_process_group()
    """
    flat = _flat(tensor)
    return _asked(
        group, async_op, lambda mesh, n: algorithms.all_reduce(mesh, n, flat, op), lambda: _write(tensor, flat)
    )


def broadcast(
    tensor: Any, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """Fill the tensor of every process with that of process `src`."""
    root, flat = _root(group, src, group_src, "src"), _flat(tensor)
    return _asked(
        group, async_op, lambda mesh, n: algorithms.broadcast(mesh, n, flat, root), lambda: _write(tensor, flat)
    )


def all_gather_into_tensor(
    output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors of all processes, one after another along the first dim."""
    own, found = _flat(input_tensor), chosen(group)
    flat = _flat(output_tensor)
    if found is not GroupMember.NON_GROUP_MEMBER and flat.size != own.size * found.size():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")

    def gathered(mesh: Mesh, number: int) -> None:
        flat.reshape(mesh.size, -1)[mesh.rank] = own
        algorithms.all_gather(mesh, number, flat)

    return _asked(group, async_op, gathered, lambda: _write(output_tensor, flat))


def all_gather(tensor_list: Sequence[Any], tensor: Any, group: Any = None, async_op: bool = False) -> Work | None:
    """Fill a list with the tensors of all processes, which have one shape."""
    own = _flat(tensor)
    flat = np.empty((len(tensor_list), own.size), own.dtype)

    def gathered(mesh: Mesh, number: int) -> None:
        _expect_one_each(tensor_list, mesh, "tensor_list")
        flat[mesh.rank] = own
        algorithms.all_gather(mesh, number, flat.reshape(-1))

    def written() -> None:
        for part, row in zip(tensor_list, flat, strict=True):
            _write(part, row)

    return _asked(group, async_op, gathered, written)


def _expect_one_each(parts: Sequence[Any], mesh: Mesh, name: str) -> None:
    if len(parts) != mesh.size:
        raise ValueError(f"{name} has {len(parts)} tensors for {mesh.size} processes")


def reduce_scatter_tensor(
    output: Any, input: Any, op: RedOpType = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Part `rank`, along the first dim, of the combination of the inputs of all processes."""
    flat, own = _flat(input).copy(), chosen(group)
    if own is not GroupMember.NON_GROUP_MEMBER and flat.size != output.numel() * own.size():
        raise ValueError("input tensor must be the same size as output size times world size")
    results: list[Any] = []
    return _asked(
        group,
        async_op,
        lambda mesh, n: results.append(algorithms.reduce_scatter(mesh, n, flat, op)),
        lambda: _write(output, results[0]),
    )


def reduce_scatter(
    output: Any, input_list: Sequence[Any], op: RedOpType = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """The combination of tensor number `rank` of the lists of all processes."""
    flat = np.concatenate([_flat(part) for part in input_list])
    results: list[Any] = []
    return _asked(
        group,
        async_op,
        lambda mesh, n: results.append(algorithms.reduce_scatter(mesh, n, flat, op)),
        lambda: _write(output, results[0]),
    )


def reduce(
    tensor: Any, dst: int | None = None, op: RedOpType = ReduceOp.SUM, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Combine the tensors of all processes into that of process `dst`."""
    root, flat = _root(group, dst, group_dst, "dst"), _flat(tensor)

    def written() -> None:
        if chosen(group).rank() == root:
            _write(tensor, flat)

    return _asked(group, async_op, lambda mesh, n: algorithms.reduce(mesh, n, flat, op, root), written)


def gather(
    tensor: Any, gather_list: Sequence[Any] | None = None, dst: int | None = None, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Bring the tensors of all processes to process `dst`, rank 0 by default."""
    root, own = _root(group, 0 if dst is None and group_dst is None else dst, group_dst, "dst"), _flat(tensor)
    here = chosen(group)
    if here is GroupMember.NON_GROUP_MEMBER:
        return None
    if here.rank() != root:
        if gather_list:
            raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
        return _asked(group, async_op, lambda mesh, n: algorithms.gather(mesh, n, own, None, root))
    if not gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    parts = [_flat(part) for part in gather_list]

    def written() -> None:
        for part, flat in zip(gather_list, parts, strict=True):
            _write(part, flat)

    return _asked(group, async_op, lambda mesh, n: algorithms.gather(mesh, n, own, parts, root), written)


def scatter(
    tensor: Any, scatter_list: Sequence[Any] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give each process its tensor of a list that process `src` has, rank 0 by default."""
    root, flat = _root(group, 0 if src is None and group_src is None else src, group_src, "src"), _flat(tensor)
    here = chosen(group)
    if here is GroupMember.NON_GROUP_MEMBER:
        return None
    if here.rank() == root and not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    if here.rank() != root and scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    parts = [_flat(part) for part in scatter_list] if scatter_list else None
    return _asked(
        group, async_op, lambda mesh, n: algorithms.scatter(mesh, n, flat, parts, root), lambda: _write(tensor, flat)
    )


def all_to_all(
    output_tensor_list: Sequence[Any], input_tensor_list: Sequence[Any], group: Any = None, async_op: bool = False
) -> Work | None:
    """Tensor k goes to process k, from which tensor k comes."""
    outgoing, incoming = [_flat(t) for t in input_tensor_list], [_flat(t) for t in output_tensor_list]

    def written() -> None:
        for tensor, flat in zip(output_tensor_list, incoming, strict=True):
            _write(tensor, flat)

    return _asked(group, async_op, lambda mesh, n: algorithms.all_to_all(mesh, n, outgoing, incoming), written)


def all_to_all_single(
    output: Any, input: Any, output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None, group: Any = None, async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Parts of one tensor along its first dim, each to another process."""
    size = chosen(group).size()
    parts = [
        list(tensor.split(list(sizes) if sizes else tensor.shape[0] // size))
        for tensor, sizes in ((output, output_split_sizes), (input, input_split_sizes))
    ]
    return all_to_all(parts[0], parts[1], group, async_op)


def barrier(
    group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: timedelta | None = None
) -> Work | None:
    """Wait until all processes are here."""
    return _asked(group, async_op, algorithms.barrier)


def monitored_barrier(group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """Wait until all processes are here; an error names those that are missing."""
    barrier(group)


# Messages between two processes


def isend(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Begin to send a tensor to process `dst`."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return None
    to = _root(group, dst, group_dst, "dst")
    if to == found.rank():
        raise ValueError("Invalid destination rank: destination rank should not be the same as the rank of the "
                         "current process.")  # fmt: skip
    work: Work = found.send(_flat(tensor).copy(), to, tag)
    return work


def irecv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Begin to receive a tensor from process `src`."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return None
    if src is None and group_src is None:
        raise NotImplementedError("irecv from any process; pass src=")
    flat = _flat(tensor)
    work: Work = found.receive(flat, _root(group, src, group_src, "src"), tag)
    if not np.shares_memory(flat, tensor._data):
        work._future.add_done_callback(lambda done: _write(tensor, flat) if done.exception() is None else None)
    return work


def send(tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send a tensor to process `dst`."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive a tensor from process `src`; its rank."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return int(chosen(group).ranks[group_src]) if src is None else src


class P2POp:
    """One of several messages for `batch_isend_irecv`: `P2POp(isend, tensor, 1)`."""

    def __init__(self, op: Callable[..., Any], tensor: Any, peer: int, group: Any = None, tag: int = 0) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``isend`` or ``irecv``")
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Any]:
    """Begin several messages."""
    return [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]


# Python objects: pickled, hence only among processes that trust each other


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Fill a list with the objects of all processes."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return
    own = np.frombuffer(pickle.dumps(obj), np.uint8)

    def gathered(mesh: Mesh, number: int) -> None:
        sizes = np.zeros(mesh.size, np.int64)
        sizes[mesh.rank] = own.size
        algorithms.all_gather(mesh, number, sizes)
        rows = np.zeros((mesh.size, int(sizes.max())), np.uint8)
        rows[mesh.rank, : own.size] = own
        algorithms.all_gather(mesh, number, rows.reshape(-1))
        object_list[:] = [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]

    found.run(gathered).wait()


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None
) -> None:
    """Fill a list with the objects of process `src`."""
    found, root = chosen(group), _root(group, src, group_src, "src")
    if found is GroupMember.NON_GROUP_MEMBER:
        return
    is_source = found.rank() == root
    own = np.frombuffer(pickle.dumps(object_list), np.uint8).copy() if is_source else np.empty(0, np.uint8)

    def sent(mesh: Mesh, number: int) -> None:
        size = np.array([own.size], np.int64)
        algorithms.broadcast(mesh, number, size, root)
        data = own if is_source else np.empty(int(size[0]), np.uint8)
        algorithms.broadcast(mesh, number, data, root)
        if not is_source:
            object_list[:] = pickle.loads(data.tobytes())

    found.run(sent).wait()


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Bring the objects of all processes to process `dst`."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return
    root = _root(group, 0 if dst is None and group_dst is None else dst, group_dst, "dst")
    everything = [None] * found.size()
    all_gather_object(everything, obj, group)
    if found.rank() == root:
        if object_gather_list is None:
            raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
        object_gather_list[:] = everything


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
    group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Give each process its object of a list that process `src` has."""
    found = chosen(group)
    if found is GroupMember.NON_GROUP_MEMBER:
        return
    source = 0 if src is None and group_src is None else src
    everything = list(scatter_object_input_list or [None] * found.size())
    broadcast_object_list(everything, source, group, None, group_src)
    scatter_object_output_list[0] = everything[found.rank()]
