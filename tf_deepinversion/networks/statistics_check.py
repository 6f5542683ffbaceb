"""Checks that a network has statistics of its training data."""

import keras

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.layer_statistics import CONVOLUTIONS
from tf_deepinversion.networks.layer_statistics import gamma_of
from tf_deepinversion.networks.layer_statistics import is_batch_norm
from tf_deepinversion.networks.layer_statistics import normalizations


def is_initial(model) -> bool:
    """Tells whether all normalizations have their initial values.

    The moving mean of a BatchNormalization is then 0 and its moving variance 1
    in all channels; gamma of another normalization is 1, and beta is 0.
    """
    found = [_values(layer) for layer in normalizations(model)]
    return bool(found) and all(
        pairs and all((v == initial).all() for v, initial in pairs)
        for pairs in found
    )


def _values(layer) -> list:
    """Lists pairs of a normalization's weight and its initial value."""
    if is_batch_norm(layer):
        pairs = (layer.moving_mean, 0), (layer.moving_variance, 1)
    else:
        pairs = (gamma_of(layer), 1), (getattr(layer, "beta", None), 0)
    return [
        (keras.ops.convert_to_numpy(weight), initial)
        for weight, initial in pairs
        if weight is not None
    ]


def is_folded(model) -> bool:
    """Tells whether BatchNormalization may have been folded into convolutions.

    Deployment folds its scale and shift into kernel and bias. The network then
    has convolutions, all with a bias, and no normalization.
    """
    found = [x for x in layers_of(model) if isinstance(x, CONVOLUTIONS)]
    return (
        bool(found)
        and not normalizations(model)
        and all(layer.use_bias for layer in found)
    )


def folded_hint(model) -> str:
    """Returns a sentence about folded BatchNormalization, or nothing."""
    if not is_folded(model):
        return ""
    return (
        " All its convolutions have a bias and no normalization follows them: "
        "if BatchNormalization was folded into them for deployment, its "
        "statistics are gone, and the network before that has them."
    )


def require_statistics(model, called):
    """Checks that there are statistics of the training data.

    Args:
        model: A `keras.Model`.
        called: List of the layers with statistics that the model calls.

    Warns:
        UserWarning: if the statistics are initial values, without training.

    Raises:
        ValueError: if there are none.
    """
    if not called:
        raise _no_statistics(model)
    if is_initial(model):
        warn_caller(
            "All normalizations of the teacher are as they are before "
            "training, so their statistics tell nothing of any images: load "
            f"the trained weights. Received: {model.name!r}"
        )


def _no_statistics(model):
    return ValueError(
        "DeepInversion needs the statistics of the training data that "
        "BatchNormalization layers store, and this teacher calls no such layer."
        f"{folded_hint(model)} There are three ways out: measure the "
        "statistics of 10 or more unlabeled images, "
        "`targets=FeatureTargets.measure(teacher, images)`, by the command "
        "`tf-deepinversion measure` and --targets; derive them from "
        "the weights of other normalizations, "
        "`targets=FeatureTargets.from_weights(teacher)`; or use image priors "
        "only, by `recipe=RECIPES[name].without(FeatureStatistics)`. "
        f"Received: {model.name!r}"
    )
