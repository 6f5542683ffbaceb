"""One task: images of old classes, a grown head, and training."""

import pathlib

import tensorflow as tf

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.streams import epochs_of
from tf_deepinversion.datasets.streams import steps_of_epoch
from tf_deepinversion.incremental.check_tasks import as_task
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.head import grow_head
from tf_deepinversion.incremental.learner import IncrementalLearner
from tf_deepinversion.incremental.methods import require_teaching
from tf_deepinversion.incremental.replay_memory import Memory
from tf_deepinversion.incremental.replay_memory import balanced
from tf_deepinversion.incremental.replay_memory import pooled
from tf_deepinversion.incremental.replay_memory import shown
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.transforms.base import require_transforms


def learn_task(
    old,
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
    preprocessing=None,
    transforms=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose=0,
):
    """Teaches a copy of a network new classes, without the old data.

    Args:
        old: A `keras.Model` classifier, see `Head`; it stays as it is.
        images: Array of pixels, whole numbers in [0, 255], `(n, height,
            width, channels)`.
        labels: Int array `(n,)`, of classes that follow those known.
        terms: List of `Term`, see `method`.
        synthesize: Function of (network, the classes wanted, a list, folder
            or None, seed) to a `Pool`, or to uint8 images and int labels, what
            the images show; or to a function from a step to a
            `tf.data.Dataset`, see `IncrementalLearner`. None for methods that
            replay nothing. Each class is replayed equally often; one that no
            image is of is not, with a warning.
        epochs: Int.
        steps_per_epoch: Int; by default the batches that there are.
        batch_size: Int, of new images.
        replay_batch_size: Int, of synthesised images in each step.
        learning_rate: Float, the peak, see `optimizers.sgd`.
        preprocessing: The network's `Preprocessing`; None if known by name.
        transforms: As for `IncrementalLearner`.
        folder: Path of the state and of what `synthesize` keeps, or None. The
            same call goes on from there, after any interruption, to the same
            network.
        run: String that tells `synthesize` and the callbacks from others,
            where there is a folder.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`.
        verbose: As in Keras.

    Returns:
        A pair: the new network, and the dict of the history.

    Raises:
        FloatingPointError: if the network comes to be not finite.
        TypeError: as for `Head` and `as_task`.
        ValueError: as for those, `check_tasks` and `require_teaching`, if a
            number is out of range, or if the folder holds another run or a
            damaged file.
    """
    _check_numbers(epochs, steps_per_epoch, batch_size, replay_batch_size)
    known = Head(old).classes
    folder = folder and pathlib.Path(folder)
    images, labels = as_task(images, labels)
    task = [(images, labels)]
    classes = check_tasks(task, known, old.input_shape[1:])[-1]
    require_teaching(terms, classes - known)
    network = grow_head(old, classes, seed=seed)
    _check_trainable(network)
    replicas.require_network(network, tf.distribute.get_strategy())
    if transforms is not None:
        transforms = require_transforms(transforms, labelled=True)
    require_positive(learning_rate=learning_rate)
    steps = steps_per_epoch or steps_of_epoch(len(labels), batch_size)
    if folder is not None:
        run = run_state.fingerprints(
            {
                "run": run,
                "old": old,
                "terms": [term.identity() for term in terms],
                "epochs": epochs,
                "steps_per_epoch": steps,
                "batch_size": [batch_size, replay_batch_size],
                "learning_rate": learning_rate,
                "preprocessing": Preprocessing.of(old, preprocessing),
                "transforms": transforms,
                "seed": seed,
            },
            {"images": [images], "labels": [labels]},
        )
        run_state.load(folder / "training.npz", run)  # refuses another run's
    learner = IncrementalLearner(
        old,
        network,
        terms,
        replay=_replay(
            terms, synthesize, old, known, folder, seed, replay_batch_size
        ),
        batch_size=replay_batch_size,
        preprocessing=preprocessing,
        transforms=transforms,
        seed=seed,
    )
    learner.compile(optimizer=sgd(epochs * steps, learning_rate))
    history = fit_resumable(
        learner,
        lambda step: epochs_of(images, labels, batch_size, seed, step),
        network=network,
        epochs=epochs,
        steps_per_epoch=steps,
        path=folder and folder / "training.npz",
        run=run,
        callbacks=callbacks,
        verbose=verbose,
    )
    return network, history


def _check_trainable(network):
    if not Head(network).layer.trainable_variables:
        raise ValueError(
            "The head of the network is frozen, so no class could be learnt: "
            "set `trainable = True`. The network stays as it is: a copy is "
            f"trained. Received: {network.name!r}"
        )


def _check_numbers(epochs, steps_per_epoch, batch_size, replay_batch_size):
    require_whole(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch or 1,
        batch_size=batch_size,
        replay_batch_size=replay_batch_size,
    )


def _replay(terms, synthesize, old, classes, folder, seed, batch_size):
    """What the learner draws old classes from, or None if it does not."""
    needing = [term.name for term in terms if term.replays]
    if not needing:
        return None
    if synthesize is None:
        raise ValueError(
            f"The terms {needing} need images of old classes: pass "
            "`synthesize`. Received: synthesize=None"
        )
    wanted = list(range(classes))
    pool = pooled(synthesize(old, wanted, folder, seed), wanted)
    if not isinstance(pool, Pool) or pool.labels.max(initial=0) >= classes:
        return pool  # of which the learner says what is wrong
    present = set(pool.labels.tolist())
    if not isinstance(synthesize, Memory):  # which has said what is missing
        present = shown(pool, wanted)
    pool = balanced(pool, sorted(present))
    if len(present) == classes:
        return pool
    return lambda step: pool.dataset(batch_size, seed, step)
