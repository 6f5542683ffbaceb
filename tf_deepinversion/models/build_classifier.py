"""The common frame of the small networks: pixels in, logits out."""

import keras
import numpy as np
from keras import layers


def build_classifier(features, *, input_shape, classes, mean, std, name):
    """Puts `features` between a normalization of pixels and a dense head.

    Args:
        features: Function from a symbolic tensor `(batch, *input_shape)` of
            normalized images to a tensor `(batch, features)`.
        input_shape: Tuple `(height, width, channels)`.
        classes: Int, number of logits, at least 2.
        mean: Float or list of `channels` floats, in gray levels.
        std: Float or list of `channels` floats, in gray levels, positive.
        name: String, the name of the model.

    Returns:
        A functional `keras.Model` from pixels in [0, 255] to logits.

    Raises:
        ValueError: if a shape, the number of classes or a statistic is out of
            range.
    """
    if len(input_shape) != 3 or None in tuple(input_shape)[-1:]:
        raise ValueError(
            "`input_shape` must be (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )
    if classes < 2:
        raise ValueError(
            f"A classifier has at least 2 classes. Received: classes={classes}"
        )
    channels = input_shape[-1]
    mean, std = (np.atleast_1d(np.asarray(v, "float64")) for v in (mean, std))
    for name_, values in (("mean", mean), ("std", std)):
        if values.shape not in ((1,), (channels,)):
            raise ValueError(
                f"`{name_}` must be one number, or one number for each of "
                f"{channels} channels. Received: {name_}={values}"
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"`{name_}` must be finite. Received: {name_}={values}"
            )
    if not (std > 0).all():
        raise ValueError(f"`std` must be positive. Received: std={std}")
    mean, std = (np.broadcast_to(v, (channels,)) for v in (mean, std))
    pixels = keras.Input(input_shape, name="pixels")
    # `Preprocessing.of` recognizes this layer by its name.
    x = layers.Rescaling(
        (1 / std).tolist(), (-mean / std).tolist(), name="normalize"
    )(pixels)
    logits = layers.Dense(classes, name="logits")(features(x))
    return keras.Model(pixels, logits, name=name)
