"""Which other networks take images for their labels."""

import numpy as np

from tf_deepinversion.core.checks import are_right
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.reader import resized


def verification_table(sets, networks, preprocessing=None) -> dict:
    """Which networks take which images for their labels.

    Args:
        sets: Dict from names to pairs: uint8 images `(n, height, width,
            channels)`, and int labels `(n,)`.
        networks: Dict from names to `keras.Model` classifiers. Images are
            resized to where a network takes one size alone.
        preprocessing: Dict from names of networks to `Preprocessing`, for
            those that are not known by name.

    Returns:
        A dict from names of sets to dicts: the accuracy by the name of each
        network; `"all"`, the share of images that all of them recognize; and
        `"images"`, how many there are.
    """
    preprocessing, table = preprocessing or {}, {}
    for name, (images, labels) in sets.items():
        right = {}
        for verifier, network in networks.items():
            logits, _ = reader.read(
                network,
                resized(images, network),
                preprocessing.get(verifier),
            )
            right[verifier] = are_right(logits.argmax(-1), labels)
        row = {k: float(v.mean()) for k, v in right.items()}
        row["all"] = float(np.all(list(right.values()), axis=0).mean())
        table[name] = {**row, "images": len(images)}
    return table
