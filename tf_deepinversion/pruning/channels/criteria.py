"""What ranks the channels of a network: a criterion by its name."""

import numpy as np

from tf_deepinversion.pruning.channels import importance
from tf_deepinversion.pruning.channels.importance import GateImportance

OF_WEIGHTS = {
    "bn_scale": importance.batch_norm_scale,
    "filter_norm": importance.filter_norm,
}

CRITERIA = ("taylor", "fisher", *OF_WEIGHTS, "random")


def require_criterion(criterion):
    """Refuses what is neither a name nor a function.

    Raises:
        ValueError: as said.
    """
    if criterion not in CRITERIA and not callable(criterion):
        raise ValueError(
            f"`criterion` must be one of {CRITERIA}, or a function of (graph, "
            f"batches, seed). Received: criterion={criterion!r}"
        )


def scores_of(
    graph, criterion, batches, seed, teacher, preprocessing, temperature
) -> np.ndarray:
    """The importance of each channel of a network.

    Args:
        graph: A `ChannelGraph` of the network.
        criterion: String, one of `CRITERIA`, or a function of (graph, batches,
            seed) to the scores.
        batches: `tf.data.Dataset` of batches of pixels and labels.
        seed: Int.
        teacher: A `keras.Model` with the same classes.
        preprocessing: The `Preprocessing` of both.
        temperature: Float, see `GateImportance`.

    Returns:
        A float array `(graph.count,)`; infinite of what has to stay.

    Raises:
        ValueError: if a function gives anything else.
    """
    if callable(criterion):
        return _checked(criterion(graph, batches, seed), graph.count)
    if criterion == "random":
        return importance.random_importance(graph, seed)
    if criterion in OF_WEIGHTS:
        return OF_WEIGHTS[criterion](graph)
    gates = GateImportance(graph, teacher, preprocessing, temperature)
    if criterion == "fisher":
        return gates.second_order(batches, seed)
    return gates.first_order(batches)


def _checked(scores, count):
    scores = np.asarray(scores, "float64")
    if scores.shape != (count,) or np.isnan(scores).any():
        raise ValueError(
            f"A criterion must give {count} scores, one for each channel of "
            "the `ChannelGraph`: the larger, the more important, infinite of "
            f"what has to stay. Received: an array of shape {scores.shape}, "
            f"with {np.isnan(scores).sum()} that are not numbers"
        )
    return scores
