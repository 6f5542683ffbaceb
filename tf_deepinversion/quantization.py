"""Whole-number LiteRT models, calibrated by images: synthesised ones will do.

Quantisation to int8 must know the range of every activation. The converter
finds it by running the network on images like those that will come; where none
are left, on images that the network remembers.
"""

import contextlib
import io
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.checks import check_pixels
from tf_deepinversion.checks import share_right
from tf_deepinversion.datasets import image_and_label
from tf_deepinversion.preprocessing import Preprocessing


def takes_pixels(model, preprocessing=None) -> keras.Model:
    """The network as one that is fed pixels in [0, 255], red first.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        preprocessing: Its `Preprocessing`; None if known by name.
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    shape = getattr(model, "input_shape", None)
    if shape is None or len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            "LiteRT needs a network of one image size, (height, width, "
            f"channels). Received: input_shape={shape}"
        )
    shape = shape[1:]
    # z is affine in the pixels, and what is fed is affine in z.
    ends = np.zeros((2, 1, 1, shape[-1]))
    ends[1] = 255
    z = tf.constant((ends - preprocessing.mean) / preprocessing.std)
    fed = preprocessing.teacher_input(z).numpy().reshape(2, shape[-1])
    scale, offset = (fed[1] - fed[0]) / 255, fed[0]
    bgr = preprocessing.channel_order == "bgr"
    if np.allclose(scale, 1) and np.allclose(offset, 0) and not bgr:
        return model
    pixels = keras.Input(shape, name="pixels")
    x = keras.ops.flip(pixels, axis=-1) if bgr else pixels
    x = keras.layers.Rescaling(scale.tolist(), offset.tolist())(x)
    return keras.Model(pixels, model(x, training=False), name=model.name)


def _images(calibration, shape):
    """Yields uint8 images, one at a time.

    Raises:
        ValueError: if they are not of the network's shape, or there are none.
        TypeError: if they are not uint8.
    """
    count = 0
    endless = isinstance(calibration, tf.data.Dataset) and (
        calibration.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if endless:
        raise ValueError(
            "Expected an end of the calibration images: `take` some, or pass "
            "the `images` of a `Pool`. Received: an endless dataset"
        )
    for element in calibration:
        image = np.asarray(image_and_label(element)[0])
        if image.shape != tuple(shape):
            raise ValueError(
                f"Expected calibration images of shape {tuple(shape)}, one "
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


@contextlib.contextmanager
def _quiet():
    """Keras prints every variable of what the converter exports."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def to_litert(model, preprocessing=None) -> bytes:
    """The network as a LiteRT model in float32: pixels in, logits out.

    Args:
        model: A `keras.Model`.
        preprocessing: Its `Preprocessing`; None if known by name.
    """
    model = takes_pixels(model, preprocessing)
    with _quiet():
        return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def quantize(model, calibration, preprocessing=None) -> bytes:
    """The network as a LiteRT model of whole numbers: uint8 in, int8 out.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        calibration: uint8 array `(n, height, width, channels)` of pixels, or a
            `tf.data.Dataset` of images, of pairs (image, label) or of TFDS's
            dictionaries. A hundred will do.
        preprocessing: Its `Preprocessing`; None if known by name.

    Returns:
        The content of a `.tflite` file. Its input is told in uint8 by the
        scale and zero point that the file states; `LiteRT` sees to that.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are none, if they do not fit, or if the network
            has an operation that cannot be done in int8.
    """
    model = takes_pixels(model, preprocessing)
    images = list(_images(calibration, model.input_shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [image[np.newaxis].astype("float32")] for image in images
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    try:
        with _quiet():
            return converter.convert()
    except Exception as e:  # the converter raises its own private errors
        raise ValueError(
            f"{model.name!r} cannot be quantised to int8: {e}"
        ) from e


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
        self._batch_size, self._size = batch_size, None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "Expected a model of one input and one output. Received: "
                f"{len(inputs)} and {len(outputs)}"
            )
        self.input, self.output = inputs[0], outputs[0]

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
        logits = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            self._allocate(len(batch))
            self._interpreter.set_tensor(
                self.input["index"], self._quantized(batch)
            )
            self._interpreter.invoke()
            logits.append(self._interpreter.get_tensor(self.output["index"]))
        return self._dequantized(np.concatenate(logits))

    def _dequantized(self, logits):
        if logits.dtype == np.float32:
            return logits
        scale, zero = self.output["quantization"]
        return ((logits.astype("float32") - zero) * scale).astype("float32")

    def accuracy(self, images, labels) -> float:
        """The share of uint8 images that are taken for their labels."""
        return share_right(self(images).argmax(-1), labels)
