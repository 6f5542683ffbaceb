"""Tiny teachers of every kind, each with a plain reading to compare with.

A builder gives a model and a function from images to logits and to a list of
pairs, each of them a BatchNormalization and what it is given, the channels
last. That function knows the weights and tf.nn only: no layer is called.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SHAPE = (8, 8, 2)
CLASSES = 3


def plain(weight):
    """A weight in float32, whatever it is kept in."""
    return tf.cast(weight.value, "float32")


def normalized(x, bn):
    scale = plain(bn.gamma) if bn.scale else 1.0
    offset = plain(bn.beta) if bn.center else 0.0
    deviation = tf.sqrt(plain(bn.moving_variance) + bn.epsilon)
    return (x - plain(bn.moving_mean)) / deviation * scale + offset


def dense(x, layer):
    return x @ plain(layer.kernel) + plain(layer.bias)


class Parts:
    """Convolutions, each with a BatchNormalization, and a dense head.

    Args:
        blocks: List of pairs of a convolution and a BatchNormalization; by
            default two, made with `dtype` and `**bn`.
        normalized: The function that the BatchNormalizations compute.
    """

    def __init__(self, blocks=None, normalized=normalized, dtype=None, **bn):
        self.blocks = blocks or [
            (
                layers.Conv2D(
                    filters, 3, strides=s, padding="same", dtype=dtype
                ),
                layers.BatchNormalization(dtype=dtype, **bn),
            )
            for filters, s in ((4, 1), (6, 2))
        ]
        self.normalized, self.dtype = normalized, dtype
        self.head = layers.Dense(CLASSES, dtype=dtype)

    def softplus(self):
        return layers.Activation("softplus", dtype=self.dtype)

    def mean(self):
        return layers.GlobalAveragePooling2D(dtype=self.dtype)

    def chain(self) -> list:
        """The layers, to be called one after another."""
        body = [(conv, bn, self.softplus()) for conv, bn in self.blocks]
        return [*sum(body, ()), self.mean(), self.head]

    def read(self, x):
        seen = []
        for conv, bn in self.blocks:
            x = tf.nn.conv2d(x, plain(conv.kernel), conv.strides, "SAME")
            x += plain(conv.bias)
            seen.append((bn, x))
            x = tf.nn.softplus(self.normalized(x, bn))
        return dense(tf.reduce_mean(x, (1, 2)), self.head), seen


def applied(chain, x):
    for layer in chain:
        x = layer(x)
    return x


def model_of(chain, shape=SHAPE, dtype=None):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, applied(chain, x))


def functional(**kwargs):
    parts = Parts(**kwargs)
    return model_of(parts.chain()), parts.read


def sequential(**kwargs):
    parts = Parts(**kwargs)
    return keras.Sequential([keras.Input(SHAPE), *parts.chain()]), parts.read


def sequential_without_input(**kwargs):
    parts = Parts(**kwargs)
    return keras.Sequential(parts.chain()), parts.read


def nested(**kwargs):
    """A functional model and a `Sequential` one within a functional model."""
    parts = Parts(**kwargs)
    chain = parts.chain()
    body, head = model_of(chain[:3]), keras.Sequential(chain[3:])
    return model_of([body, head]), parts.read


class InListAndDict(keras.Model):
    def __init__(self, parts):
        super().__init__(dtype=parts.dtype)
        self.convs = [conv for conv, _ in parts.blocks]
        self.norms = {f"norm{i}": bn for i, (_, bn) in enumerate(parts.blocks)}
        self.softplus, self.mean = parts.softplus(), parts.mean()
        self.head = parts.head

    def call(self, x):
        for i, conv in enumerate(self.convs):
            x = self.softplus(self.norms[f"norm{i}"](conv(x)))
        return self.head(self.mean(x))


class InNestedModels(keras.Model):
    def __init__(self, parts):
        super().__init__(dtype=parts.dtype)
        chain = parts.chain()
        self.body, self.rest = model_of(chain[:3]), keras.Sequential(chain[3:])

    def call(self, x):
        return self.rest(self.body(x))


class WithGraph(InNestedModels):
    @tf.function
    def call(self, x):
        return self.rest(self.body(x))


def subclassed(**kwargs):
    parts = Parts(**kwargs)
    return InListAndDict(parts), parts.read


def subclassed_of_models(**kwargs):
    parts = Parts(**kwargs)
    return InNestedModels(parts), parts.read


def call_is_a_tf_function():
    parts = Parts()
    return WithGraph(parts), parts.read


class Chain(layers.Layer):
    """A layer that holds others."""

    def __init__(self, *chain, **kwargs):
        super().__init__(**kwargs)
        self.chain = chain

    def call(self, x):
        return applied(self.chain, x)


def custom_layers(**kwargs):
    parts = Parts(**kwargs)
    chain = parts.chain()
    holders = [
        Chain(*chain[:3], dtype=parts.dtype),
        Chain(Chain(*chain[3:6], dtype=parts.dtype), dtype=parts.dtype),
    ]
    return model_of([*holders, *chain[6:]]), parts.read


def shared_layers():
    """One block is called twice."""
    first, second = (layers.Conv2D(4, 3, padding="same") for _ in range(2))
    bns = [layers.BatchNormalization() for _ in range(2)]
    shared = (second, bns[1])
    parts = Parts([(first, bns[0]), shared, shared])
    return model_of(parts.chain()), parts.read


class Shifting(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return inputs + keras.ops.cast(self.moving_mean, inputs.dtype)


def own_call():
    """A BatchNormalization that computes something else."""
    blocks = [(layers.Conv2D(4, 3, padding="same"), Shifting())]
    parts = Parts(blocks, lambda x, bn: x + plain(bn.moving_mean))
    return model_of(parts.chain()), parts.read


class OfOthers(layers.Layer):
    """A frozen BatchNormalization, as in libraries of detection."""

    def build(self, shape):
        for name, value in (
            ("gamma", "ones"),
            ("beta", "zeros"),
            ("moving_mean", "zeros"),
            ("moving_variance", "ones"),
        ):
            weight = self.add_weight(
                shape[-1:], value, name=name, trainable=False
            )
            setattr(self, name, weight)

    def call(self, x):
        scale = self.gamma * keras.ops.rsqrt(self.moving_variance + 1e-5)
        return (x - self.moving_mean) * scale + self.beta


def frozen_of_others():
    """Neither an axis nor an epsilon can be asked for."""

    def normalized(x, bn):
        deviation = tf.sqrt(plain(bn.moving_variance) + 1e-5)
        x = (x - plain(bn.moving_mean)) / deviation
        return x * plain(bn.gamma) + plain(bn.beta)

    blocks = [(layers.Conv2D(4, 3, padding="same"), OfOthers())]
    parts = Parts(blocks, normalized)
    return model_of(parts.chain()), parts.read


def channels_first():
    """The BatchNormalizations' axis is 1; CPUs have no such convolution."""
    parts = Parts(axis=1)
    chain = parts.chain()
    for i in (4, 1):
        chain[i:i] = [layers.Permute((3, 1, 2))]
        chain[i + 2 : i + 2] = [layers.Permute((2, 3, 1))]
    return model_of(chain), parts.read


