"""Stands in for PyTorch in worker processes of a program that called `install_as_torch`."""

from rushlight.torch_alias import install_as_torch

install_as_torch()
