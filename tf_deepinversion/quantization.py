"""Int8 LiteRT models, calibrated with synthesized or other images.

Quantization to int8 needs the range of every activation. The converter measures
the ranges by running the network on calibration images. Without data, images
synthesized from the network serve.
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
from tf_deepinversion.core.checks import predicted
from tf_deepinversion.core.checks import share_right
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.preprocessing import Preprocessing


def takes_pixels(model, preprocessing=None, image_shape=None) -> keras.Model:
    """Wraps a network so that its input is pixels in [0, 255], red first.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it.

    Returns:
        A `keras.Model`; `model` itself if it already takes pixels.

    Raises:
        ValueError: if the size of the images is unknown or another one.

    Example:
        >>> di.quantization.takes_pixels(teacher) is teacher
        True
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    count, *shape = _input_shape(model, image_shape)
    # The network's input is affine in z, and z is affine in the pixels, so
    # black and white determine the whole map.
    ends = np.zeros((2, 1, 1, shape[-1]))
    ends[1] = 255
    z = tf.constant((ends - preprocessing.mean) / preprocessing.std)
    fed = preprocessing.teacher_input(z).numpy().reshape(2, shape[-1])
    scale, offset = (fed[1] - fed[0]) / 255, fed[0]
    bgr = preprocessing.channel_order == "bgr"
    same = np.allclose(scale, 1) and np.allclose(offset, 0) and not bgr
    if same and (count, *shape) == getattr(model, "input_shape", None):
        return model
    # float32 regardless of Keras's global dtype policy.
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
    """Returns (batch, height, width, channels); the batch may be None."""
    found = getattr(model, "input_shape", None) or (None,) * 4
    shape = tuple(given or found[1:])
    fits = len(found) == len(shape) + 1 == 4 and all(
        own in (None, wanted)
        for own, wanted in zip(found[1:], shape, strict=True)
    )
    if not fits or None in shape:
        raise ValueError(
            "LiteRT needs a fixed image size, (height, width, channels): pass "
            "`image_shape` if the network does not fix the size. "
            f"Received: input_shape={found}, image_shape={given}"
        )
    return found[0], *shape


