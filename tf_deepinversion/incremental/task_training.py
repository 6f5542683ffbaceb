"""The training of a network on one task."""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core import run_state
from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets.streams import epochs_of
from tf_deepinversion.datasets.streams import steps_of_epoch
from tf_deepinversion.incremental.check_terms import require_teaching
from tf_deepinversion.incremental.check_terms import require_terms
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.head import grow_head
from tf_deepinversion.incremental.learner import IncrementalLearner
from tf_deepinversion.metrics.recognition import accuracy
from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.random_layers import seed_random_layers
from tf_deepinversion.networks.remembered_input import disregard
from tf_deepinversion.networks.remembered_input import input_of
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.transforms.base import require_transforms


@dataclasses.dataclass(frozen=True)
class TaskTraining:
    """The settings of every task's training, see `learn_task`.

    Raises:
        TypeError: if a term is not a term, or a transform not a transform.
        ValueError: if a field is out of range.
    """

    terms: list
    epochs: int
    steps_per_epoch: int | None
    batch_size: int
    replay_batch_size: int
    learning_rate: float
    transforms: list | None
    preprocessing: Preprocessing | None

    def __post_init__(self):
        require_terms(self.terms)
        if self.steps_per_epoch is not None:
            require_whole(steps_per_epoch=self.steps_per_epoch)
        require_whole(
            epochs=self.epochs,
            batch_size=self.batch_size,
            replay_batch_size=self.replay_batch_size,
        )
        require_positive(learning_rate=self.learning_rate)
        if self.transforms is not None:
            require_transforms(self.transforms, labeled=True)

    @property
    def replays(self) -> bool:
        """Bool, whether a term needs images of old classes."""
        return any(term.replays for term in self.terms)

    def steps(self, labels) -> int:
        """Returns the number of steps of a task's epoch."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        return steps_of_epoch(len(labels), self.batch_size)

    def require_replay(self, synthesize):
        """Checks that a method that needs images of old classes gets them.

        Raises:
            ValueError: if `synthesize` is missing.
        """
        needing = [term.name for term in self.terms if term.replays]
        if needing and synthesize is None:
            raise ValueError(
                f"The terms {needing} need images of old classes: pass "
                "`synthesize`. Received: synthesize=None"
            )

    def settings(self) -> dict:
        """Identifies the training, for `fingerprints`."""
        terms = [term.identity() for term in self.terms]
        return {**vars(self), "terms": terms}

    def teach(
        self,
        model,
        images,
        labels,
        replay,
        *,
        folder=None,
        run="",
        seed=0,
        callbacks=None,
        verbose="auto",
    ) -> tuple:
        """Teaches a copy of a network the classes of one task.

        Args:
            model: A `keras.Model`, the current network.
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)` of classes that follow the known classes.
            replay: Function without arguments that returns the images of old
                classes for `IncrementalLearner`; or None. It is called after
                all other checks.
            folder: Path of the state, or None.
            run: String that identifies the run.
            seed: Int.
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As in `keras.Model.fit`.

        Returns:
            A pair: the new network, and a dict of the history.
        """
        new = len(set(labels.tolist()))
        require_teaching(self.terms, new)
        network = _grown(model, Head(model).classes + new, seed)
        if input_of(model) is None:
            disregard(network)
        path = None
        steps = self.steps(labels)
        if folder is not None:
            path = pathlib.Path(folder) / "training.npz"
            parts = {"run": run, "old": model, "seed": seed, **self.settings()}
            arrays = {"images": [images], "labels": [labels]}
            run = run_state.fingerprints(parts, arrays)
            run_state.load(path, run)  # refuses a file of another run
        learner = self._learner(model, network, replay, steps, seed)
        history = fit_resumable(
            learner,
            lambda step: epochs_of(images, labels, self.batch_size, seed, step),
            network=network,
            epochs=self.epochs,
            steps_per_epoch=steps,
            path=path,
            run=run,
            callbacks=callbacks,
            verbose=verbose,
        )
        disregard(network)
        _warn_if_not_learned(network, images, labels, self.preprocessing)
        return network, history

    def _learner(self, model, network, replay, steps, seed):
        learner = IncrementalLearner(
            model,
            network,
            self.terms,
            replay=replay() if self.replays else None,
            batch_size=self.replay_batch_size,
            preprocessing=self.preprocessing,
            transforms=self.transforms,
            seed=seed,
        )
        learner.compile(sgd(self.epochs * steps, self.learning_rate))
        return learner


def _grown(model, classes, seed) -> keras.Model:
    """Copies a network with a larger head that can be trained."""
    network = grow_head(model, classes, seed=seed)
    seed_random_layers(network, seed)
    if not Head(network).layer.trainable_variables:
        raise ValueError(
            "The head of the network is frozen, so no class can be learned: "
            "set `trainable = True`. Only a copy of the network is trained. "
            f"Received: {network.name!r}"
        )
    replica_checks.require_one_machine(
        tf.distribute.get_strategy(),
        "`learn_task` and `learn_tasks` replay images that each of several "
        "machines would make; an `IncrementalLearner` takes given images.",
    )
    replica_checks.require_network(network, tf.distribute.get_strategy())
    return network


def _warn_if_not_learned(network, images, labels, preprocessing, most=1000):
    """Warns if the network recognizes few images of the new classes."""
    # Evenly spaced images, because images may be sorted by class.
    places = np.linspace(0, len(labels) - 1, min(most, len(labels)))
    some = places.astype(int)
    share = accuracy(network, images[some], labels[some], preprocessing)
    if share < 0.5:
        warn_caller(
            f"After its training the network recognizes {share:.0%} of the "
            "images of new classes: it has not learned these classes. Train "
            "longer, or with more weight on the terms that teach them. A "
            "method that compares all classes, such as `abd` or `replay`, "
            "learns classes that resemble old ones sooner than `lwf_mc`."
        )
