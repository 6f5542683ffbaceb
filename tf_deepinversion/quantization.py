"""Whole-number LiteRT models, calibrated by images: synthesized ones will do.

Quantization to int8 must know the range of every activation. The converter
finds it by running the network on images like those that will come; where none
are left, on images that the network remembers.
"""

import contextlib
import functools
import io
import re
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import share_right
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import image_and_label
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.preprocessing import Preprocessing


def takes_pixels(model, preprocessing=None, image_shape=None) -> keras.Model:
    """The network as one that is fed pixels in [0, 255], red first.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        preprocessing: Its `Preprocessing`; None if known by name.
        image_shape: Tuple `(height, width, channels)`, needed where the
            network does not fix it.

    Raises:
        ValueError: if the size of the images is not known, or another one.
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    count, *shape = _input_shape(model, image_shape)
    # z is affine in the pixels, and what is fed is affine in z.
    ends = np.zeros((2, 1, 1, shape[-1]))
    ends[1] = 255
    z = tf.constant((ends - preprocessing.mean) / preprocessing.std)
    fed = preprocessing.teacher_input(z).numpy().reshape(2, shape[-1])
    scale, offset = (fed[1] - fed[0]) / 255, fed[0]
    bgr = preprocessing.channel_order == "bgr"
    same = np.allclose(scale, 1) and np.allclose(offset, 0) and not bgr
    if same and (count, *shape) == getattr(model, "input_shape", None):
        return model
    # The precision is not left to Keras's global policy.
    x = pixels = keras.Input(shape, count, "float32", name="pixels")
    if bgr:
        x = keras.ops.flip(x, axis=-1)
    if not same:
        rescaling = keras.layers.Rescaling(
            scale.tolist(), offset.tolist(), dtype="float32"
        )
        x = rescaling(x)
    return keras.Model(pixels, model(x, training=False), name=model.name)


def _input_shape(model, given):
    """(batch, height, width, channels), of which the batch may be None."""
    found = getattr(model, "input_shape", None) or (None,) * 4
    shape = tuple(given or found[1:])
    fits = len(found) == len(shape) + 1 == 4 and all(
        own in (None, wanted)
        for own, wanted in zip(found[1:], shape, strict=True)
    )
    if not fits or None in shape:
        raise ValueError(
            "LiteRT needs a network of one image size, (height, width, "
            "channels): where the network leaves it open, pass `image_shape`. "
            f"Received: input_shape={found}, image_shape={given}"
        )
    return found[0], *shape


def _images(images, model):
    """Yields uint8 images that fit a network, all of one size, one at a time.

    Raises:
        TypeError: if they are not uint8, or a function.
        ValueError: if they are not of the network's shape, or there are none,
            or no end.
    """
    count, shape = 0, None
    if isinstance(images, Pool):
        images = images.images
    elif isinstance(images, (tuple, dict)):
        images, _ = image_and_label(images)
    elif callable(images):
        raise TypeError(
            "Expected images that have an end, and not a function of a step: "
            "pass the `Pool` or the arrays that it draws from. "
            f"Received: {type(images)}"
        )
    endless = isinstance(images, tf.data.Dataset) and (
        images.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if endless:
        raise ValueError(
            "Expected an end of the calibration images: `take` some, or pass "
            "a `Pool`. Received: an endless dataset"
        )
    for element in images:
        image = np.asarray(image_and_label(element)[0])
        shape = shape or _fitting(model, image.shape)
        if image.shape != shape:
            raise ValueError(
                f"Expected calibration images of shape {shape}, one "
                "at a time; unbatch() a dataset of batches. "
                f"Received: shape={image.shape}"
            )
        if image.dtype != np.uint8:
            raise TypeError(
                "Expected uint8 images, pixels as they are saved. "
                f"Received: dtype={image.dtype}"
            )
        count += 1
        yield image
    if not count:
        raise ValueError("There are no calibration images.")


def _fitting(model, shape):
    """The shape of a network's images, where it is open that of these."""
    known = getattr(model, "input_shape", (None,) * 4)[1:]
    if len(known) != len(shape):
        return tuple(known)
    return tuple(a or b for a, b in zip(known, shape, strict=True))