def _images(images, model):
    """Yields uint8 images that fit a network, all of one size, one at a time.

    Raises:
        TypeError: if the images are not uint8, or are a function.
        ValueError: if the images do not have the network's shape, or there are
            none, or they have no end.
    """
    count, shape = 0, None
    if isinstance(images, Pool):
        images = images.images
    elif isinstance(images, (tuple, dict)):
        images, _ = image_and_label(images)
    elif callable(images):
        raise TypeError(
            "Expected a finite set of images, not a function of a step: pass "
            "the `Pool` or the arrays that the function draws from. "
            f"Received: {type(images)}"
        )
    endless = isinstance(images, tf.data.Dataset) and (
        images.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if endless:
        raise ValueError(
            "Expected a finite number of calibration images: `take` some, or "
            "pass a `Pool`. Received: an endless dataset"
        )
    for element in images:
        image = np.asarray(image_and_label(element)[0])
        shape = shape or _fitting(model, image.shape)
        if image.shape != shape:
            raise ValueError(
                f"Expected single calibration images of shape {shape}: "
                "unbatch() a dataset of batches. "
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
        raise ValueError(
            "Expected at least one calibration image. Received: no image"
        )


def _fitting(model, shape):
    """Returns the shape of a network's images, open sizes being `shape`'s."""
    known = getattr(model, "input_shape", (None,) * 4)[1:]
    if len(known) != len(shape):
        return tuple(known)
    return tuple(a or b for a, b in zip(known, shape, strict=True))


@contextlib.contextmanager
def _quiet():
    """Silences Keras, which prints every variable of an exported model."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _converted(model, preprocessing, image_shape, prepare=None) -> bytes:
    """Converts a network to LiteRT, in float32 unless `prepare` changes this.

    LiteRT does not support float16 and float64 in most operations: a network of
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
    """Shortens the converter's message to its operations and one line."""
    text = " ".join(str(error).split())
    names = sorted(set(re.findall(r"'(tfl?\.\w+)' op", text)))[:5]
    found = f"it has no {', '.join(names)} for these number types; "
    return found * bool(names) + text[:300]


def to_litert(model, preprocessing=None, image_shape=None) -> bytes:
    """Converts a network to a LiteRT model in float32: pixels in, logits out.

    Args:
        model: A `keras.Model` of any precision.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it.

    Returns:
        Bytes, the content of a `.tflite` file.

    Raises:
        ValueError: if the network cannot be converted, or the size of its
            images is unknown.

    Example:
        ```python
        content = di.quantization.to_litert(teacher)
        pathlib.Path("teacher.tflite").write_bytes(content)
        ```
    """
    return _converted(model, preprocessing, image_shape)


def quantize(model, images, preprocessing=None, verbose="auto") -> bytes:
    """Converts a network to an int8 LiteRT model: uint8 in, int8 out.

    Args:
        model: A `keras.Model` from images to logits or probabilities, of any
            precision. An open image size becomes the size of the calibration
            images.
        images: uint8 calibration images; all are used, and a hundred suffice.
            An array `(n, height, width, channels)`, a `Pool`, a pair of arrays
            `(images, labels)`, or a `tf.data.Dataset` of single images, of
            pairs (image, label) or of TFDS's dictionaries.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name.

    Returns:
        Bytes, the content of a `.tflite` file. The file states the scale and
        zero point of its uint8 input; `LiteRT` applies them.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are no images, if they do not fit, or if int8 does
            not support an operation of the network.

    Example:
        ```python
        content = di.quantize(teacher, pool)
        print(di.quantization.LiteRT(content).accuracy(images, labels))
        ```
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    calibration = list(_images(images, model))
    counted = functools.partial(_counted, calibration, verbose, sys.stdout)

    def prepare(converter, count):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # A network with a fixed batch size calibrates on copies of each image.
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
    """Yields images one by one, and shows the progress despite `_quiet`."""
    with contextlib.redirect_stdout(stdout):
        progress = Progress("Calibration", len(images), "image", verbose)
    tenth = -(-len(images) // 10)
    for number, image in enumerate(images, 1):
        yield image
        with contextlib.redirect_stdout(stdout):
            line = number % tenth == 0 or number == len(images)
            progress.advance(line=line)


def _interpreter(content, threads):
    """Returns an interpreter of the extra `litert`, or TensorFlow's own."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        # TensorFlow warns that its own interpreter will be removed.
        warnings.simplefilter("ignore")
        try:
            return Interpreter(model_content=content, num_threads=threads)
        except ValueError as e:
            raise ValueError(
                "Expected the bytes of a LiteRT model. Received: "
                f"{len(content)} bytes that are none ({e})"
            ) from e


class LiteRT:
    """Runs a LiteRT model on pixels.

    Args:
        content: Bytes of a `.tflite` file, a model from pixels to logits.
        batch_size: Int, number of images per call. Defaults to 100.
        threads: Int. Defaults to 1.

    Raises:
        ValueError: if the bytes are not a LiteRT model with one input and one
            output.

    Example:
        ```python
        content = pathlib.Path("teacher.tflite").read_bytes()
        logits = di.quantization.LiteRT(content)(images)
        ```
    """

    def __init__(self, content, batch_size=100, threads=1):
        self._interpreter = _interpreter(content, threads)
        self._size = None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "Expected a model with one input and one output. Received: "
                f"{len(inputs)} inputs and {len(outputs)} outputs"
            )
        self.input, self.output = inputs[0], outputs[0]
        # LiteRT cannot change the batch size of a network that fixes it.
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
        # A model in float32 takes unchanged pixels.
        if dtype == np.float32:
            return images.astype("float32")
        scale, zero = self.input["quantization"]
        bounds = np.iinfo(dtype)
        steps = np.rint(images / scale + zero)
        return steps.clip(bounds.min, bounds.max).astype(dtype)

    def __call__(self, images) -> np.ndarray:
        """Computes logits, float32 `(n, classes)`, of uint8 images."""
        images = check_pixels(images)
        shape = tuple(self.input["shape"][1:].tolist())
        if images.shape[1:] != shape:
            raise ValueError(
                f"Expected images of the model's shape {shape}. "
                f"Received: shape={images.shape}"
            )
        logits = [self._read(b) for b in pieces_of(images, self._batch_size)]
        return self._dequantized(np.concatenate(logits))

    def _read(self, batch):
        count = len(batch)
        # Repeated images fill an incomplete batch; their logits are dropped.
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
        # int8 logits stand for scale (logit - zero).
        scale, zero = self.output["quantization"]
        return ((logits.astype("float32") - zero) * scale).astype("float32")

    def accuracy(self, images, labels) -> float:
        """Computes the share of uint8 images assigned to their labels."""
        return share_right(predicted(self(images)), labels)
