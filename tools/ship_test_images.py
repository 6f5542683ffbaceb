r"""Makes the file of real test images that ships with the package.

    python tools/ship_test_images.py \
        --idx_dir=/usr/share/datasets/fashion-mnist

The images are the first 2,000 of Fashion-MNIST's test set, in file order.
They score what was synthesized; nothing is trained or tuned on them.
"""

import numpy as np
from absl import app
from absl import flags

from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.datasets.real_images import SHIPPED_TEST_IMAGES
from tf_deepinversion.datasets.real_images import load_split

FLAGS = flags.FLAGS
flags.DEFINE_string("idx_dir", None, "A folder of idx files, if not TFDS.")
flags.DEFINE_integer("images", 2000, "How many.")


def main(_):
    images, labels = load_split("fashion_mnist", "test", idx_dir=FLAGS.idx_dir)
    images, labels = images[: FLAGS.images], labels[: FLAGS.images]
    write_atomically(
        SHIPPED_TEST_IMAGES,
        lambda file: np.savez_compressed(
            file, images=images, labels=labels.astype("uint8")
        ),
    )
    print(SHIPPED_TEST_IMAGES, SHIPPED_TEST_IMAGES.stat().st_size, "bytes")


if __name__ == "__main__":
    app.run(main)
