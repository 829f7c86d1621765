"""The default process group: how processes find together, and who they are."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from rushlight.config import launcher
from rushlight.distributed.group import ProcessGroup
from rushlight.distributed.reduction import DistStoreError
from rushlight.distributed.store import HashStore, PrefixStore, Store, TCPStore
from rushlight.nn.parallel.distributed import DefaultGroup
from rushlight.utils.data.distributed import World

default_pg_timeout = timedelta(minutes=30)
BACKENDS = ("gloo",)


class _Here:
    """What this process belongs to."""

    store: Store | None = None
    own_store: TCPStore | None = None
    address = "127.0.0.1"
    groups = 0


class _NonMember:
    """Stands for a group that this process is not part of."""

    def __repr__(self) -> str:
        return "GroupMember.NON_GROUP_MEMBER"


class GroupMember:
    """`WORLD` is the group of all processes."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER: Any = _NonMember()


group = GroupMember


def is_available() -> bool:
    """Whether there is `rushlight.distributed`: yes."""
    return True


def is_initialized() -> bool:
    """Whether the default process group is there."""
    return GroupMember.WORLD is not None


def is_gloo_available() -> bool:
    """Whether processes can talk over TCP: yes, under the name of PyTorch's engine for the CPU."""
    return True


def is_nccl_available() -> bool:
    """Whether NVIDIA's engine is there: no."""
    return False


is_mpi_available = is_ucc_available = is_xccl_available = is_nccl_available


def is_backend_available(backend: str) -> bool:
    """Whether there is an engine of that name."""
    return backend.lower() in BACKENDS


def is_torchelastic_launched() -> bool:
    """Whether a launcher that restarts processes has started this one."""
    return "TORCHELASTIC_RUN_ID" in launcher()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank of this process on its machine, which the launcher states."""
    text = launcher().get("LOCAL_RANK")
    if text is None and fallback_rank is None:
        raise RuntimeError(
            "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to "
            "work, assuming you are not running in a multi-device context and want the code to run locally instead."
        )
    return int(text) if text is not None else int(fallback_rank or 0)


def _checked_backend(backend: str | None) -> str:
    name = (backend or "gloo").lower()
    # "cpu:gloo,cuda:nccl" names an engine for each kind of device
    chosen = dict(part.partition(":")[::2] for part in name.split(",")).get("cpu", name) if ":" in name else name
    if chosen not in BACKENDS:
        reasons = {"nccl": "it needs NVIDIA GPUs", "mpi": "it is not there yet", "ucc": "it is not there"}
        raise RuntimeError(f"backend {chosen!r} is not available: {reasons.get(chosen, 'unknown name')}; use 'gloo'")
    return chosen


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Store | None = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Find together with the other processes of the program; all must call it.

    Parameters
    ----------
    backend : str, optional
        "gloo": TCP between processes, on one machine or several.
    init_method : str, optional
        "env://" (default): the environment variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as `torchrun` sets
        them. "tcp://host:port": the address of rank 0. "file:///path": a file of this machine that does not exist yet.
    timeout : timedelta, optional
        How long any operation may take; 30 minutes by default.
    world_size, rank : int, optional
        Instead of the environment's.
    store : Store, optional
        Instead of `init_method`.

    Raises
    ------
    RuntimeError
        If not all processes come within the timeout.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise ValueError("Cannot specify both init_method and store.")
    wait = timeout or default_pg_timeout
    if store is None:
        url = init_method or "env://"
        rank, world_size = _place(url, rank, world_size)
        name = _checked_backend(backend)
        _Here.store = _store(url, rank, world_size, wait)
    else:
        if rank < 0 or world_size < 1:
            raise ValueError("world_size and rank must be positive when a store is given")
        name = _checked_backend(backend)
        _Here.store = store
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not between 0 and world_size {world_size} - 1")
    under = _Here.store
    _Here.address = under.local_address if isinstance(under, TCPStore) else "127.0.0.1"
    _Here.groups = 0
    try:
        made = ProcessGroup(under, list(range(world_size)), rank, _Here.address, wait, "world", name)
    except BaseException:
        _forget_store()
        raise
    GroupMember.WORLD = DefaultGroup.group = made
    World.size_and_rank = staticmethod(lambda: (get_world_size(), get_rank()))


def _place(url: str, rank: int, world_size: int) -> tuple[int, int]:
    """Rank and number of processes: given, in the URL's query, or from the environment."""
    query = {key: values[0] for key, values in parse_qs(urlparse(url).query).items()}
    rank, world_size = int(query.get("rank", rank)), int(query.get("world_size", world_size))
    if urlparse(url).scheme == "env":
        rank = rank if rank >= 0 else int(_from_launcher("RANK"))
        world_size = world_size if world_size > 0 else int(_from_launcher("WORLD_SIZE"))
    if rank < 0 or world_size < 1:
        raise ValueError(f"Error initializing torch.distributed using {url}: rank and world_size are needed")
    return rank, world_size


