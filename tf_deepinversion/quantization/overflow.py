"""Refuses networks that overflow in LiteRT, though not in Keras."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.quantization.conversion import to_litert
from tf_deepinversion.quantization.file.file_operations import operations_of
from tf_deepinversion.quantization.kept_tensors import KeptTensors
from tf_deepinversion.quantization.pixel_input import takes_pixels


def check_overflow(model, images, *how):
    """Refuses a network that overflows on calibration images in LiteRT.

    LiteRT computes softplus as `log(1 + exp(x))`, which is infinite above 88.
    An infinite range would end the process inside of the converter.

    Args:
        model: A `keras.Model`.
        images: List of uint8 images.
        *how: The further arguments of `to_litert`.

    Raises:
        ValueError: if a tensor is infinite for an image.
    """
    if not _has_exponentials(model, *how):
        return
    content = to_litert(model, *how)
    exponentials = {
        o.outputs[0].name: o.outputs[0].index[1]
        for o in operations_of(content)
        if o.name == "EXP" and o.outputs[0].index[0] == 0
    }
    served = KeptTensors(content)
    for batch in pieces_of(np.stack(images), served.batch_size):
        for name, value in served.values(batch, exponentials).items():
            if not np.isfinite(value).all():
                raise ValueError(
                    f"{model.name!r} cannot be converted to integers: the "
                    "exponential function of LiteRT overflows in "
                    f"{name.split(';')[0]}, because softplus of more than 88 "
                    "is infinite there. Check `preprocessing`, or replace "
                    "softplus by ReLU."
                )


def _has_exponentials(model, *how):
    with reading(model, keras.DTypePolicy("float32")):
        fed = takes_pixels(model, *how)
        traced = tf.function(lambda x: fed(x, training=False), autograph=False)
        spec = tf.TensorSpec(fed.input_shape, "float32")
        graph = traced.get_concrete_function(spec).graph
    return any(o.type in ("Exp", "Softplus") for o in graph.get_operations())
