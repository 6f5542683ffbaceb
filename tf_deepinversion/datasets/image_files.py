"""Images and labels from the files in which this library leaves them."""

import pathlib
import re

import numpy as np
from PIL import Image

from tf_deepinversion.core.checks import check_pixels


def load_images(path, channels=None) -> tuple[np.ndarray, np.ndarray]:
    """Reads images with their labels.

    Args:
        path: Path of one of

            - the folder of a `Pool`, or of any data set that TensorFlow
              Datasets has written there with `"image"` and `"label"`;
            - a folder of folders of PNG files, the names of which begin with
              the number of a class, as `core.pictures.save_folders` writes;
            - an `.npz` file of `images` and `labels`.

        channels: Int, 1 to read PNG files as gray images, 3 as colors; None as
            they are.

    Returns:
        A pair: uint8 array `(n, height, width, channels)` and int32 array
        `(n,)`.

    Raises:
        FileNotFoundError: if there is none of these.
        ValueError: if the images differ in size.
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        with np.load(path) as data:
            images, labels = data["images"], data["labels"]
    elif (path / "dataset_info.json").exists():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(path))
        images, labels = tfds.as_numpy(
            builder.as_dataset("train", batch_size=-1, as_supervised=True)
        )
    else:
        images, labels = _of_folders(path, channels)
    return check_pixels(images), np.asarray(labels, "int32")


def _of_folders(path, channels):
    files = sorted(path.glob("*/*.png"))
    numbers = [re.match(r"\d+", file.parent.name) for file in files]
    if not files or not all(numbers):
        raise FileNotFoundError(
            "Expected the folder of a pool, a folder of folders of PNG files "
            "by class (0_name, 1_name, ...), or an .npz file of `images` and "
            f"`labels`. Received: {path}"
        )
    modes = {None: None, 1: "L", 3: "RGB"}
    images = [
        np.asarray(Image.open(file).convert(modes[channels])) for file in files
    ]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"Expected images of one size. Received: {sorted(shapes)} in {path}"
        )
    images = np.stack(images)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    return images, [int(number.group()) for number in numbers]
