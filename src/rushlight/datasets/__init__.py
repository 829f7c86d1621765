"""Data sets of images, read from the files their authors publish: `rushlight.datasets`."""

from rushlight.datasets.cifar import CIFAR10
from rushlight.datasets.digits import Digits
from rushlight.datasets.download import DownloadError
from rushlight.datasets.mnist import KMNIST, MNIST, FashionMNIST
from rushlight.datasets.vision import ImageDataset

__all__ = ["CIFAR10", "KMNIST", "MNIST", "Digits", "DownloadError", "FashionMNIST", "ImageDataset"]
