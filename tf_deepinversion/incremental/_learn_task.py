"""One task: images of old classes, a grown head, and training."""

import pathlib
from typing import NamedTuple

import keras

from tf_deepinversion.incremental.check_tasks import as_task
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.replay_memory import balanced
from tf_deepinversion.incremental.replay_memory import require_pool
from tf_deepinversion.incremental.replay_memory import shown
from tf_deepinversion.incremental.task_training import TaskTraining
from tf_deepinversion.networks.preprocessing import Preprocessing


class Learned(NamedTuple):
    """What `learn_task` and `train` give.

    Attributes:
        network: The trained `keras.Model`.
        history: Dict of lists, the logs of all epochs.
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
        model: A `keras.Model` classifier, see `Head`; it stays as it is.
        images: Array of pixels, whole numbers in [0, 255], `(n, height,
            width, channels)`.
        labels: Int array `(n,)`, of classes that follow those known.
        terms: List of `Term`, such as `methods.abd()`.
        synthesize: Function of (network, the classes wanted, a list, folder
            or None, seed) to a `Pool`, as `di.synthesize` gives one; its
            labels say what the images show. None for methods that replay
            nothing. Each class is replayed equally often; one that no image
            is of is not, with a warning.
        epochs: Int.
        steps_per_epoch: Int; by default the batches that there are.
        batch_size: Int, of new images.
        replay_batch_size: Int, of synthesized images in each step.
        learning_rate: Float, the peak, see `optimizers.sgd`.
        transforms: As for `IncrementalLearner`.
        preprocessing: The network's `Preprocessing`; None if known by name.
        folder: Path of the state and of what `synthesize` keeps, or None. The
            same call goes on from there, after any interruption, to the same
            network.
        run: String that tells `synthesize` and the callbacks from others,
            where there is a folder.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`.
        verbose: As in Keras.

    Returns:
        A `Learned`.

    Raises:
        FloatingPointError: if the network comes to be not finite.
        TypeError: as for `Head` and `as_task`, or if `synthesize` gives no
            `Pool`.
        ValueError: as for those, `check_tasks` and `require_teaching`, if a
            number is out of range, or if the folder holds another run or a
            damaged file.
    """
    known = Head(model).classes
    images, labels = as_task(images, labels)
    check_tasks([(images, labels)], known, model.input_shape[1:])
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

    def replay():
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
    """Images of old classes as `IncrementalLearner` takes them.

    Args:
        pool: A `Pool`.
        present: List of ints, the classes that its images are of.
        known: Int, how many classes the network knows.
        batch_size: Int.
        seed: Int.
    """
    pool = balanced(pool, present)
    if len(present) == known:
        return pool
    # As a function: of a pool the learner would miss the other classes.
    return lambda step: pool.dataset(batch_size, seed, step)
