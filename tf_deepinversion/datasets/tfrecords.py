"""Labeled images in shards that TensorFlow Datasets reads without this package.

A shard is a TFRecord file of PNG or JPEG images. The names of TFDS's own shards
contain the number of all shards. These names do not, so that shards can be
added and removed.
"""

import pathlib
import re
import tempfile
import uuid

import tensorflow as tf

from tf_deepinversion.core.files import write_content
from tf_deepinversion.datasets import image_bytes

NAME, SPLIT, FORMAT = "pool", "train", "tfrecord"


TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"


PREFIX = TEMPLATE.format(
    DATASET=NAME, SPLIT=SPLIT, FILEFORMAT=FORMAT, SHARD_INDEX=""
)


# With more shards, TFDS writes each index with six digits.
MAX_SHARDS = 99_999


def make_features(image_shape, classes, jpeg_quality=None):
    """Describes an example to TFDS.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        jpeg_quality: Int in [1, 100], or None for PNG. Defaults to None.

    Returns:
        A `tfds.features.FeaturesDict` of `image`, `label` and `requested`.

    Raises:
        ValueError: if no shard can store images of this shape, or the quality
            is out of range.
    """
    import tensorflow_datasets as tfds

    if len(image_shape) != 3 or image_shape[-1] not in (1, 3, 4):
        raise ValueError(
            "A pool on disk stores PNG or JPEG, `(height, width, channels)` "
            "with 1, 3 or 4 channels: leave `folder` out for others. "
            f"Received: image_shape={image_shape}"
        )
    image_bytes.check_quality(jpeg_quality, image_shape)
    encoding = "jpeg" if jpeg_quality else "png"
    features = {
        "image": tfds.features.Image(
            shape=image_shape, encoding_format=encoding
        ),
        "label": tfds.features.ClassLabel(num_classes=classes),
        "requested": tfds.features.ClassLabel(num_classes=classes),
    }
    return tfds.features.FeaturesDict(features)


def shard_names(folder, prefix=None) -> set:
    """The names of a folder's shards, or of their indices.

    Args:
        folder: Path.
        prefix: String before the number. Defaults to that of a shard.
    """
    prefix = PREFIX if prefix is None else prefix
    found = {path.name for path in folder.glob(f"{prefix}*")}
    # A user's copy beside a shard is none.
    return {x for x in found if re.fullmatch(r"\d{5}", x.removeprefix(prefix))}


def shard_name(index) -> str:
    """Returns the file name of a shard, made from `TEMPLATE`.

    >>> shard_name(7)
    'pool-train.tfrecord-00007'
    """
    if index >= MAX_SHARDS:
        raise ValueError(
            f"A folder holds up to {MAX_SHARDS} shards: write more images at "
            f"once. Received: index={index}"
        )
    return f"{PREFIX}{index:05d}"


def shard_of(arrays, jpeg_quality=None) -> bytes:
    """Makes the bytes of a shard, a function of the arrays alone.

    Args:
        arrays: Dict from the names of `make_features` to arrays of equal
            length.
        jpeg_quality: Int in [1, 100], or None for PNG. Defaults to None.
    """
    # TensorFlow writes records to files only. This file is in memory, so that
    # every failure of the disk is an OSError of Python.
    buffer = f"ram://{uuid.uuid4().hex}"
    with tf.io.TFRecordWriter(buffer) as writer:
        for values in zip(*arrays.values(), strict=True):
            example = dict(zip(arrays, values, strict=True))
            writer.write(_example(example, jpeg_quality))
    with tf.io.gfile.GFile(buffer, "rb") as file:
        content = file.read()
    tf.io.gfile.remove(buffer)
    return content


def count_of(content) -> int:
    """Counts the records in the bytes of a shard, and compares their sums.

    Raises:
        ValueError: if a record is damaged.
    """
    buffer = f"ram://{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(buffer, "wb") as file:
        file.write(content)
    try:
        return sum(1 for _ in tf.data.TFRecordDataset(buffer))
    except tf.errors.DataLossError as error:
        raise ValueError(f"A record is damaged: {error.message}") from error
    finally:
        tf.io.gfile.remove(buffer)


def _example(values, jpeg_quality) -> bytes:
    """Serializes what TFDS's own serializer does, always in one order."""
    feature = {}
    for name, value in values.items():
        if name == "image":
            content = image_bytes.encoded(value, jpeg_quality)
            value = tf.train.BytesList(value=[content])
            feature[name] = tf.train.Feature(bytes_list=value)
        else:
            value = tf.train.Int64List(value=[value])
            feature[name] = tf.train.Feature(int64_list=value)
    features = tf.train.Features(feature=feature)
    # Otherwise the order of the names differs from process to process.
    return tf.train.Example(features=features).SerializeToString(
        deterministic=True
    )


def write_metadata(folder, features, images):
    """Writes the metadata by which `tfds.builder_from_directory` finds shards.

    Args:
        folder: Path.
        features: See `make_features`.
        images: Dict from names of shards to their numbers of images.
    """
    size = sum((folder / name).stat().st_size for name in images)
    with tempfile.TemporaryDirectory() as scratch:  # TFDS writes in place
        _write_info(scratch, features, images, size)
        # dataset_info.json, the mark of completeness, comes last.
        for path in sorted(pathlib.Path(scratch).iterdir(), reverse=True):
            write_content(folder / path.name, path.read_bytes())


def _write_info(scratch, features, images, size):
    import tensorflow_datasets as tfds

    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=NAME,
            version=tfds.core.Version("1.0.0"),
            data_dir=scratch,
            module_name="",
        ),
        description="Images synthesized by tf_deepinversion. `label` is the "
        "class that the teacher sees, `requested` the class asked for.",
        features=features,
        supervised_keys=("image", "label"),
    )
    info.set_file_format(FORMAT)
    count = max((int(name[-5:]) + 1 for name in images), default=0)
    # TFDS skips a shard without images, so the indices may have gaps.
    lengths = [images.get(shard_name(i), 0) for i in range(count)]
    template = tfds.core.ShardedFileTemplate(
        data_dir=scratch,
        template=TEMPLATE,
        dataset_name=NAME,
        split=SPLIT,
        filetype_suffix=FORMAT,
    )
    split_info = tfds.core.SplitInfo(
        name=SPLIT,
        shard_lengths=lengths,
        num_bytes=size,
        filename_template=template,
    )
    info.set_splits(tfds.core.splits.SplitDict([split_info]))
    info.write_to_directory(scratch)
