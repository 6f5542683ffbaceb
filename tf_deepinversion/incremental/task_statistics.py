"""The statistics with which images of a task's classes are synthesized.

Each kind of statistics measures the images of a task while they are available,
and asks for the images that the next task replays.
"""

import numpy as np

from tf_deepinversion.datasets._join_pools import join_pools
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.feature_targets import FEWEST
from tf_deepinversion.networks.feature_targets import FeatureTargets
from tf_deepinversion.networks.replace_statistics import restated


def statistics_for(targets):
    """Selects the kind of statistics.

    Args:
        targets: None, a `FeatureTargets`, or a list of them, one for each class
            of the first network.

    Returns:
        A `Statistics`.
    """
    if targets is None:
        return InNetwork()
    if isinstance(targets, FeatureTargets):
        return Targets(targets)
    return TargetsOfClasses(targets)


class Statistics:
    """The statistics of a task's images, whatever holds them."""

    def measure(self, model, images, labels, preprocessing):
        """Measures the images of the newest classes."""
        raise NotImplementedError

    def knows(self, label) -> bool:
        """Tells whether images of a class can be requested."""
        return True

    @property
    def layers(self) -> list:
        """What holds a mean and a variance each."""
        raise NotImplementedError

    def make(self, synthesize, model, classes, folder, seed, check):
        """Requests images of classes.

        Args:
            synthesize: See `learn_tasks`.
            model: A `keras.Model`, the network.
            classes: List of ints.
            folder: Path or None.
            seed: Int.
            check: Function that checks and returns what `synthesize` returns.

        Returns:
            A `Pool`.
        """
        raise NotImplementedError


class InNetwork(Statistics):
    """Statistics in the BatchNormalization layers of a copy of the network."""

    def __init__(self):
        self._measured = None  # a network and its restated copy

    def measure(self, model, images, labels, preprocessing):
        """Measures the images of the newest classes, see `restated`."""
        self._measured = model, restated(model, images, preprocessing)

    @property
    def layers(self) -> list:
        return batch_norms(self._measured[1]) if self._measured else []

    def make(self, synthesize, model, classes, folder, seed, check):
        # By identity: the statistics belong to this very network.
        if self._measured is not None and self._measured[0] is model:
            model = self._measured[1]
        return check(synthesize(model, classes, folder, seed))


class Targets(Statistics):
    """`FeatureTargets` of all classes of a task together."""

    def __init__(self, targets):
        self._targets = targets

    def measure(self, model, images, labels, preprocessing):
        """Measures the layers of the first network, see `FeatureTargets`."""
        layers = self._targets.layers_of(model)
        self._targets = FeatureTargets.measure(
            model, images, layers, preprocessing
        )

    @property
    def layers(self) -> list:
        return self._targets.statistics

    def make(self, synthesize, model, classes, folder, seed, check):
        return check(synthesize(model, classes, folder, seed, self._targets))


class TargetsOfClasses(Statistics):
    """`FeatureTargets` of each class, which is synthesized on its own."""

    def __init__(self, targets):
        self._targets = dict(enumerate(targets))

    def measure(self, model, images, labels, preprocessing):
        """Measures each class by itself."""
        layers = next(iter(self._targets.values())).layers_of(model)
        self._targets = {
            int(label): FeatureTargets.measure(
                model, images[labels == label], layers, preprocessing
            )
            for label in np.unique(labels)
        }

    def knows(self, label) -> bool:
        # Targets of an earlier task are of an earlier network.
        return label in self._targets

    @property
    def layers(self) -> list:
        return [
            layer
            for targets in self._targets.values()
            for layer in targets.statistics
        ]

    def make(self, synthesize, model, classes, folder, seed, check):
        # Another seed for each class, or all would start from the same noise.
        seeds = np.random.SeedSequence(seed).generate_state(max(classes) + 1)
        pools = [
            check(
                synthesize(
                    model,
                    [label],
                    folder and folder / f"class_{label}",
                    int(seeds[label] >> 1),
                    self._targets[label],
                )
            )
            for label in classes
        ]
        return join_pools(pools)


def check_targets(targets, model, classes, tasks, training, measure):
    """Refuses targets of another network, or that nothing would use.

    Args:
        targets: A `FeatureTargets`, or a list of them.
        model: A `keras.Model`, the first network.
        classes: Int, number of its classes.
        tasks: List of pairs of images and labels.
        training: A `TaskTraining`.
        measure: Bool, see `learn_tasks`.

    Raises:
        TypeError: if the targets are of another type.
        ValueError: if they do not fit, or a class to measure has few images.
    """
    alone = isinstance(targets, FeatureTargets)
    every = [targets] if alone else targets
    if not isinstance(every, (list, tuple)) or not all(
        isinstance(one, FeatureTargets) for one in every
    ):
        raise TypeError(
            "`targets` must be a `FeatureTargets` or a list of them, one for "
            f"each class of the network. Received: {type(targets)}"
        )
    for one in every:
        one.require_network(model)
    if not alone:
        _check_classes(every, classes, tasks)
    if not training.replays:
        raise ValueError(
            "`targets` are for synthesized images, and no term replays images: "
            "leave `targets` out, or take a method such as `methods.replay()`. "
            f"Received: terms {[term.name for term in training.terms]}"
        )
    if not measure:
        raise ValueError(
            "A later network has targets only if they are measured: leave "
            "`measure=False` or `targets` out. Received: both"
        )


def _check_classes(targets, classes, tasks):
    if len(targets) != classes:
        raise ValueError(
            "A list of targets has one for each class of the network. "
            f"Received: {len(targets)} targets and {classes} classes"
        )
    # The images of the last task serve no further task.
    for _, labels in tasks[:-1]:
        found, counts = np.unique(labels, return_counts=True)
        if counts.min() < FEWEST:
            raise ValueError(
                f"Statistics of a class need at least {FEWEST} images of it: "
                "pass targets of all classes together. Received: "
                f"{counts.min()} images of class {found[counts.argmin()]}"
            )
