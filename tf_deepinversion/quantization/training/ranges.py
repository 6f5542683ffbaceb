"""Ranges of activations: measured, followed in training, then fixed."""

import enum

import keras
import numpy as np
import tensorflow as tf


class Phase(enum.Enum):
    """What the tensors of a simulated network go through.

    MEASURE: the ranges grow to hold all values, which stay as they are.
    TRAIN: values are rounded; in training mode the ranges follow the batches.
    FIXED: values are rounded as in the file, in ranges that are constants.
    """

    MEASURE = 1
    TRAIN = 2
    FIXED = 3


class Range:
    """The range of a tensor, and the rounding to its 256 levels.

    The range always contains 0, which has a level of its own.

    Args:
        momentum: Float in [0, 1), the weight of earlier batches in the moving
            averages of the smallest and the largest value. Defaults to 0.99.

    Attributes:
        variable: Variable `(2,)`, the smallest and the largest value.
    """

    def __init__(self, momentum=0.99):
        self._momentum, self._fixed = momentum, None
        self.variable = keras.Variable(
            np.zeros(2, "float32"), trainable=False, dtype="float32"
        )

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value, as floats."""
        low, high = keras.ops.convert_to_numpy(self.variable).tolist()
        return low, high

    @property
    def known(self) -> bool:
        """Whether the range holds any value but 0."""
        return self.ends != (0.0, 0.0)

    def fix(self):
        """Makes the present values the constants of the phase FIXED."""
        self._fixed = self.ends

    def __call__(self, x, phase, training=False):
        """Returns a tensor as a phase leaves it."""
        if phase is Phase.FIXED:
            return rounded(x, *self._fixed)
        if phase is Phase.MEASURE:
            self.variable.assign(_joined(self.variable, _ends_of(x)))
            return x
        if training:
            share = 1 - self._momentum
            change = _ends_of(tf.stop_gradient(x)) - self.variable
            self.variable.assign(self.variable + share * change)
        low, high = tf.unstack(tf.convert_to_tensor(self.variable.value))
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


class FixedRange:
    """The range of a tensor that is known before any image.

    Args:
        low: Float, the smallest value.
        high: Float, the largest value.
    """

    def __init__(self, low, high):
        self.ends = min(0.0, float(low)), max(0.0, float(high))

    def __call__(self, x, phase, training=False):
        """Returns a tensor as a phase leaves it."""
        return x if phase is Phase.MEASURE else rounded(x, *self.ends)

    @classmethod
    def of_pixels(cls, low, high) -> "FixedRange":
        """Makes the range of an affine function of pixels.

        The level of 0 may lie in the middle between two pixels. All pixels
        would then lie in the middle between two levels, and rounding would
        depend on the last bit. Slightly wider levels prevent this.

        Args:
            low: Float, the smallest value, of black or white.
            high: Float, the largest value.
        """
        low, high = FixedRange(low, high).ends
        zero = -255 * low / (high - low)
        wider = 1 if abs(zero - round(zero)) < 0.01 else 256 / 255
        return cls(low * wider, high * wider)


def rounded(x, low, high):
    """Rounds a tensor to 256 levels of a fixed range, as LiteRT does."""
    return tf.quantization.fake_quant_with_min_max_args(x, low, high)


def _ends_of(x):
    # A range without 0 would have no level for padding.
    return tf.stack(
        [
            tf.minimum(tf.reduce_min(x), 0.0),
            tf.maximum(tf.reduce_max(x), 0.0),
        ]
    )


def _joined(old, new):
    return tf.stack([tf.minimum(old[0], new[0]), tf.maximum(old[1], new[1])])
