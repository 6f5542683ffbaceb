"""What the batches of a pool are of: checked before any work."""

import typing

import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.image_bytes import check_quality
from tf_deepinversion.datasets.pool_rows import PoolRows
from tf_deepinversion.datasets.tfrecords import MAX_SHARDS
from tf_deepinversion.inversion._make_synthesizer import make_synthesizer
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.synthesizer import Synthesizer


class BatchesJob(typing.NamedTuple):
    """The batches of a pool; `job_of` makes it.

    Attributes:
        synthesizer: A `Synthesizer`.
        classes: Int32 array of the classes.
        batches: Int, number of batches.
        images: Int, number of labels of a batch.
        chain: Int, number of batches that go on from each other; 1 for
            independent batches.
        steps: Steps of a batch, see `Synthesizer.make`.
        first_steps: Those of the first batch of a chain.
        seed: Int.
        jpeg_quality: Int, or None for PNG.
        given: Bool, whether the caller gave the synthesizer, which then ends
            where its last batch leaves it.
    """

    synthesizer: Synthesizer
    classes: np.ndarray
    batches: int
    images: int
    chain: int
    steps: object
    first_steps: object
    seed: int
    jpeg_quality: int | None
    given: bool

    @property
    def chained(self) -> bool:
        """Whether one batch leaves a state to the next."""
        return bool(self.synthesizer.state_variables)

    @property
    def endless(self) -> bool:
        """Whether all batches are one chain, to which more may be added."""
        return self.chain == MAX_SHARDS

    def labels(self, number) -> np.ndarray:
        """The labels of a batch: the classes in turn over all batches."""
        places = balanced_labels(len(self.classes), self.images, number)
        return self.classes[places]

    def checked(self, number, images, shown) -> dict:
        """Checks what the synthesizer made of a batch.

        Args:
            number: Int, number of the batch.
            images: See `Synthesizer.make`.
            shown: Labels, see `Synthesizer.make`.

        Returns:
            A dict of the arrays `image`, `label` and `requested`.

        Raises:
            TypeError: if images or labels have another dtype.
            ValueError: if they have another shape, or labels are no classes.
        """
        maker = self.synthesizer
        rows = PoolRows(tuple(maker.image_shape), maker.classes)
        requested = np.resize(self.labels(number), len(shown))
        return rows.checked(images, shown, requested)

    def steps_of(self, number):
        """The steps of a batch, see `Synthesizer.make`."""
        first = number % self.chain == 0 if self.chained else number == 0
        return self.first_steps if first else self.steps

    @property
    def plan(self) -> dict:
        """What all workers of a run have in common, see `BatchFolder`."""
        synthesizer = self.synthesizer
        run = run_state.fingerprints(
            {
                **synthesizer.settings(),
                "classes": self.classes,
                "images": self.images,
                "chain": self.chain,
                "steps": [self.first_steps, self.steps],
                "jpeg_quality": self.jpeg_quality,
                "image_shape": synthesizer.image_shape,
                "teacher": synthesizer.teacher,
                "student": synthesizer.student,
            }
        )
        return {
            "run": run,
            "batches": int(self.batches),
            "images": int(self.images * synthesizer.images_per_label),
            "image_shape": [int(size) for size in synthesizer.image_shape],
            "classes": int(synthesizer.classes),
            "jpeg_quality": self.jpeg_quality and int(self.jpeg_quality),
        }


