"""A variational autoencoder of handwritten digits. Written for PyTorch; `rushlight run` runs it."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

DIGITS = Path(__file__).parents[1] / "src" / "rushlight" / "demo" / "digits.npz"


class VAE(nn.Module):
    """64 pixels to a mean and a variance of 4 features, a draw of them, and back to pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 48)
        self.fc21 = nn.Linear(48, 4)
        self.fc22 = nn.Linear(48, 4)
        self.fc3 = nn.Linear(4, 48)
        self.fc4 = nn.Linear(48, 64)

    def encode(self, x):
        """Mean and log-variance of the features."""
        hidden = F.relu(self.fc1(x))
        return self.fc21(hidden), self.fc22(hidden)

    def reparameterize(self, mean, log_variance):
        """A draw through which gradients flow."""
        deviation = torch.exp(0.5 * log_variance)
        return mean + torch.randn_like(deviation) * deviation

    def decode(self, z):
        """Brightness of the pixels."""
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mean, log_variance = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mean, log_variance)), mean, log_variance


def loss_function(reconstruction, x, mean, log_variance):
    """Cross-entropy of the pixels, and divergence of the features from a standard normal."""
    pixels = F.binary_cross_entropy(reconstruction, x.view(-1, 64), reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return pixels + divergence


def main() -> None:
    """Train, and print one digit that nobody wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    with np.load(DIGITS) as file:
        images = torch.from_numpy(file["images"].astype(np.float32) / 16).unsqueeze(1)
    loader = DataLoader(TensorDataset(images), batch_size=64, shuffle=True)
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    step = 0
    while step < options.steps:
        for (batch,) in loader:
            optimizer.zero_grad()
            reconstruction, mean, log_variance = model(batch)
            loss = loss_function(reconstruction, batch, mean, log_variance)
            loss.backward()
            optimizer.step()
            step += 1
            print(f"step {step}: loss {loss.item() / len(batch):.6f}")
            if step == options.steps:
                break
    with torch.no_grad():
        drawn = model.decode(torch.randn(1, 4)).view(8, 8)
    for row in drawn.tolist():
        print("".join(2 * " .:-=+*#%@"[int(shade * 9.99)] for shade in row))


if __name__ == "__main__":
    main()
