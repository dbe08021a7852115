"""Image towers for small images, registered with timm so that a model file of open_clip's format can name them.

A ResNet for 224 pixels brings a 32-pixel image down to one pixel half-way and spends most of its time there.
"""

from timm.models import register_model
from timm.models.byobnet import ByobNet, ByoBlockCfg, ByoModelCfg


def _net(channels, strides, head=0, typ='basic', stem=32):
    blocks = tuple(ByoBlockCfg(type=typ, d=1, c=c, s=s) for c, s in zip(channels, strides, strict=True))
    net = ByobNet(ByoModelCfg(blocks=blocks, stem_chs=stem, num_features=head, stem_type="3x3", stem_pool=""))
    net.default_cfg = {}  # open_clip looks into it
    return net


@register_model
def x1(pretrained: bool = False, **_) -> ByobNet:
    return _net((64, 128, 192), (2, 2, 2))


@register_model
def x2(pretrained: bool = False, **_) -> ByobNet:
    return _net((48, 96, 192), (1, 2, 2))


@register_model
def x3(pretrained: bool = False, **_) -> ByobNet:
    return _net((32, 64, 128), (1, 2, 2))

@register_model
def x4(pretrained: bool = False, **_) -> ByobNet:
    return _net((64, 128), (2, 2))


@register_model
def x5(pretrained: bool = False, **_) -> ByobNet:
    return _net((64, 128, 256), (2, 2, 2), 512)


@register_model
def x6(pretrained: bool = False, **_) -> ByobNet:
    return _net((64, 128, 256), (2, 2, 2))
