"""BatchNormalization layers with Keras's results, in fewer passes over memory.

On a CPU, memory limits the layers around the convolutions, and TensorFlow makes
one pass for each multiplication, addition and cast. Here XLA makes one pass for
the affine map, one for the sums of R_feature, and one for their gradient, even
if XLA does not compile the rest. In training, one kernel of TensorFlow does
everything. On other devices Keras's own layer runs: this code was never tried
there.
"""

import functools
import math
import weakref

import keras
import tensorflow as tf

from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.networks.on_cpu import on_cpu


def read(layer, function, inputs, *args, **kwargs) -> Call:
    """Calls a layer, and sums its inputs on the way.

    Some layers run as in Keras, without sums; `batch_norm_moments.moments` then
    computes the sums. These are layers with another axis, a mask, a subclass or
    a replaced `call`, unnamed arguments, or another device than a CPU, and
    layers in training.

    Args:
        layer: A BatchNormalization layer.
        function: The layer's `call`.
        inputs: Tensor.
        *args: Further arguments of the call.
        **kwargs: Further arguments of the call.

    Returns:
        A `Call`.
    """
    if args or not _plain(layer, function, inputs, **kwargs):
        return Call(layer, inputs, function(inputs, *args, **kwargs))
    # In Keras a frozen layer uses its moving statistics, also in training.
    if kwargs.get("training") and layer.trainable:
        x = inputs
        # In the other shapes the kernel's own casts of bfloat16 are cheaper.
        if x.dtype != tf.bfloat16 or x.shape[-1] % 16:
            x = tf.cast(x, "float32")
        y, sums = tf.cast(_train(layer, x), inputs.dtype), None
    else:
        wide = keras.backend.result_type(inputs.dtype, "float32")
        y, *sums = _normalize_and_sum(inputs, *_affine_of(layer, wide))
    return Call(layer, inputs, y, sums=sums)


def _plain(layer, function, inputs, training=None, mask=None, **others):
    # Another function means a subclass or a replaced `call`.
    own = getattr(function, "__func__", None)
    if own is not keras.layers.BatchNormalization.call:
        return False
    if mask is not None or others:
        return False
    if not tf.is_tensor(inputs) or training not in (None, False, True):
        return False
    if inputs.dtype != layer.compute_dtype or not on_cpu(layer.moving_mean):
        return False
    rank = len(inputs.shape)
    if layer.axis not in (-1, rank - 1):
        return False
    if not (training and layer.trainable):
        return True
    # TensorFlow's kernel handles images in float32, on one device.
    single = inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
    return rank == 4 and single and not (layer.renorm or layer.synchronized)


def _parameters(layer, like, dtype):
    gamma, beta = tf.ones_like(like), tf.zeros_like(like)
    if layer.scale:
        gamma = tf.cast(layer.gamma.value, dtype)
    if layer.center:
        beta = tf.cast(layer.beta.value, dtype)
    return gamma, beta


def _affine_of(layer, dtype):
    """Returns m, a and b of y = a (x - m) + b, each `(channels,)`."""
    mean = tf.cast(layer.moving_mean.value, dtype)
    variance = tf.cast(layer.moving_variance.value, dtype)
    gamma, beta = _parameters(layer, mean, dtype)
    return mean, gamma * tf.math.rsqrt(variance + layer.epsilon), beta


