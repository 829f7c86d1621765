"""The table of a model: shapes, parameters, work; the model is left as it was."""

from __future__ import annotations

import rushlight as torch
from rushlight.utils.summary import summary

nn = torch.nn


def test_a_convolutional_model() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 10)
    )
    model[0].weight.requires_grad = False
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model[1].eval()
    found = summary(model, torch.randn(2, 3, 4, 4))
    assert [row.name for row in found.rows] == ["Sequential", "0", "1", "2", "3", "4"]
    assert found.rows[1].output_shapes == (2, 8, 4, 4) and found.rows[0].input_shapes == (2, 3, 4, 4)
    convolution, linear = 2 * (2 * 8 * 16) * 27, 2 * 2 * 10 * 128
    assert (found.rows[1].flops, found.rows[5].flops, found.flops) == (convolution, linear, convolution + linear)
    assert found.parameters == 8 * 27 + 8 + 16 + 1290 and found.trainable == found.parameters - 216
    assert found.parameter_bytes == 4 * found.parameters
    assert model.training and not model[1].training
    assert all((v == before[k]).all() for k, v in model.state_dict().items()), "summary must not train"
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    text = str(found)
    assert "0 (Conv2d)" in text and "[2, 8, 4, 4]" in text and f"{found.parameters:,}" in text and "216 frozen" in text


def test_recurrent_and_attention_layers() -> None:
    lstm = summary(nn.LSTM(5, 7, num_layers=2, batch_first=True), torch.zeros(3, 4, 5))
    assert lstm.flops == 2 * 12 * 4 * 7 * (5 + 7 + 7 + 7) and lstm.rows[0].output_shapes[0] == (3, 4, 7)
    x = torch.zeros(6, 2, 8)
    attention = summary(nn.MultiheadAttention(8, 2), x, x, x)
    assert attention.flops == 2 * 12 * 8 * 8 * 4 + 4 * 12 * 6 * 8
    transposed = summary(nn.ConvTranspose1d(2, 3, 4), torch.zeros(1, 2, 5))
    assert transposed.flops == 2 * 10 * 3 * 4


def test_a_module_called_twice_has_two_rows() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor, *, scale: float) -> dict[str, torch.Tensor]:
            return {"a": self.layer(self.layer(x)) * scale}

    found = summary(Twice(), torch.zeros(1, 2), scale=2.0)
    assert [row.name for row in found.rows] == ["Twice", "layer", "layer"] and found.flops == 16
    assert found.parameters == 6 and found.rows[0].output_shapes == (1, 2)