def no_scale_no_center():
    return functional(scale=False, center=False)


def renorm():
    return functional(renorm=True)


def synchronized():
    return functional(synchronized=True)


def frozen():
    model, read = functional()
    model.trainable = False
    return model, read


def pixels(dtype="uint8"):
    """A model whose input is made for whole numbers."""
    parts = Parts()
    chain = [layers.Rescaling(2.0, 1.0), *parts.chain()]
    return model_of(chain, dtype=dtype), lambda x: parts.read(2 * x + 1)


class Through(layers.Layer):
    """A layer whose call goes through a function."""

    def __init__(self, function, *chain):
        super().__init__()
        self.chain = chain
        self.function = function(lambda x: applied(self.chain, x))

    def build(self, shape):
        for layer in self.chain:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def compute_output_shape(self, shape):
        for layer in self.chain:
            shape = layer.compute_output_shape(shape)
        return shape

    def call(self, x):
        return self.function(x)


def hidden_by(function):
    """A kind whose second block goes through a function that hides it."""
    parts = Parts()
    chain = parts.chain()
    hidden = Through(function, *chain[3:6])
    return model_of([*chain[:3], hidden, *chain[6:]]), parts.read


def dense_features():
    """The BatchNormalizations' inputs have two dimensions."""
    first, second, head = (layers.Dense(n) for n in (5, 4, CLASSES))
    bns = [layers.BatchNormalization() for _ in range(2)]
    softplus = layers.Activation("softplus")
    chain = [layers.Flatten(), first, bns[0], softplus, second, bns[1], head]

    def read(x):
        a = dense(tf.reshape(x, (len(x), -1)), first)
        b = dense(tf.nn.softplus(normalized(a, bns[0])), second)
        return dense(normalized(b, bns[1]), head), [(bns[0], a), (bns[1], b)]

    return model_of(chain), read


