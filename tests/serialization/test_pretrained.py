"""Weights that PyTorch saved load into our modules key for key, and give PyTorch's outputs."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:LSTM with projections")
TOLERANCE = 1e-5
Build = Callable[[Any], tuple[Any, list[Any]]]


def lstm(library: Any) -> tuple[Any, list[Any]]:
    """A two-layer bidirectional LSTM with an embedding and a linear layer around it."""
    nn = library.nn

    class Tagger(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(30, 12, padding_idx=0)
            self.lstm = nn.LSTM(12, 16, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
            self.tags = nn.Linear(32, 5)

        def forward(self, words: Any) -> Any:
            outputs, (hidden, cell) = self.lstm(self.embedding(words))
            return self.tags(outputs), hidden, cell

    return Tagger(), [np.arange(24).reshape(3, 8) % 30]


def gru_and_projection(library: Any) -> tuple[Any, list[Any]]:
    """A GRU whose outputs an LSTM with projections reads."""
    nn = library.nn

    class Pair(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.GRU(6, 10)
            self.second = nn.LSTM(10, 8, proj_size=3)

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x)[0])[0]

    return Pair(), [_waves(7, 2, 6)]


def transformer(library: Any) -> tuple[Any, list[Any]]:
    """Encoder and decoder with masks."""
    nn = library.nn

    class Translator(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.Transformer(16, 4, 2, 2, 32, batch_first=True, activation="gelu", norm_first=True)
            self.scores = nn.Linear(16, 11)

        def forward(self, source: Any, target: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            return self.scores(self.core(source, target, tgt_mask=mask, tgt_is_causal=True))

    return Translator(), [_waves(2, 6, 16), _waves(2, 5, 16)]


def transformer_encoder(library: Any) -> tuple[Any, list[Any]]:
    """Norms last, ReLU, sequence first: the defaults of the layer."""
    nn = library.nn
    layer = nn.TransformerEncoderLayer(12, 3, 24)
    return nn.TransformerEncoder(layer, 3, nn.LayerNorm(12), enable_nested_tensor=False), [_waves(5, 2, 12)]


def resnet(library: Any) -> tuple[Any, list[Any]]:
    """A stem, residual stages with strided shortcuts, and a classifier."""
    nn = library.nn

    class Residual(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(out + self.downsample(x))

    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
        *(Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 32, 2)),
        *(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(32, 10)),
    )
    return net, [_waves(2, 3, 32, 32)]


def grouped_and_transposed(library: Any) -> tuple[Any, list[Any]]:
    """Depthwise, dilated and transposed convolutions with group and instance norms."""
    nn = library.nn
    net = nn.Sequential(
        *(nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.GroupNorm(2, 8), nn.SiLU()),
        *(nn.Conv2d(8, 8, 3, dilation=2), nn.InstanceNorm2d(8, affine=True), nn.PReLU(8)),
        *(nn.ConvTranspose2d(8, 3, 4, 2, 1, output_padding=1), nn.Tanh()),
    )
    return net, [_waves(2, 4, 9, 9)]


def _waves(*shape: int) -> Any:
    return np.sin(np.arange(np.prod(shape)) * 0.7).astype(np.float32).reshape(shape)


BUILDS: list[Build] = [lstm, gru_and_projection, transformer, transformer_encoder, resnet, grouped_and_transposed]


def _flat(out: Any) -> list[Any]:
    return [piece.detach().numpy() for piece in (out if isinstance(out, tuple) else (out,))]


def _outputs(library: Any, model: Any, inputs: list[Any]) -> list[Any]:
    with library.no_grad():
        return _flat(model(*map(library.from_numpy, inputs)))


def _trained(build: Build) -> tuple[Any, list[Any]]:
    """A PyTorch model whose weights and running statistics have moved from where they start."""
    torch.manual_seed(3)
    model, inputs = build(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(*map(torch.from_numpy, inputs))
        (out[0] if isinstance(out, tuple) else out).square().mean().backward()
        optimizer.step()
    return model.eval(), inputs


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_pytorchs_state_dict_gives_pytorchs_outputs(build: Build, legacy: bool, tmp_path: Path) -> None:
    theirs, inputs = _trained(build)
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    ours, _ = build(rushlight)
    before = _outputs(rushlight, ours.eval(), inputs)
    expected = _outputs(torch, theirs, inputs)
    state = rushlight.load(path)
    assert list(state) == list(theirs.state_dict()) == list(ours.state_dict())
    assert str(ours.load_state_dict(state)) == "<All keys matched successfully>"
    for out, wanted, untrained in zip(_outputs(rushlight, ours, inputs), expected, before, strict=True):
        assert out.dtype == wanted.dtype
        np.testing.assert_allclose(out, wanted, rtol=TOLERANCE, atol=TOLERANCE)
        assert np.abs(untrained - wanted).max() > 100 * TOLERANCE


@pytest.mark.parametrize("build", BUILDS)
def test_our_state_dict_gives_our_outputs_in_pytorch(build: Build) -> None:
    rushlight.manual_seed(4)
    ours, inputs = build(rushlight)
    file = io.BytesIO()
    rushlight.save(ours.state_dict(), file)
    file.seek(0)
    theirs, _ = build(torch)
    assert str(theirs.load_state_dict(torch.load(file, weights_only=True))) == "<All keys matched successfully>"
    pairs = zip(_outputs(rushlight, ours.eval(), inputs), _outputs(torch, theirs.eval(), inputs), strict=True)
    for out, wanted in pairs:
        np.testing.assert_allclose(out, wanted, rtol=TOLERANCE, atol=TOLERANCE)
