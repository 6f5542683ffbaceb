"""The importance of each channel for a network.

All functions return a float array with one number for each channel of a
`ChannelGraph`. If several layers share a channel, its importance is their mean.
"""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.objective.softened_kl import SoftenedKL
from tf_deepinversion.pruning.channels import layer_rules


def shared_mean(count, scores) -> np.ndarray:
    """Averages the scores of each channel over the layers that have it.

    Args:
        count: Int, number of channels.
        scores: List of pairs of channels and values, one pair per layer.

    Returns:
        A float array `(count,)`, infinite for a channel that no layer has.
    """
    # The number of a fixed channel is -1, so the last place collects them all.
    total, members = np.zeros(count + 1), np.zeros(count + 1)
    for channels, values in scores:
        np.add.at(total, channels, values)
        np.add.at(members, channels, 1)
    found = np.full(count + 1, np.inf)
    np.divide(total, members, out=found, where=members > 0)
    return found[:-1]


def random_importance(graph, seed=0) -> np.ndarray:
    """Draws uniform numbers, a baseline for other criteria."""
    return np.random.default_rng(seed).random(graph.count)


def filter_norm(graph) -> np.ndarray:
    """Computes the root mean square of the weights that make each channel."""
    scores = []
    for axis in graph.axes:
        # The output axis is the last axis of a kernel, or the last but one.
        if (
            layer_rules.makes(axis.layer)
            and not axis.reads
            and axis.name != "bias"
        ):
            kernel = keras.ops.convert_to_numpy(getattr(axis.layer, axis.name))
            kernel = kernel.astype("float32")
            others = tuple(
                i for i in range(kernel.ndim) if i != kernel.ndim + axis.axis
            )
            scores.append((axis.channels, np.sqrt(np.mean(kernel**2, others))))
    return shared_mean(graph.count, scores)


def batch_norm_scale(graph) -> np.ndarray:
    """Returns |gamma| of the BatchNormalization layers.

    A channel without such a layer has infinite importance.

    Raises:
        ValueError: if no BatchNormalization of the model has a gamma.

    Reference:
        - Liu et al., Network Slimming, arXiv:1708.06519
    """
    scores = [
        (axis.channels, np.abs(keras.ops.convert_to_numpy(axis.layer.gamma)))
        for axis in graph.axes
        if axis.name == "gamma"
    ]
    if not scores:
        raise ValueError(
            "`bn_scale` ranks channels by the scale of BatchNormalization "
            "layers, but this model has none: take another criterion. "
            f"Received: {graph.model.name!r}"
        )
    return shared_mean(graph.count, scores)


def gates(graph) -> list:
    """Lists the layers with gates at their outputs, and the layers' channels.

    The gates of a channel are at the outputs of its BatchNormalization layers.
    A channel without such layers has gates at the outputs of the layers that
    make it.
    """
    normalized = {
        axis.layer: axis.channels
        for axis in graph.axes
        if axis.name == "moving_mean"
    }
    # The last place collects the fixed channels, which need no gate.
    covered = np.zeros(graph.count + 1, bool)
    for channels in normalized.values():
        covered[channels] = True
    covered[-1] = True
    bare = {
        layer: channels
        for layer, channels in graph.outputs.items()
        if layer_rules.makes(layer) and not covered[channels].all()
    }
    return [*normalized.items(), *bare.items()]


def fisher_vector(logits, signs):
    """Returns v with E[v v^T] = diag(p) - p p^T, where p = softmax(logits).

    This matrix is the second derivative of the KL divergence with respect to
    the logits. The mean of (d(v . f)/dz)^2 is therefore the second derivative
    with respect to a gate z, without a term that is zero if the divergence is
    zero. The derivative of log p_c, with c drawn from p, would have the same
    mean, but more noise if p is certain.

    Args:
        logits: Float tensor `(batch, classes)`.
        signs: Tensor `(batch, classes)` of -1 and 1, drawn independently.
    """
    p = keras.ops.softmax(logits)
    root = keras.ops.sqrt(p) * keras.ops.cast(signs, p.dtype)
    return root - p * keras.ops.sum(root, axis=-1, keepdims=True)


def random_signs(shape, seed, step):
    """Draws a float tensor of -1 and 1, a pure function of (seed, step)."""
    draws = tf.random.stateless_uniform(shape, [seed, step], alg="philox")
    return tf.where(draws < 0.5, -1.0, 1.0)


