"""What makes images for labels, a batch at a time."""


class Synthesizer:
    """Makes images for labels, one batch at a time.

    `DeepInversion`, `FastInversion` and `GivenImages` are synthesizers. A
    synthesizer of your own sets `classes` and `image_shape`, and has `make`
    and `settings`; the rest may stay as it is here. `distill`, `RefreshPool`
    and `Pool.fill` use nothing of a synthesizer but what this class has.

    Attributes:
        classes: Int, how many classes there are; labels lie in [0, classes).
        image_shape: Tuple `(height, width, channels)` of the images.
        state_variables: List of `keras.Variable`, what one batch leaves to the
            next. Empty where batches know nothing of each other: then a batch
            that is in a pool already is not made again.
        images_per_label: Int, how many images of each label `make` gives.
        means_labels: Bool, whether each image is meant to show its label. If
            so, whoever fills a pool is warned where less than half of the
            images do.
        logs: Dict from names to floats, the terms of the newest batch at its
            last step. Empty where there are none.
        teacher: The `keras.Model` that is inverted, or None.
        student: The `keras.Model` that the images compete with, or None. With
            a student the images of a batch depend on how far it has come.
        preprocessing: The teacher's `Preprocessing`, or None.
        student_preprocessing: The student's `Preprocessing`, or None.
        student_shape: Tuple `(height, width, channels)` of what the student
            is fed, or None.

    Example:

    ```python
    class Shades(Synthesizer):
        classes, image_shape = 10, (28, 28, 1)

        def make(self, labels, batch_index, steps=None, verbose=0):
            shades = np.uint8(25 * np.array(labels))
            return np.tile(shades[:, None, None, None], (28, 28, 1)), labels

        def settings(self):
            return {}
    ```
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

    def check(self, labels, steps=None):
        """Refuses what `make` would refuse, before anything is made.

        Args:
            labels: As for `make`.
            steps: As for `make`.
        """

    def make(self, labels, batch_index, steps=None, verbose=0):
        """Makes one batch of images.

        Args:
            labels: Int array `(n,)` in [0, classes), the classes to make.
            batch_index: Int, the number of the batch: another one gives other
                images of the same labels.
            steps: Int, or a list of one a stage, how long the batch is worked
                on; None for what the synthesizer takes by itself.
            verbose: 0, 1, 2 or `"auto"`, as in Keras.

        Returns:
            A pair: uint8 images `(k n, height, width, channels)`, where k is
            `images_per_label`, of which image i was made for `labels[i % n]`;
            and an int array `(k n,)`, the classes that the images show.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have `make`, see `Synthesizer.make`."
        )

    def settings(self) -> dict:
        """What the images depend on, apart from the networks and `make`.

        Returns:
            A dict from names to parts, arrays among them: two synthesizers of
            equal settings make equal images. A run with another synthesizer
            than its folder was made by is refused by these names.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have `settings`, see "
            "`Synthesizer.settings`."
        )


def require_synthesizer(synthesizer):
    """Refuses what is no `Synthesizer`.

    Raises:
        TypeError: as said.
    """
    if not isinstance(synthesizer, Synthesizer):
        raise TypeError(
            "Expected a synthesizer: a `DeepInversion`, a `FastInversion`, or "
            "a class of your own of `tf_deepinversion.inversion.Synthesizer`. "
            f"Received: {type(synthesizer)}"
        )
