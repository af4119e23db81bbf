"""Families that look at a picture, in PyTorch as its tutorials write them. Each function gives a trained model."""

import torch
from torch import nn
from torch.nn import functional

from tests.families import data
from tests.families.training_torch import channels_first, fit


class Perceptron(nn.Module):
    """PyTorch's quickstart network."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.linear_relu_stack(self.flatten(image))


class MnistNet(nn.Module):
    """The network of PyTorch's MNIST example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1 = nn.Linear(32 * 12 * 12, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv2(functional.relu(self.conv1(image))))
        x = torch.flatten(self.dropout1(functional.max_pool2d(x, 2)), 1)
        x = self.fc2(self.dropout2(functional.relu(self.fc1(x))))
        return functional.log_softmax(x, dim=1)


class CifarNet(nn.Module):
    """The network of PyTorch's "Training a Classifier"."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(functional.relu(self.conv1(image)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


class BasicBlock(nn.Module):
    """A residual block as torchvision writes it."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A residual network for CIFAR-10, one block a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.stem(image))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block as torchvision writes it."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * channels_in
        self.use_res_connect = stride == 1 and channels_in == channels
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNet(nn.Module):
    """Inverted residuals with depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        sizes = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2))
        self.features = nn.Sequential(*(InvertedResidual(*size) for size in sizes))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.features(self.stem(image / 127.5 - 1))
        return self.classifier(x.mean([2, 3]))


class FaceEmbedding(nn.Module):
    """A vector of length 1 for a face."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.PReLU(32),
            nn.Flatten(),
            nn.Linear(32 * 8 * 8, 32),
            nn.BatchNorm1d(32),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.backbone(image))


class CosineClassifier(nn.Module):
    """What teaches the embedding to tell persons apart (NormFace)."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.persons = nn.Parameter(torch.randn(data.PERSONS, 32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 16 * functional.linear(self.embedding(image), functional.normalize(self.persons))


def mlp() -> nn.Module:
    pictures, classes = data.digits(6000)
    return fit(Perceptron(), [pictures[..., 0]], [classes], functional.cross_entropy)


def mnist_cnn() -> nn.Module:
    pictures, classes = data.digits(3000)
    return fit(MnistNet(), [channels_first(pictures)], [classes], functional.nll_loss)


def cifar10_cnn() -> nn.Module:
    pictures, classes = data.photographs(6000)
    return fit(CifarNet(), [channels_first(pictures)], [classes], functional.cross_entropy, epochs=2)


def resnet() -> nn.Module:
    pictures, classes = data.photographs(2500)
    return fit(ResNet(), [channels_first(pictures)], [classes], functional.cross_entropy)


def mobilenet() -> nn.Module:
    pictures, classes = data.photographs(4000)
    return fit(MobileNet(), [channels_first(pictures)], [classes], functional.cross_entropy)


def face_embedding() -> nn.Module:
    embedding = FaceEmbedding()
    pictures, persons = data.faces(3000)
    fit(CosineClassifier(embedding), [channels_first(pictures)], [persons], functional.cross_entropy, epochs=3)
    return embedding.eval()
