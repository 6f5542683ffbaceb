"""Writes images as grids, as PNG files, and as folders by class."""

import io
import math
import pathlib
import re

import numpy as np
from PIL import Image
from PIL import PngImagePlugin

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.labels import names_of
from tf_deepinversion.core.labels import require_classes

# Marks the pictures of this package, which `save_folders` may delete.
MAKER = "tf_deepinversion"


def grid(images, columns=10, scale=1, gap=1) -> np.ndarray:
    """Puts images side by side, row by row.

    Args:
        images: uint8 array `(n, height, width, channels)`, 1 or 3 channels.
        columns: Int, number of images in a row. Defaults to 10.
        scale: Int, factor by which each pixel is enlarged. Defaults to 1.
        gap: Int, number of white pixels between images. Defaults to 1.

    Returns:
        A uint8 array `(height, width, channels)`.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if there is no image, or a number is out of range.
    """
    images = check_pixels(images)
    require_whole(columns=columns, scale=scale)
    require_whole(0, gap=gap)
    n, height, width, channels = images.shape
    if not n:
        raise ValueError("Expected at least one image. Received: no image")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    # Axes: row of images, pixel row, column of images, pixel column, channel.
    canvas = np.full(
        (rows, height * scale + gap, columns, width * scale + gap, channels),
        255,
        "uint8",
    )
    enlarged = images.repeat(scale, axis=1).repeat(scale, axis=2)
    for i, image in enumerate(enlarged):
        canvas[i // columns, : height * scale, i % columns, : width * scale] = (
            image
        )
    canvas = canvas.reshape(
        rows * canvas.shape[1], columns * canvas.shape[3], channels
    )
    return canvas[: canvas.shape[0] - gap, : canvas.shape[1] - gap]


def require_picture(image_shape):
    """Refuses images that are no pictures.

    Args:
        image_shape: Tuple `(height, width, channels)`.

    Raises:
        ValueError: if there are more channels than a PNG file has.
    """
    # 2 are gray and opacity to a PNG file, 4 are colors and opacity.
    if not 1 <= image_shape[-1] <= 4:
        raise ValueError(
            "A picture has 1 to 4 channels: choose the channels to show. "
            f"Received: images of shape {tuple(image_shape)}"
        )


def png(image, maker=None) -> bytes:
    """Encodes a uint8 image `(height, width, 1 or 3)` as PNG bytes."""
    (image,) = check_pixels(image[np.newaxis])
    require_picture(image.shape)
    content, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if maker:
        info.add_text("Software", maker)
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
        content, "PNG", pnginfo=info
    )
    return content.getvalue()


def save_png(path, image, maker=None):
    """Writes an image `(height, width, 1 or 3)` as a PNG, atomically."""
    write_content(path, png(image, maker))


def save_folders(directory, images, labels, names=None):
    """Writes each image as a PNG into the folder of its class.

    `keras.utils.image_dataset_from_directory` reads the result: the names of
    the folders start with the zero-padded number of the class, so that they
    sort by class. The function deletes pictures that an earlier call wrote
    there; other files stay.

    Args:
        directory: Path of the folder for the classes' folders.
        images: uint8 array `(n, height, width, 1 or 3)`.
        labels: Int array `(n,)`.
        names: List of the names of all classes; None, or none of them, for
            numbers alone.

    Raises:
        TypeError: if images or labels are not integers.
        ValueError: if there is not one label per image, none at all, a negative
            label, fewer names than classes, or images have other channels.
    """
    require_local(directory=directory)
    images, labels = check_pixels(images), np.asarray(labels)
    require_picture(images.shape[1:])
    if labels.shape != images.shape[:1] or not labels.size:
        raise ValueError(
            "Expected one label per image, and at least one image. Received: "
            f"{len(images)} images, and labels of shape {labels.shape}"
        )
    require_classes(np.inf, labels=labels)
    most = int(labels.max())
    digits = len(str(most))
    if names is not None and len(names):
        names = names_of(names, most + 1)
        digits = len(str(len(names) - 1))
    written, directory = set(), pathlib.Path(directory)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{int(label):0{digits}d}"
        if names:
            name += "_" + names[int(label)].lower().replace(" ", "_").replace(
                "/", "_"
            )
        written.add(directory / name / f"{i:06d}.png")
        save_png(directory / name / f"{i:06d}.png", image, MAKER)
    for path in set(directory.glob("*/*.png")) - written:
        if re.fullmatch(r"\d{6,}\.png", path.name) and _is_ours(path):
            path.unlink()
            if not any(
                path.parent.iterdir()
            ):  # Keras would count it as a class
                path.parent.rmdir()


def _is_ours(path):
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == MAKER
    except OSError:  # a damaged file says nothing of who wrote it
        return False
