"""What several tests share with transforms_test.py."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.transforms import base


def noise(shape=(5, 4, 6, 2), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def vector_jacobian(function, x, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, output_gradients=tf.constant(upstream)).numpy()


def draws(transform, *, seed=(3, 0), step=7, count=4):
    drawn = base.draw([transform], tf.constant(seed), tf.constant(step), count)
    return drawn[0].numpy()
