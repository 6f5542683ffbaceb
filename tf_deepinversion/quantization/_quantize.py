"""Quantization after training, calibrated with synthesized or other images.

Quantization to int8 needs the range of every activation. The converter measures
the ranges by running the network on calibration images. Without data, images
synthesized from the network serve.
"""

import sys

import numpy as np

from tf_deepinversion.core.checks import require_finite_weights
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.stored_names import require_stored_names
from tf_deepinversion.quantization.answers_check import check_answers
from tf_deepinversion.quantization.answers_check import require_runs
from tf_deepinversion.quantization.calibration import checked_images
from tf_deepinversion.quantization.calibration import counted
from tf_deepinversion.quantization.conversion import converted
from tf_deepinversion.quantization.file.float16_weights import require_float16
from tf_deepinversion.quantization.file.int4_weights import with_int4_weights
from tf_deepinversion.quantization.file.integers_alone import (
    require_integers_alone,
)
from tf_deepinversion.quantization.file.loadable_scales import (
    with_loadable_scales,
)
from tf_deepinversion.quantization.file.own_biases import with_own_biases
from tf_deepinversion.quantization.file.symmetric_operands import (
    with_symmetric_operands,
)
from tf_deepinversion.quantization.overflow import check_overflow
from tf_deepinversion.quantization.scheme import TRAINED
from tf_deepinversion.quantization.scheme import check_scheme
from tf_deepinversion.quantization.scheme import set_scheme
from tf_deepinversion.quantization.training.ranged_conversion import (
    converted_with_ranges,
)
from tf_deepinversion.quantization.training.ranged_conversion import (
    require_on_grid,
)
from tf_deepinversion.quantization.training.simulated_calls import (
    rounded_kernels,
)


def quantize(
    model,
    images=None,
    preprocessing=None,
    verbose="auto",
    *,
    ranges=None,
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
            "dynamic" and "float16" need no images. Defaults to None.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.
        verbose: "auto", 0, 1 or 2, as in Keras's `fit`. Defaults to "auto".
        ranges: Dict from names of activations to pairs of floats, which
            `train_quantized` returns with its student, in place of images. For
            the schemes "int8" and "int4". Defaults to None.
        scheme: String, what the file computes in. "int8": all in int8. "int4":
            activations in int8, weights of convolutions and dense layers in
            int4, those of transposed convolutions in int8. "int16x8":
            activations in int16, weights in int8. "dynamic": activations in
            float32, weights of at least 1,024 elements in int8. "float16":
            activations in float32, weights in float16. Defaults to "int8".
        input_dtype: String, dtype of the pixels: "uint8", "int8" or "float32"
            for "int8" and "int4", "int16" or "float32" for "int16x8", and
            "float32" else. Defaults to the first of them.
        output_dtype: String, dtype of the logits, one of the same. Defaults to
            "int8" for "int8" and "int4", else to the input's default.
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
            does not have the dtypes, if `ranges` come with images or are not
            the network's, if weights are not finite or too large for float16,
            if softplus overflows, or if a scheme in integers does not support
            an operation of the network. The error names the layer or the
            operation.

    Warns:
        UserWarning: if a file in integers has a signal-to-noise ratio of less
            than 10 dB on the calibration images.

    Example:
        ```python
        content = di.quantize(teacher, pool)
        print(di.quantization.LiteRT(content).accuracy(images, labels))
        ```
    """
    chosen, dtypes = check_scheme(
        scheme, input_dtype, output_dtype, per_tensor_dense
    )
    require_finite_weights(model)
    require_stored_names(model)
    preprocessing = Preprocessing.of(model, preprocessing)
    if ranges is not None:
        _check_ranges(images, scheme, per_tensor_dense)
        require_on_grid(model, scheme)
        content = _stored(
            converted_with_ranges(
                model, ranges, preprocessing, scheme, dtypes, batch_size
            ),
            chosen,
        )
        require_runs(content, model, scheme)
        return content
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
        model,
        preprocessing,
        shape,
        batch_size,
        prepare,
        chosen.holds,
        # The converter alone rounds to 8 bits.
        (lambda _: rounded_kernels(model, 4)) if chosen.bits == 4 else None,
    )
    if not chosen.in_integers:
        require_float16(content)
        return content
    require_integers_alone(content, model, scheme)
    content = _stored(content, chosen)
    check_answers(content, model, preprocessing, np.stack(calibration), scheme)
    return content


def _stored(content, scheme):
    """Returns a file in integers with what the converter cannot write."""
    if scheme.bits == 4:
        content = with_int4_weights(content)
    # The scale of a bias depends on the scale of what the operation reads.
    content = with_own_biases(with_symmetric_operands(content))
    return with_loadable_scales(content)


def _check_ranges(images, scheme, per_tensor_dense):
    """Refuses arguments that ranges of a training leave without use."""
    if images is not None or per_tensor_dense or scheme not in TRAINED:
        raise ValueError(
            "Expected `ranges` without images and without `per_tensor_dense`, "
            f"for a scheme among {', '.join(TRAINED)}. "
            f"Received: images of {type(images)}, {scheme=}, "
            f"{per_tensor_dense=}"
        )


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
