"""Keras callbacks: they watch an inversion, and feed a student from one."""

import json
import pathlib
import time

import keras
import numpy as np

from tf_deepinversion import metrics
from tf_deepinversion.checkpoint import write_atomically
from tf_deepinversion.checks import not_finite
from tf_deepinversion.checks import require_whole
from tf_deepinversion.fast_inversion import require_drawing
from tf_deepinversion.labels import balanced_labels
from tf_deepinversion.pictures import grid
from tf_deepinversion.pictures import save_png
from tf_deepinversion.preprocessing import Preprocessing
from tf_deepinversion.verification import resized


class ImageGrid(keras.callbacks.Callback):
    """Writes the images as one PNG, at the end of every few epochs.

    Args:
        path: Path of the PNG. `{epoch}` in it is filled in; without it each
            picture takes the place of the one before.
        every: Int, epochs between two pictures. Defaults to 1.
        columns: Int, images a row. Defaults to 10.
        scale: Int, by which each pixel is enlarged. Defaults to 2.
        log_dir: Path of a TensorBoard log to which the pictures are added, or
            None.

    Raises:
        TypeError: where training begins, if the model is no `DeepInversion`.
        ValueError: if a number is not whole, or the path has other braces.
    """

    def __init__(self, path, every=1, columns=10, scale=2, log_dir=None):
        super().__init__()
        require_whole(every=every, columns=columns, scale=scale)
        self.path = str(path)
        try:
            self.path.format(epoch=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                "`path` may hold {epoch} and no other braces. "
                f"Received: path={self.path!r}"
            ) from error
        self.every = every
        self.columns = columns
        self.scale = scale
        self.log_dir = log_dir

    def on_train_begin(self, logs=None):
        _require_images(self)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        picture = grid(self.model.images, self.columns, self.scale)
        save_png(pathlib.Path(self.path.format(epoch=epoch + 1)), picture)
        if self.log_dir is not None:
            self._add_to_tensorboard(picture, epoch + 1)

    def _add_to_tensorboard(self, picture, step):
        import tensorflow as tf

        with tf.summary.create_file_writer(str(self.log_dir)).as_default():
            tf.summary.image("images", picture[np.newaxis], step)


class Verifier(keras.callbacks.Callback):
    """Adds to `logs` how many images other networks take for their labels.

    Images that only their teacher recognises are adversarial noise; those
    that networks of other families recognise too carry what the classes are.

    Args:
        networks: Dict from names to `keras.Model` classifiers with the
            teacher's classes. `logs` gets `{name}_accuracy`. Where a network
            takes images of one size, they are resized to that.
        preprocessing: Dict from the same names to `Preprocessing`; needed for
            the networks that are not known by name.
        every: Int, epochs between two readings. Defaults to 1.
    """

    def __init__(self, networks, preprocessing=None, every=1):
        super().__init__()
        if not networks:
            raise ValueError("`networks` is empty: there is nothing to ask.")
        require_whole(every=every)
        self.networks = dict(networks)
        given = preprocessing or {}
        self.preprocessing = {
            name: Preprocessing.of(network, given.get(name))
            for name, network in self.networks.items()
        }
        self.every = every

    def on_train_begin(self, logs=None):
        _require_images(self)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        images, labels = self.model.images, self.model.labels
        for name, network in self.networks.items():
            logs[f"{name}_accuracy"] = metrics.accuracy(
                network,
                resized(images, network),
                labels,
                self.preprocessing[name],
            )


def _require_images(callback):
    if not hasattr(callback.model, "images"):
        raise TypeError(
            f"{type(callback).__name__} watches an inversion: give it to the "
            "`fit` of a `DeepInversion`. Received: a model of "
            f"{type(callback.model)}"
        )


class Stopwatch(keras.callbacks.Callback):
    """Seconds of a run and of its training alone, interruptions left out.

    What was being done when the run was interrupted, an epoch or what comes
    before it, is not counted.

    Args:
        path: Path of a file in which they are kept as each epoch begins and
            ends, and from which they are counted on; None for none.
        begin: Float, of `time.monotonic`, when the run began; None: now.

    Attributes:
        total: Float, from `begin` to the last beginning or end of an epoch.
        training: Float, within epochs. As the first of the callbacks it
            counts what later ones do as each epoch begins, as the last not.
    """

    def __init__(self, path=None, begin=None):
        super().__init__()
        self.path = path and pathlib.Path(path)
        self.total = self.training = 0.0
        if self.path and self.path.exists():
            self.total, self.training = json.loads(self.path.read_text())
        begin = time.monotonic() if begin is None else begin
        self._begin = begin - self.total

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = time.monotonic()
        self._keep(self._epoch)

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        self.training += now - self._epoch
        self._keep(now)

    def _keep(self, now):
        self.total = now - self._begin
        if self.path:
            content = json.dumps([self.total, self.training]).encode()
            write_atomically(self.path, lambda file: file.write(content))


