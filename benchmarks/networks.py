"""The eight training steps that are measured, written once against PyTorch's API.

Each function takes the module `T` (`rushlight` or `torch`) and gives `(net, loss, inputs, targets, optimizer)`.
"""

from typing import Any

Work = tuple[Any, Any, Any, Any, Any]


def images(T: Any, batch: int, channels: int, side: int) -> tuple[Any, Any]:
    """Random images and classes."""
    return T.randn(batch, channels, side, side), T.randint(0, 10, (batch,))


def linreg(T: Any) -> Work:
    """Linear regression: 2 features, batch 10."""
    net = T.nn.Sequential(T.nn.Linear(2, 1))
    return net, T.nn.MSELoss(), T.randn(10, 2), T.randn(10, 1), T.optim.SGD(net.parameters(), lr=0.03)


def softmaxreg(T: Any) -> Work:
    """Softmax regression on 28x28 images, batch 256."""
    net = T.nn.Sequential(T.nn.Flatten(), T.nn.Linear(28 * 28, 10))
    return net, T.nn.CrossEntropyLoss(), *images(T, 256, 1, 28), T.optim.SGD(net.parameters(), lr=0.1)


def mlp(T: Any) -> Work:
    """Perceptron 784-256-10, batch 256, Adam."""
    nn = T.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, 10))
    return net, nn.CrossEntropyLoss(), *images(T, 256, 1, 28), T.optim.Adam(net.parameters(), lr=1e-3)


def lenet(T: Any) -> Work:
    """LeNet-5 with sigmoids and average pooling, batch 256."""
    nn = T.nn
    body = [nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2, 2)]
    body += [nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, 2), nn.Flatten()]
    head = [nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)]
    net = nn.Sequential(*body, *head)
    return net, nn.CrossEntropyLoss(), *images(T, 256, 1, 28), T.optim.SGD(net.parameters(), lr=0.9)


def cnn(T: Any) -> Work:
    """Two convolutions, max pooling and dropout on 32x32 colour images, batch 64, SGD with momentum."""
    nn = T.nn
    layers = []
    for before, after in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)]
    layers += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * 8 * 8, 512), nn.ReLU(inplace=True)]
    net = nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(512, 10))
    optimizer = T.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return net, nn.CrossEntropyLoss(), *images(T, 64, 3, 32), optimizer


def resnet(T: Any) -> Work:
    """ResNet-8 on 32x32 colour images, batch 64, SGD with momentum and weight decay."""
    nn, relu = T.nn, T.nn.functional.relu

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.down = None
            if stride != 1 or before != after:
                short = nn.Conv2d(before, after, 1, stride=stride, bias=False)
                self.down = nn.Sequential(short, nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
            return relu(y + (x if self.down is None else self.down(x)))

    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    net = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    optimizer = T.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return net, nn.CrossEntropyLoss(), *images(T, 64, 3, 32), optimizer


def lstm(T: Any) -> Work:
    """Character LSTM: 35 steps, batch 32, embedding 128, hidden 256, Adam."""
    nn = T.nn

    class Language(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 128)
            self.rnn = nn.LSTM(128, 256, batch_first=True)
            self.out = nn.Linear(256, 64)

        def forward(self, x: Any) -> Any:
            return self.out(self.rnn(self.embed(x))[0]).flatten(0, 1)

    net = Language()
    x, y = T.randint(0, 64, (32, 35)), T.randint(0, 64, (32 * 35,))
    return net, nn.CrossEntropyLoss(), x, y, T.optim.Adam(net.parameters(), lr=1e-3)


def gpt(T: Any) -> Work:
    """Decoder-only transformer: 4 layers, width 128, 4 heads, context 64, batch 12, AdamW."""
    nn, F = T.nn, T.nn.functional
    words, width, heads, context = 65, 128, 4, 64

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            split = self.qkv(self.n1(x)).split(c, 2)
            q, k, v = (part.view(b, t, heads, c // heads).transpose(1, 2) for part in split)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(seen.transpose(1, 2).reshape(b, t, c))
            return x + self.down(F.gelu(self.up(self.n2(x))))

    class GPT(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tok, self.pos = nn.Embedding(words, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

        def forward(self, x: Any) -> Any:
            x = self.tok(x) + self.pos(T.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(x))).flatten(0, 1)

    net = GPT()
    x, y = T.randint(0, words, (12, context)), T.randint(0, words, (12 * context,))
    return net, nn.CrossEntropyLoss(), x, y, T.optim.AdamW(net.parameters(), lr=1e-3)


WORKS = {f.__name__: f for f in (linreg, softmaxreg, mlp, lenet, cnn, resnet, lstm, gpt)}
