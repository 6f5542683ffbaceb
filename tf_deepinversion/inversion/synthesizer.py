"""The contract of objects that make images for labels, batch by batch."""


class Synthesizer:
    """Base class of objects that make images for labels, batch by batch.

    `DeepInversion`, `FastInversion` and `GivenImages` are synthesizers. A
    custom synthesizer sets `classes` and `image_shape`, and defines `make` and
    `settings`; everything else has a default. `distill`, `RefreshPool` and
    `Pool.fill` use only the members of this class.

    Attributes:
        classes: Int, number of classes. Labels lie in [0, classes).
        image_shape: Tuple `(height, width, channels)` of the images.
        state_variables: List of `keras.Variable` that one batch leaves to the
            next. Empty if batches are independent; a batch that a pool already
            has is then not made again.
        images_per_label: Int, number of images that `make` returns per label.
        means_labels: Bool, whether each image should show its label. If so, a
            warning tells when less than 50 % of the images do.
        logs: Dict from names to floats, the loss terms of the latest batch at
            its last step. Empty without terms.
        teacher: The inverted `keras.Model`, or None.
        student: The `keras.Model` that the images compete with, or None. With a
            student the images of a batch depend on its progress.
        preprocessing: The teacher's `Preprocessing`, or None.
        student_preprocessing: The student's `Preprocessing`, or None.
        student_shape: Tuple `(height, width, channels)` of the student's
            images, or None.
        on_share: Function of a float in (0, 1], or None. `make` may call it
            with the share of the batch's steps that are done.

    Example:
        >>> class Shades(di.inversion.Synthesizer):
        ...     classes, image_shape = 10, (28, 28, 1)
        ...
        ...     def make(self, labels, batch_index, steps=None, verbose=0):
        ...         shades = np.uint8(25 * np.array(labels))
        ...         shades = shades[:, None, None, None]
        ...         return np.tile(shades, (28, 28, 1)), labels
        ...
        ...     def settings(self):
        ...         return {}
        >>> made, _ = Shades().make([0, 9], batch_index=0)
        >>> made.shape
        (2, 28, 28, 1)
    """

    classes = None
    image_shape = None
    state_variables = ()
    images_per_label = 1
    means_labels = True
    teacher = None
    student = None
    preprocessing = None
    student_preprocessing = None
    student_shape = None
    logs = {}
    on_share = None

    def check(self, labels, steps=None):
        """Refuses arguments that `make` would refuse, before any work.

        Args:
            labels: As for `make`.
            steps: As for `make`. Defaults to None.
        """

    def make(self, labels, batch_index, steps=None, verbose=0):
        """Makes one batch of images.

        Args:
            labels: Int array `(n,)` in [0, classes), the requested classes.
            batch_index: Int, number of the batch. Another number gives other
                images of the same labels.
            steps: Int, or a list with one int per stage, the number of steps.
                Defaults to the synthesizer's own.
            verbose: 0, 1, 2 or `"auto"`, as in `keras.Model.fit`. Defaults to
                0.

        Returns:
            A pair: uint8 images `(k n, height, width, channels)`, where k is
            `images_per_label` and image i was made for `labels[i % n]`; and an
            int array `(k n,)`, the classes that the images show.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have `make`, see `Synthesizer.make`."
        )

    def work(self, images, steps=None) -> float | None:
        """Estimates the work of a batch, to predict times.

        Args:
            images: Int, number of labels.
            steps: As for `make`. Defaults to None.

        Returns:
            A float, in multiplications; None if it is unknown.
        """
        return None

    def first_takes(self, numbers, images, first_steps, steps) -> float:
        """Estimates how many times the work of another batch the first takes.

        Args:
            numbers: Collection of the numbers of the batches to make.
            images: Int, number of labels.
            first_steps: Steps of the batch 0, as for `make`.
            steps: Steps of another batch, as for `make`.

        Returns:
            A float; 1 if the work is unknown, or without batch 0 and another.
        """
        if 0 not in numbers or len(numbers) < 2 or first_steps == steps:
            return 1.0
        first, other = (self.work(images, n) for n in (first_steps, steps))
        return first / other if first and other else 1.0

    def settings(self) -> dict:
        """Returns the settings on which the images depend.

        The networks and the arguments of `make` are not included.

        Returns:
            A dict from names to values, also arrays. Two synthesizers with
            equal settings make equal images. A folder refuses a run with other
            settings, and names those that differ.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have `settings`, see "
            "`Synthesizer.settings`."
        )


def require_synthesizer(synthesizer):
    """Checks that an object is a `Synthesizer`.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(synthesizer, Synthesizer):
        raise TypeError(
            "Expected a synthesizer: a `DeepInversion`, a `FastInversion`, or "
            "a class of your own of `tf_deepinversion.inversion.Synthesizer`. "
            f"Received: {type(synthesizer)}"
        )