def _from_launcher(name: str) -> str:
    value = launcher().get(name)
    if value is None:
        raise ValueError(
            f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} expected, but "
            "not set"
        )
    return value


def _store(url: str, rank: int, world_size: int, timeout: timedelta) -> Store:
    parts = urlparse(url)
    if parts.scheme == "env":
        host, port = _from_launcher("MASTER_ADDR"), int(_from_launcher("MASTER_PORT"))
    elif parts.scheme == "tcp" and parts.hostname and parts.port:
        host, port = parts.hostname, parts.port
    elif parts.scheme == "file" and parts.path:
        return _store_by_file(Path(parts.path), rank, world_size, timeout)
    else:
        raise ValueError(f"init_method {url!r}: use env://, tcp://host:port or file:///path")
    if world_size == 1:
        return HashStore()
    _Here.own_store = TCPStore(host, port, None, rank == 0, timeout)
    return _Here.own_store


def _store_by_file(path: Path, rank: int, world_size: int, timeout: timedelta) -> Store:
    """Rank 0 writes the address of its store into the file."""
    if world_size == 1:
        return HashStore()
    if rank == 0:
        store = TCPStore("127.0.0.1", 0, None, True, timeout)
        whole = path.with_name(f".{path.name}.whole")
        whole.write_text(str(store.port))
        whole.replace(path)
    else:
        end = time.monotonic() + timeout.total_seconds()
        while not path.exists():
            if time.monotonic() > end:
                raise DistStoreError(f"rank 0 has not written {path} in {timeout.total_seconds():g} seconds")
            time.sleep(0.01)
        store = TCPStore("127.0.0.1", int(path.read_text()), None, False, timeout)
    _Here.own_store = store
    return store


def _forget_store() -> None:
    if _Here.own_store is not None:
        with contextlib.suppress(OSError):
            _Here.own_store.close()
    _Here.store = _Here.own_store = None


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave a group; the default group with all others."""
    target = chosen(group)
    if target is GroupMember.NON_GROUP_MEMBER:
        return
    target.close()
    if target is GroupMember.WORLD:
        GroupMember.WORLD = DefaultGroup.group = None
        _forget_store()


def chosen(group: Any = None) -> Any:
    """The group that is meant: the default one for None."""
    if group is not None:
        return group
    if GroupMember.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return GroupMember.WORLD


def get_rank(group: Any = None) -> int:
    """The rank of this process; -1 outside of `group`."""
    found = chosen(group)
    return -1 if found is GroupMember.NON_GROUP_MEMBER else int(found.rank())


def get_world_size(group: Any = None) -> int:
    """Number of processes; -1 outside of `group`."""
    found = chosen(group)
    return -1 if found is GroupMember.NON_GROUP_MEMBER else int(found.size())


def get_backend(group: Any = None) -> str:
    """The name of the engine."""
    return str(chosen(group).backend)


def get_process_group_ranks(group: Any = None) -> list[int]:
    """Ranks in the whole program of a group's processes."""
    return list(chosen(group).ranks)


def get_group_rank(group: Any, global_rank: int) -> int:
    """The rank within a group of a process of the whole program."""
    if global_rank not in group.ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return int(group.ranks.index(global_rank))


def get_global_rank(group: Any, group_rank: int) -> int:
    """The rank in the whole program of a process of a group."""
    if not 0 <= group_rank < len(group.ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return int(group.ranks[group_rank])


def new_group(
    ranks: list[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:
    """A group of some processes; all processes of the program must call it, in the same order."""
    world = chosen()
    members = list(world.ranks) if ranks is None else sorted(ranks) if sort_ranks else list(ranks)
    if len(set(members)) != len(members) or not set(members) <= set(world.ranks):
        raise RuntimeError("The new group's rank should be within the world_size set by init_process_group")
    name = _checked_backend(backend)
    _Here.groups += 1
    if world.rank() not in members:
        return GroupMember.NON_GROUP_MEMBER
    store = _Here.store
    assert store is not None
    label = f"{_Here.groups}"
    return ProcessGroup(
        PrefixStore("new", store), members, world.rank(), _Here.address, timeout or world.timeout, label, name
    )
