"""A network without its head: from pixels to one vector per image."""

import keras
from keras import layers

from tf_deepinversion.incremental.head import Head
from tf_deepinversion.networks.preprocessing import Preprocessing


def pooled_features(network, preprocessing=None) -> keras.Model:
    """Builds a model from pixels to the features that a head is given.

    Args:
        network: A `keras.Model` classifier, see `Head`. The model shares its
            layers.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name.

    Returns:
        A `keras.Model` from pixels in [0, 255] to features `(batch, features)`.
        Maps of features before the pooling become their means.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`, or if the preprocessing is unknown.

    Example:
        >>> di.incremental.pooled_features(teacher).output_shape
        (None, 4)
    """
    preprocessing = Preprocessing.of(network, preprocessing)
    body = Head(network).features_model()
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    features = body(preprocessing.fed(pixels), training=False)
    if len(features.shape) == 4:
        # A 1x1 convolution and a mean over places commute.
        features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(pixels, features, name="pooled_features")
