"""How results lie in memory: channels-last operands, permuted ones, gradients of both. PyTorch's strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends.memory_format import channels_last, is_channels_last


def image(t: Any, *shape: int) -> Any:
    """Normal numbers [N, C, *] with the channels last in memory."""
    form = t.channels_last if len(shape) == 4 else t.channels_last_3d
    return t.randn(*shape).to(memory_format=form)


Case = Callable[[Any, Any, Any], Any]
# name: function of a module, its functional module and a channels-last [4, 6, 8, 8]
IMAGES: dict[str, Case] = {
    "conv2d": lambda t, f, x: f.conv2d(x, t.ones(5, 6, 3, 3)),
    "conv2d in groups": lambda t, f, x: f.conv2d(x, t.ones(6, 1, 3, 3), groups=6),
    "conv2d by a channels-last weight": lambda t, f, x: f.conv2d(x.contiguous(), image(t, 5, 6, 3, 3)),
    "conv2d by one position": lambda t, f, x: f.conv2d(x, t.ones(6, 6, 1, 1), t.ones(6)),
    "conv2d of doubles": lambda t, f, x: f.conv2d(x.double(), t.ones(6, 6, 1, 1).double()),
    "conv2d of one image": lambda t, f, x: f.conv2d(x[0], t.ones(5, 6, 3, 3)),
    "conv_transpose2d": lambda t, f, x: f.conv_transpose2d(x, t.ones(6, 6, 2, 2), stride=2),
    "conv3d": lambda t, f, x: f.conv3d(image(t, 2, 3, 4, 5, 6), t.ones(4, 3, 1, 2, 2)),
    "max_pool2d": lambda t, f, x: f.max_pool2d(x, 2),
    "max_pool3d": lambda t, f, x: f.max_pool3d(image(t, 2, 3, 4, 5, 6), 2),
    "avg_pool2d": lambda t, f, x: f.avg_pool2d(x, 2),
    "avg_pool3d": lambda t, f, x: f.avg_pool3d(image(t, 2, 3, 4, 5, 6), 2),
    "adaptive_avg_pool2d": lambda t, f, x: f.adaptive_avg_pool2d(x, 3),
    "adaptive_max_pool2d": lambda t, f, x: f.adaptive_max_pool2d(x, 3),
    "batch_norm": lambda t, f, x: f.batch_norm(x, None, None, t.ones(6), t.ones(6), True),
    "batch_norm, frozen": lambda t, f, x: f.batch_norm(x, t.ones(6), t.ones(6)),
    "group_norm": lambda t, f, x: f.group_norm(x, 2),
    "instance_norm": lambda t, f, x: f.instance_norm(x),
    "layer_norm": lambda t, f, x: f.layer_norm(x, (8,)),
    "pad": lambda t, f, x: f.pad(x, (1, 2, 0, 1)),
    "pad by reflection": lambda t, f, x: f.pad(x, (1, 1, 1, 1), "reflect"),
    "nearest": lambda t, f, x: f.interpolate(x, scale_factor=2),
    "bilinear": lambda t, f, x: f.interpolate(x, scale_factor=2, mode="bilinear"),
    "pixel_unshuffle": lambda t, f, x: f.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda t, f, x: f.channel_shuffle(x, 2),
    "gelu": lambda t, f, x: f.gelu(x),
    "softmax": lambda t, f, x: f.softmax(x, 1),
    "cat": lambda t, f, x: t.cat([x, x], 1),
    "sum": lambda t, f, x: x.sum(0),
    "mean": lambda t, f, x: x.mean((2, 3), keepdim=True),
    "gradient of conv2d": lambda t, f, x: t.autograd.grad(
        f.conv2d(x.requires_grad_(), t.ones(5, 6, 3, 3)).pow(2).sum(), x
    )[0],
    "gradient of max_pool2d": lambda t, f, x: t.autograd.grad(f.max_pool2d(x.requires_grad_(), 2).pow(2).sum(), x)[0],
    "gradient of batch_norm": lambda t, f, x: t.autograd.grad(
        f.batch_norm(x.requires_grad_(), None, None, None, None, True).pow(2).sum(), x
    )[0],
}
# of a permuted [6, 4, 5], whose dims lie in memory as 4, 5, 6
PERMUTED: dict[str, Case] = {
    "exp": lambda t, f, x: x.exp(),
    "sum": lambda t, f, x: x.sum(1),
    "amax": lambda t, f, x: x.amax(1, keepdim=True),
    "cumsum": lambda t, f, x: x.cumsum(1),
    "cumprod": lambda t, f, x: x.cumprod(1),
    "tril": lambda t, f, x: x.tril(),
    "clone": lambda t, f, x: x.clone(),
    "index_add": lambda t, f, x: x.index_add(0, t.tensor([1, 0]), t.ones(2, 4, 5)),
    "index_copy": lambda t, f, x: x.index_copy(0, t.tensor([1, 0]), t.ones(2, 4, 5)),
    "index_fill": lambda t, f, x: x.index_fill(0, t.tensor([1, 0]), 2.0),
    "scatter_add": lambda t, f, x: x.scatter_add(0, t.zeros(2, 4, 5, dtype=t.int64), t.ones(2, 4, 5)),
    "masked_scatter": lambda t, f, x: x.masked_scatter(x > 0, t.ones(120)),
    "index_select": lambda t, f, x: x.index_select(1, t.tensor([0, 1])),
    "product": lambda t, f, x: x @ t.ones(5, 3),
}


def strides(module: Any, case: Case, permuted: bool) -> tuple[int, ...]:
    """Strides of a case's result."""
    x = module.randn(4, 5, 6).permute(2, 0, 1) if permuted else image(module, 4, 6, 8, 8)
    return tuple(case(module, module.nn.functional, x).stride())


