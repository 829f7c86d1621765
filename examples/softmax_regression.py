"""Softmax regression written out: parameters, loss and update by hand, gradients by Rushlight."""

import argparse

import rushlight as torch
from rushlight.demo.digits import split_digits
from rushlight.utils.data import DataLoader


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean negative log-probability of the right class."""
    shifted = logits - logits.max(1, keepdim=True).values
    log_probabilities = shifted - shifted.exp().sum(1, keepdim=True).log()
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def main() -> None:
    """Train and print the accuracy on the test images after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.5)
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = split_digits(seed=0)
    weight = (0.01 * torch.randn(64, 10)).requires_grad_()
    bias = torch.zeros(10, requires_grad=True)
    for epoch in range(1, options.epochs + 1):
        for images, labels in DataLoader(train, batch_size=64, shuffle=True):
            loss = cross_entropy(images.flatten(1) @ weight + bias, labels)
            loss.backward()
            with torch.no_grad():
                for parameter in (weight, bias):
                    parameter -= options.rate * parameter.grad
                    parameter.grad.zero_()
        images, labels = test.tensors
        with torch.no_grad():
            right = (images.flatten(1) @ weight + bias).argmax(1) == labels
        print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {right.float().mean().item():.1%}")


if __name__ == "__main__":
    main()
