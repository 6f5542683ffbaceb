"""Random changes of images, drawn anew at every step."""

from tf_deepinversion.transforms.appearance import MixUp
from tf_deepinversion.transforms.appearance import Tone
from tf_deepinversion.transforms.augmentations import augmentations
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.resampling import ResizedCrop
from tf_deepinversion.transforms.shifts import HorizontalFlip
from tf_deepinversion.transforms.shifts import Jitter
from tf_deepinversion.transforms.shifts import Shift
