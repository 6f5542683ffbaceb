"""DeepInversion: a Keras model whose trainable variables are images."""

import keras
import numpy as np

from tf_deepinversion.core.caller_warnings import warn_if_not_recognized
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion.batch_work import batch_work
from tf_deepinversion.inversion.image_sources import Pixels
from tf_deepinversion.inversion.images_model import ImagesModel
from tf_deepinversion.inversion.images_model import check_callbacks
from tf_deepinversion.inversion.networks import Networks
from tf_deepinversion.inversion.run import InversionRun
from tf_deepinversion.inversion.run import starting_images
from tf_deepinversion.inversion.stage_steps import StageSteps
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.networks import compiled
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.objective.teacher_terms import CrossEntropy


class DeepInversion(Synthesizer, ImagesModel):
    """Synthesizes images from a trained network, without data.

    The images are the model's only trainable variables. `fit` starts from noise
    and changes the images until the teacher assigns them to the requested
    classes, and until the statistics in the teacher's BatchNormalization layers
    match those of the training data. The teacher itself stays unchanged.

    Args:
        teacher: A `keras.Model` from images to logits, or to probabilities by a
            final softmax, with BatchNormalization layers or `targets`.
        preprocessing: A `Preprocessing`, required if the teacher is not known
            by its name (see `Preprocessing.of`). Defaults to None.
        recipe: A name in `RECIPES`, or a `Recipe`. Defaults to `"ours"`.
        student: A `keras.Model` with the teacher's classes to compete with
            (Adaptive DeepInversion), or None. Each step reads the current
            student, in inference mode. The images are resized if the student
            takes another size. Defaults to None.
        student_preprocessing: The student's `Preprocessing`. Defaults to the
            student's own if it is known by its name, otherwise to the
            teacher's.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it. Defaults to the teacher's.
        seed: Int in [0, 2**31). Together with `batch_index` (see `fit`) it
            determines all random numbers. Defaults to 0.
        dtype: A dtype policy. With `"mixed_bfloat16"` the networks compute in
            bfloat16, while images and statistics stay in float32. `"auto"`
            takes `"mixed_bfloat16"` if a trial of one second finds it at least
            10% faster on this machine, else `"float32"`. Defaults to the
            networks' own policies.
        targets: `FeatureTargets`, the statistics for `FeatureStatistics`.
            Defaults to those of the teacher's BatchNormalization layers.
        **kwargs: Arguments of `keras.Model`, such as `name`.

    Raises:
        TypeError: if a network is not a `keras.Model`.
        ValueError: if a network cannot be inverted, see `Classifier`.

    Example:
        ```python
        teacher = di.load_pretrained("fashion_mnist_resnet20")
        model = di.DeepInversion(teacher)
        model.fit(labels=[0, 1, 2, 3], steps=100)
        model.images  # uint8, (4, 28, 28, 1)
        ```

    Reference:
        - Yin et al., Dreaming to Distill, arXiv:1912.08795
    """

    def __init__(
        self,
        teacher,
        preprocessing=None,
        *,
        recipe="ours",
        student=None,
        student_preprocessing=None,
        image_shape=None,
        seed=0,
        dtype=None,
        targets=None,
        **kwargs,
    ):
        dtype = chosen_policy(dtype)
        super().__init__(dtype=dtype, **kwargs)
        self.networks = Networks(
            teacher,
            preprocessing,
            student,
            student_preprocessing,
            image_shape,
            dtype,
            targets,
        )
        self.classes = self.networks.teacher.classes
        self.image_shape = self.networks.teacher.image_shape
        self.student_shape = self.networks.student_shape
        self.preprocessing = self.networks.preprocessing
        self.student_preprocessing = self.networks.student_preprocessing
        self.recipe = recipes.find(recipe)
        self._check_recipe()
        self.images_per_label = self.recipe.images_per_label
        self.networks.require_sizes(
            stage.shape(self.image_shape) for stage in self.recipe.stages
        )
        require_seed(seed)
        self.seed = int(seed)
        self.terms = self._given_optimizer = None
        self._run, self._newest_terms, self._in_make = None, {}, False

    def compile(
        self,
        optimizer=None,
        loss=None,
        *,
        micro_batch=None,
        jit_compile="auto",
        run_eagerly=False,
        steps_per_execution=10,
    ):
        """Sets how the steps run. Optional.

        Args:
            optimizer: A `keras.optimizers.Optimizer` or its name. Defaults to
                the recipe's optimizer.
            loss: List of `Term`, whose weighted sum is the objective. Defaults
                to the recipe's terms.
            micro_batch: Int, number of images that a replica reads at once,
                which bounds the memory. Statistics still cover the whole batch;
                each network runs forward twice. Defaults to all images of the
                replica.
            jit_compile: Bool or `"auto"`, whether XLA compiles the gradient
                step. `"auto"` decides like Keras, and also by the networks'
                layers: no XLA on a CPU, with several replicas, or for layers
                that XLA does not support. Defaults to `"auto"`.
            run_eagerly: Bool, for debugging. TensorFlow then also computes the
                unused gradients of the networks' weights. Defaults to False.
            steps_per_execution: Int, number of steps that the graph runs
                between two calls of the callbacks. Defaults to 10.

        Raises:
            TypeError: if `loss` is not a list of terms with names.
            ValueError: if the terms do not fit the networks, the optimizer is
                unknown, `steps_per_execution` is not at least 1, or XLA cannot
                compile the networks.
        """
        networks = self.networks
        if loss is None:
            loss = self.recipe.terms(
                with_student=networks.student is not None,
                with_features=networks.teacher.features is not None,
            )
        networks.require_terms(loss)
        require_whole(steps_per_execution=steps_per_execution)
        if optimizer is not None:
            optimizer = keras.optimizers.get(optimizer)
        super().compile(
            optimizer=optimizer or "adam",
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        pairs = [(x.model, x.image_shape) for x in networks.classifiers]
        compiled.settle(self, jit_compile, pairs)
        self.terms, self._given_optimizer = list(loss), optimizer
        self.stage_steps = StageSteps(
            networks,
            self.recipe,
            self.terms,
            optimizer,
            self._source,
            micro_batch=micro_batch,
            jit_compile=self.jit_compile,
            run_eagerly=self.run_eagerly,
        )

    def fit(
        self,
        labels=None,
        steps=None,
        *,
        batch_index=0,
        keep="last",
        checkpoint=None,
        callbacks=None,
        verbose="auto",
        steps_per_epoch=100,
    ):
        """Synthesizes one batch of images, one for each label, from noise.

        There is no data to pass over: an epoch is `steps_per_epoch` steps,
        after which epoch callbacks run and the state is saved.

        Args:
            labels: Int array `(n,)` in [0, classes), the classes to synthesize.
                Defaults to balanced labels, as many as the recipe says, see
                `balanced_labels`.
            steps: Int, or a list with one int per stage. Defaults to the
                recipe's.
            batch_index: Int, number of the batch. Another number gives other
                images of the same labels. Defaults to 0.
            keep: `"last"` keeps the images of the last step, `"best"` those of
                the step with the smallest loss. Defaults to `"last"`.
            checkpoint: Path of a file that stores the state after each epoch,
                and from which the same call resumes. A run that a callback
                stopped stays stopped. Defaults to None.
            callbacks: List of `keras.callbacks.Callback`. Their own counters,
                as of `EarlyStopping`, restart when a run resumes. Defaults to
                None.
            verbose: 0, 1, 2 or `"auto"`, as in `keras.Model.fit`. Defaults to
                `"auto"`.
            steps_per_epoch: Int, at least 1. Defaults to 100.

        Returns:
            A `keras.callbacks.History` with the loss, every weighted term, and
            `recognized`, the share of the images that the teacher assigns to
            their labels, at the last step of each epoch, including epochs
            before an interruption.

        Raises:
            ValueError: if an argument is out of range, or the checkpoint is
                damaged or belongs to another run.
            FloatingPointError: if the loss or the images are no longer finite.
                `images` are then the last finite images.
        """
        check_callbacks(callbacks)
        if not self.compiled:
            self.compile()
        if keep not in ("last", "best"):
            raise ValueError(
                f'`keep` must be "last" or "best". Received: keep={keep!r}'
            )
        require_whole(steps_per_epoch=steps_per_epoch)
        require_whole(0, batch_index=batch_index)
        if labels is None:
            size = self.recipe.batch_size
            labels = balanced_labels(self.classes, size, batch_index)
        labels = check_labels(
            labels,
            self.classes,
            self.distribute_strategy.num_replicas_in_sync,
        )
        counts = self.recipe.steps_of_stages(steps)
        run = InversionRun(
            self,
            labels,
            counts,
            batch_index,
            keep=keep,
            steps_per_epoch=steps_per_epoch,
            checkpoint=checkpoint,
        )
        with self.distribute_strategy.scope(), self.networks.open():
            run.begin()
            self._run = run
            history = run.train(callbacks, verbose)
        if self.means_labels and not self._in_make:
            warn_if_not_recognized(
                np.mean(self.classes_of(self.images) == self.labels)
            )
        return history

    def check(self, labels, steps=None):
        """Checks labels and steps before a call of `fit`.

        Args:
            labels: Int array `(n,)` in [0, classes).
            steps: As for `fit`. Defaults to None.

        Raises:
            TypeError: if the labels are not integers.
            ValueError: if labels, steps or the compiled `micro_batch` do not
                fit.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        labels = check_labels(labels, self.classes, replicas)
        self.recipe.steps_of_stages(steps)
        if self.compiled:
            self.stage_steps.check(len(labels) // replicas)

    def make(self, labels, batch_index, steps=None, verbose=0, **kwargs):
        """Makes a batch by `fit`: its snapshots, then its images.

        Args:
            labels: Int array `(n,)` in [0, classes), the classes to synthesize.
            batch_index: Int, at least 0, number of the batch.
            steps: As for `fit`. Defaults to None.
            verbose: As for `fit`. Defaults to 0.
            **kwargs: Further arguments of `fit`.

        Returns:
            A pair: uint8 images `(images_per_label n, height, width,
            channels)`, and an int32 array `(images_per_label n,)`, the
            teacher's predictions of them.
        """
        kwargs |= {"batch_index": batch_index, "verbose": verbose}
        self._in_make = True  # the pool warns once for all batches
        try:
            history = self.fit(labels, steps, **kwargs).history
        finally:
            self._in_make = False
        self._newest_terms = {name: v[-1] for name, v in history.items()}
        images = self._made(batch_index)
        shown = self.classes_of(images)
        right = shown == np.resize(self.labels, len(shown))
        self._newest_terms["recognized"] = float(right.mean())
        return images, shown

    def work(self, images, steps=None):
        return batch_work(self.networks, self.recipe, images, steps)

    def _made(self, batch_index):
        """Returns the images that a batch adds after `fit`."""
        return np.concatenate([*self.snapshots, self.images])

    @property
    def step(self):
        """The `InversionStep` of the latest `fit`, or None before the first."""
        return self._run and self._run.step

    @property
    def labels(self):
        """int32 array `(n,)`, the requested classes of the latest `fit`."""
        return self._run and self._run.labels

    def start(self, batch_index) -> np.ndarray:
        """Returns z before the first step, a function of seed and batch index.

        Args:
            batch_index: Int, at least 0, number of the batch.

        Returns:
            Float array `(n, height, width, channels)` of the first stage, one
            row for each label of the latest `fit`. For a generator `(n,
            latents)`, the numbers that its latents start from.
        """
        self.require_images()
        return starting_images(self.step.source, self, batch_index)

    def _source(self, shape):
        """Creates the `ImageSource` for images of this shape."""
        return Pixels(shape, self.variable_dtype)

    def settings(self) -> dict:
        """Returns the settings on which the images depend.

        The networks and the arguments of `fit` are not included.

        Returns:
            A dict from names to values; a generator's weights are arrays.
        """
        if not self.compiled:
            self.compile()
        return {
            **self.networks.settings(),
            "recipe": self.recipe,
            "competes": self.student is not None,
            "terms": self.terms,
            "optimizer": self._given_optimizer,
            "seed": self.seed,
            "dtype": [self.variable_dtype, self.networks.dtype],
        }

    def _check_recipe(self):
        if self.recipe.generator:
            raise ValueError(
                "This recipe trains a generator: use FastInversion. "
                f"Received: the recipe from {self.recipe.source!r}"
            )

    @property
    def teacher(self) -> keras.Model:
        """The inverted network."""
        return self.networks.teacher.model

    @property
    def student(self):
        """The `keras.Model` that the images compete with, or None."""
        student = self.networks.student
        return student and student.model

    @property
    def means_labels(self) -> bool:
        """Bool, whether the images should show the requested classes."""
        return self.recipe.means_labels and any(
            isinstance(term, CrossEntropy) and term.weight
            for term in self.terms or self.recipe.loss
        )

    @property
    def logs(self) -> dict:
        """The loss terms of the latest batch of `make`, at its last step.

        `recognized` is the share of its images, as whole pixels, that the
        teacher assigns to their labels."""
        return dict(self._newest_terms)

    @property
    def images(self) -> np.ndarray:
        """The images as pixels: a new uint8 array `(n, height, width, c)`."""
        self.require_images()
        return self.preprocessing.to_pixels(self.step.result())

    @property
    def snapshots(self) -> np.ndarray:
        """The images at the moments of synthesis that the recipe names.

        A uint8 array `(moments, n, height, width, c)`. Most recipes have no
        moments.
        """
        self.require_images()
        shape = 0, len(self.labels), *self.image_shape
        return np.array(self._run.snapshots or np.empty(shape), "uint8")

    def classes_of(self, images, batch_size=None) -> np.ndarray:
        """Returns the teacher's predictions of images, in its own precision.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            batch_size: Int, number of images per call. Defaults to 250, or
                fewer large images.

        Returns:
            An int32 array `(n,)`, the class of each image's largest logit.
        """
        return self.networks.classes_of(images, batch_size)