@pytest.mark.parametrize("name", IMAGES)
def test_images_lie_as_in_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert strides(rushlight, IMAGES[name], False) == strides(torch, IMAGES[name], False)


@pytest.mark.parametrize("name", PERMUTED)
def test_permuted_tensors_lie_as_in_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert strides(rushlight, PERMUTED[name], True) == strides(torch, PERMUTED[name], True)


@pytest.mark.parametrize("large", [False, True], ids=["on NumPy", "by kernels"])
def test_channels_stay_last_through_a_network(large: bool) -> None:
    n = 32 if large else 8
    net = rushlight.nn.Sequential(
        *(
            rushlight.nn.Conv2d(3, 8, 3, bias=False),
            rushlight.nn.BatchNorm2d(8),
            rushlight.nn.GELU(),
            rushlight.nn.MaxPool2d(2),
        )
    ).to(memory_format=rushlight.channels_last)
    twin = rushlight.nn.Sequential(
        *(
            rushlight.nn.Conv2d(3, 8, 3, bias=False),
            rushlight.nn.BatchNorm2d(8),
            rushlight.nn.GELU(),
            rushlight.nn.MaxPool2d(2),
        )
    )
    twin.load_state_dict(net.state_dict())
    x = image(rushlight, 16, 3, n, n)
    out, expected = net(x), twin(x.contiguous())
    assert out.is_contiguous(memory_format=rushlight.channels_last)
    assert expected.is_contiguous()
    rushlight.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    out.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert a.grad.stride() == a.stride()
        assert b.grad.stride() == b.stride()
        rushlight.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)


def test_a_gradient_lies_as_its_leaf() -> None:
    x = rushlight.randn(5, 4).t().requires_grad_()
    (x * rushlight.randn(4, 5)).sum().backward()
    assert x.grad.stride() == x.stride() == (1, 4)
    sliced = rushlight.randn(4, 10)[:, ::2].requires_grad_()
    (sliced * 2).sum().backward()
    assert sliced.grad.stride() == (5, 1)


def test_sizes_of_one_say_nothing() -> None:
    assert not is_channels_last(np.empty((4, 3, 1, 1), np.float32))
    assert is_channels_last(np.moveaxis(np.empty((4, 1, 1, 3), np.float32), -1, 1))
    assert not is_channels_last(np.empty((4, 1, 5, 5), np.float32))
    assert is_channels_last(channels_last(np.empty((4, 3, 5, 5), np.float32)))
    assert not is_channels_last(np.empty((4, 3, 0, 5), np.float32))
