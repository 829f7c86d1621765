"""Two convolutional nets, one draws digits and one judges them. Written for PyTorch; `rushlight run` runs it."""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

DIGITS = Path(__file__).parents[1] / "src" / "rushlight" / "demo" / "digits.npz"
NOISE, FEATURES = 16, 8


def weights_init(module: nn.Module) -> None:
    """Small normal weights for convolutions, weights near one for batch norm."""
    name = module.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif name.find("BatchNorm") != -1:
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Noise [N, 16, 1, 1] to images [N, 1, 8, 8] between -1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE, FEATURES * 2, 2, 1, 0, bias=False),
            nn.BatchNorm2d(FEATURES * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(FEATURES * 2, FEATURES, 4, 2, 1, bias=False),
            nn.BatchNorm2d(FEATURES),
            nn.ReLU(True),
            nn.ConvTranspose2d(FEATURES, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise):
        return self.main(noise)


class Discriminator(nn.Module):
    """Images to the probability that a person wrote them."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, FEATURES, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(FEATURES, FEATURES * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(FEATURES * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(FEATURES * 2, 1, 2, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, images):
        return self.main(images).view(-1, 1).squeeze(1)


def main() -> None:
    """Train both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    with np.load(DIGITS) as file:
        images = torch.from_numpy(file["images"].astype(np.float32) / 8 - 1).unsqueeze(1)
    loader = DataLoader(TensorDataset(images), batch_size=32, shuffle=True, drop_last=True)
    draw, judge = Generator(), Discriminator()
    draw.apply(weights_init)
    judge.apply(weights_init)
    criterion = nn.BCELoss()
    judge_optimizer = optim.Adam(judge.parameters(), lr=2e-3, betas=(0.5, 0.999))
    draw_optimizer = optim.Adam(draw.parameters(), lr=2e-3, betas=(0.5, 0.999))
    step = 0
    while step < options.steps:
        for (real,) in loader:
            judge.zero_grad()
            label = torch.full((real.size(0),), 1.0, dtype=real.dtype)
            judge_real = criterion(judge(real), label)
            judge_real.backward()
            fake = draw(torch.randn(real.size(0), NOISE, 1, 1))
            label.fill_(0.0)
            judge_fake = criterion(judge(fake.detach()), label)
            judge_fake.backward()
            judge_optimizer.step()

            draw.zero_grad()
            label.fill_(1.0)
            draw_loss = criterion(judge(fake), label)
            draw_loss.backward()
            draw_optimizer.step()
            step += 1
            judge_loss = judge_real + judge_fake
            print(f"step {step}: loss {judge_loss.item():.6f} loss {draw_loss.item():.6f}")
            if step == options.steps:
                break


if __name__ == "__main__":
    main()
