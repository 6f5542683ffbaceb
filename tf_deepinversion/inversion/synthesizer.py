"""What a batch of a synthesizer gives, and how a pool gets it."""

import numpy as np


def images_of_a_batch(synthesizer, images, draws=0) -> int:
    """How many images `made` gives of a batch of so many."""
    return images * (draws or synthesizer.images_per_label)


def made(synthesizer, labels, batch_index, draws):
    """What a batch gives to a pool: its images and snapshots, or new ones.

    Args:
        synthesizer: A `DeepInversion` or `FastInversion`, after `fit`.
        labels: Int array `(n,)`, those of the batch.
        batch_index: Int, its number.
        draws: Int, how many times n images are drawn; 0 for its own, where
            there are snapshots of them those before.

    Returns:
        A pair, uint8 images and the labels that they were made for.
    """
    if not draws:
        images = [*synthesizer.snapshots, synthesizer.images]
        return np.concatenate(images), np.tile(synthesizer.labels, len(images))
    numbers = range(batch_index * draws, (batch_index + 1) * draws)
    drawn = [synthesizer.draw(labels, number) for number in numbers]
    return np.concatenate(drawn), np.tile(labels, draws)


def labels_of(synthesizer, images, requested) -> np.ndarray:
    """The labels of images: what the synthesizer's teacher takes them for.

    A synthesizer without `classes_of`, such as one of real images, is
    believed: its labels are `requested`.
    """
    ask = getattr(synthesizer, "classes_of", None)
    return requested if ask is None else ask(images)


def add_made(pool, synthesizer, labels, batch_index, draws):
    """Adds what is `made` of a batch to a pool, where it is not there yet.

    Made again after an interruption, it may be.
    """
    if batch_index >= pool.batches:
        images, requested = made(synthesizer, labels, batch_index, draws)
        labels = labels_of(synthesizer, images, requested)
        pool.add(images, labels, number=batch_index, requested=requested)


def require_drawing(synthesizer, draws=1):
    """Refuses to draw by what cannot, before a step is made for it."""
    if draws and not getattr(synthesizer, "can_draw", True):
        raise ValueError(
            "Only a generator that learnt with new latents every step can "
            'draw: FastInversion(..., recipe="distillation"). Leave `draws` '
            f"out, or take one. Received: draws={draws} and a "
            f"{type(synthesizer).__name__} that cannot"
        )
