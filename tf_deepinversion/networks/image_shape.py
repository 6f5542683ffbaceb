"""Which images a network takes: their size, and channels last."""

import keras

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import channels_axis


def require_channels_last():
    """Refuses Keras's other layout: pixels are (height, width, channels).

    Raises:
        ValueError: as said.
    """
    layout = keras.config.image_data_format()
    if layout != "channels_last":
        raise ValueError(
            "Images are channels last here: call "
            'keras.config.set_image_data_format("channels_last") before the '
            f"network is made. Received: {layout!r}"
        )


def _is_channels_first(layer):
    axis = channels_axis(layer) if hasattr(layer, "moving_mean") else None
    layout = getattr(layer, "data_format", None)
    return axis == 1 or layout == "channels_first"


def find_image_shape(model, given=None) -> tuple:
    """The shape of the images that a model takes, `(height, width, channels)`.

    Args:
        model: A `keras.Model`.
        given: Tuple, or None if the model fixes its size.

    Raises:
        ValueError: if the model takes no image, its size is not known, or is
            another one than was given.
    """
    try:
        shape = model.input_shape
    except AttributeError:  # subclassed, or never called
        shape = None
    if isinstance(shape, (list, dict)):
        raise ValueError(
            "Expected a model with one input, the image. "
            f"Received: input_shape={shape}"
        )
    fixed = shape[1:] if shape else (None, None, None)
    if len(fixed) != 3:
        raise ValueError(
            "Expected images of shape (height, width, channels). "
            f"Received: a model with input_shape={shape}"
        )
    found = tuple(given) if given else tuple(fixed)
    if len(found) != 3 or None in found:
        raise ValueError(
            "The size of the images is not known from the model: pass "
            "image_shape=(height, width, channels). "
            f"Received: input_shape={shape}, image_shape={given}"
        )
    if any(f not in (None, g) for f, g in zip(fixed, found, strict=True)):
        raise ValueError(
            f"The model takes images of shape {tuple(fixed)}. "
            f"Received: image_shape={given}"
        )
    if found[0] in (1, 3) and any(map(_is_channels_first, layers_of(model))):
        raise ValueError(
            "Expected images of shape (height, width, channels): let a "
            "`keras.layers.Permute((3, 1, 2))` precede a model that takes "
            f"its channels first. Received: {found}"
        )
    return found
