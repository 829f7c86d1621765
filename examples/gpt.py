"""A small GPT: predicts each character of a play from those before it. Written for PyTorch; `rushlight run` runs it."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from torch.nn import functional as F

TEXT = Path(__file__).with_name("shakespeare.txt")


@dataclass
class Config:
    """Sizes of the model."""

    vocabulary: int
    context: int = 32
    layers: int = 2
    heads: int = 4
    width: int = 32
    dropout: float = 0.1


class CausalSelfAttention(nn.Module):
    """Every position looks at itself and at the positions before it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.to_qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.size()
        q, k, v = self.to_qkv(x).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(batch, length, width))


class Block(nn.Module):
    """Attention and a hidden layer, each added to what it read."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = CausalSelfAttention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * config.width, config.width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Token and place embeddings, blocks, and an output layer that shares the token embedding's weight."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "tokens": nn.Embedding(config.vocabulary, config.width),
                "places": nn.Embedding(config.context, config.width),
                "blocks": nn.ModuleList([Block(config) for _ in range(config.layers)]),
                "norm": nn.LayerNorm(config.width),
            }
        )
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.transformer.tokens.weight = self.head.weight
        self.apply(self.initialise)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * config.layers))

    def initialise(self, module: nn.Module) -> None:
        """Small normal weights, zero biases."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            torch.nn.init.zeros_(module.bias)

    def forward(self, codes: torch.Tensor, targets: torch.Tensor | None = None):
        """Scores, and the loss if there are targets."""
        places = torch.arange(0, codes.size(1), dtype=torch.long, device=codes.device)
        x = self.transformer.tokens(codes) + self.transformer.places(places)
        for block in self.transformer.blocks:
            x = block(x)
        x = self.transformer.norm(x)
        if targets is None:
            return self.head(x[:, [-1], :]), None
        scores = self.head(x)
        return scores, F.cross_entropy(scores.view(-1, scores.size(-1)), targets.view(-1), ignore_index=-1)

    def optimizer(self, rate: float, decay: float) -> torch.optim.Optimizer:
        """AdamW that decays matrices only."""
        parameters = {name: p for name, p in self.named_parameters() if p.requires_grad}
        groups = [
            {"params": [p for p in parameters.values() if p.dim() >= 2], "weight_decay": decay},
            {"params": [p for p in parameters.values() if p.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))

    @torch.no_grad()
    def generate(self, codes: torch.Tensor, count: int, temperature: float = 0.8, top_k: int = 10) -> torch.Tensor:
        """`codes` [1, length] with `count` characters more, drawn from the `top_k` likeliest each time."""
        for _ in range(count):
            scores, _ = self(codes[:, -self.config.context :])
            scores = scores[:, -1, :] / temperature
            best, _ = torch.topk(scores, min(top_k, scores.size(-1)))
            scores[scores < best[:, [-1]]] = -float("inf")
            codes = torch.cat((codes, torch.multinomial(F.softmax(scores, dim=-1), num_samples=1)), dim=1)
        return codes


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Linear growth over a tenth of the steps, then half a cosine wave."""
    warm = max(1, steps // 10)
    if step < warm:
        return highest * (step + 1) / (warm + 1)
    return highest * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def main() -> None:
    """Train on random places of the text, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--write", type=int, default=200, help="characters to write at the end")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    text = TEXT.read_text(encoding="utf-8")
    letters = sorted(set(text))
    code = {letter: k for k, letter in enumerate(letters)}
    data = torch.tensor([code[letter] for letter in text], dtype=torch.long)
    model = GPT(Config(vocabulary=len(letters)))
    optimizer = model.optimizer(rate=3e-3, decay=0.1)
    length = model.config.context
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, 3e-3)
        starts = torch.randint(len(data) - length, (8,))
        x = torch.stack([data[i : i + length] for i in starts])
        y = torch.stack([data[i + 1 : i + 1 + length] for i in starts])
        _, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.6f}")
    if options.write:
        model.eval()
        written = model.generate(data[None, :length], options.write)
        print("".join(letters[k] for k in written[0].tolist()))


if __name__ == "__main__":
    main()
