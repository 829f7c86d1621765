"""PyTorch's path of channel shuffling."""

from rushlight.nn.channelshuffle import ChannelShuffle

__all__ = ["ChannelShuffle"]
