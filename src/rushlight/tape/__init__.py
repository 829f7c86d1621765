"""The tape: nodes, recording, in-place history and the backward walk.

A tensor that requires a gradient has a node: the one of the op that made it, `AccumulateGrad` for a leaf, a `Port`
for one of several results. A node keeps edges (the nodes of its operands) and the values its formulas name, never
tensors. `backward` hands formulas raw arrays; with `create_graph` it hands them tensors.
"""

from rushlight.tape.inplace import (
    apply_inplace,
    bump,
    chain_of,
    check_castable,
    check_no_overlap,
    check_no_partial_overlap,
    check_view,
    check_writable,
    rebase,
    root_of,
    write,
)
from rushlight.tape.node import (
    AccumulateGrad,
    CopySlices,
    Node,
    Port,
    RemovableHandle,
    changed_error,
    freed_error,
    hooks_of,
    leaf_node,
    maker_of,
    node_class,
    replay,
    revive,
)
from rushlight.tape.record import inference_error, make_node, needs_grad, record, sync
from rushlight.tape.variable import Variable, as_array, make_view, plain_tensor, wrap
from rushlight.tape.walk import current_walk, run_backward, will_run
from rushlight.tape.where import caller, place

__all__ = [
    "AccumulateGrad",
    "CopySlices",
    "Node",
    "Port",
    "RemovableHandle",
    "Variable",
    "apply_inplace",
    "as_array",
    "bump",
    "caller",
    "chain_of",
    "changed_error",
    "check_castable",
    "check_no_overlap",
    "check_no_partial_overlap",
    "check_view",
    "check_writable",
    "current_walk",
    "freed_error",
    "hooks_of",
    "inference_error",
    "leaf_node",
    "make_node",
    "make_view",
    "maker_of",
    "needs_grad",
    "node_class",
    "place",
    "plain_tensor",
    "rebase",
    "record",
    "replay",
    "revive",
    "root_of",
    "run_backward",
    "sync",
    "will_run",
    "wrap",
    "write",
]
