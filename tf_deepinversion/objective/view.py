"""The input of the terms of an objective."""

import typing


class View(typing.NamedTuple):
    """A batch after its transforms, with the networks' outputs for the batch.

    Attributes:
        images: Float tensor `(batch, height, width, channels)`, the normalized
            images z = (pixel - mean) / std.
        labels: Int tensor `(batch,)`.
        logits: Float tensor `(batch, classes)`, the teacher's.
        batch_norm_calls: List with one `Call` per BatchNormalization.
        student_logits: Float tensor `(batch, classes)`, or None without a
            student. Defaults to None.
        head: The `Call` of the `Dense` layer that outputs the logits, or None.
            Defaults to None.
        numbers: Tensor that the term's own `draw` returned, one row per image.
            Defaults to None.

    Example:
        >>> images = np.zeros((1, 2, 2, 1), "float32")
        >>> view = di.objective.View(images, np.array([0]), np.ones((1, 3)), [])
        >>> view.images.shape
        (1, 2, 2, 1)
    """

    images: object
    labels: object
    logits: object
    batch_norm_calls: list
    student_logits: object = None
    head: object = None
    numbers: object = None
