"""The rows of a pool: what each image has, batch after batch."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.joined import Joined
from tf_deepinversion.datasets.stored import ShardFile
from tf_deepinversion.datasets.stored import StoredImages


class PoolRows:
    """The batches of a pool at one time, in memory or on disk.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.

    Attributes:
        kinds: Dict from the names of what an image has to pairs, the shape
            and the dtype of a row.
        parts: List of dicts, one for each batch, from the same names to arrays
            or a `ShardFile`.
        joined: Dict from the same names to `Joined`.
    """

    def __init__(self, image_shape, classes):
        self._classes = classes
        self.kinds = {
            "image": (image_shape, "uint8"),
            "label": ((), "int32"),
            "requested": ((), "int32"),
        }
        self._hold([])

    def of(self, parts) -> "PoolRows":
        """Rows of the same kinds with other batches, an iterable of parts."""
        shape, _ = self.kinds["image"]
        rows = PoolRows(shape, self._classes)
        rows._hold(parts)
        return rows

    def _hold(self, parts):
        self.parts = parts = list(parts)
        self.joined = {
            name: _joined([part[name] for part in parts], kind)
            for name, kind in self.kinds.items()
        }

    def __len__(self):
        return len(self.joined["label"])

    def whole(self, name) -> np.ndarray:
        """All rows as one array, of which the batches become parts."""
        if len(self.joined[name].parts) != 1:
            whole, end = np.asarray(self.joined[name]), 0
            for part in self.parts:
                begin, end = end, end + len(part[name])
                part[name] = whole[begin:end]
            self.joined[name] = Joined([whole], *self.kinds[name])
        return self.joined[name].parts[0]

    @property
    def drawn(self) -> list:
        """The names of what `draws` gives, which `requested` is not."""
        return [name for name in self.kinds if name != "requested"]

    def checked(self, images, labels, requested) -> dict:
        """Checks a batch, and copies it.

        Args:
            images: See `Pool.add`, as the other arguments.
            labels: See `Pool.add`.
            requested: See `Pool.add`.

        Returns:
            A dict from names to arrays, a part.

        Raises:
            TypeError: if the dtypes do not fit.
            ValueError: if shapes or values do not fit.
        """
        images = np.array(images)
        if images.dtype != np.uint8:
            raise TypeError(
                f"`images` must be uint8 pixels. Received: {images.dtype}"
            )
        labels = check_labels(labels, self._classes)
        if requested is None:
            requested = labels
        requested = check_labels(requested, self._classes)
        batch = {"image": images, "label": labels, "requested": requested}
        for name, array in batch.items():
            expected = (len(labels), *self.kinds[name][0])
            if array.shape != expected:
                raise ValueError(
                    f"Expected the {name} of {len(labels)} examples, of shape "
                    f"{expected}. Received: shape {array.shape}"
                )
        return batch


def _joined(parts, kind):
    # Of a batch on disk, only the images are not in memory.
    stored = any(isinstance(part, ShardFile) for part in parts)
    return (StoredImages if stored else Joined)(parts, *kind)


def draws(rows, batch_size, seed, first_step) -> tf.data.Dataset:
    """Makes an endless stream of random batches, see `Pool.dataset`.

    Args:
        rows: Function without arguments that returns the `PoolRows` of now.
        batch_size: Int.
        seed: Int.
        first_step: Int.
    """
    kinds = [rows().kinds[name] for name in rows().drawn]

    def draw(step):
        now = rows()
        if not len(now):
            raise ValueError("The pool is empty: `add` a batch first.")
        chosen = np.random.default_rng((seed, step)).choice(
            len(now), batch_size, replace=len(now) < batch_size
        )
        return [now.joined[name][chosen] for name in now.drawn]

    def load(step):
        batch = tf.numpy_function(draw, [step], [dtype for _, dtype in kinds])
        for tensor, (shape, _) in zip(batch, kinds, strict=True):
            tensor.set_shape((batch_size, *shape))
        return tuple(batch)

    # tf.data's default optimizations insert a prefetch.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    steps = tf.data.Dataset.counter(first_step)
    return steps.map(load).with_options(options)
