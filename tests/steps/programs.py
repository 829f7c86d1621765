"""Whole training runs, written once against PyTorch's API, for whichever module provides it.

Each builder takes the module (`torch` or `rushlight`) and returns a model, a loss function, batches that repeat, and an
optimizer. Shapes are those of the speed comparison (LeNet, MLP and softmax regression at batch 256).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = 50
SEED = 42
GOLDEN = Path(__file__).parent / "golden"
TEXT = Path(__file__).parents[2] / "examples" / "shakespeare.txt"  # the opening of Coriolanus, public domain

Program = tuple[Any, Any, list[tuple[Any, Any]], Any]


def _images(torch: Any) -> list[tuple[Any, Any]]:
    return [(torch.randn(256, 1, 28, 28), torch.randint(0, 10, (256,))) for _ in range(2)]


def softmax_regression(torch: Any) -> Program:
    """One linear layer on 28x28 images, SGD."""
    nn = torch.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    return net, nn.CrossEntropyLoss(), _images(torch), torch.optim.SGD(net.parameters(), lr=0.1)


def mlp(torch: Any) -> Program:
    """784-256-10 with ReLU, Adam."""
    nn = torch.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return net, nn.CrossEntropyLoss(), _images(torch), torch.optim.Adam(net.parameters(), lr=1e-3)


def lenet(torch: Any) -> Program:
    """LeNet-5 with sigmoids and average pooling, SGD."""
    nn = torch.nn
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2, 2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, 2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )
    return net, nn.CrossEntropyLoss(), _images(torch), torch.optim.SGD(net.parameters(), lr=0.9)


def character_model(torch: Any) -> Program:
    """Predicts each character of a play from the eight before it: embedding, layer norm, GELU, AdamW with decay."""
    nn, context = torch.nn, 8
    text = TEXT.read_text(encoding="utf-8")
    code = {character: k for k, character in enumerate(sorted(set(text)))}
    data = torch.tensor([code[character] for character in text])

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(len(code), 24)
            self.norm = nn.LayerNorm(24 * context)
            self.hidden = nn.Linear(24 * context, 128)
            self.out = nn.Linear(128, len(code))

        def forward(self, x: Any) -> Any:
            x = self.norm(self.embed(x).flatten(1))
            return self.out(nn.functional.gelu(self.hidden(x)))

    net = Model()
    batches = []
    for _ in range(10):
        start = torch.randint(0, len(data) - context - 1, (64,))
        rows = start.unsqueeze(1) + torch.arange(context)
        batches.append((data[rows], data[start + context]))
    return net, nn.CrossEntropyLoss(), batches, torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)


PROGRAMS: dict[str, Callable[[Any], Program]] = {
    build.__name__: build for build in (softmax_regression, mlp, lenet, character_model)
}


def train(torch: Any, name: str, steps: int = STEPS) -> tuple[list[float], dict[str, float]]:
    """The loss before each of the first `steps` updates, and the size of each parameter after them."""
    torch.manual_seed(SEED)
    net, loss_fn, batches, optimizer = PROGRAMS[name](torch)
    losses = []
    for k in range(steps):
        inputs, targets = batches[k % len(batches)]
        optimizer.zero_grad()
        loss = loss_fn(net(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {key: value.abs().sum().item() for key, value in net.state_dict().items()}
