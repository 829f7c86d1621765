"""Two LSTM cells learn to continue sine waves, fitted by LBFGS. Written for PyTorch; `rushlight run` runs it."""

import argparse

import torch
import torch.nn as nn
import torch.optim as optim


class Sequence(nn.Module):
    """Reads a wave point by point, gives the next point each time, and may go on from its own output."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.lstm1 = nn.LSTMCell(1, width)
        self.lstm2 = nn.LSTMCell(width, width)
        self.linear = nn.Linear(width, 1)

    def forward(self, waves, future: int = 0):
        outputs = []
        h1, c1, h2, c2 = (torch.zeros(waves.size(0), self.width, dtype=torch.double) for _ in range(4))
        for point in waves.split(1, dim=1):
            h1, c1 = self.lstm1(point, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs += [output]
        for _ in range(future):
            h1, c1 = self.lstm1(output, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs += [output]
        return torch.cat(outputs, dim=1)


def main() -> None:
    """Fit all waves but two, then continue those."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    starts = torch.randint(-80, 80, (8, 1)).double()
    waves = torch.sin((torch.arange(25).double() + starts) / 4)
    inputs, targets = waves[2:, :-1], waves[2:, 1:]
    test_inputs, test_targets = waves[:2, :-1], waves[:2, 1:]
    model = Sequence()
    model.double()
    criterion = nn.MSELoss()
    optimizer = optim.LBFGS(model.parameters(), lr=0.8, max_iter=4)
    for step in range(options.steps):

        def closure():
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        with torch.no_grad():
            predicted = model(test_inputs, future=10)
            test_loss = criterion(predicted[:, :-10], test_targets)
        print(f"step {step + 1}: loss {loss.item():.8f}, test {test_loss.item():.8f}")
    print("next points:", [round(value, 3) for value in predicted[0, -10:].tolist()])


if __name__ == "__main__":
    main()
