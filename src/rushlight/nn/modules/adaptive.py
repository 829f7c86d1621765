"""PyTorch's path of the adaptive softmax."""

from rushlight.nn.adaptive import AdaptiveLogSoftmaxWithLoss

__all__ = ["AdaptiveLogSoftmaxWithLoss"]
