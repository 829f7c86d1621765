"""Memory that several processes map: where `share_memory_` puts tensors, and how they travel to other processes.

A block of shared memory is an anonymous file in memory. It has no name: what travels is its descriptor, and when the
last process that maps it has let go of it, or was killed, it is gone. Small tensors lie together in one block, so that
a model needs few descriptors.
"""

from __future__ import annotations

import functools
import gc
import mmap
import os
import secrets
import socket
import sys
import tempfile
import threading
import weakref
from multiprocessing import reduction
from typing import Any

import numpy as np

from rushlight.errors import explain
from rushlight.ops.linear import storage_array
from rushlight.storage import address
from rushlight.tape import Variable, leaf_node, wrap

ALIGNMENT = 64
POOL_BYTES = 1 << 18
SMALL_BYTES = 1 << 15  # tensors up to this size share a block of POOL_BYTES
CAN_SHARE = hasattr(socket, "send_fds") and hasattr(reduction, "DupFd")
NON_LEAF = (
    "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing "
    "process boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing "
    "(e.g., putting it on the queue)."
)


def anonymous_file() -> int:
    """Descriptor of an empty file in memory that no path leads to."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rushlight", os.MFD_CLOEXEC)
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


class Block(mmap.mmap):
    """One mapped anonymous file; arrays in it keep it mapped."""

    key: bytes
    descriptor: int

    def __del__(self) -> None:
        os.close(self.descriptor)


class _Process:
    """What this process has mapped."""

    blocks: weakref.WeakValueDictionary[bytes, Block] = weakref.WeakValueDictionary()
    lock = threading.RLock()
    pool: Block | None = None
    pool_used = 0


def _after_fork() -> None:
    _Process.lock = threading.RLock()
    _Process.pool = None  # the parent goes on filling that one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _mapped(descriptor: int, size: int, key: bytes) -> Block:
    block = Block(descriptor, size)
    block.key, block.descriptor = key, descriptor
    _Process.blocks[key] = block
    return block


def _new_block(size: int) -> Block:
    descriptor = anonymous_file()
    try:
        # Unlike a write to memory that is not there, which ends the process, this fails cleanly.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
        return _mapped(descriptor, size, secrets.token_bytes(16))
    except BaseException:
        os.close(descriptor)
        raise


def _allocate(count: int) -> tuple[Block, int]:
    """A block and the place of `count` free bytes in it."""
    with _Process.lock:
        if count > SMALL_BYTES:
            return _new_block(count), 0
        if _Process.pool is None or _Process.pool_used + count > POOL_BYTES:
            _Process.pool, _Process.pool_used = _new_block(POOL_BYTES), 0
        start = _Process.pool_used
        _Process.pool_used = start + -(-max(count, 1) // ALIGNMENT) * ALIGNMENT
        return _Process.pool, start


def is_shared(tensor: Variable) -> bool:
    """Whether the memory of `tensor` is one that other processes can map."""
    return type(storage_array(tensor._data).base) is Block


def share(tensor: Variable) -> None:
    """Move the memory of `tensor`, and with it all tensors that show the same memory, into shared memory."""
    if not CAN_SHARE:
        raise NotImplementedError("share_memory_ needs a system that passes open files between processes (not Windows)")
    with _Process.lock:
        if is_shared(tensor):
            return
        old = storage_array(tensor._data)
        block, place = _allocate(old.nbytes)
        new: Any = np.ndarray((old.size,), old.dtype, block, place)
        new[...] = np.lib.stride_tricks.as_strided(old, (old.size,), (old.itemsize,))
        start = address(old)
        for holder in _holders(tensor, old):
            data = holder._data
            holder._data = np.ndarray(
                data.shape, data.dtype, new.view(np.uint8), address(data) - start if data.size else 0, data.strides
            )


def _holders(tensor: Variable, root: Any) -> list[Any]:
    """All tensors whose memory `root` is."""
    if tensor._data is root and _references(root) <= _references_of_a_sole_holder():
        return [tensor]
    # not isinstance: that asks each object for its class, which some answer with a warning
    tensors: list[Any] = [found for found in gc.get_objects() if issubclass(type(found), Variable)]
    return [t for t in tensors if _has_data(t) and storage_array(t._data) is root]


def _references(root: Any) -> int:
    return sys.getrefcount(root)


@functools.cache
def _references_of_a_sole_holder() -> int:
    """What `_references` says in `_holders` of memory that one tensor shows; it depends on the Python version."""

    def like_share() -> int:
        tensor = wrap(np.zeros(1))
        old = storage_array(tensor._data)
        return like_holders(tensor, old)

    def like_holders(tensor: Any, root: Any) -> int:
        return _references(root) if tensor._data is root else 0

    return like_share()


def _has_data(tensor: Any) -> bool:
    """Whether it is an ordinary tensor: one under construction, or a parameter without a shape, is not."""
    try:
        return isinstance(tensor._data, np.ndarray)
    except (AttributeError, RuntimeError, ValueError):
        return False


def reduce_block(block: Block) -> tuple[Any, ...]:
    """How a block travels: as its descriptor."""
    return _received_block, (reduction.DupFd(block.descriptor), len(block), block.key)


def _received_block(duplicate: Any, size: int, key: bytes) -> Block:
    try:
        descriptor = duplicate.detach()
    except (OSError, EOFError) as error:
        raise explain(
            RuntimeError("a tensor in shared memory was not received: the process that sent it has ended"),
            fix="keep the sender alive until the tensor has arrived (an Event, a second queue), or send tensor.numpy()",
        ) from error
    with _Process.lock:
        known = _Process.blocks.get(key)
        if known is not None:
            os.close(descriptor)
            return known
        try:
            return _mapped(descriptor, size, key)
        except BaseException:
            os.close(descriptor)
            raise


def reduce_tensor(tensor: Any) -> tuple[Any, ...]:
    """How a tensor travels to another process: as a place in shared memory, into which it is moved first."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(NON_LEAF)
    share(tensor)
    root, data = storage_array(tensor._data), tensor._data
    begin = address(root) - address(np.frombuffer(root.base, np.uint8, 1))
    place = (begin, root.size, address(data) - address(root) if data.size else 0, data.shape, data.strides)
    return _received_tensor, (type(tensor), root.base, data.dtype, place, tensor.requires_grad, tensor.__dict__ or None)


def _received_tensor(
    cls: Any, block: Block, dtype: Any, place: tuple[Any, ...], requires_grad: bool, attributes: dict[str, Any] | None
) -> Any:
    begin, count, offset, shape, strides = place
    root: Any = np.ndarray((count,), dtype, block, begin)
    made = object.__new__(cls)
    made._data = np.ndarray(shape, dtype, root.view(np.uint8), offset, strides)
    made._node, made._counter, made._view = None, [0], None
    if requires_grad:
        made._node = leaf_node(made)
    made.__dict__.update(attributes or {})
    return made


def register(cls: type[Any]) -> None:
    """Let queues, pipes, pools and new processes pass tensors of exactly this class through shared memory."""
    if CAN_SHARE:
        reduction.ForkingPickler.register(Block, reduce_block)
        reduction.ForkingPickler.register(cls, reduce_tensor)
