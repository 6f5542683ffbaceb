"""Real images: from TensorFlow Datasets, from idx files, or shipped."""

import gzip
import pathlib
import zlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.files import require_local
from tf_deepinversion.datasets.image_files import load_images

SHIPPED_TEST_IMAGES = (
    pathlib.Path(__file__).parent / "assets" / "fashion_mnist_test_2000.npz"
)


FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


IDX_PREFIXES = {"train": "train", "test": "t10k"}


DIGITS_SPLITS = {"train": slice(None, 1297), "test": slice(1297, None)}


def load_test_images() -> tuple[np.ndarray, np.ndarray]:
    """Loads the first 2,000 test images of Fashion-MNIST, which ship.

    Returns:
        A pair: uint8 images `(2000, 28, 28, 1)` and int32 labels `(2000,)`.

    Example:
        >>> images, labels = di.datasets.load_test_images()
        >>> images.shape, labels[:5].tolist()
        ((2000, 28, 28, 1), [9, 2, 1, 1, 6])
    """
    with np.load(SHIPPED_TEST_IMAGES) as file:
        return file["images"], file["labels"].astype("int32")


def read_idx(path) -> np.ndarray:
    """Reads a file in the idx format of unsigned bytes, gzipped or not.

    Args:
        path: String or path of the file.

    Returns:
        A uint8 array of the shape that the file states.

    Raises:
        ValueError: if the file has another format, or is truncated.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/labels-idx1-ubyte"
        >>> with open(path, "wb") as file:
        ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> di.datasets.read_idx(path).tolist()
        [7, 9]
    """
    require_local(path=path)
    path = pathlib.Path(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as e:
            raise ValueError(f"{path} is damaged: {e}.") from e
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(
            "Expected an idx file of unsigned bytes, which starts with "
            f"00 00 08. Received: {path} starting with {content[:4].hex(' ')}"
        )
    rank = content[3]
    if len(content) < 4 + 4 * rank:
        raise ValueError(
            f"{path} is damaged: its header needs {4 + 4 * rank} bytes. "
            f"Received: {len(content)} bytes"
        )
    shape = np.frombuffer(content, ">u4", rank, offset=4).astype(int)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if data.size != shape.prod():
        raise ValueError(
            f"{path} states {shape.prod()} values of shape "
            f"{tuple(shape.tolist())}. "
            f"Received: {data.size} values; the file is damaged."
        )
    return data.reshape(shape)


def load_idx(directory, split) -> tuple[np.ndarray, np.ndarray]:
    """Loads a split of a data set of four idx files, such as MNIST.

    Args:
        directory: String or path of the folder with
            `{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.
        split: `"train"` or `"test"`.

    Returns:
        A pair: uint8 images `(n, height, width, 1)` and int32 labels `(n,)`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the files have different numbers
            of images and labels.

    Example:
        ```python
        images, labels = di.datasets.load_idx(
            "/usr/share/datasets/fashion-mnist", "test"
        )
        ```
    """
    require_local(directory=directory)
    if split not in IDX_PREFIXES:
        raise ValueError(
            f'`split` must be "train" or "test". Received: split={split!r}'
        )

    def read(kind):
        stem = f"{IDX_PREFIXES[split]}-{kind}-ubyte"
        for name in (f"{stem}.gz", stem):
            path = pathlib.Path(directory) / name
            if path.exists():
                return read_idx(path)
        raise FileNotFoundError(
            f"Neither {stem}.gz nor {stem} is in {directory}. Debian's "
            "package `dataset-fashion-mnist` puts Fashion-MNIST into "
            "/usr/share/datasets/fashion-mnist."
        )

    images, labels = read("images-idx3"), read("labels-idx1")
    if len(images) != len(labels):
        raise ValueError(
            "Expected one label per image. "
            f"Received: {len(images)} images and {len(labels)} labels in "
            f"{directory}"
        )
    return images[..., np.newaxis], labels.astype("int32")


def load_digits(split, size=28) -> tuple[np.ndarray, np.ndarray]:
    """Loads scikit-learn's handwritten digits, enlarged.

    scikit-learn has 1,797 images of 8x8 pixels with 17 gray levels: the test
    set of UCI's optical digits. Here the first 1,297 images are the training
    split, and the last 500 the test split.

    Args:
        split: `"train"` or `"test"`.
        size: Int, height and width after bilinear enlargement, in pixels.
            Defaults to 28.

    Returns:
        A pair: uint8 images `(n, size, size, 1)` and int32 labels `(n,)`.

    Raises:
        ImportError: without scikit-learn, which the extra `digits` installs.
        ValueError: if `split` is unknown.

    Example:
        ```python
        images, labels = di.datasets.load_digits("test")
        ```
    """
    if split not in DIGITS_SPLITS:
        raise ValueError(
            f'`split` must be "train" or "test". Received: split={split!r}'
        )
    try:
        from sklearn import datasets
    except ImportError as e:
        raise ImportError(
            "The digits need scikit-learn: pip install scikit-learn."
        ) from e
    digits = datasets.load_digits()
    images = digits.images[DIGITS_SPLITS[split], ..., np.newaxis] * 255 / 16
    images = tf.image.resize(images, (size, size)).numpy()
    labels = digits.target[DIGITS_SPLITS[split]]
    return np.rint(images).astype("uint8"), labels.astype("int32")


def load_split(
    name, split, *, idx_dir=None, tfds_dir=None
) -> tuple[np.ndarray, np.ndarray]:
    """Loads a split of labeled images into memory.

    Args:
        name: String, a data set of TensorFlow Datasets with `image` and
            `label`, such as `"fashion_mnist"` or `"cifar10"`.
        split: `"train"` or `"test"`.
        idx_dir: Path of a folder with idx files, which replaces TFDS. Defaults
            to None.
        tfds_dir: Path of the data folder of TFDS. TFDS downloads a data set
            that the folder lacks. Defaults to the folder of TFDS.

    Returns:
        A pair: uint8 images `(n, height, width, channels)` and int32 labels
        `(n,)`.

    Example:
        ```python
        images, labels = di.datasets.load_split("fashion_mnist", "test")
        ```
    """
    if idx_dir:
        return load_idx(idx_dir, split)
    import tensorflow_datasets as tfds

    images, labels = tfds.as_numpy(
        tfds.load(
            name,
            split=split,
            data_dir=tfds_dir,
            batch_size=-1,
            as_supervised=True,
        )
    )
    return images, labels.astype("int32")


def augmented_epoch(
    images, labels, *, batch_size, seed, epoch, padding=2
) -> tf.data.Dataset:
    """Makes one epoch of randomly flipped and shifted images, in random order.

    Order and images depend only on (seed, epoch, image), so an interrupted
    training resumes with the same data.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        batch_size: Int. The epoch drops an incomplete last batch.
        seed: Int.
        epoch: Int.
        padding: Int, largest shift in pixels. Black pixels fill the border.
            Defaults to 2.

    Returns:
        A `tf.data.Dataset` of float32 images in [0, 255] and int32 labels.
    """
    images = check_pixels(images)
    order = np.random.default_rng((seed, epoch)).permutation(len(images))
    size = images.shape[1:]
    images, labels = tf.constant(images), tf.constant(labels)
    key = tf.random.experimental.stateless_fold_in([seed, 1], epoch)

    def load(index):
        key_i = tf.random.experimental.stateless_fold_in(key, index)
        image = tf.image.pad_to_bounding_box(
            images[index],
            padding,
            padding,
            size[0] + 2 * padding,
            size[1] + 2 * padding,
        )
        image = tf.image.stateless_random_crop(image, size, key_i)
        image = tf.image.stateless_random_flip_left_right(image, key_i)
        return tf.cast(image, "float32"), labels[index]

    return (
        tf.data.Dataset.from_tensor_slices(order.astype("int32"))
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def load_test_data(
    shape, path=None, idx_dir=None, tfds_dir=None, name=None, *, shipped=False
):
    """Loads the test images that the arguments of a script name.

    Args:
        shape: Tuple `(height, width, channels)` of one image.
        path: Path of images and labels, see `load_images`, or None. Defaults to
            None.
        idx_dir: Path of a folder for `load_idx`, or None. Defaults to None.
        tfds_dir: Path of the data folder of TFDS, or None. Defaults to None.
        name: String, name of the data set in `tfds_dir`. Defaults to None.
        shipped: Bool, whether to fall back to the 2,000 Fashion-MNIST images
            that ship. Set it only for a Fashion-MNIST teacher. Defaults to
            False.

    Returns:
        A pair, images and labels, from the first source that is given; or None
        without a source.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images have another shape, or values outside
            [0, 255].

    Example:
        >>> real = di.datasets.load_test_data((28, 28, 1), shipped=True)
        >>> real[0].shape
        (2000, 28, 28, 1)
    """
    if path:
        found = load_images(path, shape[-1])
    elif idx_dir or tfds_dir:
        found = load_split(name, "test", idx_dir=idx_dir, tfds_dir=tfds_dir)
    else:
        return load_test_images() if shipped else None
    images = check_pixels(found[0])
    if images.shape[1:] != tuple(shape):
        raise ValueError(
            f"Expected test images of the teacher's shape {tuple(shape)}. "
            f"Received: {images.shape[1:]}"
        )
    return images, found[1]