def _train(layer, x):
    """Normalizes with the batch's statistics; updates the moving ones."""
    mean = tf.cast(layer.moving_mean.value, "float32")
    gamma, beta = _parameters(layer, mean, "float32")
    found = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=tf.zeros((0,)),
        variance=tf.zeros((0,)),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # TensorFlow returns the unbiased variance, Keras stores the biased one.
    count = tf.cast(tf.size(x) // x.shape[-1], "float32")
    biased = found.batch_variance * ((count - 1) / count)
    for variable, new in (
        (layer.moving_mean, found.batch_mean),
        (layer.moving_variance, biased),
    ):
        old = tf.cast(variable.value, "float32")
        variable.assign(old * layer.momentum + new * (1 - layer.momentum))
    return found.y


_checked = weakref.WeakKeyDictionary()  # by graph


def _numerics_are_checked() -> bool:
    """Tells whether `tf.debugging.enable_check_numerics` is on.

    It adds operations without XLA kernels to all graphs. The function traces a
    small graph to see them, once for each graph under construction.
    """
    graph = tf.compat.v1.get_default_graph()
    if graph not in _checked:
        _checked[graph] = _adds_operations()
    return _checked[graph]


def _adds_operations() -> bool:
    one = tf.function(lambda: tf.constant(0.0) + 1.0, autograph=False)
    operations = one.get_concrete_function().graph.get_operations()
    return any(x.type.startswith("Debug") for x in operations)


def _xla(function):
    # One function would serve a known shape by a graph that was traced for
    # unknown sizes: such a graph cannot sum by groups.
    @functools.cache
    def compiled(*shapes):
        return tf.function(function, jit_compile=True, autograph=False)

    def call(*tensors):
        # Eager calls would compile for each shape, perhaps for a single call.
        if not tf.inside_function() or _numerics_are_checked():
            return function(*tensors)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        return compiled(*shapes)(*tensors)

    return call


# These functions compute in the dtype of the per-channel values and cast
# inside: for bfloat16, separate passes for the casts would take 25% of a step.


@_xla
def _affine(x, scale, shift):
    return tf.cast(tf.cast(x, scale.dtype) * scale + shift, x.dtype)


@_xla
def _sums_of_few(x, mean):
    """Sums over 16 groups of rows, in one pass.

    Sums of sums are also more exact than one long sum.
    """
    known = [size or 1 for size in x.shape[:-1]]
    few = math.gcd(16, math.prod(known))
    rows = tf.cast(tf.reshape(x, (few, -1, x.shape[-1])), mean.dtype)
    # For two reductions, XLA would write all of x - m to memory first.
    shifted = [row - mean for row in tf.unstack(rows)]
    return tf.add_n(shifted), tf.add_n([tf.square(row) for row in shifted])


@_xla
def _pullback(x, mean, scale, d_y, d_first, d_second):
    shifted = tf.cast(x, mean.dtype) - mean
    through_sums = shifted * (2 * d_second) + d_first
    return tf.cast(tf.cast(d_y, mean.dtype) * scale + through_sums, x.dtype)


def _sum_rows(x):
    # TensorFlow's fast sum over all axes but the last.
    return tf.raw_ops.BiasAddGrad(out_backprop=x)


def _affine_of_lines(x, scale, shift):
    """`_affine`, applied to whole image lines for bfloat16: longer loops.

    In float32, such lines were rounded differently from process to process.
    """
    if x.dtype != tf.bfloat16 or len(x.shape) < 3 or not x.shape[-2]:
        return _affine(x, scale, shift)
    width = x.shape[-2]
    lines = tf.reshape(x, (-1, width * x.shape[-1]))
    y = _affine(lines, tf.tile(scale, [width]), tf.tile(shift, [width]))
    return tf.ensure_shape(tf.reshape(y, tf.shape(x)), x.shape)


@tf.custom_gradient
def _normalize_and_sum(x, mean, scale, offset):
    """Computes a (x - m) + b, and the channels' sums of x - m and (x - m)^2.

    The moving mean gets no gradient.
    """
    # This order of operations rounds like TensorFlow: a deep network may
    # magnify a difference.
    y = _affine_of_lines(x, scale, offset - mean * scale)
    # A graph does not compute these sums if nothing uses them.
    first, second = (_sum_rows(few) for few in _sums_of_few(x, mean))

    def gradient(d_y, d_first, d_second):
        d_x = _pullback(x, mean, scale, d_y, d_first, d_second)
        d_wide = tf.cast(d_y, mean.dtype)
        shifted = tf.cast(x, mean.dtype) - mean
        return d_x, None, _sum_rows(d_wide * shifted), _sum_rows(d_wide)

    return (y, first, second), gradient
