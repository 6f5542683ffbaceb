"""DeepInversion: a Keras model whose trainable variables are images."""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion.image_sources import Pixels
from tf_deepinversion.inversion.step import InversionStep
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.networks import compiled
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.classifier import in_scope
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.student_input import check_channels
from tf_deepinversion.networks.student_input import preprocessing_of_student
from tf_deepinversion.networks.student_input import shape_of_student
from tf_deepinversion.networks.student_input import student_input
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.transforms.base import require_transforms


class DeepInversion(Synthesizer, keras.Model):
    """Synthesises images that a trained network remembers, without data.

    The images are the model's only trainable variables. `fit` moves them,
    from noise, until the teacher takes them for the classes asked for and its
    BatchNormalization layers see in them the statistics of the data that they
    were trained on. The teacher itself is left as it is.

    Args:
        teacher: A `keras.Model` from images to logits, or to probabilities by
            a final softmax, with BatchNormalization layers.
        preprocessing: A `Preprocessing`, needed where the teacher is not
            known by name (see `Preprocessing.of`).
        recipe: A name in `RECIPES`, or a dictionary like those.
        student: A `keras.Model` with the teacher's classes, to compete with
            (Adaptive DeepInversion). It is read, in inference mode, as it is
            at each step; one of another size than the teacher's is fed images
            resized.
        student_preprocessing: The student's `Preprocessing`; None: if known by
            name its own, or else the teacher's.
        image_shape: Tuple `(height, width, channels)`, needed where the
            teacher does not fix it.
        seed: Int. With `batch_index` (see `fit`) it decides all randomness.
        dtype: A dtype policy. `"mixed_bfloat16"`: the networks compute in
            bfloat16; images and statistics stay in float32. By default the
            networks compute as they were made to.

    Raises:
        TypeError: if a network is not a `keras.Model`.
        ValueError: if a network cannot be inverted, see `Classifier`.

    Reference:
        - Yin et al., Dreaming to Distill, arXiv:1912.08795

    Example:

    ```python
    teacher = tf_deepinversion.load_pretrained("fashion_mnist_resnet20")
    model = DeepInversion(teacher)
    model.fit(labels=[0, 1, 2, 3], steps=100)
    model.images  # uint8, (4, 28, 28, 1)
    ```
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
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        self._given_dtype = dtype
        if self.variable_dtype not in ("float32", "float64"):
            raise ValueError(
                "The images are variables of float32 or float64: compute in "
                'less by dtype="mixed_bfloat16". Received: '
                f"{self.dtype_policy}, of dtype= or of "
                "keras.config.set_dtype_policy"
            )
        strategy = tf.distribute.get_strategy()
        # Classifiers are no Keras objects, so Keras does not track what they
        # hold: the teacher is no part of this model's weights.
        self._teacher = Classifier(
            in_scope(teacher, strategy), image_shape, dtype
        )
        self._student = None
        if student is not None:
            self._student = Classifier(
                in_scope(student, strategy),
                shape_of_student(student, self._teacher.image_shape),
                dtype,
            )
            if self._student.classes != self._teacher.classes:
                raise ValueError(
                    "Teacher and student must have the same classes. "
                    f"Received: {self._teacher.classes} and "
                    f"{self._student.classes}"
                )
        self.preprocessing = Preprocessing.of(teacher, preprocessing)
        self.preprocessing.require_channels(self._teacher.image_shape[-1])
        self.student_preprocessing = None
        if student is not None:
            self.student_preprocessing = preprocessing_of_student(
                student, student_preprocessing, self.preprocessing
            )
            check_channels(
                self.image_shape, self.student_shape, self.student_preprocessing
            )
        self.recipe = recipes.find(recipe)
        self._check_recipe()
        stages = range(len(self.recipe["stages"]))
        for shape in {self._shape_of(stage) for stage in stages}:
            for network in filter(None, (self._teacher, self._student)):
                if network.image_shape != self._teacher.image_shape:
                    continue  # it is fed images of its own size
                if shape != network.image_shape:
                    network.require_size(shape)
        if int(seed) != seed or not 0 <= seed < 2**31:
            raise ValueError(
                "`seed` must be a whole number in [0, 2**31). "
                f"Received: seed={seed}"
            )
        self.seed = int(seed)
        self.terms = self._transforms = self._given_optimizer = None
        self._micro_batch = None
        self._steps = {}  # the newest few, see `_enter`
        self._stage = self._step = None
        self._moments, self._snapshots = [], []
        self.labels = None
        self._newest_terms = {}
        self.built = True  # `fit` makes the variables; there is no input

    def compile(
        self,
        optimizer=None,
        loss=None,
        *,
        transforms=None,
        micro_batch=None,
        jit_compile="auto",
        run_eagerly=False,
        steps_per_execution=10,
    ):
        """Overrides parts of the recipe. Need not be called.

        Args:
            optimizer: A `keras.optimizers.Optimizer` or its name.
            loss: List of `Term`: the objective is their weighted sum.
            transforms: List of transforms, applied every step in that order,
                to z. Those that blend images or that are for pixels are
                refused.
            micro_batch: Int, how many images a replica reads at once; None
                for all of its share. The statistics stay those of the whole
                batch, so memory no longer bounds its size; the networks are
                read forward twice.
            jit_compile: Whether XLA compiles the gradient step; `"auto"` as
                Keras resolves it, by the networks' layers too: not on the CPU,
                nor with several replicas, nor where XLA cannot.
            run_eagerly: Bool, to debug. TensorFlow then computes the gradient
                of the networks' weights as well, and drops it.
            steps_per_execution: Int, how many steps the graph does between
                two looks of the callbacks.
        """
        if loss is None:
            loss = recipes.make_loss(
                self.recipe,
                with_student=self._student is not None,
                with_features=self._teacher.features is not None,
            )
        if not isinstance(loss, (list, tuple)) or not (
            loss and all(isinstance(term, Term) for term in loss)
        ):
            raise TypeError(
                "`loss` must be a list of terms, such as [CrossEntropy(), "
                f"FeatureStatistics(10.0)]. Received: loss={loss}"
            )
        for term in loss:
            if not isinstance(term.name, str):
                raise TypeError(
                    f"A term needs a name, by which it is logged. Received: "
                    f"{type(term).__name__} with name={term.name!r}"
                )
            if term.needs_batch_norms:
                self._teacher.require_batch_norms()
            if term.needs_student and self._student is None:
                raise ValueError(
                    f"The term {term.name!r} needs a student: "
                    "DeepInversion(teacher, student=student)."
                )
            if term.needs_features and not self._teacher.features:
                raise ValueError(
                    "The features that feed a dense head are dropped, and this "
                    "teacher's logits are not those of a `Dense` layer: leave "
                    "`feature_dropout` out. "
                    f"Received: {term.get_config()} of {term.name!r}"
                )
        require_whole(steps_per_execution=steps_per_execution)
        if transforms is not None:
            transforms = require_transforms(
                transforms, labelled=True, pixels=False
            )
        if optimizer is not None:
            optimizer = keras.optimizers.get(optimizer)
        super().compile(
            optimizer=optimizer or "adam",
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        networks = filter(None, (self._teacher, self._student))
        compiled.settle(
            self, jit_compile, [(x.model, x.image_shape) for x in networks]
        )
        self.terms, self._transforms = list(loss), transforms
        self._given_optimizer = optimizer
        self._micro_batch = micro_batch
        self._steps = {}

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
        """Synthesises one batch of images, one for each label, from noise.

        An epoch is no pass over data here, there being none: it is
        `steps_per_epoch` steps, after which epoch callbacks run and the state
        is saved.

        Args:
            labels: Int array `(n,)` in [0, classes), the classes to make; or
                None for as many as the recipe says, balanced, see
                `balanced_labels`.
            steps: Int, or a list of one a stage; None for the recipe's.
            batch_index: Int, the number of this batch: another one gives
                other images, of the same labels where `labels` are given.
            keep: `"last"`: `images` are the last step's. `"best"`: those of
                the step with the smallest loss.
            checkpoint: Path of a file in which the state is saved after each
                epoch and from which the same call goes on. A run that a
                callback has ended stays ended.
            callbacks: List of `keras.callbacks.Callback`.
            verbose: 0, 1, 2 or `"auto"`, as in Keras.
            steps_per_epoch: Int.

        Returns:
            A `keras.callbacks.History`: for each epoch the loss and every
            weighted term at its last step, those before an interruption too.

        Raises:
            ValueError: if an argument is out of range, or the checkpoint is
                damaged or another run's.
            FloatingPointError: if the loss or the images stop being finite;
                `images` are the last finite ones.
        """
        _check_callbacks(callbacks)
        if not self.compiled:
            self.compile()
        if keep not in ("last", "best"):
            raise ValueError(
                f'`keep` must be "last" or "best". Received: keep={keep!r}'
            )
        require_whole(steps_per_epoch=steps_per_epoch)
        require_whole(0, batch_index=batch_index)
        if labels is None:
            size = self.recipe["batch_size"]
            labels = balanced_labels(self.classes, size, batch_index)
        labels = check_labels(
            labels,
            self.classes,
            self.distribute_strategy.num_replicas_in_sync,
        )
        counts = recipes.steps_of_stages(self.recipe, steps)
        self._moments = recipes.moments(self.recipe, counts[-1])
        epochs = self._epochs(counts, steps_per_epoch)
        run = saved = None
        if checkpoint is not None:
            run = self._fingerprint(
                labels, counts, batch_index, keep, steps_per_epoch
            )
            saved = run_state.load(checkpoint, run)

        def save(history, ended):
            if checkpoint is None:
                return
            state = self._step.state()  # all workers give their rows
            if self.distribute_strategy.extended.should_checkpoint:
                past = json.dumps(
                    [history.epoch, history.history, ended], default=float
                )
                state["past"] = np.array(past)
                state["snapshots"] = self.snapshots
                run_state.save(checkpoint, state, run)

        def enter(stage):
            self._enter(stage, counts[stage], len(labels), keep)

        self.labels = labels
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.distribute_strategy.scope())
            stack.enter_context(self.open_networks())
            past = [[], {}, False]
            if saved:
                past = json.loads(str(saved["past"]))
            done = len(past[0])
            self._require_agreement(done, checkpoint)
            enter(epochs[max(0, done - 1)][0])
            self._snapshots = []
            if saved:
                self._step.restore(saved)
                self._snapshots = list(saved["snapshots"])
            else:
                self._step.reset(self.noise(batch_index))
            return self._train(
                epochs, past, batch_index, enter, save, callbacks, verbose
            )

    def check(self, labels, steps=None):
        """Refuses labels and steps that `fit` would refuse.

        Args:
            labels: As for `fit`.
            steps: As for `fit`.

        Raises:
            TypeError: if the labels are not integers.
            ValueError: if labels or steps do not fit.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        check_labels(labels, self.classes, replicas)
        recipes.steps_of_stages(self.recipe, steps)

    def make(self, labels, batch_index, steps=None, verbose=0):
        """Makes a batch by `fit`: its snapshots, and then its images.

        Args:
            labels: As for `fit`.
            batch_index: As for `fit`.
            steps: As for `fit`.
            verbose: As for `fit`.

        Returns:
            A pair: uint8 images `(images_per_label n, height, width,
            channels)`, and the classes that the teacher takes them for.
        """
        history = self.fit(
            labels, steps, batch_index=batch_index, verbose=verbose
        ).history
        self._newest_terms = {name: v[-1] for name, v in history.items()}
        images = self._made(batch_index)
        return images, self.classes_of(images)

    def _made(self, batch_index):
        """The images that a batch gives once `fit` has worked on it."""
        return np.concatenate([*self.snapshots, self.images])

    @contextlib.contextmanager
    def open_networks(self):
        """While open, `step` can read the teacher and the student."""
        with contextlib.ExitStack() as stack:
            for network in filter(None, (self._teacher, self._student)):
                stack.enter_context(network.open())
            yield

    @property
    def step(self) -> InversionStep:
        """The variables and the graph of the newest run, after `fit`.

        What a test or a benchmark asks for the gradient of images.
        """
        self._require_step()
        return self._step

    def _epochs(self, counts, steps_per_epoch):
        """Stage, first step and steps of each; a snapshot ends one as well."""
        epochs = []
        for stage, count in enumerate(counts):
            ends = {*range(steps_per_epoch, count, steps_per_epoch), count}
            if stage == len(counts) - 1:
                ends.update(self._moments)
            ends = sorted(ends)
            firsts = [0, *ends[:-1]]
            epochs += [
                (stage, first, end - first)
                for first, end in zip(firsts, ends, strict=True)
            ]
        return epochs

    def _take_snapshots(self, stage, step):
        """Keeps the images, where this many steps are one of the moments."""
        if stage == len(self.recipe["stages"]) - 1:
            for _ in range(self._moments.count(step)):
                z = self._step.rows.gather(self._step.images)
                self._snapshots.append(self.preprocessing.to_pixels(z))

    def _train(
        self, epochs, past, batch_index, enter, save, callbacks, verbose
    ):
        history = keras.callbacks.History()
        callbacks = keras.callbacks.CallbackList(
            [*(callbacks or []), history],
            add_progbar=verbose != 0,
            verbose=1 if verbose == "auto" else verbose,
            epochs=len(epochs),
            steps=epochs[0][2],
            model=self,
        )
        self.stop_training = False
        callbacks.on_train_begin()
        history.epoch, history.history, ended = past
        done, logs = len(history.epoch), {}
        if ended:  # by a callback: it stays so
            epochs = epochs[:done]
        if 0 < done < len(epochs):
            run_state.swapped_again(
                callbacks.callbacks,
                done - 1,
                self._step.state,
                self._step.restore,
            )
        for epoch in range(done, len(epochs)):
            stage, first, steps = epochs[epoch]
            if stage != self._stage:
                images = self._step.rows.gather(self._step.images)
                enter(stage)
                self._step.reset(self._resized(images))
            callbacks.params["steps"] = steps
            callbacks.on_epoch_begin(epoch)
            for begin in range(0, steps, self.steps_per_execution):
                end = min(begin + self.steps_per_execution, steps)
                callbacks.on_train_batch_begin(begin)
                ran, finite, values = self._step.run(
                    tf.constant(first + begin),
                    tf.constant(end - begin),
                    tf.constant(self.labels),
                    tf.constant([self.seed, batch_index]),
                )
                logs = self._logs(values.numpy())
                callbacks.on_train_batch_end(end - 1, logs)
                if not finite and not self.stop_training:
                    self._raise_not_finite(first + begin + int(ran) - 1, logs)
                if self.stop_training:
                    break
            self._take_snapshots(stage, first + steps)
            callbacks.on_epoch_end(epoch, logs)
            save(history, self.stop_training)
            if self.stop_training:
                break
        callbacks.on_train_end(logs)
        if done < len(epochs):  # some put the best images back
            save(history, self.stop_training)
        return history

    def _logs(self, values):
        logs = {"loss": float(np.sum(values))}
        for term, value in zip(self.terms, values, strict=True):
            # Two terms of one name, say both forms of the total variation,
            # are logged as one.
            logs[term.name] = logs.get(term.name, 0.0) + float(value)
        return logs

    def _raise_not_finite(self, step, logs):
        rate = keras.ops.convert_to_numpy(self.optimizer.learning_rate)
        raise FloatingPointError(
            f"The loss or the images are not finite at step {step} of stage "
            f"{self._stage}; `images` are those of the step before. Lower the "
            f"learning rate. Received: {logs}, learning_rate={rate:g}"
        )

    def _enter(self, stage, steps, images, keep):
        """Makes the stage's step the present one.

        Those of two calls are kept, with their variables and graphs, and no
        more: `Pool.fill` asks for two numbers of steps.
        """
        schedule = steps if self._given_optimizer is None else None
        key = (stage, schedule, images, keep)
        step = self._steps.pop(key, None)
        most = 2 * len(self.recipe["stages"])
        while len(self._steps) >= most:  # the one that was unused for longest
            del self._steps[next(iter(self._steps))]
        if step is None:
            step = self._step_of(stage, steps, images, keep)
        self._steps[key] = step
        self._stage, self._step = stage, step
        self.optimizer = step.optimizer

    def _step_of(self, stage, steps, images, keep):
        plan = self.recipe["stages"][stage]
        optimizer = self._given_optimizer
        if optimizer is None:
            optimizer = recipes.make_optimizer(plan, steps)
        elif optimizer.built:
            optimizer = optimizer.from_config(optimizer.get_config())
        transforms = self._transforms
        if transforms is None:
            transforms = recipes.make_transforms(plan)
        return InversionStep(
            self._teacher,
            self._student,
            self.preprocessing,
            self.terms,
            transforms,
            optimizer,
            self._source((images, *self._shape_of(stage))),
            student_input=self._student_input(),
            micro_batch=self._micro_batch,
            keep_best=keep == "best",
            jit_compile=self.jit_compile,
            run_eagerly=self.run_eagerly,
        )

    def _feeds_both_alike(self):
        return self.student_shape == self.image_shape and (
            self.student_preprocessing.feeds_as(self.preprocessing)
        )

    def _student_input(self):
        """From z to what the student is fed; None: what its teacher is."""
        if self._student is None or self._feeds_both_alike():
            return None
        shape, fed = self.student_shape, self.student_preprocessing
        return lambda z: student_input(self.preprocessing.pixels(z), shape, fed)

    def _source(self, shape):
        """What makes the images of this shape, and is moved for it."""
        return Pixels(shape, self.variable_dtype)

    def _shape_of(self, stage):
        height, width, channels = self._teacher.image_shape
        scale = self.recipe["stages"][stage]["scale"]
        sides = (max(1, round(side * scale)) for side in (height, width))
        return (*sides, channels)

    def noise(self, batch_index) -> np.ndarray:
        """What `step` starts from: N(0, 1), an array of the source's shape.

        Each image is a function of (seed, batch_index, index) alone.

        With `coarseness` of the recipe every so many pixels both ways are
        drawn, those between are interpolated, and the variance is 1 again.
        """
        count, *shape = self._step.source.noise_shape
        coarseness = self.recipe.get("coarseness", 1)
        if coarseness > 1:
            shape[:2] = (-(-size // coarseness) for size in shape[:2])
        noise = np.stack(
            [
                np.random.default_rng(
                    (self.seed, batch_index, index)
                ).standard_normal(shape, self._step.images.dtype)
                for index in range(count)
            ]
        )
        if coarseness > 1:
            noise = np.array(self._resized(noise))
            deviations = noise.std(axis=(1, 2, 3), keepdims=True)
            # Of one shade alone there is none.
            noise /= np.where(deviations > 0, deviations, 1)
        return noise

    def _resized(self, images):
        return keras.ops.image.resize(images, self._step.shape[1:3])

    def _require_agreement(self, done, checkpoint):
        """All workers must have found the same state."""
        strategy = self.distribute_strategy
        if checkpoint is None or strategy.num_replicas_in_sync == 1:
            return
        found = strategy.run(lambda: tf.constant([done, done * done]))
        count, squares = strategy.reduce("SUM", found, axis=None).numpy()
        if count * count != squares * strategy.num_replicas_in_sync:
            raise ValueError(
                "The workers do not see the same checkpoint: all of them must "
                "be given one file, on a disk that they share. "
                f"Received: checkpoint={str(checkpoint)!r}, here after "
                f"{done} epochs"
            )

    def _fingerprint(self, labels, counts, batch_index, keep, steps_per_epoch):
        return run_state.fingerprint(
            {
                **self.settings(),
                "teacher": self.teacher,
                "student": self.student,
                "steps": [counts, steps_per_epoch],
                "batch_index": batch_index,
                "keep": keep,
            },
            [labels],
        )

    def settings(self) -> dict:
        """What the images depend on, apart from the networks and `fit`.

        Returns:
            A dict from names to parts; a generator's weights are arrays.
        """
        if not self.compiled:
            self.compile()
        description = self._identity()
        if self._student is not None and not self._feeds_both_alike():
            description = {
                **description,
                "student_preprocessing": self.student_preprocessing,
                "student_shape": self.student_shape,
            }
        return {
            **description,
            "recipe": self.recipe,
            "competes": self._student is not None,
            "terms": self.terms,
            "transforms": self._transforms,
            "optimizer": self._given_optimizer,
            "preprocessing": self.preprocessing.get_config(),
            "seed": self.seed,
            "dtype": [self.variable_dtype, self._computing_dtype()],
        }

    def _computing_dtype(self):
        given = self._given_dtype
        return given and keras.dtype_policies.get(given).name

    def twin(self, loss):
        """The same inversion, by other terms; a generator is the recipe's.

        Args:
            loss: List of `Term`.

        Returns:
            A `DeepInversion`, or what this one is, compiled.
        """
        other = type(self)(
            self.teacher,
            self.preprocessing,
            recipe=self.recipe,
            student=self.student,
            student_preprocessing=self.student_preprocessing,
            image_shape=self.image_shape,
            seed=self.seed,
            dtype=self._given_dtype,
        )
        other.compile(
            self._given_optimizer,
            loss,
            transforms=self._transforms,
            micro_batch=self._micro_batch,
        )
        return other

    def _check_recipe(self):
        if self.recipe.get("moves", "pixels") != "pixels":
            raise ValueError(
                "This recipe moves a generator, not pixels: use FastInversion. "
                f"Received: the recipe from {self.recipe.get('source')!r}"
            )

    def _identity(self):
        """What else the images depend on, by name."""
        return {}

    @property
    def teacher(self) -> keras.Model:
        """The network that is inverted."""
        return self._teacher.model

    @property
    def student(self):
        """The `keras.Model` that the images compete with, or None."""
        return self._student and self._student.model

    @property
    def student_shape(self):
        """(height, width, channels) of what the student is fed, or None."""
        return self._student and self._student.image_shape

    @property
    def classes(self) -> int:
        """How many classes the teacher tells apart."""
        return self._teacher.classes

    @property
    def image_shape(self) -> tuple:
        """(height, width, channels) of the images."""
        return self._teacher.image_shape

    @property
    def logs(self) -> dict:
        """The terms of the newest batch of `make`, at its last step."""
        return dict(self._newest_terms)

    @property
    def state_variables(self) -> list:
        """The variables that one batch leaves to the next: here, none."""
        return []

    @property
    def images(self) -> np.ndarray:
        """The images as pixels: a new uint8 array `(n, height, width, c)`."""
        self._require_step()
        best = self._step.best_images
        z = self._step.rows.gather(self._step.images if best is None else best)
        return self.preprocessing.to_pixels(z)

    @property
    def snapshots(self) -> np.ndarray:
        """What the images were on the way, of the moments the recipe names.

        A uint8 array `(moments, n, height, width, c)`; none in most recipes.
        """
        self._require_step()
        shape = 0, len(self.labels), *self.image_shape
        return np.array(self._snapshots or np.empty(shape), "uint8")

    def call(self, inputs):
        """Refuses: images are made here, none are read.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            "An inversion makes images and reads none: `fit` makes them, "
            "`images` are what it made, `classes_of(images)` is what the "
            f"teacher takes them for. Received: inputs of {inputs.shape}"
        )

    def save(self, filepath, *args, **kwargs):
        """Refuses, for images are no network.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise _not_a_network(f"save to {str(filepath)!r}")

    def export(self, filepath, *args, **kwargs):
        """Refuses, as `save` does."""
        raise _not_a_network(f"export to {str(filepath)!r}")

    def get_config(self):
        """Refuses, as `save` does."""
        raise _not_a_network("get_config")

    def classes_of(self, images, batch_size=50) -> np.ndarray:
        """The classes that the teacher takes images for, in its own precision.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            batch_size: Int, how many are read at once.

        Returns:
            An int32 array `(n,)`: the class of the largest logit of each.
        """
        images, teacher = check_pixels(images), self._teacher
        if self._given_dtype is not None:
            teacher = Classifier(self.teacher, self.image_shape)
        found = []
        with teacher.open():
            for start in range(0, len(images), batch_size):
                piece = tf.constant(images[start : start + batch_size])
                logits = teacher.read(self.preprocessing.fed(piece)).logits
                found.append(keras.ops.convert_to_numpy(logits).argmax(-1))
        return np.concatenate(found).astype("int32")

    @property
    def images_per_label(self) -> int:
        """How many images of each label: the last, and `snapshots`."""
        return recipes.images_per_label(self.recipe)

    def _require_step(self):
        if self._step is None:
            raise ValueError("There are no images yet: call `fit` first.")

    @property
    def trainable_variables(self):
        return [] if self._step is None else self._step.source.variables

    @property
    def trainable_weights(self):
        return self.trainable_variables

    @property
    def variables(self):
        return self.trainable_variables

    @property
    def weights(self):
        return self.trainable_variables

    def save_own_variables(self, store):
        self._require_step()
        store["images"] = self._step.rows.gather(self._step.images)

    def load_own_variables(self, store):
        self._require_step()
        self._step.rows.scatter(self._step.images, store["images"])


def _not_a_network(received):
    return NotImplementedError(
        "What an inversion makes are images, and no network that can be "
        "loaded. Keep `images`, say in a `Pool` with a folder; for a state to "
        "go on from, pass `checkpoint=` to `fit`. "
        f"Received: {received}"
    )


def _check_callbacks(callbacks):
    """What would fail after the first epoch is refused before it."""
    for callback in callbacks or []:
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and (
            not callback.save_weights_only
        ):
            raise _not_a_network(
                f"a ModelCheckpoint of whole models, {callback.filepath!r}"
            )
