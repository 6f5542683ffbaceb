"""Features that no training changes: responses to random filters."""

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.incremental.cell_means import cell_means

SMALLEST = 1e-6  # squared response of any patch


def random_features(
    image_shape,
    *,
    filters=50,
    size=8,
    places=4,
    threshold=0.1,
    mean=127.5,
    std=64.0,
    seed=0,
) -> keras.Model:
    """Builds a model from pixels to fixed random features.

    Let w be a random filter of mean 0 and length 1, and r_c its response w x_c
    to channel c of a patch x of the normalized image. The features are the
    means of relu(d - t) over each cell of a grid, where t is the threshold and
    d the length of the vector of all channels' responses, and the mean color of
    each cell. So an edge is the same edge in every pair of colors.
    Nothing is trained: the features suit all classes alike, also classes that
    come later.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        filters: Int, number of filters. Defaults to 50, which gives 800
            features in a grid of 4x4, beside 16 means of each channel.
        size: Int, height and width of a filter. Defaults to 8.
        places: Int, the most cells of the grid along each axis: n places make
            cells of ceil(n / places). Defaults to 4.
        threshold: Float, at least 0, in standard deviations of pixels. Defaults
            to 0.1.
        mean: Float or list of floats per channel, in gray levels. Defaults to
            127.5.
        std: Float or list of floats per channel, in gray levels, positive.
            Defaults to 64.
        seed: Int in [0, 2**31), seed of the filters. Defaults to 0.

    Returns:
        A `keras.Model` from pixels in [0, 255] to features `(batch, features)`,
        without trainable weights.

    Raises:
        ValueError: if an argument is out of range, or the filters are larger
            than the images.

    Example:
        >>> features = di.incremental.random_features((28, 28, 1))
        >>> features.output_shape
        (None, 816)

    Reference:
        - McDonnell et al., RanPAC, arXiv:2307.02251, for random features under
          an analytic head
    """
    require_whole(filters=filters, size=size, places=places)
    _check(image_shape, size, threshold)
    channels = image_shape[-1]
    mean = _per_channel("mean", mean, channels)
    std = _per_channel("std", std, channels)
    require_positive(std=std.min())
    require_seed(seed)
    kernel = np.random.default_rng(seed).normal(size=(size, size, 1, filters))
    kernel -= kernel.mean((0, 1))
    kernel /= np.sqrt((kernel**2).sum((0, 1)))
    convolution = layers.Conv2D(
        filters, size, use_bias=False, name="filters", trainable=False
    )
    # `Preprocessing.of` recognizes the second layer by its name.
    pixels = keras.Input(image_shape, name="pixels")
    x = layers.Rescaling(
        (1 / std).tolist(), (-mean / std).tolist(), name="normalize"
    )(pixels)
    responses = [convolution(x[..., c : c + 1]) for c in range(channels)]
    squares = sum(r * r for r in responses)
    # The smallest number keeps the gradient finite where nothing responds.
    length = keras.ops.sqrt(squares + SMALLEST)
    above = keras.ops.relu(length - float(threshold))
    found = [
        cell_means(above, places, "grid"),
        cell_means(x, places, "colors"),
    ]
    outputs = layers.Concatenate(name="features")(found)
    convolution.set_weights([kernel])
    return keras.Model(pixels, outputs, name="random_features")


def _per_channel(name, values, channels):
    found, shapes = np.asarray(values, "float64"), ((), (1,), (channels,))
    if found.shape not in shapes or not np.isfinite(found).all():
        raise ValueError(
            f"`{name}` must be a finite number, or one for each of {channels} "
            f"channels. Received: {name}={values}"
        )
    return np.broadcast_to(found, (channels,))


def _check(image_shape, size, threshold):
    if len(image_shape) != 3 or None in tuple(image_shape):
        raise ValueError(
            "`image_shape` must be (height, width, channels) without open "
            f"sizes. Received: image_shape={image_shape}"
        )
    if size == 1 or min(image_shape[:2]) < size:
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
