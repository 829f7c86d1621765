"""Several processes that train together: PyTorch's `torch.distributed`, over TCP (`backend="gloo"`).

Engines that use MPI or NCCL are not there.
"""

from rushlight.distributed.collectives import (
    P2POp,
    all_gather,
    all_gather_into_tensor,
    all_gather_object,
    all_reduce,
    all_to_all,
    all_to_all_single,
    barrier,
    batch_isend_irecv,
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
    irecv,
    isend,
    monitored_barrier,
    recv,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
    scatter_object_list,
    send,
)
from rushlight.distributed.group import ProcessGroup, Work
from rushlight.distributed.reduction import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    ReduceOp,
)
from rushlight.distributed.store import HashStore, PrefixStore, Store, TCPStore
from rushlight.distributed.world import (
    GroupMember,
    default_pg_timeout,
    destroy_process_group,
    get_backend,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_initialized,
    is_mpi_available,
    is_nccl_available,
    is_torchelastic_launched,
    is_ucc_available,
    is_xccl_available,
    new_group,
)
