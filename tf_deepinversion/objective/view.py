"""What the terms of an objective look at."""

import typing


class View(typing.NamedTuple):
    """What the terms look at: a batch after its transforms, and its readings.

    Attributes:
        images: z, float tensor `(batch, height, width, channels)`.
        labels: Int tensor `(batch,)`.
        logits: The teacher's, `(batch, classes)`.
        batch_norm_calls: List of the `Call` of every BatchNormalization.
        student_logits: `(batch, classes)`, or None without a student.
        head: The `Call` of the `Dense` that gives the logits, or None.
        numbers: What the term's own `draw` gave, a row for each image.
    """

    images: object
    labels: object
    logits: object
    batch_norm_calls: list
    student_logits: object = None
    head: object = None
    numbers: object = None
