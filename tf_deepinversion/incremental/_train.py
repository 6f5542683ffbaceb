"""Ordinary training on real images: the first task, and joint training."""

import pathlib

import keras

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.described import architecture
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.core.labels import classes_of
from tf_deepinversion.core.run_state import fingerprints
from tf_deepinversion.datasets.streams import augmented
from tf_deepinversion.datasets.streams import epochs_of
from tf_deepinversion.datasets.streams import steps_of_epoch
from tf_deepinversion.incremental._learn_task import Learned
from tf_deepinversion.incremental.find_head import find_head
from tf_deepinversion.incremental.saved_task import load_task
from tf_deepinversion.incremental.saved_task import save_task
from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks.random_layers import seed_random_layers
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.transforms.base import require_transforms
from tf_deepinversion.transforms.shifts import Shift


def train(
    model,
    images,
    labels,
    *,
    epochs,
    batch_size=128,
    learning_rate=0.1,
    transforms=None,
    folder=None,
    name="network",
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> Learned:
    """Trains a network on pixels; saves network and state.

    Args:
        model: A `keras.Model` from pixels in [0, 255] to logits, or to
            probabilities if a softmax or a sigmoid ends its graph of layers. A
            single output is that of the second of two classes.
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        epochs: Int.
        batch_size: Int. Defaults to 128.
        learning_rate: Float, the peak of `optimizers.sgd` with a weight decay
            of 5e-3. The first 5% of the steps warm up. Defaults to 0.1.
        transforms: List of transforms. Defaults to `[Shift(2)]`.
        folder: Path, or None. With a folder, repeating the same call resumes
            after an interruption and gives the same network. The folder knows
            the network by its architecture, not by its first weights: train
            other weights in another folder, or with another `run`. Defaults to
            None.
        name: String, name of the files in the folder. Defaults to `"network"`.
        run: String that identifies what the arguments do not, such as the
            callbacks. Defaults to `""`.
        seed: Int in [0, 2**31), seed of order and transforms. Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `Learned`, whose network is `model`, or a loaded copy if the folder
        held the finished network.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: if images or labels are not integers.
        ValueError: if images, labels, network and replicas do not fit together,
            a transform blends images, or the folder is damaged or belongs to
            another run.

    Example:
        ```python
        network = di.models.ResNet14((28, 28, 1), classes=5)
        learned = di.incremental.train(network, images, labels, epochs=20)
        learned.network.save("network.keras")
        ```
    """
    require_local(folder=folder)
    require_whole(epochs=epochs, batch_size=batch_size)
    images, labels = _checked(model, images, labels, batch_size)
    transforms = [Shift(2)] if transforms is None else transforms
    transforms = require_transforms(transforms, labeled=True)
    require_positive(learning_rate=learning_rate)
    path = None
    if folder is not None:
        path = pathlib.Path(folder) / f"{name}.training.npz"
        parts = {
            "run": run,
            # Without weights: the state already holds them.
            "model": architecture(model),
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "transforms": transforms,
            "seed": seed,
        }
        run = fingerprints(parts, {"images": [images], "labels": [labels]})
        saved = load_task(folder, name, run)
        if saved is not None:
            return Learned(saved[0], saved[1]["history"])
    steps = steps_of_epoch(len(labels), batch_size)
    _compile(model, epochs * steps, learning_rate)

    def batches(step):
        whole = epochs_of(images, labels, batch_size, seed, step)
        return augmented(whole, transforms, seed, step)

    seed_random_layers(model, seed)
    history = fit_resumable(
        model,
        batches,
        network=model,
        epochs=epochs,
        steps_per_epoch=steps,
        path=path,
        run=run,
        callbacks=callbacks,
        verbose=verbose,
    )
    model.compile()  # the saved network needs no optimizer
    if folder is not None:
        save_task(folder, name, model, {"history": history}, run)
        # The finished network replaces the state of its training.
        path.unlink(missing_ok=True)
    return Learned(model, history)


def _checked(model, images, labels, batch_size) -> tuple:
    images = check_pixels(images)
    labels = check_labels(labels, classes_of(model))
    if len(labels) != len(images):
        raise ValueError(
            "Expected one label per image. Received: "
            f"{len(images)} images and {len(labels)} labels"
        )
    replica_checks.require_one_machine(
        model.distribute_strategy,
        "`train` calls Keras's own `fit`, which takes the batches of several "
        "machines for one tensor.",
    )
    replica_checks.require_network(model, model.distribute_strategy)
    count = model.distribute_strategy.num_replicas_in_sync
    size = min(batch_size, len(labels))
    if size % count:
        raise ValueError(
            "The batch size must be a multiple of the number of replicas. "
            f"Received: batches of {size} images on {count} replicas"
        )
    return images, labels


def _gives_probabilities(model) -> bool:
    try:
        return find_head(model).probabilities
    except (TypeError, ValueError):  # nothing is known of its end
        return False


def accuracy(labels, logits):
    """Keras's own takes a single output for a probability."""
    return keras.metrics.binary_accuracy(labels, logits, threshold=0.0)


def _compile(model, steps, learning_rate):
    logits = not _gives_probabilities(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    measure = "accuracy"
    if model.output_shape[-1] == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
        measure = accuracy if logits else "accuracy"
    model.compile(
        sgd(
            steps,
            learning_rate,
            weight_decay=5e-3,
            warmup=max(1, steps // 20),
        ),
        loss,
        metrics=[measure],
    )
