"""What several tests share with deep_inversion_test.py."""

import contextlib
import functools

import keras
import tensorflow as tf
from tiny import tiny_teacher

from tf_deepinversion import L2
from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import FeatureStatistics
from tf_deepinversion import Preprocessing
from tf_deepinversion import TotalVariation
from tf_deepinversion.inversion.recipes import find

NORMALIZED = Preprocessing(127.5, 50.0, "normalized")


LABELS = [0, 1, 2, 0]


def inversion(teacher=None, recipe="ours", transforms=None, **kwargs):
    """By a recipe, perhaps with transforms in place of its own."""
    recipe = find(recipe)
    if transforms is not None:
        recipe = recipe.replace(transforms=transforms)
    return DeepInversion(
        teacher or tiny_teacher(), NORMALIZED, recipe=recipe, **kwargs
    )


def plain_loss_and_gradient(teacher, z, labels, student=None):
    """The paper's objective, read with a second model and tf.nn.moments."""
    bns = [teacher.get_layer(f"bn{i}") for i in range(2)]
    reader = keras.Model(
        teacher.inputs, [teacher.output] + [bn.input for bn in bns]
    )
    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        logits, *inputs = reader(z, training=False)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.constant(labels), logits
            )
        )
        for bn, x in zip(bns, inputs, strict=True):
            mean, variance = tf.nn.moments(x, (0, 1, 2))
            loss += 0.7 * tf.norm(mean - bn.moving_mean.value)
            loss += 0.7 * tf.norm(variance - bn.moving_variance.value)
        for d in (
            z[:, 1:] - z[:, :-1],
            z[:, :, 1:] - z[:, :, :-1],
            z[:, 1:, 1:] - z[:, :-1, :-1],
            z[:, 1:, :-1] - z[:, :-1, 1:],
        ):
            loss += 0.02 * tf.norm(d)
        loss += 0.1 * tf.norm(z)
        if student is not None:
            p, q = (
                tf.nn.softmax(net(z, training=False) / 3.0)
                for net in (teacher, student)
            )
            m = (p + q) / 2
            kl = tf.reduce_sum(
                p * tf.math.log(p / m) + q * tf.math.log(q / m), -1
            )
            loss += 2.0 * (1 - tf.reduce_mean(kl) / 2)
    return float(loss), tape.gradient(loss, z).numpy()


@contextlib.contextmanager
def in_float64():
    """The policy is put back too: made under float64, it would stay that."""
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)


@functools.cache
def two_replicas():
    """One strategy for all tests: two in a process mix up their collectives."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


TERMS = [
    CrossEntropy(),
    FeatureStatistics(0.7),
    TotalVariation(0.02),
    L2(0.1),
]
