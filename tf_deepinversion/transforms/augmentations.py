"""The transforms that vary synthesized images for a student."""

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.transforms.appearance import MixUp
from tf_deepinversion.transforms.appearance import Tone
from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.shifts import HorizontalFlip


def augmentations(strength=0.25) -> list:
    """Lists transforms that vary synthesized images for a student.

    The transforms turn, stretch, move and mirror an image, make it darker or
    lighter, and blend some images. The teacher labels the result.

    Args:
        strength: Float in [0, 10]. Scales `Affine` and the gamma of `Tone`; it
            does not change mirroring, blending or the factor of `Tone`. At 1,
            images turn by up to 20 degrees, and the teacher classifies few of
            them as before. Such a strength suits the images of one generator,
            which resemble each other. The default, 0.25, suits thousands of
            images whose pixels were optimized.

    Returns:
        A list of transforms.

    Raises:
        ValueError: if `strength` is out of range.

    Example:
        >>> [type(transform).__name__ for transform in di.augmentations()]
        ['Affine', 'HorizontalFlip', 'Tone', 'MixUp']
    """
    if not is_within(strength, "[0, 10]"):
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
