r"""Makes the picture of the README: real images above, synthesized below.

    python examples/invert.py --teacher=fashion_mnist_resnet20
    python tools/readme_picture.py

Of each class the first three real test images of the shipped file, and the
first three that were synthesized: nothing is chosen by hand.
"""

import pathlib

import numpy as np
from absl import app
from absl import flags
from PIL import Image

from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_png
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.metrics.diversity import alike

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "images", "output/fashion_mnist_resnet20/images", "Folder by class."
)
flags.DEFINE_integer("rows", 3, "Images of each class.")
flags.DEFINE_string("output", "docs/fashion_mnist.png", "The file to write.")


def main(_):
    labels = np.tile(np.arange(10), FLAGS.rows)
    real = alike(*load_test_images(), labels)
    folders = sorted(pathlib.Path(FLAGS.images).iterdir())
    files = [sorted(folder.iterdir()) for folder in folders]
    ours = [
        np.asarray(Image.open(files[label][row]))[..., np.newaxis]
        for row in range(FLAGS.rows)
        for label in range(10)
    ]
    above, below = grid(real, 10, 3, 2), grid(np.stack(ours), 10, 3, 2)
    white = np.full((18, *above.shape[1:]), 255, "uint8")
    save_png(FLAGS.output, np.concatenate([above, white, below]))


if __name__ == "__main__":
    app.run(main)
