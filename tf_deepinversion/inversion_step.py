"""One step of inversion as a graph, on one device or on several."""

import keras
import tensorflow as tf

from tf_deepinversion.objective import View
from tf_deepinversion.objective import weighted_values
from tf_deepinversion.transforms import draw


class InversionStep:
    """The variables and the graph of one stage, for one shape of batch.

    Replica r of R optimises rows r n/R to (r + 1) n/R of the images. It makes
    the sums of its rows; the sums of all replicas give the objective of the
    global batch and, by the chain rule, the gradient of each row.

    Args:
        teacher: An open `Classifier`.
        student: An open `Classifier`, or None.
        preprocessing: `Preprocessing` of the teacher.
        terms: List of `Term`.
        transforms: List of transforms.
        optimizer: A `keras.optimizers.Optimizer`, not yet built.
        shape: Tuple `(n, height, width, channels)`.
        dtype: String, of the images.
        feature_dropout: Float in [0, 1), the share of the features feeding
            the head that each image is asked to do without, every step.
        keep_best: Bool, whether to keep the images of the smallest loss.
        jit_compile: Bool, whether XLA compiles the gradient.
        run_eagerly: Bool.
    """

    def __init__(
        self,
        teacher,
        student,
        preprocessing,
        terms,
        transforms,
        optimizer,
        *,
        shape,
        dtype="float32",
        feature_dropout=0.0,
        keep_best=False,
        jit_compile=False,
        run_eagerly=False,
    ):
        self.teacher, self.student = teacher, student
        self.preprocessing = preprocessing
        self.terms, self.transforms = terms, transforms
        self.optimizer = optimizer
        self.feature_dropout = feature_dropout if teacher.features else 0.0
        self.keep_best = keep_best
        self.jit_compile = jit_compile
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        self.images = keras.Variable(
            tf.zeros(shape, dtype), trainable=True, name="images"
        )
        optimizer.build([self.images])
        self._fresh_optimizer = [v.numpy() for v in optimizer.variables]
        self.best_images = self.best_loss = None
        if keep_best:
            self.best_images = keras.Variable(
                tf.zeros(shape, dtype), trainable=False, name="best_images"
            )
            self.best_loss = keras.Variable(
                float("inf"), trainable=False, dtype=dtype, name="best_loss"
            )

        def xla(function):
            return tf.function(function, jit_compile=True, autograph=False)

        self._compiled_gradient = xla(self._one_pass)
        self._compiled_sums = xla(self._sums)
        self._compiled_pullback = xla(self._pullback)
        self.run = self._run
        if not run_eagerly:
            self.run = tf.function(self._run, autograph=False)
        self.traces = 0

    def reset(self, images):
        """Starts anew from z, an array of the shape of the images."""
        for variable, value in zip(
            self.optimizer.variables, self._fresh_optimizer, strict=True
        ):
            variable.assign(value)
        self.images.assign(images)
        if self.keep_best:
            self.best_images.assign(images)
            self.best_loss.assign(float("inf"))

    def state(self) -> dict:
        """All that a later run needs to go on from here, as arrays."""
        state = {
            f"optimizer_{i}": v.numpy()
            for i, v in enumerate(self.optimizer.variables)
        }
        state["images"] = self.images.numpy()
        if self.keep_best:
            state["best_images"] = self.best_images.numpy()
            state["best_loss"] = self.best_loss.numpy()
        return state

    def restore(self, state):
        """Goes on from what `state` gave."""
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer_{i}"])
        self.images.assign(state["images"])
        if self.keep_best:
            self.best_images.assign(state["best_images"])
            self.best_loss.assign(state["best_loss"])

    def _run(self, first, count, labels, seed):
        """Does `count` steps in the graph; stops at one that is not finite.

        Args:
            first: Int scalar tensor, the number of the first step.
            count: Int scalar tensor.
            labels: Int tensor `(n,)`.
            seed: Int tensor `(2,)`.

        Returns:
            How many steps were done; whether all were finite; the weighted
            terms of the last one, shape `(terms,)`.
        """
        self.traces += 1
        shape = (len(self.terms),)
        return tf.while_loop(
            lambda done, finite, values: (done < count) & finite,
            lambda done, finite, values: (
                done + 1,
                *self._step(first + done, labels, seed),
            ),
            (
                tf.constant(0),
                tf.constant(True),
                tf.zeros(shape, self.images.dtype),
            ),
        )

    def _step(self, step, labels, seed):
        draws = draw(self.transforms, seed, step, self.images.shape[0])
        if self.feature_dropout:
            draws.append(self._dropout_mask(seed, step))
        before = tf.identity(self.images.value)
        values = self.strategy.run(self._replica_step, (labels, draws))
        values = self.strategy.experimental_local_results(values)[0]
        loss = tf.reduce_sum(values)
        after = tf.convert_to_tensor(self.images.value)
        finite = tf.reduce_all(tf.math.is_finite(after))
        finite &= tf.math.is_finite(loss)
        self.images.assign(tf.where(finite, self._clip(after), before))
        if self.keep_best:
            better = loss < self.best_loss.value
            self.best_images.assign(
                tf.where(better, before, self.best_images.value)
            )
            self.best_loss.assign(tf.where(better, loss, self.best_loss.value))
        return finite, values

    def _dropout_mask(self, seed, step):
        shape = (self.images.shape[0], self.teacher.features)
        key = tf.random.experimental.stateless_fold_in(seed, -1 - step)
        kept = 1 - self.feature_dropout
        drawn = tf.random.stateless_uniform(shape, key, alg="philox")
        return tf.cast(drawn < kept, self.images.dtype) / kept

    def _replica_step(self, labels, draws):
        share = self.images.shape[0] // self.replicas
        context = tf.distribute.get_replica_context()
        start = context.replica_id_in_sync_group * share

        def rows(tensor):
            if self.replicas == 1:
                return tf.convert_to_tensor(tensor)
            return tensor[start : start + share]

        values, gradient = self.gradient(
            rows(self.images.value), rows(labels), [rows(d) for d in draws]
        )
        if self.replicas > 1:
            # Keras's optimizers add up the gradients of all replicas.
            after = self.images.shape[0] - share - start
            gradient = tf.pad(
                gradient, [(start, after), (0, 0), (0, 0), (0, 0)]
            )
            gradient = tf.ensure_shape(gradient, self.images.shape)
        self.optimizer.apply([gradient], [self.images])
        return values

    def gradient(self, images, labels, draws):
        """The weighted terms of the global batch and the rows' gradient."""
        if not self.jit_compile:
            return self._one_pass(images, labels, draws, self._all_reduce)
        if self.replicas == 1:
            return self._compiled_gradient(images, labels, draws)
        # No collective may stand inside what XLA compiles, so the teacher is
        # read twice: for the sums, and for their pullback.
        sums = self._all_reduce(self._compiled_sums(images, labels, draws))
        values, cotangents = self._objective(sums)
        return values, self._compiled_pullback(
            images, labels, draws, cotangents
        )

    def _one_pass(self, images, labels, draws, reduce=lambda sums: sums):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            own = self._sums(images, labels, draws)
        values, cotangents = self._objective(reduce(own))
        return values, tape.gradient(own, images, output_gradients=cotangents)

    def _pullback(self, images, labels, draws, cotangents):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            own = self._sums(images, labels, draws)
        return tape.gradient(own, images, output_gradients=cotangents)

    def _sums(self, images, labels, draws):
        """S_r: the sums of these rows, a list of tensors for each term."""
        # Where there is a mask, it comes after the transforms' numbers.
        for transform, numbers in zip(self.transforms, draws, strict=False):
            images = transform(images, numbers)
        fed = self.preprocessing.teacher_input(images)
        if self.feature_dropout:
            logits, records, masked = self.teacher.with_dropout(fed, draws[-1])
        else:
            (logits, records), masked = self.teacher(fed), None
        student_logits = self.student(fed)[0] if self.student else None
        view = View(images, labels, logits, records, student_logits, masked)
        return [term.sums(view) for term in self.terms]

    def _all_reduce(self, sums):
        if self.replicas == 1:
            return sums
        context = tf.distribute.get_replica_context()
        return tf.nest.pack_sequence_as(
            sums,
            context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.nest.flatten(sums)
            ),
        )

    def _objective(self, sums):
        """The weighted terms of the batch, and d loss / d sums."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sums)
            values = tf.stack(
                [
                    tf.cast(v, self.images.dtype)
                    for v in weighted_values(self.terms, sums)
                ]
            )
            loss = tf.reduce_sum(values)
        cotangents = tape.gradient(
            loss, sums, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return values, cotangents

    def _clip(self, images):
        black, white = self.preprocessing.bounds()
        return tf.clip_by_value(
            images,
            tf.constant(black, images.dtype),
            tf.constant(white, images.dtype),
        )
