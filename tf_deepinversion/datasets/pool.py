"""A growing, bounded store of synthesized images, in memory or on disk."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.pool_folder import PoolFolder


class Pool:
    """Synthesized images and their labels; the oldest go when it is full.

    The label of an image is what it shows: of synthesized ones what their
    teacher takes them for. Of some that is another class than was asked for,
    and that class is kept beside it, as `requested`.

    All images are held in memory. With `folder`, each batch is written as a
    shard too, and `tfds.builder_from_directory(folder)` reads them, without
    this package and at any moment. What `add` has finished survives a kill:
    the same call opens the pool as it was left.

    One process at a time has a folder, by a lock (`flock`, so not on Windows)
    that ends with the process or with `close`. Readers need none; one that is
    at work while the oldest images go must start again.

    Args:
        capacity: Int, the most images that are kept. It may change when a
            folder is opened again: the next `add` keeps to it.
        image_shape: Tuple `(height, width, channels)`; on disk with 1, 3 or 4
            channels.
        classes: Int; labels lie in [0, classes).
        folder: Path, or None for a pool in memory alone.
        run: String that tells what makes the images, the teacher and the
            recipe, see `core.run_state.fingerprint`. Needed with `folder`: that
            of another run is refused.
        soft_targets: Bool, whether each image has float32 targets
            `(classes,)` too, such as the teacher's logits.

    Raises:
        ValueError: if an argument is out of range, or the folder holds
            anything else, another run's pool or a damaged one.
        RuntimeError: if the folder is in use, or the system is Windows.
        OSError: if the folder cannot be written.

    >>> pool = Pool(3, (2, 2, 1), classes=10)
    >>> pool.add(np.zeros((2, 2, 2, 1), "uint8"), [3, 4])
    >>> pool.add(np.zeros((2, 2, 2, 1), "uint8"), [5, 6])
    >>> pool.labels.tolist(), pool.batches
    ([5, 6], 2)
    >>> pool.add(np.zeros((1, 2, 2, 1), "uint8"), [7], requested=[8])
    >>> pool.labels.tolist(), pool.requested.tolist()
    ([5, 6, 7], [5, 6, 8])
    """

    def __init__(
        self,
        capacity,
        image_shape,
        classes,
        *,
        folder=None,
        run=None,
        soft_targets=False,
    ):
        require_whole(capacity=capacity)
        self.capacity, self.classes = int(capacity), int(classes)
        self.image_shape = tuple(map(int, image_shape))
        self._arrays = {
            "image": np.zeros((0, *self.image_shape), "uint8"),
            "label": np.zeros(0, "int32"),
            "requested": np.zeros(0, "int32"),
        }
        if soft_targets:
            self._arrays["soft_targets"] = np.zeros((0, classes), "float32")
        self._shards = []  # one of each batch, the oldest first
        self._folder = None
        if folder is not None:
            self._folder = PoolFolder(
                folder,
                run=run,
                image_shape=self.image_shape,
                classes=self.classes,
                soft_targets=soft_targets,
            )
            self._shards, arrays = self._folder.open()
            if self._shards:
                self._extend(0, arrays)

    @classmethod
    def of(cls, images, labels, classes=None) -> "Pool":
        """A full pool in memory, of images that are there.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)`, what the images show.
            classes: Int; None for one more than the largest label.

        >>> Pool.of(np.zeros((3, 2, 2, 1), "uint8"), [0, 4, 1]).classes
        5
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if classes is None:
            classes = int(labels.max(initial=-1)) + 1
        pool = cls(len(labels), images.shape[1:], classes)
        pool.add(images, labels)
        return pool

    def __len__(self):
        return len(self.labels)

    @property
    def images(self):
        """uint8 `(n, height, width, channels)`, the oldest first.

        No copy; but `add` replaces the pool's arrays and never changes them.
        """
        return self._arrays["image"]

    @property
    def labels(self):
        """What the images show: int32 `(n,)`, as `images`."""
        return self._arrays["label"]

    @property
    def requested(self):
        """What the images were made to show: int32 `(n,)`, as `images`."""
        return self._arrays["requested"]

    @property
    def soft_targets(self):
        """float32 `(n, classes)`, as `images`, or None where there are none."""
        return self._arrays.get("soft_targets")

    @property
    def batches(self):
        """How many batches were ever added: the number of the next one."""
        return self._shards[-1]["batch"] + 1 if self._shards else 0

    def add(
        self, images, labels, soft_targets=None, number=None, *, requested=None
    ):
        """Adds a batch, on disk as one shard; the oldest batches make room.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)` in [0, classes), what the images show.
            soft_targets: Finite float array `(n, classes)`, where the pool
                was made for them.
            number: Int, that of the batch, `batches` or more; None: `batches`.
            requested: Int array as `labels`, what the images were made to
                show; None: `labels`.

        Raises:
            TypeError: if images are not uint8, or labels no integers.
            ValueError: if shapes or values are not as above, there are more
                than `capacity`, or the pool is closed.
            OSError: if the disk is full or cannot be written; what was added
                before is safe.
        """
        number = self.batches if number is None else int(number)
        if number < self.batches:
            raise ValueError(
                f"The next batch is number {self.batches} or a later one. "
                f"Received: number={number}"
            )
        batch = self._check(images, labels, soft_targets, requested)
        n, shards = len(batch["label"]), list(self._shards)
        while sum(shard["images"] for shard in shards) + n > self.capacity:
            shards.pop(0)
        gone = len(self) - sum(shard["images"] for shard in shards)
        shards.append({"batch": number, "images": n})
        if self._folder:
            self._folder.commit(shards, batch)
        self._shards = shards
        self._extend(gone, batch)
        if self._folder:
            self._folder.publish(shards)

    def fill(
        self,
        synthesizer,
        *,
        batches,
        images=256,
        steps=None,
        first_steps=None,
        classes=None,
        made=None,
        after_batch=None,
        verbose="auto",
    ):
        """Adds what a synthesizer makes, until there were so many batches.

        A batch that the pool has is not made again, so that the same call goes
        on after an interruption. Labels are balanced; batches of fewer images
        than there are classes go on with the class that the batch before
        stopped at.

        Args:
            synthesizer: A `Synthesizer` of the pool's images and classes, such
                as a `DeepInversion` or a `FastInversion`.
            batches: Int, the number of batches in all, those that the pool has
                among them.
            images: Int, how many labels a batch has. The synthesizer gives
                `images_per_label` images of each label.
            steps: Int, or a list of one a stage, the synthesizer's steps for
                each batch; None for what it takes by itself.
            first_steps: The same for batch 0, in which a generator learns
                most; None for `steps`.
            classes: List of the classes to make; None for all.
            made: Int, how many batches the synthesizer's `state_variables`
                have seen. Batches from there on are made, and added where the
                pool has none of that number. None: as many as the pool has.
            after_batch: Function of a batch's number, called when the pool has
                the batch; or None. `synthesizer.logs` are that batch's then.
            verbose: `"auto"`, 0, 1 or 2. 0: nothing is printed; 2: a line a
                batch; else a bar.

        Raises:
            ValueError: if an argument is out of range or does not fit.
            TypeError: if the synthesizer's images are not uint8.
            OSError: as for `add`.
        """
        require_whole(batches=batches, images=images)
        self._check_synthesizer(synthesizer, images)
        wanted = range(self.classes) if classes is None else classes
        wanted = check_labels(list(wanted), self.classes)
        first_steps = steps if first_steps is None else first_steps
        numbers = range(self.batches if made is None else made, batches)
        bar = _Bar(len(numbers), verbose)
        for number in numbers:
            labels = wanted[balanced_labels(len(wanted), images, number)]
            found = synthesizer.make(
                labels, number, first_steps if number == 0 else steps
            )
            self._add_made(synthesizer, labels, number, *found)
            if after_batch is not None:
                after_batch(number)
            bar.advance(synthesizer.logs)

    def _check_synthesizer(self, synthesizer, images):
        found = tuple(synthesizer.image_shape), synthesizer.classes
        if found != (self.image_shape, self.classes):
            raise ValueError(
                f"Expected a synthesizer of images {self.image_shape} of "
                f"{self.classes} classes, as the pool has. Received: of images "
                f"{found[0]} of {found[1]} classes"
            )
        added = images * synthesizer.images_per_label
        if added > self.capacity:
            raise ValueError(
                f"`capacity` must hold the {added} images of a batch. "
                f"Received: capacity={self.capacity}"
            )

    def _add_made(self, synthesizer, labels, number, images, shown):
        """Adds a batch, unless the pool has it: it may be made once more."""
        expected = len(labels) * synthesizer.images_per_label
        if len(images) != expected:
            raise ValueError(
                f"Expected {expected} images of {len(labels)} labels, as "
                "`images_per_label` of the synthesizer says. "
                f"Received: {len(images)}"
            )
        if number >= self.batches:
            requested = np.resize(labels, expected)
            self.add(images, shown, number=number, requested=requested)

    def dataset(self, batch_size, seed=0, first_step=0) -> tf.data.Dataset:
        """An endless stream of random batches of what is in the pool.

        Element s is a pure function of (seed, s, what is in the pool when it
        is drawn), and has no image twice where there are enough. Nothing is
        read ahead: what a callback of `fit` adds after a step can be drawn at
        the next. That holds for a `map` of it too, but not for a `prefetch`,
        for `steps_per_execution`, nor where a strategy of `tf.distribute` has
        several replicas, which read a few elements ahead in Keras's own `fit`;
        that of a `Distillation` reads none there.

        Args:
            batch_size: Int.
            seed: Int, 0 or more.
            first_step: Int, the s of the first element, to go on.

        Returns:
            A `tf.data.Dataset` of uint8 images `(batch_size, height, width,
            channels)`, int32 labels `(batch_size,)` and, where the pool has
            them, float32 soft targets `(batch_size, classes)`.
        """

        def draw(step):
            if not len(self):
                raise ValueError("The pool is empty: `add` a batch first.")
            chosen = np.random.default_rng((seed, step)).choice(
                len(self), batch_size, replace=len(self) < batch_size
            )
            return [array[chosen] for array in self._drawn()]

        def load(step):
            arrays = self._drawn()
            batch = tf.numpy_function(draw, [step], [a.dtype for a in arrays])
            for tensor, array in zip(batch, arrays, strict=True):
                tensor.set_shape((batch_size, *array.shape[1:]))
            return tuple(batch)

        options = tf.data.Options()  # by default a prefetch is put in
        options.experimental_optimization.apply_default_optimizations = False
        steps = tf.data.Dataset.counter(first_step)
        return steps.map(load).with_options(options)

    def close(self):
        """Leaves the folder to another `Pool`; this one can still be read."""
        if self._folder:
            self._folder.close()

    def _drawn(self):
        """The arrays that `dataset` draws of: nobody learns by `requested`."""
        return [a for name, a in self._arrays.items() if name != "requested"]

    def _extend(self, gone, batch):
        self._arrays = {
            name: np.concatenate([array[gone:], batch[name]], dtype=array.dtype)
            for name, array in self._arrays.items()
        }

    def _check(
        self, images, labels, soft_targets, requested
    ) -> dict[str, np.ndarray]:
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(
                f"`images` must be uint8 pixels. Received: {images.dtype}"
            )
        labels = check_labels(labels, self.classes)
        if (soft_targets is None) == ("soft_targets" in self._arrays):
            raise ValueError(
                "`soft_targets` must be given if and only if the pool was made "
                f"by Pool(..., soft_targets=True). Received: {soft_targets}"
            )
        if requested is None:
            requested = labels
        requested = check_labels(requested, self.classes)
        batch = {"image": images, "label": labels, "requested": requested}
        if soft_targets is not None:
            batch["soft_targets"] = np.asarray(soft_targets, "float32")
        for name, array in batch.items():
            expected = (len(labels), *self._arrays[name].shape[1:])
            if array.shape != expected or not np.isfinite(array).all():
                raise ValueError(
                    f"Expected the {name} of {len(labels)} examples, finite "
                    f"and of shape {expected}. Received: shape {array.shape}"
                )
        if len(labels) > self.capacity:
            raise ValueError(
                f"The pool holds {self.capacity} images. Received: "
                f"{len(labels)} at once. Add fewer, or make a larger pool."
            )
        return batch


class _Bar:
    """Says how many of the batches are made: a bar, or a line a batch."""

    def __init__(self, batches, verbose):
        self._batches, self._done = batches, 0
        self._verbose = verbose if batches else 0
        if self._verbose not in (0, 2):
            self._bar = keras.utils.Progbar(batches, unit_name="batch")

    def advance(self, logs):
        self._done += 1
        if self._verbose == 2:
            terms = "".join(f" - {n}: {v:.4g}" for n, v in logs.items())
            print(f"Images: batch {self._done}/{self._batches}{terms}")
        elif self._verbose:
            self._bar.stateful_metrics = set(logs)  # no means of batches
            self._bar.update(self._done, list(logs.items()))
