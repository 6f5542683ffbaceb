"""One task: images of old classes, a larger head, and training."""

import pathlib
from typing import NamedTuple

import keras

from tf_deepinversion.core.files import require_local
from tf_deepinversion.incremental.check_tasks import as_task
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.replay_memory import balanced
from tf_deepinversion.incremental.replay_memory import require_pool
from tf_deepinversion.incremental.replay_memory import shown
from tf_deepinversion.incremental.task_training import TaskTraining
from tf_deepinversion.networks.image_shape import filled
from tf_deepinversion.networks.preprocessing import Preprocessing


class Learned(NamedTuple):
    """The result of `learn_task` and of `train`.

    Attributes:
        network: The trained `keras.Model`.
        history: Dict of lists, the logs of all epochs.

    Example:
        >>> di.incremental.Learned(teacher, {"loss": [0.5]}).history
        {'loss': [0.5]}
    """

    network: keras.Model
    history: dict


def learn_task(
    model,
    images,
    labels,
    terms,
    *,
    synthesize=None,
    epochs=20,
    steps_per_epoch=None,
    batch_size=64,
    replay_batch_size=64,
    learning_rate=0.05,
    transforms=None,
    preprocessing=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> Learned:
    """Teaches a copy of a network new classes, without the old data.

    Args:
        model: A `keras.Model` classifier, see `Head`. It stays unchanged.
        images: Array `(n, height, width, channels)` of integers in [0, 255].
        labels: Int array `(n,)` of classes that follow the known classes.
        terms: List of `Term`, such as `methods.abd()`.
        synthesize: Function from (network, list of classes, folder or None,
            seed) to a `Pool`, such as one that calls `di.synthesize`. The
            pool's labels tell the classes of the images. Each class is replayed
            equally often. A class without an image is not replayed, and a
            warning tells. None for methods without replay. Defaults to None.
        epochs: Int. Defaults to 20.
        steps_per_epoch: Int. Defaults to the number of batches.
        batch_size: Int, number of new images in each step. Defaults to 64.
        replay_batch_size: Int, number of synthesized images in each step.
            Defaults to 64.
        learning_rate: Float, the peak, see `optimizers.sgd`. Defaults to 0.05.
        transforms: List of transforms of all images, drawn anew every step.
            Defaults to `[Shift(2)]`.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.
        folder: Path of the state and of the images of `synthesize`, or None.
            With a folder, repeating the same call resumes after an interruption
            and gives the same network. Defaults to None.
        run: String that identifies `synthesize` and the callbacks, used with
            `folder`. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `Learned`.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: as for `Head`, if images or labels are not arrays of
            integers, or if `synthesize` does not return a `Pool`.
        ValueError: as for `Head`, if the images have another shape, if labels
            are old or leave gaps, if no term teaches the new classes, if a
            number is out of range, or if the folder is damaged or belongs to
            another run.

    Example:
        ```python
        learned = di.incremental.learn_task(
            network, new_images, new_labels, di.incremental.methods.lwf()
        )
        learned.network.save("more_classes.keras")
        ```
    """
    require_local(folder=folder)
    known = Head(model).classes
    images, labels = as_task(images, labels)
    check_tasks(
        [(images, labels)],
        known,
        filled(model.input_shape[1:], images.shape[1:]),
    )
    training = TaskTraining(
        terms,
        epochs,
        steps_per_epoch,
        batch_size,
        replay_batch_size,
        learning_rate,
        transforms,
        Preprocessing.of(model, preprocessing),
    )
    training.require_replay(synthesize)
    folder = folder and pathlib.Path(folder)

    # Called only after all checks, because synthesis takes long.
    def replay():
        # All classes that the network knows.
        wanted = list(range(known))
        pool = require_pool(synthesize(model, wanted, folder, seed), known)
        present = shown(pool, wanted)
        return replayed(pool, present, known, replay_batch_size, seed)

    return Learned(
        *training.teach(
            model,
            images,
            labels,
            replay,
            folder=folder,
            run=run,
            seed=seed,
            callbacks=callbacks,
            verbose=verbose,
        )
    )


def replayed(pool, present, known, batch_size, seed):
    """Prepares images of old classes for `IncrementalLearner`.

    Args:
        pool: A `Pool`.
        present: List of ints, the classes of the pool's images.
        known: Int, number of classes that the network knows.
        batch_size: Int.
        seed: Int.

    Returns:
        A `Pool`, or a function from a step to a `tf.data.Dataset`.
    """
    pool = balanced(pool, present)
    if len(present) == known:
        return pool
    # A function, because the learner refuses a pool that lacks old classes.
    return lambda step: pool.dataset(batch_size, seed, step)
