"""A residual network on handwritten digits. Written for PyTorch; `rushlight run` runs it."""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

DIGITS = Path(__file__).parents[1] / "src" / "rushlight" / "demo" / "digits.npz"


class BasicBlock(nn.Module):
    """Two convolutions, added to the input (through a 1x1 convolution where sizes differ)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A stem, three stages of residual blocks, the mean over the image and a linear layer."""

    def __init__(self, blocks: list[int], width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.channels = width
        self.conv1 = nn.Conv2d(1, width, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.layer1 = self.stage(width, blocks[0])
        self.layer2 = self.stage(2 * width, blocks[1], stride=2)
        self.layer3 = self.stage(4 * width, blocks[2], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)

    def stage(self, channels: int, count: int, stride: int = 1) -> nn.Sequential:
        """Blocks of the same width; the first one may shrink the image."""
        layers = [BasicBlock(self.channels, channels, stride)]
        self.channels = channels
        layers.extend(BasicBlock(channels, channels) for _ in range(1, count))
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def main() -> None:
    """Train with momentum and one cycle of the learning rate; print the accuracy at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    with np.load(DIGITS) as file:
        images = torch.from_numpy(file["images"].astype(np.float32) / 16).unsqueeze(1)
        labels = torch.from_numpy(file["labels"].astype(np.int64))
    train, test = random_split(TensorDataset(images, labels), [0.9, 0.1])
    loader = DataLoader(train, batch_size=16, shuffle=True, num_workers=0, drop_last=True)
    model = ResNet([1, 1, 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=options.steps)
    model.train()
    step = 0
    while step < options.steps:
        for x, y in loader:
            loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            print(f"step {step}: loss {loss.item():.6f}")
            if step == options.steps:
                break
    model.eval()
    with torch.inference_mode():
        right = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in DataLoader(test, batch_size=60))
    print(f"test accuracy {right / len(test):.1%}")


if __name__ == "__main__":
    main()
