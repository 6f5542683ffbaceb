"""The head of a classifier: finding, evaluating and enlarging it."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.copies import twin_of

# Layers that may follow the head: none has weights.
TAIL = (
    layers.Activation,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.Reshape,
    layers.Softmax,
)


AS_ONE = (
    ": call its layers one by one, `for layer in top.layers: x = layer(x)`, "
    "and take `copy_of(keras.Model(inputs, x))` of `tf_deepinversion.networks`"
)


ENDINGS = (keras.activations.linear, keras.activations.softmax)


class Head:
    """The layer that computes a classifier's logits: features @ kernel + bias.

    The head is a `Dense` layer or a 1x1 `Conv2D`, before or after global
    pooling. A head ignores a softmax that follows.

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
        _check_model(model)
        self._model = model
        self._tail, tensor = [], model.outputs[0]
        layer = _maker(model, tensor)
        while isinstance(layer, TAIL):
            if getattr(layer, "activation", ENDINGS[0]) not in ENDINGS:
                raise _refused(layer, "activation is neither none nor softmax")
            self._tail.insert(0, layer)
            tensor = layer.input
            layer = _maker(model, tensor)
        _check_head(layer)
        self.layer, self.classes = layer, layer.kernel.shape[-1]
        if tuple(model.outputs[0].shape[1:]) != (self.classes,):
            raise _refused(
                layer,
                f"{self.classes} outputs become the model's "
                f"{tuple(model.outputs[0].shape)}",
            )

    @property
    def kernel(self):
        """Float tensor `(features, classes)`."""
        kernel = ops.convert_to_tensor(self.layer.kernel)
        return ops.reshape(kernel, (-1, self.classes))

    def features_model(self) -> keras.Model:
        """Returns a model from the classifier's input to the head's input."""
        return keras.Model(self._model.inputs[0], self.layer.input)

    def __call__(self, features):
        """Computes the logits `(batch, classes)` of features."""
        x = ops.matmul(features, ops.cast(self.kernel, features.dtype))
        if self.layer.bias is not None:
            x = x + ops.cast(self.layer.bias, x.dtype)
        for layer in self._tail:
            if not isinstance(
                layer, (layers.Softmax, layers.Activation, layers.Dropout)
            ):
                x = layer(x)
        return ops.cast(x, "float32")


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
        seed: Int, seed of the noise. Defaults to 0.

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

    def changed(layer):
        if layer is head.layer:
            dense = isinstance(layer, layers.Dense)
            return twin_of(layer, **{"units" if dense else "filters": classes})
        if isinstance(layer, layers.Reshape) and layer in head._tail:
            *front, last = layer.target_shape
            if last == head.classes:
                return twin_of(layer, target_shape=(*front, classes))

    grown = copy_of(model, changed)
    random = np.random.default_rng(seed)
    grown.get_layer(head.layer.name).set_weights(
        [
            _with_more(w, classes - head.classes, noise, random)
            for w in head.layer.get_weights()
        ]
    )
    return grown


def _with_more(weights, added, noise, random):
    """Extends a kernel `(..., classes)` or a bias by `added` classes."""
    # A new logit starts near the mean of the old logits, so that the copy
    # predicts as before.
    old = weights.astype("float64")
    new = np.repeat(old.mean(-1, keepdims=True), added, axis=-1)
    if old.ndim > 1:
        new = new + noise * old.std() * random.normal(size=new.shape)
    return np.concatenate([weights, new.astype(weights.dtype)], axis=-1)


def _check_model(model):
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a `keras.Model`. Received: {type(model)}")
    try:
        count = len(model.inputs), len(model.outputs)
    except (AttributeError, TypeError, ValueError):
        count = None
    if not isinstance(model, keras.Sequential) and (
        type(model).__name__ != "Functional"
    ):
        count = None
    if count is None:
        raise TypeError(
            "Expected a functional model, or a built sequential model: the "
            "head of other models cannot be found. "
            f"Received: {model.name!r} of {type(model)}"
        )
    if count != (1, 1):
        raise ValueError(
            "Expected a classifier with one input and one output. Received: "
            f"{model.name!r} with {count[0]} and {count[1]}"
        )


def _maker(model, tensor):
    """Finds the layer of a model whose output is the tensor."""
    for layer in reversed(model.layers):
        try:
            # By identity: Keras creates one tensor object for each output.
            if layer.output is tensor:
                return layer
        except AttributeError:  # never called, or called more than once
            pass
    raise ValueError(
        "The head was not found: the model ends in a layer that is called "
        "more than once, or in a nested model. Rebuild it as one graph"
        f"{AS_ONE}. Received: {model.name!r}, whose last layer is "
        f"{model.layers[-1].name!r}"
    )


def _refused(layer, why):
    return ValueError(
        "Expected a classifier whose last layer with weights is a `Dense` or "
        f"1x1 `Conv2D` of logits. Received: {layer.name!r} "
        f"({type(layer).__name__}): {why}."
    )


def _check_head(layer):
    if isinstance(layer, keras.Model):
        raise _refused(layer, f"it is a nested model{AS_ONE}")
    if type(layer) not in (layers.Dense, layers.Conv2D):
        raise _refused(layer, "another kind of layer")
    if isinstance(layer, layers.Conv2D):
        if layer.kernel_size != (1, 1) or layer.strides != (1, 1):
            raise _refused(
                layer, f"kernel {layer.kernel_size}, strides {layer.strides}"
            )
        if layer.groups != 1 or layer.data_format != "channels_last":
            raise _refused(layer, "it has groups, or its channels first")
    if layer.activation not in ENDINGS:
        raise _refused(layer, "its activation is neither none nor softmax")
    if layer.quantization_mode:
        raise _refused(layer, "it is quantized")
    if layer.kernel.shape[-1] < 2:
        raise _refused(layer, "one output is no classifier")
