"""The public functions on tensors: PyTorch's names and arguments, in terms of ops. Most are tensor methods too."""
