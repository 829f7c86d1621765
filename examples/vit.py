"""A vision transformer: the image as a sentence of patches. Written for PyTorch; `rushlight run` runs it."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DIGITS = Path(__file__).parents[1] / "src" / "rushlight" / "demo" / "digits.npz"


class PatchEmbedding(nn.Module):
    """Cuts the image into squares and maps each to a vector."""

    def __init__(self, size: int, patch: int, width: int) -> None:
        super().__init__()
        self.count = (size // patch) ** 2
        self.project = nn.Conv2d(1, width, kernel_size=patch, stride=patch)

    def forward(self, images):
        return self.project(images).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Self-attention and a hidden layer, norms first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        y = self.norm1(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches, a class token, learnt places, blocks, and a linear layer on the class token."""

    def __init__(self, width: int = 24, layers: int = 2, heads: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.patches = PatchEmbedding(8, 2, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.empty(1, self.patches.count + 1, width))
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.Sequential(*[Block(width, heads, 0.1) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, images):
        x = self.patches(images)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.blocks(self.dropout(x + self.places))
        return self.head(self.norm(x)[:, 0])


def main() -> None:
    """Train with AdamW and a cosine schedule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    with np.load(DIGITS) as file:
        images = torch.as_tensor(file["images"], dtype=torch.float32).div_(16).sub_(0.5)[:, None]
        labels = torch.as_tensor(file["labels"], dtype=torch.int64)
    loader = DataLoader(TensorDataset(images, labels), batch_size=32, shuffle=True)
    model = ViT()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.steps)
    step = 0
    while step < options.steps:
        for x, y in loader:
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            print(f"step {step}: loss {loss.item():.6f}")
            if step == options.steps:
                break


if __name__ == "__main__":
    main()
