"""Reads images and labels from the files that this library writes."""

import contextlib
import io
import pathlib
import re
import zipfile
import zlib

import numpy as np
from PIL import Image

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.labels import int32_of

# What NumPy and Pillow raise for a damaged file and for a file of another kind.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)

# What a folder of pictures may hold; only the first is read.
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def load_images(path, channels=None) -> tuple[np.ndarray, np.ndarray]:
    """Reads images with their labels.

    Args:
        path: Path of one of

            - the folder of a `Pool`, or of any data set that TensorFlow
              Datasets wrote with `"image"` and `"label"`;
            - a folder with one folder of PNG files per class, whose name
              begins with the number of the class (`0_name`, `1_name`, ...);
            - an `.npz` file with `images` and `labels`.

            Labels are at least 0.
        channels: Int, 1 to read PNG files as gray images, 3 to read them as
            color images. Defaults to the channels of the files.

    Returns:
        A pair: uint8 array `(n, height, width, channels)` and int32 array
        `(n,)`.

    Raises:
        FileNotFoundError: if `path` is none of these.
        ValueError: if the images differ in size, an array is missing, or a
            file is damaged or of another format.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/images.npz"
        >>> np.savez(path, images=images, labels=labels)
        >>> loaded, _ = di.datasets.load_images(path)
        >>> loaded.shape
        (12, 8, 8, 1)
    """
    require_local(path=path)
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        images, labels = arrays_of(path, "images", "labels")
    elif (path / "dataset_info.json").exists():
        images, labels = _of_tfds(path)
    else:
        images, labels = _of_folders(path, channels)
    images, labels = check_pixels(images), np.asarray(labels)
    if labels.shape != (len(images),) or not np.issubdtype(
        labels.dtype, np.integer
    ):
        raise ValueError(
            f"Expected a whole number as the label of each of {len(images)} "
            f"images. Received: {path}, with labels of shape {labels.shape} "
            f"and dtype {labels.dtype}"
        )
    return images, int32_of(labels)


def _of_tfds(path):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(path))
    names = builder.info.supervised_keys or ("image", "label")
    if not {*names} <= {*builder.info.features}:
        raise ValueError(
            'Expected a data set with "image" and "label". '
            f"Received: {path}, with {sorted(builder.info.features)}"
        )
    # Of other features, some may not be decoded without their packages.
    read = tfds.decode.PartialDecoding(dict.fromkeys(names, True))
    whole = builder.as_dataset("train", batch_size=-1, decoders=read)
    arrays = tfds.as_numpy(whole)
    return [arrays[name] for name in names]


@contextlib.contextmanager
def _expected(kind, path):
    """Names the file that its reader cannot read."""
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(
            f"Expected {kind}. Received: {path} ({error})"
        ) from error


def _received(path) -> str:
    missing = "" if path.exists() else ", which does not exist"
    return f"Received: {path}{missing}"


def arrays_of(path, *names) -> list:
    """Reads arrays of an .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no .npz file or lacks an array; the error names it.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npz file. {_received(path)}")
    kind = "an .npz file of numbers"
    with path.open("rb") as file:
        with _expected(kind, path):
            data = np.load(file)
        if not isinstance(data, np.lib.npyio.NpzFile):
            raise ValueError(
                f"Expected an .npz file. Received: {path}, of one array"
            )
        for name in names:
            if name not in data:
                raise ValueError(
                    f"Expected an .npz file with an array `{name}`, as "
                    f"np.savez(path, {name}={name}, ...) writes it. "
                    f"Received: {path}, with the arrays {data.files}"
                )
        with _expected(kind, path):
            return [data[name] for name in names]


def _pixels_of(file, channels):
    """Reads a PNG file of whole gray levels up to 255."""
    modes = {None: None, 1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(
            "PNG files are read with 1 or 3 channels: use an .npz file. "
            f"Received: channels={channels}"
        )
    content = file.read_bytes()
    if content[24:25] == b"\x10":  # Pillow would drop half of the bits
        raise ValueError(
            "Expected PNG files of up to 8 bits for each value: convert the "
            f"files. Received: {file} with 16 bits"
        )
    with _expected("a whole PNG file", file):
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            black_and_white = "L" if image.mode == "1" else None
            mode = modes[channels] or black_and_white
            return np.asarray(image.convert(mode))


def _of_folders(path, channels):
    pictures = sorted(
        x for x in path.glob("*/*") if x.suffix.lower() in PICTURES
    )
    files = [x for x in pictures if x.suffix.lower() == ".png"]
    others = [x for x in pictures if x not in files]
    if files and others:
        warn_caller(
            f"Only PNG files are read: {len(others)} other pictures are left "
            f"out, such as {others[0]}."
        )
    numbers = [re.match(r"\d+", file.parent.name) for file in files]
    if not files or not all(numbers):
        raise FileNotFoundError(
            "Expected the folder of a pool, a folder of folders of PNG files "
            "by class (0_name, 1_name, ...), or an .npz file of `images` and "
            f"`labels`. {_received(path)}"
        )
    images = [_pixels_of(file, channels) for file in files]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"Expected images of one size. Received: {sorted(shapes)} in {path}"
        )
    images = np.stack(images)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    return images, [int(number.group()) for number in numbers]
