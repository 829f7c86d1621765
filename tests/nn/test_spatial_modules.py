"""Spatial layers beside PyTorch's: repr, state dicts, default initialisation, lazy forms, behaviour."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from tests.nn.spatial import needs_torch, same_error, torch

pytestmark = needs_torch

Make = Callable[[Any], Any]

LAYERS: list[tuple[Make, tuple[int, ...]]] = [
    (lambda n: n.Conv1d(4, 6, 3), (2, 4, 9)),
    (lambda n: n.Conv1d(4, 6, (2,), groups=2, bias=False), (4, 9)),
    (lambda n: n.Conv2d(3, 4, (3, 5), (2, 1), (1, 2), dilation=(1, 2)), (2, 3, 9, 12)),
    (lambda n: n.Conv2d(3, 4, 3, padding="same", padding_mode="reflect", dilation=2), (2, 3, 9, 8)),
    (lambda n: n.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4), (2, 4, 5, 6)),
    (lambda n: n.Conv2d(2, 4, 3, padding=(1, 2), padding_mode="replicate"), (2, 2, 5, 6)),
    (lambda n: n.Conv2d(2, 4, 3, padding="valid"), (2, 2, 5, 6)),
    (lambda n: n.Conv3d(2, 4, 2, stride=2), (2, 2, 4, 5, 6)),
    (lambda n: n.ConvTranspose1d(4, 6, 3, 2, output_padding=1), (2, 4, 5)),
    (lambda n: n.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, dilation=2), (2, 4, 5, 4)),
    (lambda n: n.ConvTranspose3d(2, 3, 2, bias=False), (2, 2, 3, 2, 2)),
    (lambda n: n.BatchNorm1d(3), (4, 3)),
    (lambda n: n.BatchNorm1d(3, momentum=None), (4, 3, 5)),
    (lambda n: n.BatchNorm2d(3, affine=False), (4, 3, 5, 2)),
    (lambda n: n.BatchNorm2d(3, eps=1e-3, momentum=0.3, track_running_stats=False), (4, 3, 5, 2)),
    (lambda n: n.BatchNorm3d(3, bias=False), (2, 3, 2, 2, 2)),
    (lambda n: n.SyncBatchNorm(3), (4, 3, 2)),
    (lambda n: n.InstanceNorm1d(3), (2, 3, 5)),
    (lambda n: n.InstanceNorm2d(3, affine=True, track_running_stats=True), (3, 4, 5)),
    (lambda n: n.InstanceNorm3d(3, affine=True), (2, 3, 2, 3, 2)),
    (lambda n: n.LayerNorm((3, 4)), (2, 3, 4)),
    (lambda n: n.LayerNorm(4, elementwise_affine=False), (2, 3, 4)),
    (lambda n: n.LayerNorm(4, bias=False, eps=1e-3), (2, 3, 4)),
    (lambda n: n.GroupNorm(2, 4), (2, 4, 3)),
    (lambda n: n.GroupNorm(2, 4, affine=False), (2, 4, 3)),
    (lambda n: n.RMSNorm(4), (2, 3, 4)),
    (lambda n: n.RMSNorm((3, 4), eps=1e-3, elementwise_affine=False), (2, 3, 4)),
    (lambda n: n.LocalResponseNorm(2), (2, 4, 3)),
    (lambda n: n.CrossMapLRN2d(3), (2, 4, 3, 2)),
    (lambda n: n.MaxPool1d(2), (2, 3, 7)),
    (lambda n: n.MaxPool2d((2, 3), 1, (1, 0), 1, True, True), (2, 3, 7, 8)),
    (lambda n: n.MaxPool3d(2, ceil_mode=True), (2, 3, 3, 4, 5)),
    (lambda n: n.AvgPool1d(3, 2, 1), (2, 3, 7)),
    (lambda n: n.AvgPool2d(2, 1, 1, True, False, 3), (2, 3, 5, 6)),
    (lambda n: n.AvgPool2d((2, 3)), (2, 3, 5, 6)),
    (lambda n: n.AvgPool3d(2), (2, 3, 3, 4, 5)),
    (lambda n: n.AdaptiveAvgPool1d(3), (2, 3, 7)),
    (lambda n: n.AdaptiveAvgPool2d((1, None)), (2, 3, 7, 5)),
    (lambda n: n.AdaptiveAvgPool3d(2), (2, 3, 3, 4, 5)),
    (lambda n: n.AdaptiveMaxPool1d(3), (2, 3, 7)),
    (lambda n: n.AdaptiveMaxPool2d((1, 2), True), (2, 3, 7, 5)),
    (lambda n: n.AdaptiveMaxPool3d((1, 2, None)), (2, 3, 3, 4, 5)),
    (lambda n: n.FractionalMaxPool2d(2, output_size=3), (2, 3, 7, 8)),
    (lambda n: n.FractionalMaxPool3d(2, output_ratio=0.5), (2, 3, 7, 8, 6)),
    (lambda n: n.LPPool1d(2, 3), (2, 3, 7)),
    (lambda n: n.LPPool2d(2, (3, 2), 1, True), (2, 3, 7, 5)),
    (lambda n: n.LPPool3d(3, 2), (2, 3, 3, 4, 5)),
    (lambda n: n.ConstantPad1d(2, 1.5), (2, 3)),
    (lambda n: n.ConstantPad2d((1, 2, 3, 4), 0), (2, 3, 4)),
    (lambda n: n.ConstantPad3d(1, 1), (2, 3, 4, 2)),
    (lambda n: n.ReflectionPad1d(2), (2, 3, 4)),
    (lambda n: n.ReflectionPad2d((1, 2, 0, 1)), (2, 3, 4)),
    (lambda n: n.ReflectionPad3d(1), (2, 3, 4, 2, 3)),
    (lambda n: n.ReplicationPad1d(2), (2, 3, 4)),
    (lambda n: n.ReplicationPad2d(1), (2, 3, 4)),
    (lambda n: n.ReplicationPad3d(1), (2, 3, 4, 2, 3)),
    (lambda n: n.ZeroPad1d(1), (2, 3)),
    (lambda n: n.ZeroPad2d((1, 2, 3, 4)), (2, 3, 4)),
    (lambda n: n.ZeroPad3d(1), (2, 3, 4, 2)),
    (lambda n: n.CircularPad1d(1), (2, 3, 4)),
    (lambda n: n.CircularPad2d(1), (2, 3, 4, 5)),
    (lambda n: n.CircularPad3d(1), (2, 3, 4, 5)),
    (lambda n: n.Upsample(scale_factor=2), (2, 3, 4)),
    (lambda n: n.Upsample(size=3, mode="bilinear", align_corners=True), (2, 3, 4, 5)),
    (lambda n: n.Upsample(scale_factor=(2, 3), recompute_scale_factor=True), (2, 3, 4, 5)),
    (lambda n: n.UpsamplingNearest2d(2), (2, 3, 4, 5)),
    (lambda n: n.UpsamplingBilinear2d(scale_factor=2), (2, 3, 4, 5)),
    (lambda n: n.Fold((5, 6), 2, padding=1, stride=2), (2, 12, 12)),
    (lambda n: n.Unfold(2, 1, 1, 2), (2, 3, 5, 6)),
    (lambda n: n.PixelShuffle(2), (2, 8, 3, 2)),
    (lambda n: n.PixelUnshuffle(2), (2, 2, 4, 2)),
    (lambda n: n.ChannelShuffle(2), (2, 4, 3)),
]


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_layer(case: int) -> None:
    make, shape = LAYERS[case]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32) + 0.5
    seen: list[list[Any]] = []
    for m in (rushlight, torch):
        m.manual_seed(case)
        layer = make(m.nn)
        public = {k: v for k, v in vars(layer).items() if not k.startswith("_") and not hasattr(v, "numpy")}
        facts: list[Any] = [
            repr(layer),
            public,
            {k: (tuple(v.shape), str(v.dtype)) for k, v in layer.state_dict().items()},
        ]
        facts.append([(k, v.tolist()) for k, v in layer.named_parameters()])
        outs = []
        for training in (True, True, False):
            layer.train(training)
            out = layer(m.tensor(x))
            outs += [o.detach().numpy() for o in (out if isinstance(out, tuple) else (out,))]
        outs += [v.detach().numpy() for v in layer.state_dict().values()]
        seen.append([facts, outs])
    assert seen[0][0] == seen[1][0]
    for a, b in zip(seen[0][1], seen[1][1], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


LAZY: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    *((f"LazyConv{n}d", (4, 3), (2, 3, *(5,) * n)) for n in (1, 2, 3)),
    *((f"LazyConvTranspose{n}d", (4, 3), (2, 3, *(5,) * n)) for n in (1, 2, 3)),
    *((f"LazyBatchNorm{n}d", (), (2, 3, *(5,) * n)) for n in (1, 2, 3)),
    *((f"LazyInstanceNorm{n}d", (), (2, 3, *(5,) * n)) for n in (1, 2, 3)),
    ("LazyConv2d", (4, 3, 1, 0, 1, 1, False), (3, 5, 5)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), LAZY)
def test_lazy_layer(name: str, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    found = []
    for m in (rushlight, torch):
        m.manual_seed(1)
        layer = getattr(m.nn, name)(*arguments)
        before = repr(layer)
        layer(m.ones(shape))
        found.append(
            (before, repr(layer), type(layer).__name__, {k: v.tolist() for k, v in layer.state_dict().items()})
        )
    for a, b in zip(found[0][:3], found[1][:3], strict=True):
        assert a == b
    for key, value in found[1][3].items():
        np.testing.assert_allclose(found[0][3][key], value, rtol=1e-5, atol=1e-6)


def test_lazy_layers_load_state() -> None:
    layer = rushlight.nn.LazyConv2d(4, 3)
    layer.load_state_dict(rushlight.nn.Conv2d(3, 4, 3).state_dict())
    assert layer.weight.shape == (4, 3, 3, 3)


def test_pytorch_state_loads_key_for_key() -> None:
    def net(n: Any) -> Any:
        return n.Sequential(
            n.Conv2d(3, 8, 3, bias=False),
            n.BatchNorm2d(8),
            n.ReLU(),
            n.MaxPool2d(2),
            n.ConvTranspose2d(8, 4, 2, 2),
            n.GroupNorm(2, 4),
        )

    theirs = net(torch.nn)
    theirs(torch.randn(4, 3, 10, 10))
    ours = net(rushlight.nn)
    ours.load_state_dict({k: rushlight.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = torch.randn(2, 3, 10, 10)
    for training in (False, True):
        a, b = ours.train(training)(rushlight.tensor(x.numpy())), theirs.train(training)(x)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-5)
    copy = pickle.loads(pickle.dumps(ours))
    assert repr(copy) == repr(ours)


def test_batches_are_counted_and_forgotten() -> None:
    layer = rushlight.nn.BatchNorm1d(2)
    for _ in range(3):
        layer(rushlight.rand(4, 2))
    assert layer.num_batches_tracked.item() == 3 and layer.num_batches_tracked.dtype is rushlight.int64
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0 and layer.running_var.tolist() == [1, 1]
    old = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    rushlight.nn.BatchNorm1d(2).load_state_dict(old)


def test_output_size_of_transposed_convolution() -> None:
    for size in ((12, 12), (1, 2, 12, 11), (11, 11)):
        shapes = [m.nn.ConvTranspose2d(4, 2, 3, stride=2)(m.zeros(1, 4, 5, 5), size).shape for m in (rushlight, torch)]
        assert tuple(shapes[0]) == tuple(shapes[1])
    for size in ((20, 20), (12,)):
        same_error(lambda m, s=size: m.nn.ConvTranspose2d(4, 2, 3, stride=2)(m.zeros(1, 4, 5, 5), output_size=s))


def test_sync_batch_norm() -> None:
    net = rushlight.nn.Sequential(rushlight.nn.Conv2d(1, 2, 3), rushlight.nn.Sequential(rushlight.nn.BatchNorm2d(2)))
    net[1][0](rushlight.rand(2, 2, 3, 3))
    same = rushlight.nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert type(same[1][0]) is rushlight.nn.SyncBatchNorm
    assert same[1][0].num_batches_tracked.item() == 1 and same[1][0].weight is not None


ERRORS: list[Callable[[Any], Any]] = [
    lambda m: m.nn.Conv2d(3, 4, 3, groups=2),
    lambda m: m.nn.Conv2d(4, 3, 3, groups=2),
    lambda m: m.nn.Conv2d(4, 4, 3, groups=0),
    lambda m: m.nn.Conv2d(4, 4, 3, padding="same", stride=2),
    lambda m: m.nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"),
    lambda m: m.nn.Conv2d(4, 4, (3, 3, 3))(m.zeros(1, 4, 9, 9)),
    lambda m: m.nn.LazyConv2d(4, 3)(m.zeros(4, 9)),
    lambda m: m.nn.BatchNorm2d(3)(m.zeros(2, 3, 4)),
    lambda m: m.nn.BatchNorm1d(3)(m.zeros(2, 3, 4, 4)),
    lambda m: m.nn.BatchNorm3d(3)(m.zeros(2, 3, 4, 4)),
    lambda m: m.nn.BatchNorm2d(3)(m.zeros(2, 4, 4, 4)),
    lambda m: m.nn.BatchNorm2d(3)(m.zeros(1, 3, 1, 1)),
    lambda m: m.nn.InstanceNorm2d(3)(m.zeros(2, 3)),
    lambda m: m.nn.InstanceNorm1d(4, affine=True)(m.zeros(2, 3, 5)),
    lambda m: m.nn.GroupNorm(3, 4),
    lambda m: m.nn.LayerNorm(4)(m.zeros(2, 3)),
    lambda m: m.nn.FractionalMaxPool2d(2),
    lambda m: m.nn.FractionalMaxPool2d(2, output_size=2, output_ratio=0.5),
    lambda m: m.nn.FractionalMaxPool3d(2, output_ratio=1.5),
    lambda m: m.nn.CircularPad2d(1)(m.zeros(2, 3)),
    lambda m: m.nn.CrossMapLRN2d(3)(m.zeros(2, 3, 4)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    same_error(ERRORS[case])


def test_a_layer_without_affine_warns_about_its_features() -> None:
    with pytest.warns(UserWarning, match="does not match num_features"):
        rushlight.nn.InstanceNorm1d(3)(rushlight.rand(2, 4, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rushlight.nn.InstanceNorm1d(4)(rushlight.rand(4, 5))


def test_an_unknown_padding_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Invalid padding string 'foo', should be one of"):
        rushlight.nn.Conv2d(4, 4, 3, padding="foo")
    with pytest.raises(ValueError, match=r"padding_mode must be one of {.*'reflect'.*}, but got padding_mode='foo'"):
        rushlight.nn.Conv2d(4, 4, 3, padding_mode="foo")
