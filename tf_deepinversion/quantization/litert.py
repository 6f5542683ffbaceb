"""Runs LiteRT models, and lists what their files hold."""

import warnings

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.core.predictions import share_right
from tf_deepinversion.quantization.file.file_operations import operations_of
from tf_deepinversion.quantization.file.file_operations import tensor_dtypes


def interpreter_of(content, threads, keeps=False):
    """Returns an interpreter of the extra `litert`, or TensorFlow's own.

    Args:
        content: Bytes of a `.tflite` file.
        threads: Int.
        keeps: Bool, whether the interpreter keeps the tensors between the
            operations, which takes the slower kernels. Defaults to False.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_litert.interpreter import OpResolverType
    except ImportError:
        Interpreter = tf.lite.Interpreter
        OpResolverType = tf.lite.experimental.OpResolverType
    options = {}
    if keeps:
        # The delegate of the default computes several operations at once.
        options = {
            "experimental_preserve_all_tensors": True,
            "experimental_op_resolver_type": (
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        }
    with warnings.catch_warnings():
        # TensorFlow warns that its own interpreter will be removed.
        warnings.simplefilter("ignore")
        try:
            return Interpreter(
                model_content=content, num_threads=threads, **options
            )
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

    Attributes:
        input: Dict of the input's details, as the interpreter gives them.
        output: Dict of the output's details.
        batch_size: Int, number of images per call.
        ops: Tuple of strings, LiteRT's names of the file's operations, in the
            order in which they compute.
        dtypes: Dict from "input", "output" and "tensors" to a string, a string
            and a sorted tuple of strings: all dtypes of the file's tensors.

    Raises:
        TypeError: if `content` is not bytes.
        ValueError: if the bytes are not a LiteRT model with one input and one
            output, or a number is out of range.

    Example:
        ```python
        content = pathlib.Path("teacher.tflite").read_bytes()
        logits = di.quantization.LiteRT(content)(images)
        ```
    """

    def __init__(self, content, batch_size=100, threads=1):
        require_whole(batch_size=batch_size, threads=threads)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise TypeError(
                "Expected the bytes of a LiteRT model, as `read_bytes` of its "
                f"path returns. Received: {type(content)}"
            )
        content = bytes(content)
        self._interpreter = interpreter_of(content, threads)
        self._size = None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "Expected a model with one input and one output. Received: "
                f"{len(inputs)} inputs and {len(outputs)} outputs"
            )
        self.input, self.output = inputs[0], outputs[0]
        operations = operations_of(content)
        self.ops = tuple(operation.name for operation in operations)
        self.dtypes = {
            "input": np.dtype(self.input["dtype"]).name,
            "output": np.dtype(self.output["dtype"]).name,
            "tensors": tensor_dtypes(operations),
        }
        # LiteRT cannot change the batch size of a network that fixes it.
        fixed = int(self.input["shape_signature"][0])
        self.batch_size = batch_size if fixed < 1 else fixed
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
        """Computes the outputs, float32 `(n, classes)`, of uint8 images."""
        images = self.checked(images)
        logits = [self._read(b) for b in pieces_of(images, self.batch_size)]
        return self._dequantized(np.concatenate(logits), self.output)

    def checked(self, images) -> np.ndarray:
        """Returns uint8 images if they have the model's shape."""
        images = check_pixels(images)
        shape = tuple(self.input["shape"][1:].tolist())
        if images.shape[1:] != shape:
            raise ValueError(
                f"Expected images of the model's shape {shape}. "
                f"Received: shape={images.shape}"
            )
        return images

    def filled(self, batch) -> np.ndarray:
        """Repeats images of an incomplete batch if the file fixes the batch."""
        if self._pads:
            return np.resize(batch, (self.batch_size, *batch.shape[1:]))
        return batch

    def _read(self, batch):
        count = len(batch)
        batch = self.filled(batch)
        self._allocate(len(batch))
        self._interpreter.set_tensor(
            self.input["index"], self._quantized(batch)
        )
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])[:count]

    @staticmethod
    def _dequantized(numbers, details):
        if not np.issubdtype(numbers.dtype, np.integer):
            return numbers
        # Numbers of int8 stand for scale (number - zero).
        scale, zero = details["quantization"]
        return ((numbers.astype("float32") - zero) * scale).astype("float32")

    def accuracy(self, images, labels) -> float:
        """Computes the share of uint8 images assigned to their labels."""
        return share_right(self(images), labels)
