"""Cross-checks of images by networks other than their teacher."""

import numpy as np

from tf_deepinversion.core.predictions import are_right
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.reader import resized


def verification_table(sets, networks, preprocessing=None) -> dict:
    """Measures how many images several networks assign to their labels.

    Args:
        sets: Dict from names to pairs (uint8 images `(n, height, width,
            channels)`, int labels `(n,)`).
        networks: Dict from names to `keras.Model` classifiers. The function
            resizes images for a network with a fixed input size.
        preprocessing: Dict from names of networks to `Preprocessing`. Not
            needed for networks of `di.models` or of `keras.applications`.
            Defaults to None.

    Returns:
        A dict from names of sets to dicts with the accuracy under each
        network's name; `"all"`, the share of images that all networks assign
        to their labels; and `"images"`, the number of images.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if there is no network or no image, a network has the name
            `"all"` or `"images"`, or a label is none of a network's classes.

    Example:
        >>> table = di.metrics.verification_table(
        ...     {"synthesized": (images, labels)}, {"other": teacher}
        ... )
        >>> sorted(table["synthesized"]), table["synthesized"]["images"]
        (['all', 'images', 'other'], 12)
    """
    taken = {"all", "images"} & set(networks)
    if not networks or taken:
        raise ValueError(
            "Expected one or more networks by names other than all and images, "
            f"which the table gives itself. Received: {list(networks)}"
        )
    preprocessing, table = preprocessing or {}, {}
    if not set(preprocessing) <= set(networks):
        raise ValueError(
            f"`preprocessing` has names of networks: {list(networks)}. "
            f"Received: {list(preprocessing)}"
        )
    for name, (images, labels) in sets.items():
        right = {}
        for verifier, network in networks.items():
            logits = reader.read_logits(
                network,
                resized(images, network),
                preprocessing.get(verifier),
            )
            # Kept for each image: "all" needs images that every network
            # recognizes.
            right[verifier] = are_right(logits, labels)
        row = {k: float(v.mean()) for k, v in right.items()}
        row["all"] = float(np.all(list(right.values()), axis=0).mean())
        table[name] = {**row, "images": len(images)}
    return table
