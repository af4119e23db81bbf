"""Families that draw pictures or find things in them, in PyTorch. Each function gives a trained model."""

import torch
from torch import nn
from torch.nn import functional

from tests.families import boxes, data
from tests.families.training_torch import channels_first, fit

NOISE = 32


class Autoencoder(nn.Module):
    """A convolutional autoencoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2, padding=1), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(image))


class Generator(nn.Module):
    """DCGAN's generator, from noise (n, 32) to pictures (n, 1, 28, 28), as PyTorch's tutorial writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE, 32, 7, 1, 0, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(True),
            nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.ConvTranspose2d(16, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.main(noise[:, :, None, None])


class DoubleConv(nn.Sequential):
    """Two convolutions, each normalized."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """U-Net with bilinear upsampling, as the much copied Pytorch-UNet writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.inc, self.down1, self.down2 = DoubleConv(1, 8), DoubleConv(8, 16), DoubleConv(16, 32)
        self.up1, self.up2 = DoubleConv(32 + 16, 16), DoubleConv(16 + 8, 8)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.outc = nn.Conv2d(8, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x1 = self.inc(image)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x = self.up1(torch.cat([x2, self.up(x3)], dim=1))
        return self.outc(self.up2(torch.cat([x1, self.up(x)], dim=1)))


class Detector(nn.Module):
    """A single-shot detector on two grids; its boxes are decoded in the graph, relative to cells and anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_strided(1, 16), _strided(16, 24))
        self.levels = nn.ModuleList([_strided(24, 32), _strided(32, 48)])
        self.heads = nn.ModuleList([nn.Conv2d(each, 4 + boxes.CLASSES, 3, padding=1) for each in (32, 48)])
        for level, grid in enumerate(boxes.GRIDS):
            self.register_buffer(f"corners{level}", torch.from_numpy(boxes.corners(grid)))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(image)
        found, scores = [], []
        for level, (grid, anchor) in enumerate(zip(boxes.GRIDS, boxes.ANCHORS, strict=True)):
            x = self.levels[level](x)
            raw = self.heads[level](x).permute(0, 2, 3, 1).reshape(-1, grid * grid, 4 + boxes.CLASSES)
            place, size, kinds = raw.split((2, 2, boxes.CLASSES), dim=-1)
            centre = (place.sigmoid() + self.get_buffer(f"corners{level}")) / grid
            half = size.exp() * (anchor / 2)
            found.append(torch.cat([centre - half, centre + half], dim=-1))
            scores.append(kinds.sigmoid())
        return {"boxes": torch.cat(found, dim=1), "scores": torch.cat(scores, dim=1)}


def autoencoder() -> nn.Module:
    pictures = channels_first(data.digits(4000)[0])
    return fit(Autoencoder(), [pictures], [pictures], functional.binary_cross_entropy, speed=3e-3)


def gan_generator() -> nn.Module:
    """Trained against its discriminator."""
    generator, discriminator = Generator(), _discriminator()
    optimizers = [
        torch.optim.Adam(each.parameters(), lr=5e-4, betas=(0.5, 0.999)) for each in (discriminator, generator)
    ]
    pictures = torch.from_numpy(channels_first(data.digits(4800)[0])) * 2 - 1
    for real in pictures.split(64):
        drawn = generator(torch.randn(len(real), NOISE))
        judged = functional.softplus(-discriminator(real)) + functional.softplus(discriminator(drawn.detach()))
        _step(optimizers[0], judged.mean())
        _step(optimizers[1], functional.softplus(-discriminator(drawn)).mean())
    return generator.eval()


def unet() -> nn.Module:
    pictures, masks = map(channels_first, data.shapes(2000))
    return fit(UNet(), [pictures], [masks], functional.binary_cross_entropy_with_logits, batch=32, speed=5e-3)


def detector() -> nn.Module:
    pictures, wanted, kinds = boxes.rectangles(2500)
    return fit(Detector(), [channels_first(pictures)], [wanted, kinds], _detection_loss, batch=32, speed=5e-3)


def _detection_loss(found: dict[str, torch.Tensor], wanted: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    there = wanted[..., 4:]
    distance = (there * (wanted[..., :4] - found["boxes"]).abs()).sum() / there.sum()
    return distance + 10 * functional.binary_cross_entropy(found["scores"], kinds)


def _strided(channels_in: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, 2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.SiLU(inplace=True)
    )


def _discriminator() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 1),
    )


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
