"""A LeNet for 8x8 images: modules, an optimizer with a schedule, evaluation, a checkpoint."""

import argparse

import rushlight as torch
from rushlight import nn
from rushlight.demo.digits import split_digits
from rushlight.utils.data import DataLoader


class LeNet(nn.Module):
    """Two convolutions with pooling, three linear layers."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, [N, classes] from [N, 1, 8, 8]."""
        return self.classifier(self.features(x))


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """One pass over the data; returns the mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of the images that the model reads correctly."""
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


def main() -> None:
    """Train, and keep the best model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--checkpoint", default="lenet.pth")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = split_digits(seed=0)
    model = LeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    best = 0.0
    for epoch in range(1, options.epochs + 1):
        loss = train_epoch(model, loader, optimizer)
        schedule.step()
        reached = accuracy(model, *test.tensors)
        print(f"epoch {epoch}: loss {loss:.3f}, test accuracy {reached:.1%}")
        if reached > best:
            best = reached
            torch.save(model.state_dict(), options.checkpoint)
    print(f"best test accuracy {best:.1%}, in {options.checkpoint}")


if __name__ == "__main__":
    main()
