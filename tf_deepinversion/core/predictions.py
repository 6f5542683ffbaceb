"""Predicted classes, and how many of them are right."""

import numpy as np

from tf_deepinversion.core.labels import require_classes


def predicted(outputs) -> np.ndarray:
    """Returns the classes of the largest outputs, an int array `(n,)`.

    Args:
        outputs: Array `(n, classes)`.

    Raises:
        ValueError: if there is a single output, which may be a logit or a
            probability.
    """
    if outputs.shape[-1] == 1:
        raise ValueError(
            "A single output may be a logit or a probability: compare "
            "`outputs[:, 0] > 0`, or `> 0.5` of a sigmoid, with the labels. "
            f"Received: outputs of shape {outputs.shape}"
        )
    return outputs.argmax(-1)


def are_right(outputs, labels) -> np.ndarray:
    """Tells which images get their label: a bool array `(n,)`.

    Args:
        outputs: Array `(n, classes)`, such as logits.
        labels: Int array `(n,)` in [0, classes).

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if there is no image, not one label per image, or a label
            that the outputs do not have.
    """
    labels, predictions = np.asarray(labels), predicted(outputs)
    # NumPy would compare labels `(n, 1)` with every image.
    if labels.shape != predictions.shape or not labels.size:
        raise ValueError(
            f"Expected labels of shape {predictions.shape}, one per image: "
            "use `labels.reshape(-1)` for the shape `(n, 1)`, or "
            "`labels.argmax(-1)` for one-hot rows. "
            f"Received: an array of shape {labels.shape}"
        )
    require_classes(outputs.shape[-1], labels=labels)
    return predictions == labels


def share_right(outputs, labels) -> float:
    """Returns the share of images that get their label; see `are_right`."""
    return float(are_right(outputs, labels).mean())
