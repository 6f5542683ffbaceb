"""Pictures of images for a notebook."""

import numpy as np
from PIL import Image
from PIL import ImageDraw

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.pictures import grid

_LINE = 12  # height of a caption in pixels
_TILE = 64  # least width of an enlarged image in pixels


def show(images, labels=None, names=None, columns=10) -> Image.Image:
    """Draws images side by side, with a caption below each.

    A notebook displays the picture if the call is the last line of a cell.
    Elsewhere, `show(images).save("images.png")` writes a file.

    Args:
        images: uint8 array `(n, height, width, 1 or 3)`, at least one image.
        labels: Int array `(n,)`, or None for no captions. Defaults to None.
        names: List of the names of all classes. Defaults to the classes'
            numbers.
        columns: Int, number of images in a row. Defaults to 10.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        TypeError: if the pixels are not integers.
        ValueError: if there are no images, or labels do not fit.

    Example:
        >>> black = np.zeros((3, 28, 28, 1), "uint8")
        >>> di.show(black, labels=[0, 1, 2], columns=2).size
        (169, 193)
    """
    images = check_pixels(images)
    require_whole(columns=columns)
    if not len(images):
        raise ValueError("Expected at least one image. Received: none")
    captions = _captions(labels, names, len(images))
    # Small images are enlarged, so that captions fit below them.
    scale = max(1, -(-_TILE // min(images.shape[1:3])))
    if captions is None:
        return _picture(grid(images, columns, scale))
    height, width = (side * scale for side in images.shape[1:3])
    tiles = [
        _captioned(grid(image[None], 1, scale), caption, (width, height))
        for image, caption in zip(images, captions, strict=True)
    ]
    return _picture(grid(np.stack(tiles), columns))


def _captions(labels, names, count):
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(
            f"Expected one label for each of {count} images. "
            f"Received: labels of shape {labels.shape}"
        )
    if names is None:
        return [str(label) for label in labels]
    if not (0 <= labels.min() and labels.max() < len(names)):
        raise ValueError(
            f"Expected labels in [0, {len(names)}), the range of `names`. "
            f"Received: from {labels.min()} to {labels.max()}"
        )
    return [str(names[label]) for label in labels]


def _captioned(image, caption, size):
    width, height = size
    tile = Image.new("RGB", (width, height + _LINE), "white")
    tile.paste(_picture(image), (0, 0))
    ImageDraw.Draw(tile).text((1, height), caption, fill="black")
    return np.asarray(tile)


def _picture(image):
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
