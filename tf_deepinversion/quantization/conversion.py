"""Conversion of a network to LiteRT, in float32 or as a caller prepares it."""

import contextlib
import io
import re
import warnings

import keras
import tensorflow as tf

from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.stored_names import require_stored_names
from tf_deepinversion.quantization.integer_norms import integer_norms
from tf_deepinversion.quantization.pixel_input import takes_pixels


@contextlib.contextmanager
def quiet():
    """Silences Keras, which prints every variable of an exported model."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def converted(
    model,
    preprocessing,
    image_shape,
    batch_size=None,
    prepare=None,
    holds="float32",
    opened=None,
) -> bytes:
    """Converts a network to LiteRT, in float32 unless `prepare` changes this.

    LiteRT does not support float16 and float64 in most operations: a network of
    another precision is converted as it computes in float32.

    Args:
        model: As for `to_litert`.
        preprocessing: As for `to_litert`.
        image_shape: As for `to_litert`.
        batch_size: As for `to_litert`.
        prepare: Function of a `tf.lite.TFLiteConverter` and a batch size that
            sets the converter's options, or None.
        holds: String, what an error says of the file.
        opened: Function from the network with pixels as inputs to a context in
            which the converter sees the network, or None.
    """
    require_stored_names(model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reading(model, keras.DTypePolicy("float32")))
        stack.enter_context(integer_norms(model))
        fed = takes_pixels(model, preprocessing, image_shape, batch_size)
        if opened:
            stack.enter_context(opened(fed))
        converter = tf.lite.TFLiteConverter.from_keras_model(fed)
        if prepare:
            prepare(converter, fed.input_shape[0] or 1)
        try:
            with quiet():
                return converter.convert()
        except Exception as e:  # the converter raises its own private errors
            numbers = f" in {holds}" if prepare else ""
            raise ValueError(
                f"{model.name!r} cannot be converted to LiteRT{numbers}: "
                f"{_reason(e)}"
            ) from e


def _reason(error):
    """Shortens the converter's message to its operations and one line."""
    text = " ".join(str(error).split())
    names = sorted(set(re.findall(r"'(tfl?\.\w+)' op", text)))[:5]
    found = ""
    if names:
        found = f"it has no {', '.join(names)} for these number types; "
    return found + text[:300]


def to_litert(
    model, preprocessing=None, image_shape=None, batch_size=None
) -> bytes:
    """Converts a network to a LiteRT model in float32: pixels in, logits out.

    Args:
        model: A `keras.Model` of any precision.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it. Defaults to the network's.
        batch_size: Int, the number of images that the file takes at once.
            Defaults to the network's own; an open number stays open.

    Returns:
        Bytes, the content of a `.tflite` file.

    Raises:
        ValueError: if the network cannot be converted, if the size of its
            images is unknown, or if it fixes another batch size.

    Example:
        ```python
        content = di.quantization.to_litert(teacher)
        pathlib.Path("teacher.tflite").write_bytes(content)
        ```
    """
    return converted(model, preprocessing, image_shape, batch_size)
