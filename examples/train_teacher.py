r"""Trains a teacher on real images: the network that is inverted later.

The two networks that ship were made by, with Debian's package
`dataset-fashion-mnist` installed,

    python examples/train_teacher.py --architecture=ResNet20 --seed=0 \
        --output=fashion_mnist_resnet20.keras \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python examples/train_teacher.py --architecture=VGG11BN --seed=1 \
        --output=fashion_mnist_vgg11.keras \
        --idx_dir=/usr/share/datasets/fashion-mnist

(two CPU cores: about 50 and 13 minutes.) A teacher for CIFAR-10, by TFDS:

    python examples/train_teacher.py --dataset=cifar10 --architecture=ResNet34 \
        --width=64 --epochs=200 --padding=4 --output=cifar10_resnet34.keras

The state is saved after every epoch; the same command started again goes on
from there. What is kept is the last epoch's weights. The test images are read
once, after training.
"""

import json
import os
import pathlib

from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "fashion_mnist", "A TFDS data set.")
flags.DEFINE_string("idx_dir", None, "A folder of idx files, if not TFDS.")
flags.DEFINE_string("tfds_dir", None, "The data folder of TFDS.")
flags.DEFINE_string("architecture", "ResNet20", "ResNet14 to 56, VGG11BN.")
flags.DEFINE_integer("width", 16, "Channels of the first stage.")
flags.DEFINE_integer("epochs", 30, "Epochs, the first one a warm-up.")
flags.DEFINE_integer("batch_size", 128, "Images a step.")
flags.DEFINE_float("learning_rate", 0.1, "The peak of the cosine.")
flags.DEFINE_float("weight_decay", 5e-3, "Decoupled: times learning rate.")
flags.DEFINE_integer("padding", 2, "The largest random shift, in pixels.")
flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.")
flags.DEFINE_integer("limit", None, "Train on so many images (a tiny run).")
flags.DEFINE_string("output", None, "The .keras file to write.", required=True)


def save(model, path):
    """Writes a whole file or none."""
    part = path.with_name(f"{path.stem}.part.keras")
    model.save(part)
    os.replace(part, path)


def make_model(images, classes, steps):
    import keras

    from tf_deepinversion import models
    from tf_deepinversion.optimizers.schedules import sgd

    keras.utils.set_random_seed(FLAGS.seed)
    model = getattr(models, FLAGS.architecture)(
        images.shape[1:],
        classes,
        width=FLAGS.width,
        mean=images.mean((0, 1, 2)).round(2).tolist(),
        std=images.std((0, 1, 2)).round(2).tolist(),
        name=pathlib.Path(FLAGS.output).stem,
    )
    model.compile(
        sgd(
            FLAGS.epochs * steps,
            FLAGS.learning_rate,
            weight_decay=FLAGS.weight_decay,
            warmup=steps,  # the first epoch
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(_):
    import keras

    from tf_deepinversion.core.files import sha256_of_file
    from tf_deepinversion.datasets.real_images import augmented_epoch
    from tf_deepinversion.datasets.real_images import load_split

    source = dict(idx_dir=FLAGS.idx_dir, tfds_dir=FLAGS.tfds_dir)
    images, labels = load_split(FLAGS.dataset, "train", **source)
    classes = int(labels.max()) + 1
    images, labels = images[: FLAGS.limit], labels[: FLAGS.limit]
    steps = len(images) // FLAGS.batch_size
    output = pathlib.Path(FLAGS.output)
    state = output.with_name(f"{output.stem}.training.keras")
    if state.exists():
        model = keras.models.load_model(state)
        print(f"Going on from {state}")
    else:
        model = make_model(images, classes, steps)
    done = int(model.optimizer.iterations) // steps
    for epoch in range(done, FLAGS.epochs):
        model.fit(
            augmented_epoch(
                images,
                labels,
                batch_size=FLAGS.batch_size,
                seed=FLAGS.seed,
                epoch=epoch,
                padding=FLAGS.padding,
            ),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=2,
        )
        save(model, state)
    model.compile(metrics=["accuracy"])  # what ships needs no optimizer
    save(model, output)
    images, labels = load_split(FLAGS.dataset, "test", **source)
    logits = model.predict(images.astype("float32"), 500, verbose=0)
    figures = {
        "test_accuracy": float((logits.argmax(-1) == labels).mean()),
        "test_images": len(images),
        "epochs": FLAGS.epochs,
        "seed": FLAGS.seed,
        "parameters": model.count_params(),
        "bytes": output.stat().st_size,
        "sha256": sha256_of_file(output),
    }
    state.unlink()
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
