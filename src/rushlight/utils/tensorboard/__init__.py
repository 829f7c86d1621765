"""Event files for TensorBoard: PyTorch's `torch.utils.tensorboard`."""

from rushlight.utils.tensorboard.record_file import records
from rushlight.utils.tensorboard.writer import SummaryWriter

__all__ = ["SummaryWriter", "records"]
