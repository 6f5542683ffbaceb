"""The criteria that rank channels, by name."""

import numpy as np

from tf_deepinversion.pruning.channels import importance
from tf_deepinversion.pruning.channels.importance import GateImportance

# These criteria need no images.
OF_WEIGHTS = {
    "bn_scale": importance.batch_norm_scale,
    "filter_norm": importance.filter_norm,
}

CRITERIA = ("taylor", "fisher", *OF_WEIGHTS, "random")


def require_criterion(criterion):
    """Checks that a criterion is a known name or a function.

    Raises:
        ValueError: if it is neither.
    """
    if criterion not in CRITERIA and not callable(criterion):
        raise ValueError(
            f"`criterion` must be one of {CRITERIA}, or a function of (graph, "
            f"batches, seed). Received: criterion={criterion!r}"
        )


def scores_of(
    graph, criterion, batches, seed, teacher, preprocessing, temperature
) -> np.ndarray:
    """Computes the importance of each channel of a network.

    Args:
        graph: A `ChannelGraph` of the network.
        criterion: String, one of `CRITERIA`, or a function from (graph,
            batches, seed) to the scores.
        batches: `tf.data.Dataset` of batches of pixels and labels.
        seed: Int.
        teacher: A `keras.Model` with the same classes.
        preprocessing: The `Preprocessing` of both networks.
        temperature: Float, see `GateImportance`.

    Returns:
        A float array `(graph.count,)`, infinite for channels that must stay.

    Raises:
        ValueError: if a criterion function returns anything else.
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
    try:
        scores = np.asarray(scores, "float64")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"A criterion must return {count} numbers, one for each channel of "
            f"the `ChannelGraph`. Received: {type(scores)}: {error}"
        ) from error
    wrong = int((~(scores > -np.inf)).sum())  # a NaN is no larger either
    if scores.shape != (count,) or wrong:
        raise ValueError(
            f"A criterion must return {count} scores, one for each channel of "
            "the `ChannelGraph`: larger scores for more important channels, "
            "infinity for channels that must stay. Received: an array of "
            f"shape {scores.shape}, with {wrong} NaN or -infinity"
        )
    return scores
