"""Cases for comparing methods: data sets whose classes arrive in tasks."""

import pathlib
from typing import NamedTuple

import numpy as np

import tf_deepinversion as di
from tf_deepinversion.datasets.real_images import load_digits
from tf_deepinversion.datasets.real_images import load_split

_BOTH = {
    "method": "abd",
    "synthesis": "both",
    "draws": 1,
    "statistics": "task",
}
_MANY = {**_BOTH, "epochs": 10, "class_weight": 10.0}
# Training images that no network saw decided the settings for garments
# (docs/results/incremental.md). A network that learned several tasks needs more
# weight on its classes, or its statistics outweigh the classes. If old and new
# classes look different, plain replay keeps more. The statistics of each class
# keep the most, and take longer.
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
        "statistics": "class",
    },
    "fashion_2x5": {**_MANY, "epochs": 6},
    "cifar100_5": _MANY,
    "cifar100_10": _MANY,
    "letters_2x5": {**_MANY, "epochs": 6},
    "letters_2x13": {**_MANY, "epochs": 6},
}


class Case(NamedTuple):
    """A sequence of tasks. Labels continue from one task to the next.

    Attributes:
        names: List of the names of the tasks.
        train: List of pairs of uint8 images and int32 labels.
        test: List of pairs of test images and labels.
        mirrored: Bool, whether a mirrored image keeps its class.
    """

    names: list
    train: list
    test: list
    mirrored: bool


# The data set and the number of classes in a task.
SPLITS = {
    "fashion_5_5": ("fashion_mnist", 5),
    "fashion_2x5": ("fashion_mnist", 2),
    "cifar100_5": ("cifar100", 20),
    "cifar100_10": ("cifar100", 10),
    "letters_2x5": ("k_to_t", 2),
    "letters_2x13": ("a_to_z", 2),
}
# Letters in color, which benchmarks/glyphs.py draws.
LETTERS = ("k_to_t", "a_to_z")

CASES = ("fashion_plus_digits", *SPLITS)


def split_classes(images, labels, classes) -> list:
    """Splits images and labels into tasks, in the order of the labels.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`.
        classes: Int, number of classes in a task; a divisor of all classes.

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


def load_case(
    name, *, idx_dir=None, tfds_dir=None, sets=None, train_images=None
) -> Case:
    """Loads the data of a case.

    Args:
        name: String, one of `CASES`.
        idx_dir: As for `load_split`, for Fashion-MNIST.
        tfds_dir: As for `load_split`.
        sets: Folder of the letters, which benchmarks/glyphs.py wrote.
        train_images: Int, number of training images of each data set, from the
            first on; None for all.
    """
    if name not in CASES:
        raise ValueError(
            f"`name` must be one of {CASES}. Received: name={name!r}"
        )
    dataset, classes = SPLITS.get(name, ("fashion_mnist", 10))

    def load(split):
        if dataset in LETTERS:
            return load_letters(sets, dataset, split)
        return load_split(dataset, split, idx_dir=idx_dir, tfds_dir=tfds_dir)

    train, test = (
        split_classes(*_first(load(split), n), classes)
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
    mirrored = dataset not in LETTERS and name != "fashion_plus_digits"
    return Case(names, train, test, mirrored)


def load_letters(sets, dataset, split) -> tuple:
    """Loads images and labels of a file `SETS/DATASET/SPLIT.npz`."""
    if sets is None:
        raise ValueError(
            "Expected the folder that benchmarks/glyphs.py wrote, as --sets. "
            f"Received: sets=None, for the letters {dataset!r}"
        )
    with np.load(pathlib.Path(sets) / dataset / f"{split}.npz") as file:
        return file["images"], file["labels"].astype("int32")


def _first(pair, n):
    return tuple(part[:n] for part in pair)


def joined(pairs):
    """Joins the images and labels of several tasks to one pair of arrays."""
    return tuple(np.concatenate(parts) for parts in zip(*pairs, strict=True))


def transforms_of(case) -> list:
    """Returns the transforms for training from scratch on real images."""
    size = case.train[0][0].shape[1]
    shift = di.Shift(2 if size < 32 else 4)
    return [shift, di.HorizontalFlip()] if case.mirrored else [shift]


def augmentations_of(case, strength) -> list:
    """Returns the transforms of new and replayed images.

    Synthesized images resemble each other, so they need more than `Shift`.

    Args:
        case: A `Case`.
        strength: Float, see `augmentations`.
    """
    # A blend has no single label. A mirrored digit or letter is none.
    left_out = di.MixUp if case.mirrored else (di.MixUp, di.HorizontalFlip)
    return [
        x for x in di.augmentations(strength) if not isinstance(x, left_out)
    ]
