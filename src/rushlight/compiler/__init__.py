"""Array programs become native code: a traced step is a graph, fused into kernels that one native call runs."""
