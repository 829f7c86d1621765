"""Predicts each character of a play from those before it, and then writes some text of its own."""

import argparse
from pathlib import Path

import rushlight as torch
from rushlight import nn
from rushlight.nn import functional as F

CONTEXT = 16


class Model(nn.Module):
    """Embeds the context, and mixes it with one hidden layer."""

    def __init__(self, vocabulary: int, width: int = 24, hidden: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(CONTEXT * width)
        self.hidden = nn.Linear(CONTEXT * width, hidden)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next character, [N, vocabulary] from [N, CONTEXT]."""
        return self.out(F.gelu(self.hidden(self.norm(self.embed(x).flatten(1)))))


@torch.no_grad()
def write(model: Model, start: list[int], length: int) -> list[int]:
    """Draw characters one after the other from the model's distribution."""
    codes = list(start)
    for _ in range(length):
        scores = model(torch.tensor([codes[-CONTEXT:]]))
        codes.append(int(torch.multinomial(F.softmax(scores[0] / 0.7, 0), 1)))
    return codes[len(start) :]


def main() -> None:
    """Train on random places of the text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, default=Path(__file__).with_name("shakespeare.txt"))
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()

    torch.manual_seed(0)
    text = options.text.read_text(encoding="utf-8")
    letters = sorted(set(text))
    code = {letter: k for k, letter in enumerate(letters)}
    data = torch.tensor([code[letter] for letter in text])
    model = Model(len(letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    total = 0.0
    for step in range(1, options.steps + 1):
        start = torch.randint(0, len(data) - CONTEXT, (128,))
        rows = start.unsqueeze(1) + torch.arange(CONTEXT)
        loss = F.cross_entropy(model(data[rows]), data[start + CONTEXT])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step}: loss {total / 100:.3f}")
            total = 0.0
    print("".join(letters[k] for k in write(model, data[:CONTEXT].tolist(), 300)))


if __name__ == "__main__":
    main()
