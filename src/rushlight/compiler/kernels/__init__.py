"""Kernels with a shape of their own: matrix products, convolutions, pooling."""
