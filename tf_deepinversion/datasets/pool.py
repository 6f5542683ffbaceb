"""A bounded store of synthesized images, in memory or on disk."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import is_whole
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.labels import require_classes
from tf_deepinversion.datasets.pool_filling import PoolFilling
from tf_deepinversion.datasets.pool_folder import PoolFolder
from tf_deepinversion.datasets.pool_rows import PoolRows
from tf_deepinversion.datasets.pool_rows import draws


class Pool:
    """Synthesized images and their labels; a full pool drops the oldest images.

    The label of a synthesized image is the teacher's prediction. For some
    images the prediction differs from the class that the synthesizer was asked
    for; `requested` keeps the latter.

    Without `folder` the images are in memory. With `folder` they are on disk
    alone, so a pool may be larger than the memory: `add` writes each batch as a
    shard, and `images` and `dataset` read what they are asked for. A finished
    `add` survives a killed process: the same call reopens the pool.
    `tfds.builder_from_directory(folder)` reads it at any time, too, without
    this package.

    Only one process at a time may write to a folder. The lock (`flock`, which
    Windows lacks) ends with the process or with `close`. Readers need no lock,
    but a reader must start again if the pool drops images meanwhile.

    Args:
        capacity: Int, largest number of images. A reopened folder may have
            another capacity, which the next `add` enforces.
        image_shape: Tuple `(height, width, channels)`. On disk an image has 1,
            3 or 4 channels.
        classes: Int. Labels lie in [0, classes).
        folder: Path, or None for a pool in memory only. Defaults to None.
        run: String of your choice that names teacher and recipe. Required with
            `folder`; a folder of another `run` is refused. Defaults to None.
        jpeg_quality: Int in [1, 100], of the JPEG images in `folder`, which
            has images of one quality only. The images then differ from those
            that were added; labels belong to the latter. Defaults to None for
            PNG, which keeps each pixel.

    Attributes:
        jpeg_quality: The argument; that of the folder if it was opened.

    Raises:
        ValueError: if an argument is out of range, or the folder is damaged,
            belongs to another run, or holds other files.
        RuntimeError: if another pool uses the folder, or the system is
            Windows.
        OSError: if the folder cannot be written.

    Example:
        >>> pool = di.Pool(3, (2, 2, 1), classes=10)
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
        jpeg_quality=None,
    ):
        require_local(folder=folder)
        if np.shape(image_shape) != (3,):
            raise ValueError(
                "`image_shape` must be (height, width, channels). "
                f"Received: image_shape={image_shape}"
            )
        height, width, channels = image_shape
        require_whole(capacity=capacity, classes=classes)
        require_whole(height=height, width=width, channels=channels)
        self.capacity, self.classes = int(capacity), int(classes)
        self.image_shape = int(height), int(width), int(channels)
        self._rows = PoolRows(self.image_shape, self.classes)
        self._shards = []  # one of each batch, the oldest first
        self._folder, self.jpeg_quality = None, jpeg_quality
        if folder is not None:
            self._folder = PoolFolder(
                folder,
                run=run,
                image_shape=self.image_shape,
                classes=self.classes,
                jpeg_quality=jpeg_quality,
            )
            self._shards = self._folder.open()
        elif jpeg_quality is not None:
            raise ValueError(
                "A pool in memory keeps pixels: leave `jpeg_quality` out, or "
                f"pass `folder`. Received: jpeg_quality={jpeg_quality}"
            )
        self._rows = self._rows.of(
            [self._stored(shard) for shard in self._shards]
        )

    @classmethod
    def open(cls, folder) -> "Pool":
        """Opens the pool of a folder for reading alone.

        Opening takes no lock, and reads no image: it compares sizes, `verify`
        compares contents.

        Args:
            folder: Path of the folder of a `Pool`, also of an object store.

        Returns:
            A `Pool` that refuses `add`.

        Raises:
            FileNotFoundError: if there is no pool.
            ValueError: if the folder is damaged.

        Example:
            >>> import tempfile
            >>> folder = tempfile.mkdtemp()
            >>> pool = di.Pool(9, (8, 8, 1), 3, folder=folder, run="a")
            >>> pool.add(images[:6], labels[:6])
            >>> di.Pool.open(folder).images.shape
            (6, 8, 8, 1)
        """
        opened = PoolFolder.existing(folder)
        shards, identity = opened.read(), opened.identity
        count = max(1, sum(shard["images"] for shard in shards))
        names = "image_shape", "classes"
        pool = cls(count, **{name: identity[name] for name in names})
        pool._folder, pool._shards = opened, shards
        pool.jpeg_quality = identity["jpeg_quality"]
        pool._rows = pool._rows.of(map(pool._stored, shards))
        return pool

    @classmethod
    def of(cls, images, labels, classes=None) -> "Pool":
        """Makes a full pool in memory from existing images.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)`.
            classes: Int. Defaults to one more than the largest label.

        Returns:
            A `Pool`.

        Raises:
            TypeError: if images or labels are not integers.
            ValueError: if there is no image, or images and labels do not fit.

        Example:
            >>> di.Pool.of(np.zeros((3, 2, 2, 1), "uint8"), [0, 4, 1]).classes
            5
        """
        images, labels = check_pixels(images), np.asarray(labels)
        if not len(images):
            raise ValueError("Expected at least one image. Received: no image")
        if classes is None:
            require_classes(np.inf, labels=labels)
            classes = int(labels.max()) + 1
        pool = cls(len(labels), images.shape[1:], classes)
        pool.add(images, labels)
        return pool

    def __len__(self):
        return len(self._rows)

    @property
    def images(self):
        """uint8 images `(n, height, width, channels)`, the oldest image first.

        In memory they are an array, which is not a copy; `add` never changes
        it. On disk they are a `datasets.Joined`, which is read like an array:
        `images[-100:]` reads 100 images, `np.asarray(images)` reads all.
        """
        rows = self._rows
        return rows.joined["image"] if self._folder else rows.whole("image")

    @property
    def labels(self):
        """int32 array `(n,)`, the classes that the images show."""
        return self._rows.whole("label")

    @property
    def requested(self):
        """int32 array `(n,)`, the classes asked of the synthesizer."""
        return self._rows.whole("requested")

    @property
    def identity(self):
        """Identifies the images: the array, or the SHA-256 of each shard."""
        if not self._folder:
            return self.images
        return np.array([shard["sha256"] for shard in self._shards], "str")

    @property
    def batches(self):
        """Int, number of batches ever added, which numbers the next batch."""
        return self._shards[-1]["batch"] + 1 if self._shards else 0

    def add(self, images, labels, *, number=None, requested=None):
        """Adds a batch, and drops the oldest batches to make room.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)` in [0, classes), the classes that the
                images show.
            number: Int, number of the batch, at least `batches`. Defaults to
                `batches`.
            requested: Int array `(n,)`, the classes that the synthesizer was
                asked for. Defaults to `labels`.

        Raises:
            TypeError: if images are not uint8, or labels are not integers.
            ValueError: if shapes or values do not fit, the batch has more than
                `capacity` images, or the pool is closed.
            OSError: if the disk is full or cannot be written. Batches added
                before are safe.
        """
        number = self.batches if number is None else number
        if not is_whole(number, self.batches):
            raise ValueError(
                f"The next batch is number {self.batches} or a later one. "
                f"Received: number={number}"
            )
        batch = self._rows.checked(images, labels, requested)
        if len(batch["label"]) > self.capacity:
            raise ValueError(
                f"The pool holds {self.capacity} images. Received: "
                f"{len(labels)} at once. Add fewer, or make a larger pool."
            )
        n, held, gone = len(batch["label"]), len(self), 0
        while held + n > self.capacity:
            held -= self._shards[gone]["images"]
            gone += 1
        shards = [*self._shards[gone:], {"batch": number, "images": n}]
        if self._folder:
            self._folder.commit(shards, batch)
            batch = self._stored(shards[-1])
        self._shards = shards
        self._rows = self._rows.of([*self._rows.parts[gone:], batch])
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
        title="Images",
    ):
        """Adds synthesized batches until the pool has had `batches` batches.

        The pool's existing batches count, so the same call resumes after an
        interruption. Labels are the classes in turn over all batches.

        Args:
            synthesizer: A `Synthesizer` of the pool's image shape and classes,
                such as a `DeepInversion` or a `FastInversion`.
            batches: Int, total number of batches.
            images: Int, number of labels of a batch. The synthesizer makes
                `images_per_label` images of each label. Defaults to 256.
            steps: Int, or a list with one int per stage, number of the
                synthesizer's steps for each batch. Defaults to the
                synthesizer's own, the recipe's also for a `FastInversion`,
                where `synthesize` takes 300 for the first batch and 30 for each
                other batch.
            first_steps: Like `steps`, for batch 0, in which a generator learns
                most. Defaults to `steps`.
            classes: List of the classes to synthesize. Defaults to all classes.
            made: Int, number of batches that the synthesizer's
                `state_variables` have seen. The synthesizer makes the batches
                from this number on; the pool adds those that it lacks. Defaults
                to `batches` of the pool.
            after_batch: Function of a batch's number, or None. The pool calls
                it when it holds the batch; `synthesizer.logs` belong to that
                batch. Defaults to None.
            verbose: `"auto"` or 1 for a bar, 2 for one line per batch, 0 for no
                output. Defaults to `"auto"`.
            title: String, name of the bar. Defaults to `"Images"`.

        A `UserWarning` says so if the images are meant to show their labels
        (`Synthesizer.means_labels`) and less than half of the pool does.

        Raises:
            ValueError: if an argument is out of range or does not fit the pool.
            TypeError: if the synthesizer's images are not uint8.
            OSError: as for `add`.

        Example:
            >>> noise = di.inversion.GivenImages((8, 8, 1), classes=2)
            >>> pool = di.Pool(100, (8, 8, 1), classes=2)
            >>> pool.fill(noise, batches=2, images=10, verbose=0)
            >>> len(pool)
            20
        """
        require_whole(batches=batches)
        begin = self.batches if made is None else made
        PoolFilling(self, synthesizer, images).run(
            range(begin, batches),
            classes=classes,
            steps=steps,
            first_steps=first_steps,
            after_batch=after_batch,
            verbose=verbose,
            title=title,
        )

    def dataset(self, batch_size, seed=0, first_step=0) -> tf.data.Dataset:
        """Makes an endless stream of random batches of images.

        Element s depends only on seed, s, and the pool's images at the time of
        drawing. A batch contains no image twice if the pool has enough images.
        The stream does not read ahead, so a step can draw images that a
        callback of `fit` added after the step before. `map` keeps this
        property. `prefetch`, `steps_per_execution`, and Keras's `fit` under a
        `tf.distribute` strategy with several replicas read a few elements
        ahead; `Distillation.fit` does not.

        Args:
            batch_size: Int.
            seed: Int in [0, 2**31). Defaults to 0.
            first_step: Int, the s of the first element, for a resumed run.
                Defaults to 0.

        Returns:
            A `tf.data.Dataset` of uint8 images `(batch_size, height, width,
            channels)`, and int32 labels `(batch_size,)`.

        Example:
            >>> pool = di.Pool.of(images, labels)
            >>> batch, _ = next(iter(pool.dataset(batch_size=4)))
            >>> batch.shape.as_list()
            [4, 8, 8, 1]
        """

        require_whole(batch_size=batch_size)
        require_seed(seed)
        return draws(lambda: self._rows, batch_size, seed, first_step)

    def close(self):
        """Releases the folder for another `Pool`; this pool stays readable."""
        if self._folder:
            self._folder.close()

    def verify(self):
        """Reads all of a pool on disk, and compares it with its SHA-256.

        Raises:
            ValueError: if a shard is damaged; the error says what to do.
        """
        if self._folder:
            self._folder.verify(self._shards)

    def _stored(self, shard) -> dict:
        """A batch on disk: its labels, and its images to be read."""
        file = self._folder.stored(shard)
        return dict.fromkeys(self._rows.kinds, file) | shard["index"].labels