@contextlib.contextmanager
def _quiet():
    """Keras prints every variable of what the converter exports."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _converted(model, preprocessing, image_shape, prepare=None) -> bytes:
    """The network as LiteRT has it, in float32 unless `prepare` says else.

    LiteRT knows neither float16 nor float64 in most operations: a network of
    another precision is converted as it computes in float32.
    """
    with reading(model, keras.DTypePolicy("float32")):
        fed = takes_pixels(model, preprocessing, image_shape)
        converter = tf.lite.TFLiteConverter.from_keras_model(fed)
        if prepare:
            prepare(converter, fed.input_shape[0] or 1)
        try:
            with _quiet():
                return converter.convert()
        except Exception as e:  # the converter raises its own private errors
            raise ValueError(
                f"{model.name!r} cannot be converted to LiteRT"
                f"{' in int8' * bool(prepare)}: {_reason(e)}"
            ) from e


def _reason(error):
    """The converter tells its whole graph: here its operations and a line."""
    text = " ".join(str(error).split())
    names = sorted(set(re.findall(r"'(tfl?\.\w+)' op", text)))[:5]
    found = f"it has no {', '.join(names)} of these kinds of numbers; "
    return found * bool(names) + text[:300]


def to_litert(model, preprocessing=None, image_shape=None) -> bytes:
    """The network as a LiteRT model in float32: pixels in, logits out.

    Args:
        model: A `keras.Model`, of any precision.
        preprocessing: Its `Preprocessing`; None if known by name.
        image_shape: Tuple `(height, width, channels)`, needed where the
            network does not fix it.

    Raises:
        ValueError: if the network cannot be converted, or the size of its
            images is not known.
    """
    return _converted(model, preprocessing, image_shape)


def quantize(model, images, preprocessing=None, verbose="auto") -> bytes:
    """The network as a LiteRT model of whole numbers: uint8 in, int8 out.

    Args:
        model: A `keras.Model` from images to logits or probabilities, of any
            precision; where it leaves their size open, for the size that the
            calibration images have.
        images: uint8 pixels to calibrate by, all of them; a hundred will do.
            An array `(n, height, width, channels)`, a `Pool`, a pair of arrays
            `(images, labels)`, or a `tf.data.Dataset` of single images, of
            pairs (image, label) or of TFDS's dictionaries.
        preprocessing: Its `Preprocessing`; None if known by name.
        verbose: `"auto"`, 0, 1 or 2: a bar of the images, nothing, a bar, or
            ten lines.

    Returns:
        The content of a `.tflite` file. Its input is told in uint8 by the
        scale and zero point that the file states; `LiteRT` sees to that.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are none, if they do not fit, or if the network
            has an operation that cannot be done in int8.
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    calibration = list(_images(images, model))
    counted = functools.partial(_counted, calibration, verbose, sys.stdout)

    def prepare(converter, count):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [np.repeat(image[np.newaxis], count, 0).astype("float32")]
            for image in counted()
        )
        int8 = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        converter.target_spec.supported_ops = [int8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.int8

    return _converted(model, preprocessing, calibration[0].shape, prepare)


def _counted(images, verbose, stdout):
    """The images one by one, and how many are read, past `_quiet`."""
    with contextlib.redirect_stdout(stdout):
        progress = Progress("Calibration", len(images), "image", verbose)
    tenth = -(-len(images) // 10)
    for number, image in enumerate(images, 1):
        yield image
        with contextlib.redirect_stdout(stdout):
            line = number % tenth == 0 or number == len(images)
            progress.advance(line=line)


def _interpreter(content, threads):
    """An interpreter of the extra `litert`, or TensorFlow's own."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's will go some day
        try:
            return Interpreter(model_content=content, num_threads=threads)
        except ValueError as e:
            raise ValueError(f"The bytes are no LiteRT model: {e}") from e


class LiteRT:
    """Runs a LiteRT model on pixels.

    Args:
        content: Bytes of a `.tflite` file, from pixels to logits.
        batch_size: Int, how many images are read at once.
        threads: Int.

    Raises:
        ValueError: if the bytes are no LiteRT model of one input and output.
    """

    def __init__(self, content, batch_size=100, threads=1):
        self._interpreter = _interpreter(content, threads)
        self._size = None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "Expected a model of one input and one output. Received: "
                f"{len(inputs)} and {len(outputs)}"
            )
        self.input, self.output = inputs[0], outputs[0]
        # Of a network with a fixed batch LiteRT can read no other.
        fixed = int(self.input["shape_signature"][0])
        self._batch_size = batch_size if fixed < 1 else fixed
        self._pads = fixed > 1

    def _allocate(self, size):
        if size != self._size:
            shape = (size, *self.input["shape"][1:])
            self._interpreter.resize_tensor_input(self.input["index"], shape)
            self._interpreter.allocate_tensors()
            self._size = size

    def _quantized(self, images):
        dtype = self.input["dtype"]
        if dtype == np.float32:
            return images.astype("float32")
        scale, zero = self.input["quantization"]
        bounds = np.iinfo(dtype)
        steps = np.rint(images / scale + zero)
        return steps.clip(bounds.min, bounds.max).astype(dtype)

    def __call__(self, images) -> np.ndarray:
        """Logits, float32 `(n, classes)`, of uint8 images."""
        images = check_pixels(images)
        shape = tuple(self.input["shape"][1:].tolist())
        if images.shape[1:] != shape:
            raise ValueError(
                f"The model takes images of the shape {shape}. "
                f"Received: shape={images.shape}"
            )
        logits = [self._read(b) for b in pieces_of(images, self._batch_size)]
        return self._dequantized(np.concatenate(logits))

    def _read(self, batch):
        count = len(batch)
        if self._pads:
            batch = np.resize(batch, (self._batch_size, *batch.shape[1:]))
        self._allocate(len(batch))
        self._interpreter.set_tensor(
            self.input["index"], self._quantized(batch)
        )
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])[:count]

    def _dequantized(self, logits):
        if logits.dtype == np.float32:
            return logits
        scale, zero = self.output["quantization"]
        return ((logits.astype("float32") - zero) * scale).astype("float32")

    def accuracy(self, images, labels) -> float:
        """The share of uint8 images that are taken for their labels."""
        return share_right(self(images).argmax(-1), labels)
