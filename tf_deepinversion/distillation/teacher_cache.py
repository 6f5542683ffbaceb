"""A cache of images and the teacher's answers, which many steps reuse."""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole


def require_one_replica(strategy, steps_per_call):
    """Refuses several replicas: each replica would need its own cache.

    Raises:
        ValueError: if there are several replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "Several replicas cannot reuse the teacher's answers: pass "
            "`steps_per_teacher_call=1`. Received: "
            f"steps_per_teacher_call={steps_per_call} on {replicas} replicas"
        )


class _Rows:
    """The written rows of a variable, as a state saves them."""

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
    """The latest images that a teacher labeled, and its answers.

    Calling the teacher is a large part of the cost of a small student's step,
    and its answer to an image never changes. Every `steps_per_call` steps a new
    batch replaces the oldest batch. Each step trains on random images of the
    cache, so that an image is used `steps_per_call` times on average.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        width: Int, number of values of an answer, see `Answers`.
        steps_per_call: Int, number of steps per call of the teacher.
        size: Int, largest number of images. With fewer images a student learns
            less: docs/results/distillation_trials.md. Defaults to 10,240.
        most_bytes: Int, memory limit for images and answers: one byte per pixel
            value and four per value of an answer. Defaults to 120 million.
        seed: Int, seed of the random images. Defaults to 0.

    Attributes:
        variables: List of the cache's state; each item has `numpy` and
            `assign` for the written rows. `core.row_parts` saves the rows in
            files, without those that it has saved before.

    Raises:
        ValueError: if a number is not whole and at least 1, or there are
            several replicas.
    """

    def __init__(
        self,
        image_shape,
        width,
        steps_per_call,
        size=10_240,
        most_bytes=120_000_000,
        seed=0,
    ):
        require_whole(
            steps_per_call=steps_per_call, size=size, most_bytes=most_bytes
        )
        require_one_replica(tf.distribute.get_strategy(), steps_per_call)
        size = min(size, most_bytes // (math.prod(image_shape) + 4 * width))
        if not size:
            raise ValueError(
                "The cache cannot hold a single image and its answer: pass "
                "`steps_per_teacher_call=1`, or a larger "
                f"`teacher_cache_bytes`. Received: {most_bytes} bytes, images "
                f"{tuple(image_shape)} and answers of {width} values"
            )
        self.steps_per_call, self.size, self.seed = steps_per_call, size, seed
        images = np.zeros((size, *image_shape), "uint8")
        self._images = keras.Variable(images, trainable=False)
        answers = np.zeros((size, width), "float32")
        self._answers = keras.Variable(answers, trainable=False)
        # The number of images ever written: modulo `size` it is the next row.
        self._written = keras.Variable(0, dtype="int64", trainable=False)
        self.variables = [
            _Rows(self._images, self._written),
            _Rows(self._answers, self._written),
            self._written,
        ]

    @property
    def written(self) -> int:
        """The number of images that were ever written."""
        return int(self._written.value)

    def rows(self, begin, end) -> dict:
        """The images `begin` to `end - 1` of all ever written, and answers."""
        places = np.arange(begin, end) % self.size
        return {
            "images": tf.gather(self._images.value, places).numpy(),
            "answers": tf.gather(self._answers.value, places).numpy(),
        }

    def restore(self, rows, begin, written):
        """Sets the state to the images `begin` to `written - 1`.

        Args:
            rows: Dict as of `rows`; may be empty if there are none.
            begin: Int.
            written: Int.
        """
        places = np.arange(begin, written) % self.size
        for name, variable in (
            ("images", self._images),
            ("answers", self._answers),
        ):
            values = np.zeros(variable.shape, variable.dtype)
            if len(places):
                values[places] = rows[name]
            variable.assign(values)
        self._written.assign(written)

    def require_batch(self, batch_size):
        """Checks that a batch fits into the cache.

        Raises:
            ValueError: if it does not.
        """
        if batch_size is not None and batch_size > self.size:
            raise ValueError(
                f"Expected batches of at most {self.size} images, the size of "
                "the teacher's cache: pass a larger `teacher_cache_bytes`, or "
                "`steps_per_teacher_call=1`. "
                f"Received: a batch of {batch_size}"
            )

    def batch(self, ask, step, count):
        """Draws random images of the cache, after adding this step's images.

        Args:
            ask: Function without arguments that returns a pair to add: images
                of whole numbers in [0, 255], and the teacher's answers.
            step: int32 tensor, number of the student's step.
            count: int32 tensor, number of images to draw.

        Returns:
            A pair of float32 tensors, images `(count, height, width, channels)`
            and answers `(count, width)`.
        """
        # The cache may be empty at any step: the optimizer may have made
        # steps in another run.
        due = (step % self.steps_per_call == 0) | (self._written.value == 0)
        # Both branches return a bool, because `tf.cond` needs equal types.
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
            tf.gather(self._answers.value, rows),
        )

    def _add(self, images, answers):
        self.require_batch(images.shape[0])
        count = tf.shape(images, "int64")[0]
        # A ring: the newest images replace the oldest.
        rows = (self._written.value + tf.range(count)) % self.size
        for variable, new in ((self._images, images), (self._answers, answers)):
            variable.value.scatter_nd_update(
                rows[:, tf.newaxis], tf.cast(new, variable.dtype)
            )
        self._written.assign_add(count)
        return True


def setting_of(cache):
    """Identifies the cache of a run: numbers, or 1 without a cache."""
    if cache is None:
        return 1
    steps, size = cache.steps_per_call, cache.size
    return steps if size == 10_240 else [steps, size]
