"""Quantization after training, calibrated with synthesized or other images.

Quantization to int8 needs the range of every activation. The converter measures
the ranges by running the network on calibration images. Without data, images
synthesized from the network serve.
"""

import sys

import numpy as np

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization.calibration import checked_images
from tf_deepinversion.quantization.calibration import counted
from tf_deepinversion.quantization.conversion import converted
from tf_deepinversion.quantization.file_operations import in_float
from tf_deepinversion.quantization.file_operations import operations_of
from tf_deepinversion.quantization.overflow import check_overflow
from tf_deepinversion.quantization.scheme import check_scheme
from tf_deepinversion.quantization.scheme import set_scheme


def quantize(
    model,
    images=None,
    preprocessing=None,
    verbose="auto",
    *,
    scheme="int8",
    input_dtype=None,
    output_dtype=None,
    batch_size=None,
    per_tensor_dense=False,
) -> bytes:
    """Converts a network to a quantized LiteRT model, by default in int8.

    Args:
        model: A `keras.Model` from images to logits or probabilities, of any
            precision. An open image size becomes the size of the calibration
            images.
        images: uint8 calibration images; all are used, and a hundred suffice.
            An array `(n, height, width, channels)`, a `Pool`, a pair of arrays
            `(images, labels)`, or a `tf.data.Dataset` of single images, of
            pairs (image, label) or of TFDS's dictionaries. The schemes
            "dynamic" and "float16" need no images.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name.
        verbose: "auto", 0, 1 or 2, as in Keras's `fit`. Defaults to "auto".
        scheme: String, what the file computes in. "int8": all in int8.
            "int16x8": activations in int16, weights in int8. "dynamic":
            activations in float32, weights of at least 1,024 elements in int8.
            "float16": activations in float32, weights in float16. Defaults to
            "int8".
        input_dtype: String, dtype of the pixels: "uint8", "int8" or "float32"
            for the scheme "int8", "int16" or "float32" for "int16x8", and
            "float32" else. Defaults to the first of them.
        output_dtype: String, dtype of the logits, one of the same. Defaults to
            "int8" for the scheme "int8", else to the input's default.
        batch_size: Int, the number of images that the file takes at once. The
            file then has no operation that reads or makes a shape. Defaults to
            the network's own; an open number stays open.
        per_tensor_dense: Bool, whether a dense layer's kernel has a single
            scale, which some devices require, rather than one per output.
            Defaults to False.

    Returns:
        Bytes, the content of a `.tflite` file. The file states the scale and
        zero point of its input; `LiteRT` applies them.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are no images, if they do not fit, if the scheme
            does not have the dtypes, if softplus overflows, or if a scheme in
            integers does not support an operation of the network. The error
            names the layer.

    Example:
        ```python
        content = di.quantize(teacher, pool)
        print(di.quantization.LiteRT(content).accuracy(images, labels))
        ```
    """
    chosen, dtypes = check_scheme(
        scheme, input_dtype, output_dtype, per_tensor_dense
    )
    preprocessing = Preprocessing.of(model, preprocessing)
    calibration = _calibration(images, model, scheme, chosen.in_integers)
    shape = calibration[0].shape if calibration else None
    if chosen.in_integers:
        check_overflow(model, calibration, preprocessing, shape, batch_size)
    stdout = sys.stdout

    def prepare(converter, count):
        set_scheme(converter, chosen, dtypes, per_tensor_dense)
        if chosen.in_integers:
            # A fixed batch size calibrates on copies of each image.
            converter.representative_dataset = lambda: (
                [np.repeat(image[np.newaxis], count, 0).astype("float32")]
                for image in counted(calibration, verbose, stdout)
            )

    content = converted(
        model, preprocessing, shape, batch_size, prepare, chosen.holds
    )
    if chosen.in_integers:
        _check_integers(content, model, scheme)
    return content


def _calibration(images, model, scheme, needed):
    """Returns a list of images, empty if there are none."""
    if images is not None:
        return list(checked_images(images, model))
    if needed:
        raise ValueError(
            "Expected calibration images for a scheme in integers; "
            '"dynamic" and "float16" need none. '
            f"Received: images=None, scheme={scheme!r}"
        )
    return []


def _check_integers(content, model, scheme):
    """Reads a file back: the converter leaves in float what it cannot do."""
    left = in_float(operations_of(content))
    # The operations around these convert from and to integers.
    left = [o for o in left if o.name not in ("QUANTIZE", "DEQUANTIZE")] or left
    if left:
        # A tensor's name holds the names of the layers that lead to it.
        places = {f"{o.name} ({o.outputs[0].name.split(';')[0]})" for o in left}
        raise ValueError(
            f"{model.name!r} cannot be converted to scheme={scheme!r} alone: "
            "LiteRT computes in float "
            f"{', '.join(sorted(places)[:5])}. Replace these layers, or pass "
            'scheme="dynamic", which computes in float anyway.'
        )
