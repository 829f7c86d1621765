"""PyTorch's paths of the layers: `rushlight.nn.modules.linear.Linear` is `rushlight.nn.Linear`."""

from rushlight.nn.modules import container, lazy, module, utils
from rushlight.nn.modules.container import (
    Container,
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from rushlight.nn.modules.module import Module

__all__ = [
    "Container",
    "Module",
    "ModuleDict",
    "ModuleList",
    "ParameterDict",
    "ParameterList",
    "Sequential",
    "container",
    "lazy",
    "module",
    "utils",
]
