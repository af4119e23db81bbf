"""PyTorch modules in which channels depend on each other, and some that pruning must leave alone."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> Any:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.inner = _convolution(inputs, outputs, 3, stride)
        self.outer = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Any) -> Any:
        return functional.relu(self.outer(self.inner(x)) + self.shortcut(x))


class Residual(nn.Module):
    """ResNet, flattened to a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 8)
        self.blocks = nn.Sequential(_Block(8, 8), _Block(8, 12, 2))
        self.classes = nn.Linear(12 * 4 * 4, 5)

    def forward(self, x: Any) -> Any:
        return self.classes(functional.adaptive_avg_pool2d(self.blocks(self.stem(x)), 4).flatten(1))


class Separable(nn.Module):
    """MobileNet's inverted residual with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 8, 3, 2)
        self.wide = nn.Sequential(_convolution(8, 24, 1), _convolution(24, 24, 3, 1, 24))
        self.squeeze = nn.Sequential(nn.Conv2d(24, 4, 1), nn.ReLU(), nn.Conv2d(4, 24, 1), nn.Hardsigmoid())
        self.narrow = nn.Sequential(nn.Conv2d(24, 8, 1), nn.BatchNorm2d(8))
        self.classes = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        y = self.wide(x)
        y = self.narrow(y * self.squeeze(y.mean((2, 3), keepdim=True)))
        return functional.softmax(self.classes((x + y).mean((2, 3))), 1)


class Concatenated(nn.Module):
    """U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _convolution(2, 6), _convolution(6, 10), _convolution(10, 14)
        self.up, self.down = nn.ConvTranspose2d(14, 9, 2, 2), _convolution(19, 8)
        self.end = nn.Conv2d(14, 2, 1)

    def forward(self, x: Any) -> Any:
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        x = self.down(torch.cat([self.up(third), second], 1))
        return self.end(torch.cat([functional.interpolate(x, scale_factor=2), first], 1))


class NotUnderstood(nn.Module):
    """Sizes written into forward, groups, and a normalization over channels; two layers may lose theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.before = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.grouped, self.dense = nn.Conv2d(6, 8, 3, 1, 1, groups=2), nn.Linear(1152, 16)
        self.normalization, self.hidden, self.classes = nn.LayerNorm(16), nn.Linear(16, 10), nn.Linear(10, 2)

    def forward(self, x: Any) -> Any:
        x = self.grouped(functional.relu(self.before(functional.relu(self.free(x)))))
        x = self.normalization(self.dense(x.view(-1, 1152)))
        return self.classes(functional.relu(self.hidden(x)))


class Text(nn.Module):
    """Embedding, convolution, LSTM and dense; the convolution and the dense layer may lose channels."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.convolution = nn.Embedding(50, 12), nn.Conv1d(12, 10, 3)
        self.units = nn.LSTM(10, 9, batch_first=True, bidirectional=True)
        self.hidden, self.end = nn.Linear(18, 8), nn.Linear(8, 1)

    def forward(self, tokens: Any) -> Any:
        x = functional.relu(self.convolution(self.words(tokens).transpose(1, 2))).transpose(1, 2)
        return torch.sigmoid(self.end(functional.relu(self.hidden(self.units(x)[0][:, -1]))))


def _picture(channels: int) -> tuple[Any, ...]:
    return (torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(1)),)


MODELS = {
    "residual": lambda: (Residual(), _picture(3)),
    "separable": lambda: (Separable(), _picture(3)),
    "concatenated": lambda: (Concatenated(), _picture(2)),
    "not_understood": lambda: (NotUnderstood(), _picture(3)),
    "text": lambda: (Text(), (torch.arange(24).reshape(2, 12) % 50,)),
}


class Pictures(nn.Module):
    """For pictures (n, 8, 8, 1): two convolutions and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.normalization = nn.Conv2d(1, 12, 3, 1, 1), nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 12, 3, 2, 1)
        self.hidden, self.classes = nn.Linear(192, 16), nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.normalization(self.first(x.permute(0, 3, 1, 2))))
        x = functional.relu(self.second(x)).flatten(1)
        return self.classes(functional.relu(self.hidden(x)))
