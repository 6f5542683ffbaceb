"""Images that a teacher has answered for, each of them learned from often."""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole


def require_one_replica(strategy, steps_per_call):
    """Refuses several replicas: each would need a store of its own.

    Raises:
        ValueError: if there are several.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "The teacher's answers cannot be reused on several replicas: "
            f"pass `steps_per_teacher_call=1`. Received: "
            f"steps_per_teacher_call={steps_per_call} on {replicas}"
        )


class _Rows:
    """The rows of a variable that have been written, as a state saves them."""

    def __init__(self, variable, written):
        self._variable, self._written = variable, written

    def numpy(self):
        return self._variable.value[: int(self._written.value)].numpy()

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def assign(self, rows):
        rest = np.zeros_like(self._variable.value[len(rows) :])
        self._variable.assign(np.concatenate([rows, rest]))


class TeacherCache:
    """The newest images that a teacher saw, and its logits of them.

    To ask the teacher is a large part of what a step of a smaller student
    costs, and what it said of an image stays true. So every `steps_per_call`
    steps a new batch takes the place of the oldest, and each step is on random
    images of the store, where an image is drawn `steps_per_call` times on
    average.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int, number of logits.
        steps_per_call: Int, steps for each batch that the teacher is asked
            about.
        size: Int, the most images that are kept. Fewer teach less:
            docs/results/distillation_trials.md.
        most_bytes: Int, the most that they and their answers take, a byte a
            value and four a logit: of larger images fewer are kept.
        seed: Int, of what is drawn.

    Attributes:
        variables: List of what it holds, for a state: each has `numpy` and
            `assign`, of the rows that have been written.

    Raises:
        ValueError: if a number is not whole and at least 1, or there are
            several replicas, each of which would need a store of its own.
    """

    def __init__(
        self,
        image_shape,
        classes,
        steps_per_call,
        size=10_240,
        most_bytes=80_000_000,
        seed=0,
    ):
        require_whole(
            steps_per_call=steps_per_call, size=size, most_bytes=most_bytes
        )
        require_one_replica(tf.distribute.get_strategy(), steps_per_call)
        size = min(size, most_bytes // (math.prod(image_shape) + 4 * classes))
        if not size:
            raise ValueError(
                "Not one image and its answer can be kept: pass "
                "`steps_per_teacher_call=1`, or a larger "
                f"`teacher_cache_bytes`. Received: {most_bytes} bytes, images "
                f"{tuple(image_shape)} and {classes} classes"
            )
        self.steps_per_call, self.size, self.seed = steps_per_call, size, seed
        images = np.zeros((size, *image_shape), "uint8")
        self._images = keras.Variable(images, trainable=False)
        logits = np.zeros((size, classes), "float32")
        self._logits = keras.Variable(logits, trainable=False)
        self._written = keras.Variable(0, dtype="int64", trainable=False)
        self.variables = [
            _Rows(self._images, self._written),
            _Rows(self._logits, self._written),
            self._written,
        ]

    def require_batch(self, batch_size):
        """Refuses batches that do not fit.

        Raises:
            ValueError: if they do not.
        """
        if batch_size is not None and batch_size > self.size:
            raise ValueError(
                f"Expected batches of at most {self.size} images, as many as "
                "are kept with their answers: take a larger "
                "`teacher_cache_bytes`, or `steps_per_teacher_call=1`. "
                f"Received: one of {batch_size}"
            )

    def batch(self, ask, step, count):
        """Random images of the store, once it has what this step adds.

        Args:
            ask: Function without arguments that gives what is added: a pair,
                images of whole numbers in [0, 255] and their logits.
            step: int32 tensor, the number of the student's step.
            count: int32 tensor, how many images are drawn.

        Returns:
            A pair of float32 tensors, images `(count, height, width,
            channels)` and logits `(count, classes)`.
        """
        # Empty it is also where the optimizer has steps of another run.
        due = (step % self.steps_per_call == 0) | (self._written.value == 0)
        tf.cond(due, lambda: self._add(*ask()), lambda: False)
        rows = tf.random.stateless_uniform(
            (count,),
            tf.stack([self.seed, step]),
            0,
            tf.minimum(self._written.value, self.size),
            "int64",
            alg="philox",
        )
        return (
            tf.cast(tf.gather(self._images.value, rows), "float32"),
            tf.gather(self._logits.value, rows),
        )

    def _add(self, images, logits):
        self.require_batch(images.shape[0])
        count = tf.shape(images, "int64")[0]
        rows = (self._written.value + tf.range(count)) % self.size
        for variable, new in ((self._images, images), (self._logits, logits)):
            variable.value.scatter_nd_update(
                rows[:, tf.newaxis], tf.cast(new, variable.dtype)
            )
        self._written.assign_add(count)
        return True


def setting_of(cache):
    """What tells the caches of two runs apart: numbers, 1 for no cache."""
    if cache is None:
        return 1
    steps, size = cache.steps_per_call, cache.size
    return steps if size == 10_240 else [steps, size]