def job_of(
    teacher,
    classes,
    *,
    seed,
    batches,
    images,
    first_steps,
    steps,
    chain=None,
    micro_batch=None,
    jpeg_quality=None,
    **given,
) -> BatchesJob:
    """Checks what is to be done.

    Args:
        teacher: As for `synthesize_batches`, as all arguments.
        classes: As above.
        seed: As above.
        batches: As above.
        images: As above.
        first_steps: As above.
        steps: As above.
        chain: As above; None for one worker, whose batches are one chain that
            may go on from any state and student.
        micro_batch: As above.
        jpeg_quality: As above.
        **given: As above.

    Raises:
        ValueError: if an argument does not fit.
    """
    require_whole(batches=batches, images=images)
    if chain is not None:
        require_whole(chain=chain)
    if batches > MAX_SHARDS:
        raise ValueError(
            f"A folder holds up to {MAX_SHARDS} batches: take more images a "
            f"batch. Received: batches={batches}"
        )
    synthesizer = synthesizer_of(
        teacher, seed, micro_batch=micro_batch, **given
    )
    check_quality(jpeg_quality, synthesizer.image_shape)
    chained = bool(synthesizer.state_variables)
    if chain is not None:
        _require_shared(synthesizer, chained and synthesizer is teacher)
    if isinstance(synthesizer, FastInversion):
        steps = 30 if steps is None else steps
        first_steps = 300 if first_steps is None else first_steps
    first_steps = steps if first_steps is None else first_steps
    wanted = listed_classes(synthesizer.classes if classes is None else classes)
    wanted = check_labels(wanted, synthesizer.classes)
    require_all(wanted, batches, images)
    for count in (first_steps, steps):
        synthesizer.check(np.resize(wanted, images), count)
    return BatchesJob(
        synthesizer=synthesizer,
        classes=wanted,
        batches=batches,
        images=images,
        chain=(MAX_SHARDS if chain is None else chain) if chained else 1,
        steps=steps,
        first_steps=first_steps,
        seed=seed,
        jpeg_quality=jpeg_quality,
        given=synthesizer is teacher,
    )


def synthesizer_of(teacher, seed, micro_batch=None, **given) -> Synthesizer:
    """Returns the synthesizer that a call asks for.

    Args:
        teacher: A `keras.Model`, or a `Synthesizer`, which is returned.
        seed: Int.
        micro_batch: Int, or None, see `DeepInversion.compile`.
        **given: Arguments of `make_synthesizer`; None stands for none.

    Raises:
        ValueError: if a synthesizer is given settings that it has.
    """
    if not isinstance(teacher, Synthesizer):
        given["recipe"] = given["recipe"] or "generator"
        made = make_synthesizer(teacher, seed=seed, **given)
        if micro_batch is not None:
            require_whole(micro_batch=micro_batch)
            made.compile(micro_batch=micro_batch)
        return made
    given |= {"seed": seed or None, "micro_batch": micro_batch}
    surplus = [name for name, value in given.items() if value is not None]
    if surplus:
        raise ValueError(
            "A synthesizer has its own: leave them out, or make or compile "
            f"it with them. Received: {', '.join(surplus)} beside a "
            f"{type(teacher).__name__}"
        )
    return teacher


def listed_classes(classes) -> list:
    """Lists the classes to synthesize: those given, or the first k.

    Args:
        classes: List of ints, or an int k.

    Raises:
        TypeError: if they are not integers.
        ValueError: if there are none.
    """
    listed = classes
    if not np.ndim(classes):
        require_whole(0, classes=classes)
        listed = range(classes)
    if not len(listed):
        raise ValueError(
            "`classes` must be, or list, at least one. "
            f"Received: classes={classes}"
        )
    if np.asarray(listed).dtype.kind not in "iu":
        raise TypeError(
            "`classes` must be integers, or one integer. "
            f"Received: classes={classes}"
        )
    return [int(c) for c in listed]


def require_all(classes, batches, images):
    """Refuses fewer images than classes, which would leave out classes.

    Args:
        classes: List of the classes.
        batches: Int.
        images: Int, number of labels of each batch.

    Raises:
        ValueError: if there are fewer images than classes.
    """
    if batches * images < len(classes):
        raise ValueError(
            f"{batches} batches of {images} images leave out some of the "
            f"{len(classes)} classes: take {-(-len(classes) // batches)} "
            f"images a batch, or more batches. Received: images={images}, "
            f"batches={batches}"
        )


def _require_shared(synthesizer, stateful):
    """Refuses what workers do not share with each other."""
    if stateful:
        raise ValueError(
            "Workers start a generator for each chain, so pass the network and "
            "`recipe` in place of a synthesizer with a state. "
            f"Received: a {type(synthesizer).__name__}"
        )
    if synthesizer.student is not None:
        raise ValueError(
            "Images that compete with a student depend on its progress, which "
            "workers do not share: use a synthesizer without a student, or "
            "`distill`. Received: a synthesizer with a student"
        )
