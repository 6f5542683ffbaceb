"""The result of a distillation."""

import typing

import keras

from tf_deepinversion.datasets.pool import Pool


class Distilled(typing.NamedTuple):
    """The result of `distill`.

    Attributes:
        student: The trained `keras.Model`.
        history: Dict from names to lists, one number per round.
        pool: The `Pool` of images, or None if the images came from elsewhere.
        synthesis: Dict from names to lists, one number per batch of images:
            `batch`, the batch's number, and the loss terms at the last step of
            its synthesis. Empty if nothing was synthesized.

    Example:
        >>> distilled = di.distillation.Distilled(
        ...     student, history={"loss": [0.5]}, pool=None, synthesis={}
        ... )
        >>> distilled.history["loss"][-1]
        0.5
    """

    student: keras.Model
    history: dict
    pool: Pool | None
    synthesis: dict
