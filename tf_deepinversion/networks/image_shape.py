"""The shape of a network's input images."""

import keras

from tf_deepinversion.core.keras_internals import input_shape_of
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import channels_axis


def require_channels_last():
    """Checks that Keras stores images as (height, width, channels).

    Raises:
        ValueError: if Keras's image data format is channels first.
    """
    layout = keras.config.image_data_format()
    if layout != "channels_last":
        raise ValueError(
            "tf_deepinversion needs images with channels last: call "
            'keras.config.set_image_data_format("channels_last") before you '
            f"create the network. Received: {layout!r}"
        )


def _is_channels_first(layer):
    if getattr(layer, "data_format", None) == "channels_first":
        return True
    if not hasattr(layer, "moving_mean") or channels_axis(layer) != 1:
        return False
    # Of rows of features, axis 1 is the last one.
    shape = input_shape_of(layer)
    return shape is None or len(shape) > 2


def takes(fixed, shape) -> bool:
    """Tells whether images of a shape fit the shape of a model's input.

    Args:
        fixed: Tuple, the shape of the input; None where a size is open.
        shape: Tuple, the shape of the images.
    """
    return len(fixed) == len(shape) and all(
        size in (None, given) for size, given in zip(fixed, shape, strict=True)
    )


def filled(fixed, shape) -> tuple:
    """Returns the shape of a model's input, its open sizes taken from `shape`.

    Args:
        fixed: Tuple, the shape of the input; None where a size is open.
        shape: Tuple, the shape of images.
    """
    pairs = zip(fixed, shape, strict=False)
    return tuple(given if size is None else size for size, given in pairs)


def find_image_shape(model, given=None) -> tuple:
    """Returns the shape of a model's images, `(height, width, channels)`.

    Args:
        model: A `keras.Model`.
        given: Tuple, or None if the model fixes its size.

    Raises:
        ValueError: if the model's input is not an image, its size is unknown,
            or `given` contradicts the model.
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
            "The model does not fix the size of its images: pass "
            "image_shape=(height, width, channels), or --image_size=H,W to "
            "the command. "
            f"Received: input_shape={shape}, image_shape={given}"
        )
    if not takes(fixed, found):
        raise ValueError(
            f"The model takes images of shape {tuple(fixed)}. "
            f"Received: image_shape={given}"
        )
    # A first size of 1 or 3 suggests channels first; a layer must confirm it.
    if found[0] in (1, 3) and any(map(_is_channels_first, layers_of(model))):
        raise ValueError(
            "Expected images of shape (height, width, channels): put a "
            "`keras.layers.Permute((3, 1, 2))` before a model with channels "
            f"first. Received: {found}"
        )
    return found
