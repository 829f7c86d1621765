"""Values and gradients recorded from PyTorch 2.13, so that the spatial functions are checked without it too."""

from __future__ import annotations

import math
from typing import Any

import pytest

import rushlight
from rushlight import nn

# function, shapes of its operands, options; sum and sum of squares of the result, then each gradient times its operand
GOLDEN: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any], list[float]]] = {
    "conv2d": (
        "conv2d",
        [(2, 4, 6, 5), (6, 2, 3, 2), (6,)],
        {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "groups": 2},
        [115.29675, 262.59741, -12.53481, -12.53481, 4.62711],
    ),
    "conv1d": (
        "conv1d",
        [(2, 3, 9), (4, 3, 3), (4,)],
        {"padding": "same"},
        [35.69379, 30.7304, 0.21806, 0.21806, -3.82955],
    ),
    "conv3d": ("conv3d", [(1, 2, 4, 3, 5), (3, 2, 2, 2, 3), (3,)], {}, [25.77098, 50.85012, 1.7339, 1.7339, 0.60816]),
    "conv_transpose2d": (
        "conv_transpose2d",
        [(2, 4, 3, 4), (4, 3, 3, 2), (3,)],
        {"stride": 2, "padding": 1, "output_padding": 1},
        [85.57236, 69.6852, 0.15439, 0.15439, 0.75556],
    ),
    "max_pool2d": (
        "max_pool2d",
        [(2, 3, 7, 6)],
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        [77.0628, 68.8352, 9.21295],
    ),
    "avg_pool2d": (
        "avg_pool2d",
        [(2, 3, 7, 6)],
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
        [0.66167, 3.37057, 0.05132],
    ),
    "adaptive_avg_pool2d": (
        "adaptive_avg_pool2d",
        [(2, 3, 7, 6)],
        {"output_size": (3, 4)},
        [-0.03258, 0.1663, -0.04401],
    ),
    "adaptive_max_pool2d": (
        "adaptive_max_pool2d",
        [(2, 3, 7, 6)],
        {"output_size": (3, 4)},
        [64.51395, 58.63954, 2.02233],
    ),
    "lp_pool2d": ("lp_pool2d", [(2, 3, 6, 6)], {"norm_type": 2.0, "kernel_size": 2}, [74.44942, 107.27812, 1.82708]),
    "batch_norm": (
        "batch_norm",
        [(4, 3, 5)],
        {"running_mean": None, "running_var": None, "training": True},
        [-0.0, 59.99786, 0.0011],
    ),
    "layer_norm": ("layer_norm", [(4, 3, 5)], {"normalized_shape": (3, 5)}, [0.0, 59.99875, 0.00086]),
    "group_norm": ("group_norm", [(4, 6, 5)], {"num_groups": 3}, [-0.0, 119.99571, 0.0022]),
    "instance_norm": ("instance_norm", [(4, 3, 5)], {}, [-0.0, 59.98964, 0.00221]),
    "rms_norm": ("rms_norm", [(4, 5)], {"normalized_shape": (5,)}, [3.09174, 19.99999, 0.0]),
    "local_response_norm": (
        "local_response_norm",
        [(2, 5, 4)],
        {"size": 3, "alpha": 0.5},
        [3.63595, 15.65213, 13.57111],
    ),
    "bilinear": (
        "interpolate",
        [(2, 2, 4, 5)],
        {"size": (7, 3), "mode": "bilinear", "align_corners": False},
        [3.61979, 28.05994, 21.42206],
    ),
    "bicubic": ("interpolate", [(2, 2, 4, 5)], {"scale_factor": 1.7, "mode": "bicubic"}, [0.33823, 82.02947, 3.61283]),
    "reflect": ("pad", [(2, 2, 4, 5)], {"pad": (2, 1, 3, 0), "mode": "reflect"}, [5.51161, 108.68297, 19.91602]),
    "unfold": ("unfold", [(2, 2, 4, 5)], {"kernel_size": 2, "padding": 1, "stride": 2}, [3.80525, 39.22594, 0.87416]),
    "pixel_shuffle": ("pixel_shuffle", [(2, 8, 2, 3)], {"upscale_factor": 2}, [4.609, 47.05874, -3.63282]),
    "grid_sample": (
        "grid_sample",
        [(2, 2, 4, 5), (2, 3, 3, 2)],
        {"align_corners": False},
        [2.59529, 7.54511, 1.03031, -1.14832],
    ),
}
# sum, first and last element of each parameter after manual_seed(0)
PARAMETERS = [
    (-0.625548, -0.001765, 0.031842), (0.063175, 0.158035, 0.043922), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0),
    (0.195699, -0.274112, -0.329496), (0.216137, 0.444246, 0.192278), (-0.112856, -0.296152, 0.183296),
]  # fmt: skip


def wave(*shape: int) -> Any:
    """The same numbers in PyTorch and here."""
    return (rushlight.arange(float(math.prod(shape))) * 0.37).sin().view(shape)


@pytest.mark.parametrize("name", GOLDEN)
def test_function(name: str) -> None:
    function, shapes, options, expected = GOLDEN[name]
    operands = [wave(*shape).requires_grad_() for shape in shapes]
    out = getattr(nn.functional, function)(*operands, **options)
    (out * wave(*out.shape)).sum().backward()
    found = [out.sum().item(), (out * out).sum().item()]
    found += [(t.grad * wave(*t.shape)).sum().item() for t in operands]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_default_initialisation() -> None:
    rushlight.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 2, 2, bias=False), nn.Conv1d(2, 2, 2)
    ]  # fmt: skip
    parameters = [p for layer in layers for p in layer.parameters()]
    found = [(p.sum().item(), p.flatten()[0].item(), p.flatten()[-1].item()) for p in parameters]
    for a, b in zip(found, PARAMETERS, strict=True):
        assert a == pytest.approx(b, abs=2e-6)


def test_reprs() -> None:
    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.Upsample(scale_factor=2))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))\n"
        "  (1): BatchNorm2d(6, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "  (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        "  (3): Upsample(scale_factor=2.0, mode='nearest')\n"
        ")"
    )
    assert list(net.state_dict()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"
    ]  # fmt: skip


def test_a_small_network_learns() -> None:
    images = rushlight.randn(32, 1, 8, 8)
    labels = (images.mean((1, 2, 3)) > 0).long()
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2)
    )
    optimizer = rushlight.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
