"""Networks for small images, and those that ship with their weights."""

from tf_deepinversion.models.pretrained import PRETRAINED
from tf_deepinversion.models.pretrained import load_pretrained
from tf_deepinversion.models.pretrained import sha256_of_file
from tf_deepinversion.models.resnet import ResNet14
from tf_deepinversion.models.resnet import ResNet18
from tf_deepinversion.models.resnet import ResNet20
from tf_deepinversion.models.resnet import ResNet32
from tf_deepinversion.models.resnet import ResNet34
from tf_deepinversion.models.resnet import ResNet44
from tf_deepinversion.models.resnet import ResNet56
from tf_deepinversion.models.vgg import VGG11BN

__all__ = [
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
    "sha256_of_file",
]