class RefreshPool(keras.callbacks.Callback):
    """Adds synthesised images to a pool before each epoch of a student.

    Made for `Distillation.fit(pool.dataset(...), steps_per_epoch=N)`: every N
    steps there are new images, made with the student as it then is. `logs`
    get the terms of their synthesis at its last step, `synthesis_{term}`. The
    labels of images are what the synthesizer's teacher takes them for, what
    they were made for is `Pool.requested`.
    Batches that an interrupted run left in the pool are not made again, where
    the synthesizer brings nothing from one to the next: only the last that an
    epoch asks for is, to know its terms.

    Args:
        pool: A `Pool`.
        synthesizer: A `DeepInversion` or `FastInversion`; with `student=` the
            one in training, it looks for images on which that still differs.
        images: Int, how many a batch, of balanced classes; of fewer than
            there are classes each batch goes on with those that the one before
            stopped at. What the recipe keeps of them on the way, its
            `snapshots`, is added, too.
        steps: Int, of the synthesizer for each batch; None for its recipe's.
        batches: Int, how many batches before each epoch but the first; 0:
            none.
        first: Int, how many batches before the first epoch.
        first_steps: Int, the steps of the very first batch, in which a
            generator learns most.
        draws: Int; where it is not 0, what is added is not the batch that the
            steps were made on but as many times `images` new ones that the
            generator draws then, see `FastInversion.draw`.

    Attributes:
        seconds: Float, spent on synthesis so far.

    Raises:
        ValueError: if a number is not whole or too small.
    """

    def __init__(
        self,
        pool,
        synthesizer,
        images=256,
        steps=None,
        batches=1,
        first=1,
        first_steps=None,
        draws=0,
    ):
        super().__init__()
        require_whole(images=images, first=first)
        for name, value in (("steps", steps), ("first_steps", first_steps)):
            if value is not None:
                require_whole(**{name: value})
        require_whole(0, batches=batches, draws=draws)
        require_drawing(synthesizer, draws)
        self.pool, self.synthesizer = pool, synthesizer
        self.images, self.steps = images, steps
        self.batches, self.first = batches, first
        self.first_steps, self.draws = first_steps or steps, draws
        self.seconds = 0.0
        self.next_batch = 0
        self._terms = {}

    def batches_before(self, epoch) -> int:
        """How many batches the first `epoch` epochs have asked for."""
        return self.first + (epoch - 1) * self.batches if epoch else 0

    def on_epoch_begin(self, epoch, logs=None):
        begin = time.monotonic()
        self._terms = {}
        wanted = self.batches_before(epoch + 1)
        if not self.synthesizer.carried:
            there = min(self.pool.batches, wanted - 1)
            self.next_batch = max(self.next_batch, there)
        while self.next_batch < wanted:
            batch = self.next_batch
            labels = balanced_labels(
                self.synthesizer.classes, self.images, batch
            )
            history = self.synthesizer.fit(
                labels,
                self.first_steps if batch == 0 else self.steps,
                batch=batch,
                verbose=0,
            )
            terms = history.history if history else {}
            self._terms = {
                f"synthesis_{name}": values[-1]
                for name, values in terms.items()
            }
            add_made(self.pool, self.synthesizer, labels, batch, self.draws)
            self.next_batch += 1
        self.seconds += time.monotonic() - begin

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self._terms)


class RequireFinite(keras.callbacks.Callback):
    """Ends training by an error once a network is no longer finite.

    What saves the network comes after it in the list of callbacks, so that
    the newest state on disk is of an epoch before.

    Args:
        network: The `keras.Model` that is trained.

    Raises:
        FloatingPointError: at the end of an epoch, if a variable is not finite.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def on_epoch_end(self, epoch, logs=None):
        variable = not_finite(self.network.variables)
        if variable is not None:
            rate = float(self.model.optimizer.learning_rate)
            raise FloatingPointError(
                f"{self.network.name!r} came to be not finite in epoch "
                f"{epoch + 1}: lower the learning rate. Received: "
                f"{variable.path}, learning_rate={rate:g}, {logs}"
            )


def images_of_a_batch(synthesizer, images, draws=0) -> int:
    """How many images `made` gives of a batch of so many."""
    return images * (draws or synthesizer.images_per_label)


def made(synthesizer, labels, batch, draws):
    """What a batch gives to a pool: its images and snapshots, or new ones.

    Args:
        synthesizer: A `DeepInversion` or `FastInversion`, after `fit`.
        labels: Int array `(n,)`, those of the batch.
        batch: Int, its number.
        draws: Int, how many times n images are drawn; 0 for its own, where
            there are snapshots of them those before.

    Returns:
        A pair, uint8 images and the labels that they were made for.
    """
    if not draws:
        images = [*synthesizer.snapshots, synthesizer.images]
        return np.concatenate(images), np.tile(synthesizer.labels, len(images))
    numbers = range(batch * draws, (batch + 1) * draws)
    drawn = [synthesizer.draw(labels, number) for number in numbers]
    return np.concatenate(drawn), np.tile(labels, draws)


def labels_of(synthesizer, images, requested) -> np.ndarray:
    """The labels of images: what the synthesizer's teacher takes them for.

    A synthesizer without `classes_of`, such as one of real images, is
    believed: its labels are `requested`.
    """
    ask = getattr(synthesizer, "classes_of", None)
    return requested if ask is None else ask(images)


def add_made(pool, synthesizer, labels, batch, draws):
    """Adds what is `made` of a batch to a pool, where it is not there yet.

    Made again after an interruption, it may be.
    """
    if batch >= pool.batches:
        images, requested = made(synthesizer, labels, batch, draws)
        labels = labels_of(synthesizer, images, requested)
        pool.add(images, labels, number=batch, requested=requested)
