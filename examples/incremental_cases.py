"""Cases to compare methods by: data sets whose classes come in tasks."""

from typing import NamedTuple

import numpy as np

import tf_deepinversion as di
from tf_deepinversion.datasets.real_images import load_digits
from tf_deepinversion.datasets.real_images import load_split

_BOTH = {"method": "abd", "synthesis": "both", "draws": 1}
_MANY = {**_BOTH, "epochs": 10, "class_weight": 10.0}
# Of the garments chosen by training images that no network saw
# (docs/incremental.md). A network that has learned from several tasks needs
# more weight on its classes, or its statistics outweigh them. Where old and
# new classes look nothing like each other, plain replay keeps more.
SETTINGS = {
    "fashion_plus_digits": {
        **_BOTH,
        "method": "replay",
        "epochs": 15,
        "class_weight": 1.0,
    },
    "fashion_5_5": {
        "method": "abd",
        "synthesis": "generator",
        "draws": 4,
        "epochs": 10,
        "class_weight": 1.0,
    },
    "fashion_2x5": {**_MANY, "epochs": 6},
    "cifar100_5": _MANY,
    "cifar100_10": _MANY,
}


class Case(NamedTuple):
    """Tasks in a row; labels go on from one task to the next.

    Attributes:
        names: List of the names of the tasks.
        train: List of pairs of uint8 images and int32 labels.
        test: The same, of the test images.
        mirrored: Bool, whether an image mirrored is one of its class.
    """

    names: list
    train: list
    test: list
    mirrored: bool


# The data set, and how many classes each task has.
SPLITS = {
    "fashion_5_5": ("fashion_mnist", 5),
    "fashion_2x5": ("fashion_mnist", 2),
    "cifar100_5": ("cifar100", 20),
    "cifar100_10": ("cifar100", 10),
}


CASES = ("fashion_plus_digits", *SPLITS)


def split_classes(images, labels, classes) -> list:
    """Images and labels in tasks of so many classes, in the labels' order.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`.
        classes: Int, of each task; a divisor of how many there are.

    Returns:
        A list of pairs.

    >>> pieces = split_classes(np.arange(4), np.array([2, 0, 3, 1]), 2)
    >>> [(images.tolist(), labels.tolist()) for images, labels in pieces]
    [([1, 3], [0, 1]), ([0, 2], [2, 3])]
    """
    total = int(labels.max()) + 1
    if total % classes:
        raise ValueError(
            f"`classes` must divide the {total} classes. "
            f"Received: classes={classes}"
        )
    chosen = [labels // classes == task for task in range(total // classes)]
    return [(images[rows], labels[rows]) for rows in chosen]


def load_case(name, *, idx_dir=None, tfds_dir=None, train_images=None) -> Case:
    """Loads the data of a case.

    Args:
        name: String, one of `CASES`.
        idx_dir: As for `load_split`, of Fashion-MNIST.
        tfds_dir: As for `load_split`.
        train_images: Int, how many of each data set's training images are
            used, the first ones; None for all.
    """
    if name not in CASES:
        raise ValueError(
            f"`name` must be one of {CASES}. Received: name={name!r}"
        )
    dataset, classes = SPLITS.get(name, ("fashion_mnist", 10))
    source = {"idx_dir": idx_dir, "tfds_dir": tfds_dir}
    train, test = (
        split_classes(*_first(load_split(dataset, split, **source), n), classes)
        for split, n in (("train", train_images), ("test", None))
    )
    names = [f"task {i + 1}" for i in range(len(train))]
    if name == "fashion_plus_digits":
        names = ["fashion", "digits"]
        for tasks, split, n in (
            (train, "train", train_images),
            (test, "test", None),
        ):
            images, labels = _first(load_digits(split), n)
            tasks.append((images, labels + 10))
    return Case(names, train, test, name != "fashion_plus_digits")


def _first(pair, n):
    return tuple(part[:n] for part in pair)


def joined(pairs):
    """The images and labels of several tasks as one pair of arrays."""
    return tuple(np.concatenate(parts) for parts in zip(*pairs, strict=True))


def transforms_of(case) -> list:
    """What real images go through where a network is trained from scratch."""
    size = case.train[0][0].shape[1]
    shift = di.Shift(2 if size < 32 else 4)
    return [shift, di.HorizontalFlip()] if case.mirrored else [shift]


def augmentations_of(case, strength) -> list:
    """For new and replayed images alike: of the latter there are few kinds.

    Args:
        case: A `Case`.
        strength: Float, see `augmentations`.
    """
    # A blend has no label, and the mirror image of a digit is none.
    left_out = di.MixUp if case.mirrored else (di.MixUp, di.HorizontalFlip)
    return [
        x for x in di.augmentations(strength) if not isinstance(x, left_out)
    ]
