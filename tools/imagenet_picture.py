r"""Makes the picture of ImageNet's classes for README and docs/imagenet.md.

    python examples/imagenet.py --images=100
    python tools/imagenet_picture.py

The first classes of the folder in the order of their numbers, the first image
of each: nothing is chosen by hand.
"""

import pathlib

import numpy as np
from absl import app
from absl import flags
from PIL import Image

from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.pictures import grid

FLAGS = flags.FLAGS
flags.DEFINE_string("images", "output/imagenet/images", "Folder by class.")
flags.DEFINE_integer("count", 16, "Images.", lower_bound=1)
flags.DEFINE_integer("columns", 8, "Images in a row.", lower_bound=1)
flags.DEFINE_integer("size", 112, "Height and width in the picture.", 8)
flags.DEFINE_string("output", "docs/imagenet.jpg", "The file to write.")


def main(_):
    folders = sorted(pathlib.Path(FLAGS.images).iterdir())[: FLAGS.count]
    files = [min(folder.iterdir()) for folder in folders]
    size = FLAGS.size, FLAGS.size
    images = [
        np.asarray(Image.open(file).resize(size, Image.Resampling.LANCZOS))
        for file in files
    ]
    picture = Image.fromarray(grid(np.stack(images), FLAGS.columns, 1, 2))
    write_atomically(
        FLAGS.output, lambda file: picture.save(file, "JPEG", quality=88)
    )
    print(", ".join(folder.name for folder in folders))


if __name__ == "__main__":
    app.run(main)
