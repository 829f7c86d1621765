"""Layers, losses and containers: `rushlight.nn`."""

from rushlight.nn.containers import Container, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from rushlight.nn.module import Module
from rushlight.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "Container",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "Sequential",
    "UninitializedBuffer",
    "UninitializedParameter",
]
