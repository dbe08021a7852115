"""A small residual network for 32-pixel images, registered with timm so that a model file in open_clip's format can name it.

A ResNet for 224 pixels brings a 32-pixel image down to one pixel half-way and spends most of its time there. This one is the
shape of the nine-layer ResNets that are known from fast CIFAR training: four halvings of the side, and a residual convolution
at a quarter and an eighth of it.
"""

from timm.models._registry import register_model  # alone: all of timm.models takes long
from torch import Tensor, nn


def convolution(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """A 3 x 3 convolution, batch norm and ReLU."""
    layer = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """A convolution with a way around it: (batch, channels, h, w) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = convolution(channels, channels, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class SmallResNet(nn.Module):
    """Images (batch, 3, side, side) to features (batch, 256), the mean over the places of the last map."""

    num_features = 256

    def __init__(self) -> None:
        super().__init__()
        self.default_cfg: dict = {}  # open_clip looks into it
        self.layers = nn.Sequential(
            convolution(3, 32, stride=2),
            convolution(32, 64, stride=2),
            Residual(64),
            convolution(64, 128, stride=2),
            Residual(128),
            convolution(128, self.num_features, stride=2),
        )

    def reset_classifier(self, num_classes: int, global_pool: str) -> None:
        """open_clip takes the classifier off; there is none."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


@register_model
def small_resnet(pretrained: bool = False, **_) -> SmallResNet:
    """As timm calls it; there are no pretrained weights."""
    return SmallResNet()
