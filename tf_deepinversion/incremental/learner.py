"""A network that learns new classes beside a copy that knows the old ones."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_integers
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import image_and_label
from tf_deepinversion.datasets.real_images import of_pixels
from tf_deepinversion.datasets.streams import Stream
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.methods import Step
from tf_deepinversion.incremental.methods import View
from tf_deepinversion.networks import compiled
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw_own
from tf_deepinversion.transforms.base import require_transforms
from tf_deepinversion.transforms.shifts import Shift


class IncrementalLearner(replicas.OneBatch):
    """A grown network in training on new classes, by a list of terms.

    A Keras model like any other: `compile(optimizer=...)`, `fit` on a
    `tf.data` of images and labels of the new classes, callbacks, `evaluate`
    on labeled images. All images are whole numbers, pixels in [0, 255]; data
    sets are as for `datasets.of_pixels`. `fit` draws the images of old classes
    itself. What is trained is the grown network alone. On several replicas it
    is as on one device, or refused: docs/strategies.md.

    Args:
        old: A `keras.Model`, the network that knows the old classes.
        model: A `keras.Model`, the same after `grow_head`.
        terms: List of `Term`, see `method`.
        replay: Images of old classes of any kind, see `datasets.as_stream`;
            None for methods that need none.
        batch_size: Int, of the images of old classes. Defaults to 64.
        preprocessing: The `Preprocessing` of both; None if known by name.
        transforms: List of transforms that all images go through, drawn anew
            every step; by default `Shift(2)`.
        seed: Int, of the transforms and of what is drawn.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`; if `model` does not know more classes or
            takes other images; if terms need `replay` and there is none; or
            if an old class has no image in the pool.
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
        _check_pair(old, model, self.old_classes, self.classes)
        self.terms = list(terms)
        self._replay = _stream(
            self.terms, replay, self.old_classes, batch_size, seed
        )
        self.network = model
        self._bodies = [head.features_model() for head in self._heads]
        self.preprocessing = Preprocessing.of(model, preprocessing)
        transforms = [Shift(2)] if transforms is None else transforms
        self._transforms = require_transforms(transforms, labeled=True)
        self._seed = int(seed)
        names = ["loss", *(term.name for term in self.terms)]
        self._means = [keras.metrics.Mean(name=name) for name in names]
        self._accuracy = keras.metrics.SparseCategoricalAccuracy(
            name="accuracy"
        )
        self.built = True

    @property
    def trained(self) -> keras.Model:
        """What `fit` trains: the grown network."""
        return self.network

    @property
    def metrics(self):
        return [*self._means, self._accuracy]

    def call(self, pixels, training=False):
        """The logits of pixels in [0, 255], among all classes."""
        require_integers(keras.backend.standardize_dtype(pixels.dtype))
        return self._read(1, tf.cast(pixels, "float32"), training)[1]

    def compile(self, *args, jit_compile="auto", **kwargs):
        """As in Keras; what both networks compute decides on XLA, too."""
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

        Step s draws element s of the images of old classes, in whatever epoch,
        and also when started again with the optimizer as it was. With them, a
        data set that ends is repeated, and an epoch is once all of it or
        `steps_per_epoch`.

        Raises:
            TypeError: if `x` is no data set, or of other than integers.
            ValueError: if it is of other images or labels, or is to be
                repeated and its length is not known.
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
        x = x.map(self._check_labels)
        if self._replays():
            steps_per_epoch = steps_per_epoch or _steps(x, epochs)
            if steps_per_epoch:  # or images of old classes begin again too
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
        """As in Keras, on a data set, or an array of images and of labels."""
        if isinstance(x, tf.data.Dataset):
            x = self._checked_for_evaluation(x)
        else:
            x, y = self._checked_for_evaluation((x, y))
        return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data):
        new, *replayed = data
        images, labels = self._augmented([new, *replayed])
        with tf.GradientTape() as tape:
            count = tf.shape(new[1])[0]
            step = self._step(images, labels, count, bool(replayed))
            # Losses of Keras are of its `floatx`.
            values = [
                tf.cast(term(step), step.new.logits.dtype)
                for term in self.terms
            ]
            loss = tf.add_n(
                [t.weight * v for t, v in zip(self.terms, values, strict=True)]
            )
            # Each replica has the loss of the batch of all, and its gradient
            # by its own images: they are added up.
            own = loss / self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(own)
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled, variables)
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
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        logits = self(images)
        # What a replica says in a step is of what it has seen: of all, then.
        self._accuracy.update_state(
            replicas.whole(labels), replicas.whole(logits)
        )
        return {"accuracy": self._accuracy.result()}

    def save(self, filepath, *args, **kwargs):
        """Saves the grown network, as a model of its own, and so does a
        `keras.callbacks.ModelCheckpoint` of whole models in `fit`.

        Args:
            filepath: Path, that ends in `.keras`.
            *args: Of `keras.Model.save`, as `**kwargs` are.
            **kwargs: See there.
        """
        return self.network.save(filepath, *args, **kwargs)

    def get_config(self):
        """Refuses: two networks are no config.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            "An IncrementalLearner is not made from a config, for it holds two "
            "networks. Save the grown one, by `save`, and make "
            "`IncrementalLearner(old, model, terms)` again. "
            f"Received: get_config of {self.network.name!r} in training"
        )

    def _replays(self):
        return any(term.replays for term in self.terms)

    def _old_images(self):
        step = 0
        if self.optimizer is not None:
            step = int(keras.ops.convert_to_numpy(self.optimizer.iterations))
        drawn = self._checked(self._replay(step))
        return drawn.map(lambda images, labels, *_: (images, labels))

    def _checked(self, dataset):
        """Batches of pixels of the right shape, one whole label each."""
        dataset = of_pixels(dataset)
        images, labels = dataset.element_spec[:2]
        shape = tuple(self.network.input_shape[1:])
        if (
            tuple(images.shape[1:]) != shape
            or labels.shape.rank != 1
            or not labels.dtype.is_integer
        ):
            raise ValueError(
                f"Expected batches of images {self.network.input_shape} and "
                "of labels (None,), whole numbers; of one-hot rows "
                f"`labels.argmax(-1)`. Received: {dataset.element_spec}"
            )
        return dataset

    def _checked_for_evaluation(self, data):
        if isinstance(data, tf.data.Dataset):
            return self._checked(data)
        images, labels = data[0], np.asarray(data[1])
        images = check_pixels(images)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise ValueError(
                "Expected one label an image, a whole number; of one-hot rows "
                f"`labels.argmax(-1)`. Received: labels of {labels.dtype} and "
                f"of shape {labels.shape} for {len(images)} images"
            )
        return images, labels, *data[2:]

    def _check_labels(self, images, labels):
        """In the dataset, since XLA would drop it from the step."""
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
        """All images, each transformed, and all labels."""
        images = tf.concat([tf.cast(x, "float32") for x, _ in streams], 0)
        labels = tf.concat([tf.cast(y, "int32") for _, y in streams], 0)
        step = tf.cast(self.optimizer.iterations, "int32")
        counts = [tf.shape(y)[0] for _, y in streams]
        numbers = draw_own(self._transforms, [self._seed, 2], step, *counts)
        return apply(self._transforms, images, numbers), labels

    def _read(self, which, pixels, training=False):
        """Features and logits of the old (0) or the new (1) network."""
        fed = self.preprocessing.fed(pixels)
        features = self._bodies[which](fed, training=training)
        return features, self._heads[which](features)

    def _step(self, images, labels, count, replays):
        """What the terms see, of all replicas; first `count` new images."""
        old_features, old_logits = self._read(0, images)
        features, logits = self._read(1, images, training=True)
        head_logits = self._heads[1](tf.stop_gradient(features))
        whole = View(
            labels, logits, head_logits, features, old_logits, old_features
        )
        new = View(*(replicas.whole(part[:count]) for part in whole))
        replayed = None
        if replays:
            replayed = View(*(replicas.whole(part[count:]) for part in whole))
        return Step(new, replayed, self._heads[0].kernel)


def _steps(dataset, epochs):
    """How many batches an epoch has; None where there is no end, or one."""
    size = int(dataset.cardinality())
    if size > 0 or epochs == 1 or size == tf.data.INFINITE_CARDINALITY:
        return size if size > 0 else None
    raise ValueError(
        "Images of old classes go on from epoch to epoch, so the length of an "
        "epoch must be known: pass `steps_per_epoch`. Received: a data set of "
        f"unknown length and epochs={epochs}"
    )


def _check_pair(old, model, old_classes, classes):
    if classes <= old_classes:
        raise ValueError(
            "`model` must know more classes than `old`: see `grow_head`. "
            f"Received: {classes} and {old_classes}"
        )
    shapes = [tuple(network.input_shape[1:]) for network in (old, model)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`old` and `model` must take the same images. "
            f"Received: {shapes[0]} and {shapes[1]}"
        )


def _stream(terms, replay, old_classes, batch_size, seed) -> Stream | None:
    """The images of old classes as a stream, if a term needs any."""
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
    """Refuses images that are not of all old classes, and of no others."""
    labels = (
        replay.labels
        if isinstance(replay, Pool)
        else np.asarray(image_and_label(replay)[1])
    )
    missing = sorted(set(range(old_classes)) - set(labels.tolist()))
    largest = labels.max(initial=-1)
    if missing or largest >= old_classes:
        raise ValueError(
            f"There must be images of each of the {old_classes} old classes, "
            f"and of no others. Received: {len(labels)} images, without "
            f"classes {missing}, the largest label being {largest}"
        )
