"""Network architectures, and pretrained networks that ship."""

from tf_deepinversion.models.efficientnet_lite import EfficientNetLite0
from tf_deepinversion.models.efficientnet_lite import EfficientNetLite1
from tf_deepinversion.models.efficientnet_lite import EfficientNetLite2
from tf_deepinversion.models.efficientnet_lite import EfficientNetLite3
from tf_deepinversion.models.efficientnet_lite import EfficientNetLite4
from tf_deepinversion.models.pretrained import PRETRAINED
from tf_deepinversion.models.pretrained import load_pretrained
from tf_deepinversion.models.resnet import ResNet14
from tf_deepinversion.models.resnet import ResNet18
from tf_deepinversion.models.resnet import ResNet20
from tf_deepinversion.models.resnet import ResNet32
from tf_deepinversion.models.resnet import ResNet34
from tf_deepinversion.models.resnet import ResNet44
from tf_deepinversion.models.resnet import ResNet56
from tf_deepinversion.models.vgg import VGG11BN

__all__ = [
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "PRETRAINED",
    "ResNet14",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet56",
    "VGG11BN",
    "load_pretrained",
]
