"""Automatic differentiation: PyTorch's `torch.autograd`."""

from rushlight.autograd import anomaly_mode, forward_ad, function, functional, grad_mode, graph, profiler
from rushlight.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from rushlight.autograd.function import Function
from rushlight.autograd.gradcheck import gradcheck, gradgradcheck
from rushlight.functions.backward import backward, grad
from rushlight.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from rushlight.tensor import Tensor

Variable = Tensor

__all__ = [
    "Function",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