def assorted_layers(dtype=None):
    """Layers of other sorts; their constants are exact in any precision."""
    kwargs = {"dtype": dtype}
    depthwise = layers.DepthwiseConv2D(3, padding="same", **kwargs)
    separable = layers.SeparableConv2D(5, 3, padding="same", **kwargs)
    bns = [layers.BatchNormalization(**kwargs) for _ in range(2)]
    head = layers.Dense(CLASSES, **kwargs)
    chain = [
        layers.Rescaling(2.0, 1.0, **kwargs),
        layers.Normalization(mean=0.5, variance=0.25, **kwargs),
        depthwise,
        bns[0],
        layers.AveragePooling2D(2, **kwargs),
        separable,
        bns[1],
        layers.GlobalAveragePooling2D(**kwargs),
        layers.Dropout(0.5, **kwargs),
        head,
    ]

    def read(x):
        x = 2 * (2 * x + 1 - 0.5)
        a = tf.nn.depthwise_conv2d(x, plain(depthwise.kernel), [1] * 4, "SAME")
        a += plain(depthwise.bias)
        b = tf.nn.avg_pool2d(normalized(a, bns[0]), 2, 2, "VALID")
        b = tf.nn.separable_conv2d(
            b,
            plain(separable.depthwise_kernel),
            plain(separable.pointwise_kernel),
            [1] * 4,
            "SAME",
        )
        b += plain(separable.bias)
        pooled = tf.reduce_mean(normalized(b, bns[1]), (1, 2))
        return dense(pooled, head), [(bns[0], a), (bns[1], b)]

    return model_of(chain), read


def application():
    """The first blocks of one of Keras's, as a layer; a chain."""
    whole = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, include_top=False, weights=None
    )
    body = keras.Model(whole.input, whole.get_layer("conv_pw_3_relu").output)
    head = layers.Dense(CLASSES)
    mean = layers.GlobalAveragePooling2D()

    def read(x):
        seen = []
        for layer in body.layers[1:]:
            if isinstance(layer, layers.BatchNormalization):
                seen.append((layer, x))
                x = normalized(x, layer)
            else:
                x = layer(x)
        return dense(tf.reduce_mean(x, (1, 2)), head), seen

    return model_of([body, mean, head], (32, 32, 3)), read


def rematerialized(build):
    """A kind whose layers forget what they computed."""

    def rebuilt():
        with keras.RematScope("full"):
            return build()

    return rebuilt


KINDS = {
    build.__name__: build
    for build in (
        functional,
        sequential,
        sequential_without_input,
        nested,
        subclassed,
        subclassed_of_models,
        call_is_a_tf_function,
        custom_layers,
        shared_layers,
        own_call,
        frozen_of_others,
        channels_first,
        no_scale_no_center,
        renorm,
        synchronized,
        frozen,
        pixels,
        dense_features,
        assorted_layers,
        application,
    )
} | {
    "rematerialized": rematerialized(functional),
    "rematerialized_sequential": rematerialized(sequential_without_input),
    "rematerialized_subclassed": rematerialized(subclassed_of_models),
}


def teacher(build, **kwargs):
    """A kind whose statistics, and all but its kernels, are drawn at random.

    Returns:
        A triple: the model, its plain reading, and noise to read.
    """
    model, read = build(**kwargs)
    shape = getattr(model, "input_shape", (None, *SHAPE))[1:]
    random = np.random.default_rng(1)
    images = random.normal(size=(5, *shape)).astype("float32")
    model(images)
    for weight in model.weights:
        if "kernel" not in weight.path:
            positive = "gamma" in weight.path or "variance" in weight.path
            values = random.uniform(-0.5, 0.5, weight.shape)
            weight.assign(values + positive)
    return model, read, images
