"""Functions on stacks of matrices: what `torch.linalg` and the matrix methods of tensors offer."""
