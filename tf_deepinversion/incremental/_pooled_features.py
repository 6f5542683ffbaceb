"""A network without its head: from pixels to one vector per image."""

import keras
from keras import layers

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.incremental.cell_means import cell_means
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.networks.preprocessing import Preprocessing


def pooled_features(network, preprocessing=None, *, places=None) -> keras.Model:
    """Builds a model from pixels to features of a trained network.

    By default they are the features that the head is given, which tell the
    network's own classes apart. With `places` they also suit classes that the
    network has never seen: they are the last maps of each size, such as those
    at the end of each stage of a ResNet, averaged over the cells of a grid.

    Args:
        network: A `keras.Model` classifier, see `Head`. The model shares its
            layers.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.
        places: Int, the most cells of the grid along each axis, see
            `random_features`, or None for the features of the head. Defaults to
            None. The maps of a model within the network do not count, but its
            output.

    Returns:
        A `keras.Model` from pixels in [0, 255] to features `(batch, features)`.
        Without `places`, maps of features before the pooling become their
        means.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`, if the preprocessing is unknown, or if
            `places` is given and the network has no maps of known size.

    Example:
        >>> di.incremental.pooled_features(teacher).output_shape
        (None, 4)
        >>> di.incremental.pooled_features(teacher, places=2).output_shape
        (None, 16)

    Reference:
        - Zhuang et al., ACIL, arXiv:2205.14922, for an analytic head on the
          features of a network that stays as the first task left it
    """
    preprocessing = Preprocessing.of(network, preprocessing)
    body = Head(network).features_model()
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    fed = preprocessing.fed(pixels)
    if places is None:
        features = body(fed, training=False)
        if len(features.shape) == 4:
            # A 1x1 convolution and a mean over places commute.
            features = layers.GlobalAveragePooling2D()(features)
    else:
        require_whole(places=places)
        maps = keras.Model(body.inputs, _last_of_each_size(body))
        found = [cell_means(x, places) for x in maps(fed, training=False)]
        features = found[0] if len(found) == 1 else layers.Concatenate()(found)
    return keras.Model(pixels, features, name="pooled_features")


def _last_of_each_size(body) -> list:
    """Lists the last maps of each size, from the largest to the smallest."""
    found, learned = {}, False
    for node in nodes_of(body):
        operation = node.operation
        if getattr(operation, "data_format", None) == "channels_first":
            raise ValueError(
                "With `places` the maps must have their channels last. "
                f"Received: channels first in {operation.name!r}"
            )
        # Pixels as the network normalizes them are no maps of its own.
        own = not isinstance(operation, layers.Normalization)
        learned |= own and bool(getattr(operation, "weights", ()))
        if not learned or isinstance(operation, layers.ZeroPadding2D):
            continue
        for tensor in node.outputs:
            size = tensor.shape[1:3]
            # A single place is a gate of the channels, or a pooled vector.
            if len(tensor.shape) == 4 and None not in size and size != (1, 1):
                found[size] = tensor
    if not found:
        raise ValueError(
            "With `places` the network must have maps (batch, height, width, "
            "channels) of known size. Leave `places` out, or build the network "
            "for one size of image. Received: a network whose head is given "
            f"features of shape {body.output.shape}"
        )
    return [found[size] for size in sorted(found, reverse=True)]
