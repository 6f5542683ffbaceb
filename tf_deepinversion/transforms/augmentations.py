"""The transforms by which a student sees more of synthesized images."""

from tf_deepinversion.transforms.appearance import MixUp
from tf_deepinversion.transforms.appearance import Tone
from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.shifts import HorizontalFlip


def augmentations(strength=0.25) -> list:
    """What makes more of synthesized images: the teacher answers for all.

    Turned, stretched, moved, mirrored, darker or lighter, and some of them
    blended with others.

    Args:
        strength: Float in [0, 10], how far `Affine` and the gamma of `Tone`
            change an image; mirroring, blending and the factor of `Tone` stay
            as they are. At 1 images turn by up to 20 degrees, and few of them
            are to the teacher what they were, which suits those of one
            generator, all alike. Defaults to 0.25, for thousands of pixels'.

    Returns:
        A list of transforms.

    Raises:
        ValueError: if `strength` is out of range.

    >>> [type(transform).__name__ for transform in augmentations()]
    ['Affine', 'HorizontalFlip', 'Tone', 'MixUp']
    """
    if not 0 <= strength <= 10:
        raise ValueError(
            f"`strength` must lie in [0, 10]. Received: strength={strength}"
        )
    affine = Affine(
        rotation=20 * strength,
        stretch=1.35**strength,
        slant=0.2 * strength,
        shift=0.15 * strength,
    )
    return [affine, HorizontalFlip(), Tone(gamma=2**strength), MixUp()]
