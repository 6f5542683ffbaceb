"""The images from which an inversion starts: noise, or random pictures."""

import dataclasses

import keras
import numpy as np

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.settings import Settings


class Start(Settings):
    """Base class: draws the images of a batch before the first step."""

    def draw(self, generators, shape, preprocessing):
        """Draws one image for each random generator.

        Args:
            generators: List of `np.random.Generator`, one for each image.
            shape: Tuple `(height, width, channels)`.
            preprocessing: The teacher's `Preprocessing`.

        Returns:
            Float array `(images, height, width, channels)`, z.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True)
class Noise(Start):
    """N(0, 1) noise, the paper's start.

    Args:
        coarseness: Int, size of the squares of the noise. Each square gets one
            random number, with interpolation between squares, and each image
            is scaled to variance 1. Defaults to 1, independent pixels.

    Raises:
        ValueError: if `coarseness` is not a whole number of at least 1.

    Example:
        >>> drawn = [np.random.default_rng(0)]
        >>> Noise(coarseness=2).draw(drawn, (4, 4, 1), None).shape
        (1, 4, 4, 1)
    """

    coarseness: int = 1

    def __post_init__(self):
        require_whole(coarseness=self.coarseness)

    def draw(self, generators, shape, preprocessing):
        if self.coarseness == 1:
            return _normal(generators, shape)
        height, width, channels = shape
        small = (-(-side // self.coarseness) for side in (height, width))
        noise = _normal(generators, (*small, channels))
        noise = np.array(keras.ops.image.resize(noise, (height, width)))
        deviations = noise.std(axis=(1, 2, 3), keepdims=True)
        # An image of one shade has deviation 0, up to rounding.
        least = 1e-5 * np.abs(noise).max((1, 2, 3), keepdims=True)
        return noise / np.where(deviations > least, deviations, 1)


def _normal(generators, shape):
    shape = tuple(shape)
    return np.stack([g.standard_normal(shape, "float32") for g in generators])


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True)
class DeadLeaves(Start):
    """Pictures of random shapes that cover each other, on a random ground.

    Natural pictures have edges, plain areas and bodies before a ground; noise
    has none of these. An inversion bends the shapes into what the teacher
    remembers, in fewer steps than noise needs.

    The ground is black, white, or of any color, each in a third of the images.
    Some may have a texture, a pattern of cells of any size in another color.
    All lengths are relative to the image's side. Each shape is an ellipse, a
    rectangle or between the two, of any angle and color, with a soft edge of a
    pixel.

    Args:
        shapes: Int, the largest number of shapes. The number of each image is
            drawn between 1 and this number. Defaults to 16.
        smallest: Float, the smallest radius. Defaults to 0.06.
        largest: Float, at most 1, the largest radius. Small radii are drawn
            more often, by a density of 1 / sqrt(radius). Defaults to 0.36.
        spread: Float, positive, the standard deviation of the shapes' middles
            around the middle of the image. Defaults to 0.22.
        textured: Float in [0, 1], the share of grounds with a texture. Defaults
            to 0.

    Raises:
        ValueError: if an argument is out of range.

    References:
        - Lee et al., Occlusion Models for Natural Images, IJCV 2001
        - Baradad et al., Learning to See by Looking at Noise, arXiv:2106.05963

    Example:
        >>> p = di.Preprocessing(mean=127.5, std=51.0)
        >>> drawn = [np.random.default_rng(i) for i in range(2)]
        >>> z = DeadLeaves().draw(drawn, (8, 8, 3), p)
        >>> z.shape, bool(np.abs(z).max() <= 2.5)
        ((2, 8, 8, 3), True)
    """

    shapes: int = 16
    smallest: float = 0.06
    largest: float = 0.36
    spread: float = 0.22
    textured: float = 0.0

    def __post_init__(self):
        require_whole(shapes=self.shapes)
        sizes = self.smallest, self.largest
        if (
            not all(is_within(size, "(0, 1]") for size in sizes)
            or self.smallest > self.largest
        ):
            raise ValueError(
                "`smallest` and `largest` are shares of the image's side, "
                "0 < smallest <= largest <= 1. Received: "
                f"smallest={self.smallest}, largest={self.largest}"
            )
        if not is_within(self.spread, "(0, inf)"):
            raise ValueError(
                f"`spread` must be positive. Received: spread={self.spread}"
            )
        if not is_within(self.textured, "[0, 1]"):
            raise ValueError(
                "`textured` is a share of the grounds, in [0, 1]. "
                f"Received: textured={self.textured}"
            )

    def draw(self, generators, shape, preprocessing):
        pictures = np.stack([self._picture(g, shape) for g in generators])
        return preprocessing.normalize(255 * pictures)

    def _picture(self, generator, shape):
        """Draws one picture, with values in [0, 1]."""
        height, width, channels = shape
        picture = np.empty((height, width, channels))
        picture[:] = _ground(generator, channels)
        if self.textured and generator.random() < self.textured:
            texture = _texture(generator, height, width)[..., None]
            picture += texture * (_color(generator, channels) - picture)
        for _ in range(generator.integers(1, self.shapes, endpoint=True)):
            covered = self._leaf(generator, height, width)[..., None]
            color = _color(generator, channels)
            picture += covered * (color - picture)
        return picture

    def _leaf(self, generator, height, width):
        """Returns the share of each pixel that a new shape covers."""
        y, x = generator.normal(0.5, self.spread, 2)
        # The square root of the radius is uniform.
        low, high = np.sqrt([self.smallest, self.largest])
        radius = generator.uniform(low, high) ** 2
        aspect = np.exp(generator.uniform(-0.7, 0.7))
        angle = generator.uniform(0, np.pi)
        # |u|^p + |v|^p = 1 is an ellipse with p = 2, nearly a rectangle with 8.
        power = generator.choice([2.0, 3.0, 8.0])
        side = max(height, width)
        rows = ((np.arange(height) + 0.5) / height - y) * height / side
        columns = ((np.arange(width) + 0.5) / width - x) * width / side
        rows, columns = rows[:, None], columns[None, :]
        sine, cosine = np.sin(angle), np.cos(angle)
        along = np.abs(rows * sine + columns * cosine) / (radius * aspect)
        across = np.abs(rows * cosine - columns * sine) * aspect / radius
        distance = (along**power + across**power) ** (1 / power)
        # Half of the change lies within half a pixel of the edge.
        edge = 2 * side * radius * (distance - 1)
        return 1 / (1 + np.exp(np.clip(edge, -40, 40)))


def _ground(generator, channels):
    kind = generator.integers(3)
    return kind if kind < 2 else _color(generator, channels)


def _texture(generator, height, width):
    """Draws value noise in [0, 1), with up to one cell for each pixel.

    It has a random number at each corner of a grid, and is linear in between.
    """
    side = max(height, width)
    cell = np.exp(generator.uniform(0, np.log(max(1, side / 2))))
    numbers = generator.random((height + 1, width + 1))
    down, right = (
        # Each corner's weight at each pixel; far corners have none.
        np.maximum(
            0, 1 - np.abs(np.arange(n)[:, None] / cell - np.arange(n + 1))
        )
        for n in (height, width)
    )
    return down @ numbers @ right.T


def _color(generator, channels):
    """Draws a color. Channels are alike, as in pictures of objects."""
    gray, tint = generator.random(), generator.random(channels)
    mixed = generator.random() if channels > 1 else 0
    return gray + mixed * (tint - gray)
