"""The head of a classifier: finding, evaluating and enlarging it."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.incremental.find_head import find_head
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.copies import twin_of
from tf_deepinversion.networks.ending import two_logits
from tf_deepinversion.networks.refuse_lora import refuse_lora

# What may follow the logits.
ENDINGS = (keras.activations.linear, keras.activations.softmax)
# Of a single output, which is the logit x of two classes, (0, x).
SINGLE_ENDINGS = (keras.activations.linear, keras.activations.sigmoid)
# What makes no logits behind the head.
NO_LOGITS = (layers.Softmax, layers.Activation, layers.Dropout)


class Head:
    """The layer that computes a classifier's logits: features @ kernel + bias.

    The head is a `Dense` layer or a 1x1 `Conv2D`, before or after global
    pooling, perhaps within a nested model. A head ignores a softmax that
    follows. A head with one output, perhaps with a sigmoid, has two classes of
    the logits (0, x).

    Args:
        model: A functional or sequential `keras.Model` from images to the
            logits or probabilities of at least 2 classes.

    Attributes:
        layer: The `keras.layers.Layer`.
        classes: Int.

    Raises:
        TypeError: if the model is not a `keras.Model`, or is subclassed.
        ValueError: if the model does not end in such a head; the error names
            the layer.

    Example:
        >>> head = di.incremental.Head(teacher)
        >>> head.classes, head.kernel.shape.as_list()
        (3, [4, 3])
    """

    def __init__(self, model):
        self._found = find_head(model)
        self.layer, self._tail = self._found.layer, self._found.tail
        _check_head(self.layer)
        self._width = self.layer.kernel.shape[-1]
        self.classes = max(2, self._width)
        for layer in [self.layer, *self._tail]:
            _check_ending(layer, single=self._width == 1)
        _check_pooling([self.layer, *self._tail])
        if tuple(model.outputs[0].shape[1:]) != (self._width,):
            raise _refused(
                self.layer,
                f"{self._width} outputs become the model's "
                f"{tuple(model.outputs[0].shape)}",
            )

    @property
    def kernel(self):
        """Float tensor `(features, classes)`."""
        kernel = ops.convert_to_tensor(self.layer.kernel)
        return two_logits(ops.reshape(kernel, (-1, self._width)))

    def features_model(self) -> keras.Model:
        """Returns a model from the classifier's input to the head's input."""
        whole, tensor = self._found.model, self._found.input
        for outer, node in reversed(self._found.around):
            within = keras.Model(whole.inputs[0], tensor)
            (given,) = node.arguments.keras_tensors
            # As the nested model itself is called.
            phase = node.arguments.kwargs.get("training")
            whole, tensor = outer, within(given, training=phase)
        return keras.Model(whole.inputs[0], tensor)

    def logits_model(self) -> keras.Model:
        """Returns a copy of the classifier that ends in its logits."""
        features = copy_of(self.features_model())
        layer = twin_of(self.layer, activation="linear")
        x = layer(features.outputs[0])
        layer.set_weights(self.layer.get_weights())
        for after in self._tail:
            if not isinstance(after, NO_LOGITS):
                x = twin_of(after)(x)
        return keras.Model(features.inputs[0], two_logits(x))

    def __call__(self, features):
        """Computes the logits `(batch, classes)` of features."""
        kernel = ops.reshape(self.layer.kernel, (-1, self._width))
        # As the layer computes, such as a head in float32 after bfloat16.
        features = ops.cast(features, self.layer.compute_dtype)
        x = ops.matmul(features, ops.cast(kernel, features.dtype))
        if self.layer.bias is not None:
            x = x + ops.cast(self.layer.bias, x.dtype)
        for layer in self._tail:
            if not isinstance(layer, NO_LOGITS):
                x = layer(x)
        return two_logits(ops.cast(x, "float32"))


def grow_head(model, classes, *, noise=0.1, seed=0) -> keras.Model:
    """Copies a classifier, with outputs for more classes.

    The copy keeps everything that the model knows, bit for bit. The weights of
    a new class are the mean of the old classes' weights, plus `noise` times
    their standard deviation times random numbers. The bias is the mean of the
    old biases. A new logit is therefore about the mean of the old logits and,
    up to the noise, never the largest: predictions stay the same before
    training.

    Args:
        model: A functional or sequential `keras.Model`, see `Head`.
        classes: Int, number of classes of the copy, more than the model's.
        noise: Float, at least 0. Defaults to 0.1.
        seed: Int in [0, 2**31), seed of the noise. Defaults to 0.

    Returns:
        A plain `keras.Model` of the same kind, with the same names, not
        compiled.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`, or if an argument is out of range.

    Example:
        >>> di.incremental.grow_head(teacher, classes=5).output_shape
        (None, 5)
    """
    head = Head(model)
    if int(classes) != classes or classes <= head.classes:
        raise ValueError(
            "`classes` must be a whole number above the model's "
            f"{head.classes} classes. Received: classes={classes}"
        )
    if not 0 <= noise < float("inf"):
        raise ValueError(
            f"`noise` must be finite, 0 or more. Received: noise={noise}"
        )

    classes = int(classes)

    twins = {}

    def changed(layer):
        config = _config(layer, head, classes)
        if config:
            twins[layer] = twin_of(layer, **config)
        return twins.get(layer)

    fed = {id(tensor) for tensor in head._found.fed}

    def input_shape(_, tensor):
        if id(tensor) not in fed:
            return tensor.shape
        return (*tensor.shape[:-1], classes)

    grown = copy_of(model, changed, input_shape)
    require_seed(seed)
    random = np.random.default_rng(seed)
    twins[head.layer].set_weights(
        [
            _with_more(_of_two(w), classes - head.classes, noise, random)
            for w in head.layer.get_weights()
        ]
    )
    return grown


def _config(layer, head, classes) -> dict:
    """What changes in a layer's config for more classes."""
    config = {}
    if layer is head.layer:
        dense = isinstance(layer, layers.Dense)
        config["units" if dense else "filters"] = classes
    elif layer not in head._tail:
        return config
    # Of more than two classes, the softmax does what the sigmoid does.
    if getattr(layer, "activation", None) is keras.activations.sigmoid:
        config["activation"] = "softmax"
    if isinstance(layer, layers.Reshape):
        *front, last = layer.target_shape
        if last == head.layer.kernel.shape[-1]:
            config["target_shape"] = (*front, classes)
    return config


def _of_two(weights):
    """A kernel `(..., 1)` or a bias `(1,)`, of the logits (0, x)."""
    if weights.shape[-1] > 1:
        return weights
    return np.concatenate([np.zeros_like(weights), weights], -1)


def _with_more(weights, added, noise, random):
    """Extends a kernel `(..., classes)` or a bias by `added` classes."""
    # A new logit starts near the mean of the old logits, so that the copy
    # predicts as before.
    old = weights.astype("float64")
    new = np.repeat(old.mean(-1, keepdims=True), added, axis=-1)
    if old.ndim > 1:
        new = new + noise * old.std() * random.normal(size=new.shape)
    return np.concatenate([weights, new.astype(weights.dtype)], axis=-1)


def _refused(layer, why):
    return ValueError(
        "Expected a classifier whose last layer with weights is a `Dense` or "
        f"1x1 `Conv2D` of logits. Received: {layer.name!r} "
        f"({type(layer).__name__}): {why}."
    )


def _check_head(layer):
    if type(layer) not in (layers.Dense, layers.Conv2D):
        raise _refused(layer, "another kind of layer")
    if isinstance(layer, layers.Conv2D):
        if layer.kernel_size != (1, 1) or layer.strides != (1, 1):
            raise _refused(
                layer, f"kernel {layer.kernel_size}, strides {layer.strides}"
            )
        if layer.groups != 1 or layer.data_format != "channels_last":
            raise _refused(layer, "it has groups, or its channels first")
    if layer.quantization_mode:
        raise _refused(layer, "it is quantized")
    refuse_lora(layer)


def _check_pooling(ending):
    """Refuses means of probabilities, which are no softmax of means."""
    pooled = [isinstance(x, layers.GlobalAveragePooling2D) for x in ending]
    for i, layer in enumerate(ending):
        function = getattr(layer, "activation", keras.activations.linear)
        bounded = function is not keras.activations.linear
        if (bounded or isinstance(layer, layers.Softmax)) and any(pooled[i:]):
            raise _refused(layer, "a pooling follows its probabilities")


def _check_ending(layer, single):
    """Checks what follows a layer's matrix product, or a layer of the tail."""
    endings = SINGLE_ENDINGS if single else ENDINGS
    ending = getattr(layer, "activation", keras.activations.linear)
    if single and isinstance(layer, layers.Softmax):
        raise _refused(layer, "a softmax of one output is always 1")
    if ending not in endings:
        names = " nor ".join(x.__name__ for x in endings)
        raise _refused(layer, f"its activation is neither {names}")
