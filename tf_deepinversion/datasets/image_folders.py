"""Images in folders: pools, and pictures by class."""

import pathlib

import numpy as np


def load_images(folder, channels=3) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a folder that holds a `Pool`, or PNG files.

    Args:
        folder: Path of a pool's folder, or of one that holds a folder of PNG
            files for each class, as `core.pictures.save_folders` writes them:
            the classes are the folders in the order of their names.
        channels: Int, 1 for grey images, 3 for colors. Of PNG files alone, for
            a pool knows its channels.

    Returns:
        A pair: uint8 images `(n, height, width, channels)` and int32 labels
        `(n,)`.

    Raises:
        FileNotFoundError: if there are no such files.
    """
    folder = pathlib.Path(folder)
    if (folder / "dataset_info.json").exists():
        return _of_pool(folder)
    paths = sorted(folder.glob("*/*.png"))
    if not paths:
        raise FileNotFoundError(
            "Expected the folder of a pool, or a folder of PNG files for each "
            f"class. Received: {folder}"
        )
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    images = [np.asarray(Image.open(path).convert(mode)) for path in paths]
    names = [path.parent.name for path in paths]
    _, labels = np.unique(names, return_inverse=True)
    stacked = np.stack(images).reshape(len(paths), *images[0].shape[:2], -1)
    return stacked, labels.astype("int32")


def _of_pool(folder):
    """Read as anybody can, who does not have this package."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    images, labels = tfds.as_numpy(
        builder.as_dataset("train", batch_size=-1, as_supervised=True)
    )
    return images, labels.astype("int32")
