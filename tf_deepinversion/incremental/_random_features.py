"""Features that no training changes: responses of random filters."""

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole


def random_features(
    image_shape,
    *,
    filters=25,
    size=6,
    places=4,
    threshold=0.1,
    mean=127.5,
    std=64.0,
    seed=0,
) -> keras.Model:
    """Builds a model from pixels to fixed random features.

    Let w be a random filter of mean 0 and length 1, and x a patch of the
    normalized image. The features are the means of relu(w x - t) and
    relu(-w x - t) over each cell of a grid, where t is the threshold. Nothing
    is trained, so the features suit all classes alike, also classes that come
    later.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        filters: Int, number of filters; each serves with both signs. Defaults
            to 25, which gives 800 features in a grid of 4x4.
        size: Int, height and width of a filter. Defaults to 6.
        places: Int, cells of the grid along each axis, fewer for images too
            small. Defaults to 4.
        threshold: Float, at least 0, in standard deviations of pixels. Defaults
            to 0.1.
        mean: Float or list of floats per channel, in gray levels. Defaults to
            127.5.
        std: Float or list of floats per channel, in gray levels, positive.
            Defaults to 64.
        seed: Int, seed of the filters. Defaults to 0.

    Returns:
        A `keras.Model` from pixels in [0, 255] to features `(batch, features)`,
        without trainable weights.

    Raises:
        ValueError: if an argument is out of range, or the filters are larger
            than the images.

    Example:
        >>> features = di.incremental.random_features((28, 28, 1))
        >>> features.output_shape
        (None, 800)

    Reference:
        - McDonnell et al., RanPAC, arXiv:2307.02251, for random features under
          an analytic head
    """
    require_whole(filters=filters, size=size, places=places)
    _check(image_shape, size, threshold)
    require_positive(std=np.min(std))
    height, width, channels = image_shape
    kernel = np.random.default_rng(seed).normal(
        size=(size, size, channels, filters)
    )
    kernel -= kernel.mean((0, 1, 2))
    kernel /= np.sqrt((kernel**2).sum((0, 1, 2)))
    mean, std = (
        np.broadcast_to(np.asarray(v, "float64"), (channels,))
        for v in (mean, std)
    )
    convolution = layers.Conv2D(
        2 * filters, size, activation="relu", name="filters", trainable=False
    )
    cells = [-(-(side - size + 1) // places) for side in (height, width)]
    model = keras.Sequential(
        [
            keras.Input(image_shape, name="pixels"),
            # `Preprocessing.of` recognizes this layer by its name.
            layers.Rescaling(
                (1 / std).tolist(), (-mean / std).tolist(), name="normalize"
            ),
            convolution,
            # Cells at the edge are means of fewer responses.
            layers.AveragePooling2D(cells, padding="same", name="grid"),
            layers.Flatten(name="features"),
        ],
        name="random_features",
    )
    convolution.set_weights(
        [
            np.concatenate([kernel, -kernel], -1),
            np.full(2 * filters, -float(threshold)),
        ]
    )
    return model


def _check(image_shape, size, threshold):
    if len(image_shape) != 3 or None in tuple(image_shape):
        raise ValueError(
            "`image_shape` must be (height, width, channels) without open "
            f"sizes. Received: image_shape={image_shape}"
        )
    if min(image_shape[:2]) < size or (size == 1 and image_shape[2] == 1):
        raise ValueError(
            "A filter must have more than one weight and fit into the images: "
            f"pass another `size`. Received: size={size} for images "
            f"{tuple(image_shape)}"
        )
    if not 0 <= threshold < float("inf"):
        raise ValueError(
            "`threshold` must be finite, 0 or more. "
            f"Received: threshold={threshold}"
        )
