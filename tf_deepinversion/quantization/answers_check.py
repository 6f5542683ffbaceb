"""Compares the answers of a new LiteRT file with those of its network."""

import keras
import numpy as np

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.quantization._compare import decibels
from tf_deepinversion.quantization.litert import LiteRT
from tf_deepinversion.quantization.pixel_input import takes_pixels

LEAST = 10.0  # dB: the noise has a third of the signal's deviation
_MOST = 32  # images, which suffice for a ratio


def check_answers(content, model, preprocessing, images, scheme):
    """Runs a file in integers, and compares its answers with the network's.

    The signal is the distance of the network's outputs from their mean over
    the images. The noise is the distance of the file's outputs from the
    network's. Noise of up to two steps of the output counts as none.

    Args:
        content: Bytes of a `.tflite` file.
        model: The `keras.Model` that was converted.
        preprocessing: The model's `Preprocessing`.
        images: uint8 array `(n, height, width, channels)`, calibration images.
        scheme: String, for the messages.

    Raises:
        ValueError: if LiteRT cannot compute the file.
    """
    count = len(images)
    images = images[np.linspace(0, count - 1, min(count, _MOST)).astype(int)]
    images = next(pieces_of(images))
    served = LiteRT(content)
    answers = _computed(served, images, model, scheme)
    shape = tuple(served.input["shape_signature"].tolist())
    with reading(model, keras.DTypePolicy("float32")):
        fed = takes_pixels(
            model, preprocessing, images.shape[1:], max(0, shape[0]) or None
        )
        exact = np.concatenate(
            [
                np.asarray(fed(_floats(served, x), training=False))[: len(x)]
                for x in pieces_of(images, served.batch_size)
            ],
            dtype="float64",
        )
    noise = np.sum((answers - exact) ** 2)
    step = served.output["quantization"][0]
    signal = np.sum((exact - exact.mean(0)) ** 2)
    if signal == 0 or noise <= exact.size * (2 * step) ** 2:
        return
    ratio = decibels(signal, noise)
    if ratio < LEAST:
        warn_caller(
            f"The file in scheme={scheme!r} answers other than "
            f"{model.name!r}: its outputs have a signal-to-noise ratio of "
            f"{ratio:.0f} dB on the calibration images, less than {LEAST:.0f} "
            "dB. `quantization.compare` shows in which layer the error "
            "begins. Try `equalize` and `correct_bias`, `train_quantized`, or "
            'scheme="int16x8".'
        )


def _floats(served, images):
    return served.filled(images).astype("float32")


def require_runs(content, model, scheme):
    """Runs a file in integers whose calibration images are gone, on noise.

    Args:
        content: As for `check_answers`, as all arguments.
        model: As above.
        scheme: As above.

    Raises:
        ValueError: if LiteRT cannot compute the file.
    """
    served = LiteRT(content)
    shape = 2, *served.input["shape"][1:].tolist()
    pixels = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    _computed(served, pixels, model, scheme)


def _computed(served, images, model, scheme) -> np.ndarray:
    """Returns the answers of a `LiteRT` to images."""
    try:
        return served(images)
    except RuntimeError as error:  # LiteRT has no other
        raise ValueError(
            f"LiteRT cannot compute {model.name!r} in scheme={scheme!r}: "
            f"{' '.join(str(error).split())[:300]} Replace the layer that uses "
            'this operation, or pass scheme="dynamic", which computes in '
            "float."
        ) from error
