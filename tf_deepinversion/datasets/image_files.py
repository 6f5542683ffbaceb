"""Reads images and labels from the files that this library writes."""

import pathlib
import re
import zipfile

import numpy as np
from PIL import Image

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.files import require_local


def load_images(path, channels=None) -> tuple[np.ndarray, np.ndarray]:
    """Reads images with their labels.

    Args:
        path: Path of one of

            - the folder of a `Pool`, or of any data set that TensorFlow
              Datasets wrote with `"image"` and `"label"`;
            - a folder with one folder of PNG files per class, whose name
              begins with the number of the class (`0_name`, `1_name`, ...);
            - an `.npz` file with `images` and `labels`.

        channels: Int, 1 to read PNG files as gray images, 3 to read them as
            color images. Defaults to the channels of the files.

    Returns:
        A pair: uint8 array `(n, height, width, channels)` and int32 array
        `(n,)`.

    Raises:
        FileNotFoundError: if `path` is none of these.
        ValueError: if the images differ in size, or an array is missing.

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
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(path))
        images, labels = tfds.as_numpy(
            builder.as_dataset("train", batch_size=-1, as_supervised=True)
        )
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
    return images, labels.astype("int32")


def arrays_of(path, *names) -> list:
    """Reads arrays of an .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no .npz file or lacks an array; the error names it.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npz file. Received: {path}")
    with path.open("rb") as file:
        try:
            data = np.load(file)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"Expected an .npz file. Received: {path} ({error})"
            ) from error
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
        return [data[name] for name in names]


def _pixels_of(file, channels):
    """Reads a PNG file of whole gray levels up to 255."""
    modes = {None: None, 1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(
            "PNG files are read with 1 or 3 channels: use an .npz file. "
            f"Received: channels={channels}"
        )
    with Image.open(file) as image:
        if image.mode.startswith(("I", "F")):  # a conversion would clip them
            raise ValueError(
                "Expected PNG files of 8 bits for each value: convert the "
                f"files. Received: {file} with more (mode {image.mode!r})"
            )
        return np.asarray(image.convert(modes[channels]))


def _of_folders(path, channels):
    files = sorted(path.glob("*/*.png"))
    numbers = [re.match(r"\d+", file.parent.name) for file in files]
    if not files or not all(numbers):
        raise FileNotFoundError(
            "Expected the folder of a pool, a folder of folders of PNG files "
            "by class (0_name, 1_name, ...), or an .npz file of `images` and "
            f"`labels`. Received: {path}"
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