class GateImportance:
    """Computes (g z)^2 for a gate z = 1 on each channel; g is a gradient.

    First order: g is the gradient of the KL divergence of the network from its
    teacher, averaged over a batch before it is squared. While no channel is
    removed, this gradient is zero, so the first removal needs the second order.

    Second order: g is the gradient of the logits in a random direction, see
    `fisher_vector`. The importance is the mean over images of (g z)^2.

    Args:
        graph: A `ChannelGraph` of the network.
        teacher: A `keras.Model` with the same classes, or None if only the
            second order is needed.
        preprocessing: The `Preprocessing` of both networks.
        temperature: Float, see `SoftenedKL`.

    References:
        - Molchanov et al., Importance Estimation, arXiv:1906.10771
        - Theis et al., Fisher pruning, arXiv:1801.05787
    """

    def __init__(self, graph, teacher, preprocessing, temperature=4.0):
        self._graph, self._gates = graph, gates(graph)
        self._student = Classifier(graph.model)
        self._teacher = teacher and Classifier(teacher)
        self._preprocessing = preprocessing
        self._temperature = temperature
        self._kl = SoftenedKL(temperature)
        self._order_1 = tf.function(self._first_order)
        self._order_2 = tf.function(self._second_order)

    def first_order(self, batches) -> np.ndarray:
        """Averages (g z)^2 over batches, with g of the divergence.

        Args:
            batches: Iterable of pairs of images in pixels and labels, or of
                TFDS's dictionaries with both. The labels are ignored.
        """
        return self._mean(self._order_1(x) for x, _ in _pairs(batches))

    def second_order(self, batches, seed=0) -> np.ndarray:
        """Averages (g z)^2 over images; g is of logits in random directions."""
        classes = self._student.classes
        return self._mean(
            self._order_2(images, random_signs((len(images), classes), seed, i))
            for i, (images, _) in enumerate(_pairs(batches))
        )

    def _mean(self, results):
        total, count = None, 0
        for result in results:
            # float64: a float32 sum over many batches would lose small scores.
            found = [np.asarray(r, "float64") for r in result]
            total = (
                found
                if total is None
                else [a + b for a, b in zip(total, found, strict=True)]
            )
            count += 1
        if not count:
            raise ValueError("Expected batches of images. Received: no batches")
        channels = [c for _, c in self._gates]
        pairs = zip(channels, total, strict=True)
        scores = [(c, values / count) for c, values in pairs]
        return shared_mean(self._graph.count, scores)

    def _logits(self, classifier, images):
        with classifier.open():
            return classifier.read(self._preprocessing.fed(images)).logits

    def _gate_gradients(self, images, loss):
        """Returns g z of each image: a `(batch, channels)` for each layer."""
        images = tf.cast(images, "float32")
        watched = [layer for layer, _ in self._gates]
        tape = tf.GradientTape(watch_accessed_variables=False)
        with watch(watched), collect() as calls, tape:
            tape.watch(images)
            value = loss(self._logits(self._student, images))
        # The hooks also report activations, which are no gates.
        calls = [c for c in calls if c.layer in watched and c.name == "call"]
        gradients = tape.gradient(value, [c.outputs for c in calls])
        found = {}
        for call, gradient in zip(calls, gradients, strict=True):
            # The derivative in a gate that multiplies a whole channel.
            product = gradient * call.outputs
            places = list(range(1, len(product.shape) - 1))
            each = tf.reduce_sum(product, places)
            found[call.layer] = found.get(call.layer, 0.0) + each
        return [found[layer] for layer in watched]

    def _first_order(self, images):
        target = self._logits(self._teacher, images)
        per_image = self._gate_gradients(
            images, lambda logits: self._kl(target, logits)
        )
        return [tf.square(tf.reduce_sum(g, 0)) for g in per_image]

    def _second_order(self, images, signs):
        def loss(logits):
            v = fisher_vector(logits / self._temperature, signs)
            return tf.reduce_sum(tf.stop_gradient(v) * logits)

        per_image = self._gate_gradients(images, loss)
        return [tf.reduce_mean(tf.square(g), 0) for g in per_image]


def _pairs(batches):
    for batch in batches:
        images, labels = image_and_label(batch)
        yield check_pixels(images), labels
