"""Twenty tests in two seconds: the first thing to run, and enough for a hook before each commit."""

from pathlib import Path

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn
from rushlight.nn import functional as F
from rushlight.utils.data import DataLoader, TensorDataset


def test_a_tensor_prints_as_in_pytorch() -> None:
    assert repr(torch.tensor([[1.0, 2.5], [-3.0, 4.0]])) == "tensor([[ 1.0000,  2.5000],\n        [-3.0000,  4.0000]])"


def test_dtypes_follow_the_categories() -> None:
    assert (torch.ones(2, dtype=torch.int32) * 1.5).dtype is torch.float32
    assert (torch.ones(2, dtype=torch.uint8) + torch.ones((), dtype=torch.int64)).dtype is torch.uint8
    assert (torch.ones(2, dtype=torch.int64) / 2).dtype is torch.float32


def test_broadcasting() -> None:
    assert (torch.arange(3).view(3, 1) + torch.arange(2)).tolist() == [[0, 1], [1, 2], [2, 3]]


def test_a_view_shares_memory() -> None:
    x = torch.zeros(2, 3)
    x.view(3, 2)[0, 0] = 7
    x.t()[2, 1] = 5
    assert x.tolist() == [[7, 0, 0], [0, 0, 5]]


def test_numpy_both_ways_without_a_copy() -> None:
    array = np.zeros(3, dtype=np.float32)
    tensor = torch.from_numpy(array)
    tensor[1] = 2
    assert array.tolist() == [0, 2, 0]
    assert np.shares_memory(tensor.numpy(), array)


def test_indexing_and_assignment() -> None:
    x = torch.arange(12).view(3, 4)
    assert x[1:, [0, 2]].tolist() == [[4, 6], [8, 10]]
    x[x > 8] = 0
    assert x.sum().item() == 36


def test_matrix_products() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(4, 5)
    assert torch.allclose(a @ b, torch.einsum("bij,jk->bik", a, b), atol=1e-6)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        a[0] @ a[1]


def test_the_random_stream_is_pytorchs() -> None:
    torch.manual_seed(0)
    assert torch.rand(3).tolist() == pytest.approx([0.4962565899, 0.7682217956, 0.0884774327], abs=1e-7)


def test_gradient_of_a_formula() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x**2 + 3 * x).sum().backward()
    assert x.grad.tolist() == [5, 7, 9]


def test_gradients_accumulate() -> None:
    x = torch.ones(2, requires_grad=True)
    for _ in range(2):
        (2 * x).sum().backward()
    assert x.grad.tolist() == [4, 4]


def test_no_grad_records_nothing() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_an_overwritten_value_is_an_error() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivative() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    (first,) = torch.autograd.grad(x**3, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert (first.item(), second.item()) == (12, 12)


def test_gradcheck() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: F.log_softmax(x.tanh(), 1), (x,))


def test_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert F.cross_entropy(logits, torch.tensor([0, 0])).item() == pytest.approx((0.126928 + 1.313262) / 2, abs=1e-5)


def test_module_names_and_state() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    other.load_state_dict(model.state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(model(x), other(x))


def test_convolution_and_pooling() -> None:
    x = torch.ones(1, 1, 4, 4)
    kernel = torch.ones(1, 1, 3, 3)
    assert F.conv2d(x, kernel, padding=1)[0, 0].tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]
    assert F.max_pool2d(x, 2).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_training_finds_the_line(optimizer: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    data = TensorDataset(x, x @ torch.tensor([[2.0], [-3.4]]) + 4.2)
    model, loss_fn = nn.Linear(2, 1), nn.MSELoss()
    step = getattr(torch.optim, optimizer)(model.parameters(), lr=0.1)
    for _ in range(30):
        for features, labels in DataLoader(data, batch_size=16, shuffle=True):
            step.zero_grad()
            loss_fn(model(features), labels).backward()
            step.step()
    assert model.weight.tolist()[0] == pytest.approx([2, -3.4], abs=0.02)
    assert model.bias.item() == pytest.approx(4.2, abs=0.02)


def test_save_and_load(tmp_path: Path) -> None:
    torch.save({"x": torch.arange(3), "epoch": 4}, tmp_path / "file.pth")
    loaded = torch.load(tmp_path / "file.pth")
    assert loaded["x"].tolist() == [0, 1, 2]
    assert loaded["epoch"] == 4
