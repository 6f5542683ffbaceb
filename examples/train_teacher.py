r"""Trains a teacher on real images, for a later inversion.

These commands made the two networks that ship, with Debian's package
`dataset-fashion-mnist` installed:

    python examples/train_teacher.py --architecture=ResNet20 --seed=0 \
        --output=fashion_mnist_resnet20.keras \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python examples/train_teacher.py --architecture=VGG11BN --seed=1 \
        --output=fashion_mnist_vgg11.keras \
        --idx_dir=/usr/share/datasets/fashion-mnist

They take about 50 and 13 minutes on two CPU cores. A teacher for CIFAR-10, from
TFDS:

    python examples/train_teacher.py --dataset=cifar10 --architecture=ResNet34 \
        --width=64 --epochs=200 --padding=4 --output=cifar10_resnet34.keras

The script saves the state after every epoch. Repeating the same command resumes
from it. The file holds the weights after the last epoch. The script reads the
test images once, after training.
"""

import json
import pathlib

import given
from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "fashion_mnist", "Name of a data set in TFDS.")
flags.DEFINE_string("idx_dir", None, "Folder of idx files, in place of TFDS.")
flags.DEFINE_string("tfds_dir", None, "Folder of the data sets of TFDS.")
flags.DEFINE_string("architecture", "ResNet20", "ResNet14 to 56, VGG11BN.")
flags.DEFINE_integer("width", 16, "Channels of the first stage.")
flags.DEFINE_integer("epochs", 30, "Epochs, the first is a warm-up.")
flags.DEFINE_integer("batch_size", 128, "Images in a step.")
flags.DEFINE_float("learning_rate", 0.1, "Largest rate of the cosine.")
flags.DEFINE_float("weight_decay", 5e-3, "Times the learning rate.")
flags.DEFINE_integer("padding", 2, "Largest random shift, in pixels.")
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_integer("limit", None, "Number of training images; all.")
flags.DEFINE_string("output", None, "The .keras file to write.", required=True)
# Another value of these flags is another training.
SETTINGS = (
    "architecture",
    "width",
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "padding",
    "seed",
)


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


def training_state(model, output, images, labels):
    """Returns the callback that saves the state of this training.

    It restores the state of an interrupted training with the same flags.
    """
    from tf_deepinversion.callbacks import TrainingState
    from tf_deepinversion.core.run_state import fingerprints

    model.optimizer.build(model.trainable_variables)
    settings = {name: FLAGS[name].value for name in SETTINGS}
    return TrainingState(
        output.with_name(f"{output.stem}.training.npz"),
        [*model.variables, *model.optimizer.variables],
        fingerprints(settings, {"images": [images, labels]}),
    )


def main(_):
    from tf_deepinversion.core.files import save_network
    from tf_deepinversion.core.files import sha256_of_file
    from tf_deepinversion.datasets.real_images import augmented_epoch
    from tf_deepinversion.datasets.real_images import load_split

    source = dict(idx_dir=FLAGS.idx_dir, tfds_dir=FLAGS.tfds_dir)
    images, labels = load_split(FLAGS.dataset, "train", **source)
    classes = int(labels.max()) + 1
    images, labels = images[: FLAGS.limit], labels[: FLAGS.limit]
    steps = len(images) // FLAGS.batch_size
    if not steps:
        raise app.UsageError(
            "A step needs --batch_size images. Received: "
            f"--batch_size={FLAGS.batch_size} and {len(images)} images"
        )
    output = pathlib.Path(FLAGS.output)
    model = make_model(images, classes, steps)
    state = training_state(model, output, images, labels)
    for epoch in range(state.epoch, FLAGS.epochs):
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
            shuffle=False,
            verbose=2,
            callbacks=[state],
        )
    model.compile(metrics=["accuracy"])  # the shipped file needs no optimizer
    save_network(output, model)
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
    state.path.unlink(missing_ok=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
