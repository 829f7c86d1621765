"""Predicts the next word with an RNN or a Transformer. Written for PyTorch; `rushlight run` runs it."""

import argparse
import math
import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

TEXT = Path(__file__).with_name("shakespeare.txt")
LENGTH = 12


class Dictionary:
    """Numbers for words, in the order in which they come."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.words: list[str] = []

    def add(self, word: str) -> int:
        """The word's number, a new one if it has none."""
        if word not in self.number:
            self.number[word] = len(self.words)
            self.words.append(word)
        return self.number[word]


class RNNModel(nn.Module):
    """Embedding, a recurrent net of several layers, and scores of the words; the weights of both ends may be one."""

    def __init__(self, kind: str, words: int, width: int, layers: int, dropout: float, tied: bool) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(words, width)
        if kind in ("LSTM", "GRU"):
            self.rnn = getattr(nn, kind)(width, width, layers, dropout=dropout)
        else:
            nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[kind]
            self.rnn = nn.RNN(width, width, layers, nonlinearity=nonlinearity, dropout=dropout)
        self.decoder = nn.Linear(width, words)
        if tied:
            self.decoder.weight = self.encoder.weight
        self.kind, self.width, self.layers = kind, width, layers
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, words, hidden):
        """Log-probabilities [length * batch, words] and the state after the last word."""
        output, hidden = self.rnn(self.drop(self.encoder(words)), hidden)
        scores = self.decoder(self.drop(output))
        return F.log_softmax(scores.view(-1, scores.size(-1)), dim=1), hidden

    def start(self, batch: int):
        """The state before the first word."""
        weight = next(self.parameters())
        zeros = weight.new_zeros(self.layers, batch, self.width)
        return (zeros, zeros.clone()) if self.kind == "LSTM" else zeros


class PositionalEncoding(nn.Module):
    """Adds sine and cosine waves, one pair of a frequency per two features, so that places differ."""

    def __init__(self, width: int, dropout: float, longest: int = 100) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        place = torch.arange(0, longest, dtype=torch.float).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
        table = torch.zeros(longest, width)
        table[:, 0::2] = torch.sin(place * frequency)
        table[:, 1::2] = torch.cos(place * frequency)
        self.register_buffer("table", table.unsqueeze(1))

    def forward(self, x):
        return self.dropout(x + self.table[: x.size(0)])


class TransformerModel(nn.Module):
    """Layers of masked self-attention over the words read so far."""

    def __init__(self, words: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.encoder = nn.Embedding(words, width)
        self.places = PositionalEncoding(width, dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.decoder = nn.Linear(width, words)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, words):
        """Log-probabilities [length * batch, words]."""
        mask = nn.Transformer.generate_square_subsequent_mask(len(words))
        x = self.places(self.encoder(words) * math.sqrt(self.width))
        scores = self.decoder(self.layers(x, mask=mask))
        return F.log_softmax(scores.view(-1, scores.size(-1)), dim=-1)


def batchify(data: torch.Tensor, batch: int) -> torch.Tensor:
    """The text cut into `batch` columns of equal length."""
    rows = data.size(0) // batch
    return data.narrow(0, 0, rows * batch).view(batch, -1).t().contiguous()


def repackage(hidden):
    """The state without its history, so that the gradient stops at the start of the batch."""
    return hidden.detach() if isinstance(hidden, torch.Tensor) else tuple(repackage(h) for h in hidden)


def main() -> None:
    """Train with plain gradient steps and clipped gradients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="LSTM", choices=["LSTM", "GRU", "RNN_TANH", "RNN_RELU", "Transformer"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--tied", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    dictionary = Dictionary()
    words = re.findall(r"\w+|[^\w\s]", TEXT.read_text(encoding="utf-8").lower())
    data = batchify(torch.tensor([dictionary.add(word) for word in words[:4000]]), 10)
    count = len(dictionary.words)
    if options.model == "Transformer":
        model = TransformerModel(count, options.width, 2, 2, 0.2)
    else:
        model = RNNModel(options.model, count, options.width, 2, 0.2, options.tied)
        hidden = model.start(10)
    criterion = nn.NLLLoss()
    model.train()
    for step in range(options.steps):
        row = step * LENGTH % (data.size(0) - LENGTH - 1)
        inputs, targets = data[row : row + LENGTH], data[row + 1 : row + 1 + LENGTH].view(-1)
        model.zero_grad()
        if options.model == "Transformer":
            output = model(inputs)
        else:
            hidden = repackage(hidden)
            output, hidden = model(inputs, hidden)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        with torch.no_grad():
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-options.rate)
        print(f"step {step + 1}: loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
