"""Trains a network on new classes beside a copy that knows the old classes."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_integers
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.elements import of_pixels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.streams import Stream
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.incremental.check_tasks import check_pair
from tf_deepinversion.incremental.check_tasks import require_one_size
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.methods import Step
from tf_deepinversion.incremental.methods import View
from tf_deepinversion.networks import compiled
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.image_shape import takes
from tf_deepinversion.networks.one_batch import OneBatch
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw_own
from tf_deepinversion.transforms.base import require_transforms
from tf_deepinversion.transforms.shifts import Shift


class IncrementalLearner(OneBatch):
    """A Keras model that trains a grown network by a list of terms.

    `compile(optimizer=...)`, `fit` on a `tf.data.Dataset` of images and labels
    of the new classes, callbacks, and `evaluate` on labeled images work as
    usual. All images are integers, pixels in [0, 255]; the batches of data sets
    are pairs, or dictionaries as in TensorFlow Datasets. `fit` adds the images
    of old classes itself. Only the grown network is trained. Several replicas
    give the same result as one device, or are refused: docs/strategies.md.

    Args:
        old: A `keras.Model`, the network that knows the old classes.
        model: A `keras.Model`, the same network after `grow_head`.
        terms: List of `Term`, see `method`.
        replay: Images of old classes of any kind, see `datasets.as_stream`; or
            None for methods without replay. Defaults to None.
        batch_size: Int, number of images of old classes in each step. Defaults
            to 64.
        preprocessing: The `Preprocessing` of both networks, or None if they are
            known by their names. Defaults to None.
        transforms: List of transforms of all images, drawn anew every step.
            Defaults to `[Shift(2)]`.
        seed: Int in [0, 2**31), seed of transforms and images. Defaults to 0.
        **kwargs: Arguments of `keras.Model`, such as `name`.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`; if `model` does not have more classes or has
            another image shape, or is frozen, or shares layers with `old` that
            are not frozen; if terms need `replay` and it is missing; or if
            the pool lacks an old class.

    Example:
        >>> grown = di.incremental.grow_head(teacher, classes=5)
        >>> learner = di.incremental.IncrementalLearner(
        ...     teacher, grown, di.incremental.methods.lwf()
        ... )
        >>> learner(images).shape.as_list()
        [12, 5]
    """

    def __init__(
        self,
        old,
        model,
        terms,
        *,
        replay=None,
        batch_size=64,
        preprocessing=None,
        transforms=None,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._heads = Head(old), Head(model)
        self.old_classes, self.classes = (head.classes for head in self._heads)
        check_pair(old, model, self.old_classes, self.classes)
        self.terms = list(terms)
        self._replay = _stream(
            self.terms, replay, self.old_classes, batch_size, seed
        )
        self.network = model
        self._bodies = [head.features_model() for head in self._heads]
        self.preprocessing = Preprocessing.of(model, preprocessing)
        transforms = [Shift(2)] if transforms is None else transforms
        self._transforms = require_transforms(transforms, labeled=True)
        require_seed(seed)
        self._seed = int(seed)
        names = ["loss", *(term.name for term in self.terms)]
        self._means = [keras.metrics.Mean(name=name) for name in names]
        self._accuracy = keras.metrics.SparseCategoricalAccuracy(
            name="accuracy"
        )
        self.built = True

    @property
    def trained(self) -> keras.Model:
        """The network that `fit` trains: the grown network."""
        return self.network

    @property
    def metrics(self):
        return [*self._means, self._accuracy]

    def call(self, pixels, training=False):
        """Computes the logits of pixels in [0, 255], among all classes."""
        require_integers(keras.backend.standardize_dtype(pixels.dtype))
        return self._read(1, tf.cast(pixels, "float32"), training)[1]

    def compile(self, *args, jit_compile="auto", **kwargs):
        """As in Keras; XLA must be able to compile both networks."""
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        shape = self.network.input_shape[1:]
        networks = [(body, shape) for body in self._bodies]
        compiled.settle(self, jit_compile, networks)

    def fit(
        self,
        x=None,
        y=None,
        *,
        epochs=1,
        steps_per_epoch=None,
        validation_data=None,
        shuffle=False,
        **kwargs,
    ):
        """As in Keras, on a `tf.data.Dataset` of `(image, label)` batches.

        Step s uses element s of the images of old classes, in any epoch, and
        also after a restart with the same optimizer. With images of old
        classes, `fit` repeats a finite data set; an epoch is one pass or
        `steps_per_epoch`.

        Raises:
            TypeError: if `x` is not a data set, or its images are not integers.
            ValueError: if images or labels do not fit, or if the length of a
                data set to repeat is unknown.
        """
        if not isinstance(x, tf.data.Dataset) or y is not None:
            raise TypeError(
                "Expected a `tf.data.Dataset` of batches of (image, label). "
                f"Received: {type(x)} and labels of {type(y)}"
            )
        x = self._checked(x)
        if len(x.element_spec) != 2:
            raise ValueError(
                "Expected batches of (image, label), and nothing else. "
                f"Received: {x.element_spec}"
            )
        # The check runs in the data set, where a wrong label can still stop a
        # step.
        x = x.map(self._check_labels)
        if self._replays():
            steps_per_epoch = steps_per_epoch or _steps(x, epochs)
            # Without the repetition, images of old classes would restart too.
            if steps_per_epoch:
                x = x.repeat()
            x = tf.data.Dataset.zip((x, self._old_images()))
        else:
            x = x.map(lambda images, labels: ((images, labels),))
        if validation_data is not None:
            validation_data = self._checked_for_evaluation(validation_data)
        return super().fit(
            x,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation_data,
            shuffle=shuffle,
            **kwargs,
        )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As in Keras, on a data set, or on arrays of images and labels."""
        if isinstance(x, tf.data.Dataset):
            x = self._checked_for_evaluation(x)
        else:
            x, y = self._checked_for_evaluation((x, y))
        return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data):
        new, *replayed = replicas.of_any_size(data)
        images, labels = self._augmented([new, *replayed])
        with tf.GradientTape() as tape:
            count = tf.shape(new[1])[0]
            step = self._step(images, labels, count, bool(replayed))
            # Keras's losses return `floatx`.
            values = [
                tf.cast(term(step), step.new.logits.dtype)
                for term in self.terms
            ]
            loss = tf.add_n(
                [t.weight * v for t, v in zip(self.terms, values, strict=True)]
            )
            # Each replica computes the loss of the whole batch, and the
            # gradient through its own images; the optimizer adds them up.
            own = loss / self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(own)
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled, variables)
        # A method may not reach every variable: without a gradient, take zeros.
        self.optimizer.apply(
            [
                tf.zeros_like(v) if g is None else g
                for g, v in zip(gradients, variables, strict=True)
            ],
            variables,
        )
        for mean, value in zip(self._means, [loss, *values], strict=True):
            mean.update_state(value)
        self._accuracy.update_state(step.new.labels, step.new.logits)
        return replicas.logs_of(*self.metrics)

    def test_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        logits = self(images)
        # Every replica updates the metric with the batch of all replicas.
        self._accuracy.update_state(
            replicas.whole(labels), replicas.whole(logits)
        )
        return replicas.logs_of(self._accuracy)

    def save(self, filepath, *args, **kwargs):
        """Saves the grown network as a plain model.

        `keras.callbacks.ModelCheckpoint` of whole models in `fit` also saves
        it.

        Args:
            filepath: Path that ends in `.keras`.
            *args: Arguments of `keras.Model.save`.
            **kwargs: Arguments of `keras.Model.save`.
        """
        return self.network.save(filepath, *args, **kwargs)

    def get_config(self):
        """Refuses: a config cannot hold two networks.

        Raises:
            NotImplementedError: always, with an alternative.
        """
        raise NotImplementedError(
            "An IncrementalLearner has no config, because it holds two "
            "networks. Save the grown network by `save`, and create "
            "`IncrementalLearner(old, model, terms)` again. "
            f"Received: get_config of {self.network.name!r} in training"
        )

    def _replays(self):
        return any(term.replays for term in self.terms)

    def _old_images(self):
        # A resumed training continues with the images of its next step.
        step = 0
        if self.optimizer is not None:
            step = int(keras.ops.convert_to_numpy(self.optimizer.iterations))
        drawn = self._checked(self._replay(step))
        return drawn.map(lambda images, labels, *_: (images, labels))

    def _checked(self, dataset):
        """Checks that batches have the right shape and integer labels."""
        dataset = of_pixels(dataset)
        images, labels = dataset.element_spec[:2]
        if (
            not takes(self.network.input_shape[1:], images.shape[1:])
            or labels.shape.rank != 1
            or not labels.dtype.is_integer
        ):
            raise ValueError(
                f"Expected batches of images {self.network.input_shape} and "
                "of integer labels (None,): use `labels.argmax(-1)` for "
                f"one-hot rows. Received: {dataset.element_spec}"
            )
        return dataset

    def _checked_for_evaluation(self, data):
        if isinstance(data, tf.data.Dataset):
            return self._checked(data)
        images, labels = data[0], np.asarray(data[1])
        images = check_pixels(images)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise ValueError(
                "Expected one integer label per image: use "
                "`labels.argmax(-1)` for one-hot rows. "
                f"Received: labels of {labels.dtype} and shape {labels.shape} "
                f"for {len(images)} images"
            )
        return images, labels, *data[2:]

    def _check_labels(self, images, labels):
        """Checks labels in the data set: XLA would drop it from the step."""
        # 256 is no number of uint8.
        labels = tf.cast(labels, "int64")
        wrong = (labels < self.old_classes) | (labels >= self.classes)
        check = tf.debugging.Assert(
            ~tf.reduce_any(wrong),
            [
                "The labels of new images must lie in "
                f"[{self.old_classes}, {self.classes}). Received:",
                labels,
            ],
        )
        with tf.control_dependencies([check]):
            return images, tf.identity(labels)

    def _augmented(self, streams):
        """Returns all images, each transformed, and all labels."""
        require_one_size(*(images for images, _ in streams))
        images = tf.concat([tf.cast(x, "float32") for x, _ in streams], 0)
        labels = tf.concat([tf.cast(y, "int32") for _, y in streams], 0)
        step = tf.cast(self.optimizer.iterations, "int32")
        counts = [tf.shape(y)[0] for _, y in streams]
        numbers = draw_own(self._transforms, [self._seed, 2], step, *counts)
        return apply(self._transforms, images, numbers), labels

    def _read(self, which, pixels, training=False):
        """Returns features and logits of the old (0) or the new (1) network."""
        fed = self.preprocessing.fed(pixels)
        features = self._bodies[which](fed, training=training)
        return features, self._heads[which](features)

    def _step(self, images, labels, count, replays):
        """Computes the input of the terms, for the images of all replicas."""
        old_features, old_logits = self._read(0, images)
        # training=True: new and old images together give the batch statistics.
        features, logits = self._read(1, images, training=True)
        # A term of these logits trains the head alone.
        head_logits = self._heads[1](tf.stop_gradient(features))
        whole = View(
            labels, logits, head_logits, features, old_logits, old_features
        )
        # The new images come first, then the images of old classes.
        new = View(*(replicas.whole(part[:count]) for part in whole))
        replayed = None
        if replays:
            replayed = View(*(replicas.whole(part[count:]) for part in whole))
        return Step(new, replayed, self._heads[0].kernel)


def _steps(dataset, epochs):
    """Returns the number of batches of an epoch; None if it is endless."""
    size = int(dataset.cardinality())
    if size > 0 or epochs == 1 or size == tf.data.INFINITE_CARDINALITY:
        return size if size > 0 else None
    raise ValueError(
        "With images of old classes, the length of an epoch must be known: "
        "pass `steps_per_epoch`. Received: a data set of unknown length and "
        f"epochs={epochs}"
    )


def _stream(terms, replay, old_classes, batch_size, seed) -> Stream | None:
    """Returns a stream of images of old classes, if a term needs them."""
    needing = [term.name for term in terms if term.replays]
    if not needing:
        return None
    if replay is None:
        raise ValueError(
            f"The terms {needing} need images of old classes: pass `replay`, "
            "a `Pool`, a pair of arrays, or a function from a step to a "
            f"`tf.data.Dataset`. Received: replay={replay!r}"
        )
    if isinstance(replay, (Pool, tuple, list, dict)):
        _check_classes(replay, old_classes)
    return as_stream(replay, batch_size, seed)


def _check_classes(replay, old_classes):
    """Checks that the images cover exactly the old classes."""
    labels = (
        replay.labels
        if isinstance(replay, Pool)
        else np.asarray(image_and_label(replay)[1])
    )
    missing = sorted(set(range(old_classes)) - set(labels.tolist()))
    largest = labels.max(initial=-1)
    if missing or largest >= old_classes:
        raise ValueError(
            f"`replay` needs images of each of the {old_classes} old classes, "
            f"and of no other class. Received: {len(labels)} images without "
            f"classes {missing}; the largest label is {largest}"
        )
