"""One step of an inversion as a graph, on one device or on several."""

import typing

import keras
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.objective import terms as objective
from tf_deepinversion.objective.priors import mean_sums
from tf_deepinversion.objective.priors import mean_value
from tf_deepinversion.objective.terms import weighted_values
from tf_deepinversion.objective.view import View
from tf_deepinversion.optimizers.apart import keep_apart
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw
from tf_deepinversion.transforms.base import require_rows


def pieces(share, micro_batch) -> int:
    """Returns the number of pieces in which a replica reads its images.

    Args:
        share: Int, number of images of a replica.
        micro_batch: Int, largest number of images that are read at once, or
            None for all.

    Raises:
        ValueError: if the pieces would not have the same size.
    """
    if micro_batch is None or micro_batch >= share:
        return 1
    require_whole(micro_batch=micro_batch)
    if share % micro_batch:
        fitting = max(m for m in range(1, micro_batch) if share % m == 0)
        raise ValueError(
            f"`micro_batch` must divide the {share} images of a replica: take "
            f"{fitting}, or another number of labels. "
            f"Received: micro_batch={micro_batch}"
        )
    return share // micro_batch


def _gradient(tape, sums, images, cotangents):
    gradient = tape.gradient(sums, images, output_gradients=cotangents)
    if gradient is None:
        raise ValueError(
            "The objective must depend on the images in a differentiable way. "
            "Received: terms and transforms without a gradient for the images"
        )
    return gradient


class Draws(typing.NamedTuple):
    """All random numbers of a step. Each tensor has a row for every image.

    Attributes:
        noise: Tensor, numbers for the image source.
        transforms: List of tensors, one per transform.
        terms: List of tensors, one per term.
    """

    noise: object
    transforms: list
    terms: list


class InversionStep:
    """The variables and the graph of one stage, for one shape of batch.

    Each replica holds some rows of the images, see `Rows`, and optimizes these
    rows. Each replica computes sums over its rows. Only these sums, O(channels)
    numbers, cross devices. The total of all replicas' sums determines the
    objective of the global batch and, by the chain rule, the gradient of each
    row.

    Args:
        networks: `Networks`, open whenever images are read.
        terms: List of `Term`.
        transforms: List of transforms.
        optimizer: A new `keras.optimizers.Optimizer`, not yet built.
        source: An `ImageSource`, created in the strategy's scope.
        micro_batch: Int, number of images that a replica reads at once, or None
            for all images of the replica.
        keep_best: Bool, whether to keep the images with the smallest loss.
        jit_compile: Bool, whether XLA compiles the gradient.
        run_eagerly: Bool.
    """

    def __init__(
        self,
        networks,
        terms,
        transforms,
        optimizer,
        source,
        *,
        micro_batch=None,
        keep_best=False,
        jit_compile=False,
        run_eagerly=False,
    ):
        self.networks = networks
        self.terms, self.transforms = terms, transforms
        self.optimizer = optimizer
        self.source, self.images = source, source.images
        self.jit_compile = jit_compile
        self.rows, self.shape = source.rows, source.shape
        self.share = self.images.shape[0]
        self.pieces = pieces(self.share, micro_batch)
        dtype = self.images.dtype
        if self.rows.replicas > 1:
            keep_apart(optimizer, self.shape[1:], dtype)
        optimizer.build(source.variables)
        # `reset` restores these values: a graph keeps its variables, so each
        # run reuses the same optimizer.
        self._fresh_optimizer = [v.numpy() for v in optimizer.variables]
        self.best_images = self.best_loss = None
        if keep_best:
            self.best_images = keras.Variable(
                tf.zeros_like(self.images.value),
                trainable=False,
                name="best_images",
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

    def reset(self, noise):
        """Restarts from an array of the source's `noise_shape`."""
        for variable, value in zip(
            self.optimizer.variables, self._fresh_optimizer, strict=True
        ):
            variable.assign(value)
        self.source.start(noise)
        if self.best_loss is not None:
            self.best_images.assign(self.images)
            self.best_loss.assign(float("inf"))

    def result(self):
        """Returns the last images, or the best images if they are kept."""
        best = self.best_images
        return self.rows.gather(self.images if best is None else best)

    def state(self) -> dict:
        """Returns all arrays that a later run needs to resume from here."""
        variables = self._variables()
        return {name: self.rows.gather(v) for name, v in variables.items()}

    def restore(self, state):
        """Restores the arrays that `state` returned."""
        for name, variable in self._variables().items():
            self.rows.scatter(variable, state[name])

    def _variables(self):
        variables = {
            f"optimizer_{i}": v for i, v in enumerate(self.optimizer.variables)
        }
        if self.best_loss is not None:
            variables["best_images"] = self.best_images
            variables["best_loss"] = self.best_loss
        return {**variables, **self.source.state()}

    def _run(self, first, count, labels, seed):
        """Runs `count` steps in the graph; stops after one that is not finite.

        Args:
            first: Int scalar tensor, number of the first step, from the first
                stage on.
            count: Int scalar tensor, number of steps.
            labels: Int tensor `(n,)`.
            seed: Int tensor `(2,)`.

        Returns:
            The number of steps that ran; whether all were finite; and a tensor
            `(terms + 1,)` of the last step's weighted terms and its recognized
            share.
        """
        # A loop in the graph saves a call from Python for every step.
        shape = (len(self.terms) + 1,)
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
        draws = self.draws(seed, step)
        strategy = self.rows.strategy
        finite, values = strategy.run(self._replica_step, (labels, draws))
        local = strategy.experimental_local_results
        return local(finite)[0], local(values)[0]

    def draws(self, seed, step) -> Draws:
        """Draws all random numbers of a step, for the images of all replicas.

        Args:
            seed: Int tensor `(2,)`.
            step: Int scalar tensor, from the first stage on.
        """
        count = self.shape[0]
        # For all images: each replica takes its rows, so the numbers do not
        # depend on the number of replicas.
        of_terms = objective.draw(
            self.terms, seed, step, count, self.networks.teacher.features
        )
        for term, numbers in zip(self.terms, of_terms, strict=True):
            require_rows(term, numbers, count)
        of_transforms = draw(self.transforms, seed, step, count)
        noise = self.source.noise(seed, step)
        return Draws(noise, of_transforms, of_terms)

    def _replica_step(self, labels, draws):
        labels = self.rows.own(labels)
        draws = tf.nest.map_structure(self.rows.own, draws)
        before = tf.identity(self.images.value)
        images, pullback = self.source.make(labels, draws.noise)
        values, gradient = self._evaluate(images, labels, draws)
        gradient = tf.ensure_shape(gradient, images.shape)
        gradient = self.optimizer.scale_loss(gradient)  # `apply` unscales it
        variables = self.source.variables
        self.optimizer.apply(pullback(gradient), variables)
        after = self.source.after_step(images)
        loss = tf.reduce_sum(values[:-1])  # the last value is no term
        finite = tf.math.is_finite(loss)
        for variable in variables:
            finite &= tf.reduce_all(tf.math.is_finite(variable.value))
        # All replicas must stop at the same step.
        finite = self._all_reduce(tf.cast(~finite, "float32")) == 0
        self.images.assign(tf.where(finite, self._clip(after), before))
        if self.best_loss is not None:
            self._keep_better(images, loss)
        return finite, values

    def _keep_better(self, images, loss):
        # The loss belongs to the images before the update.
        better = loss < self.best_loss.value
        best = tf.where(better, images, self.best_images.value)
        self.best_images.assign(best)
        self.best_loss.assign(tf.where(better, loss, self.best_loss.value))

    def gradient(self, images, labels, draws):
        """Returns the global batch's weighted terms and the rows' gradient."""
        values, gradient = self._evaluate(images, labels, draws)
        return values[:-1], gradient

    def _evaluate(self, images, labels, draws):
        """Like `gradient`, with the recognized share after the terms."""
        jit, alone = self.jit_compile, self.rows.replicas == 1
        if self.pieces == 1 and not jit:
            return self._one_pass(images, labels, draws, self._all_reduce)
        if self.pieces == 1 and alone:
            return self._compiled_gradient(images, labels, draws)
        # The objective needs the sums of all rows before any row has a
        # gradient, and XLA cannot compile a collective. So the networks run
        # twice: once for the sums, once for the gradients.
        sums, pullback = self._sums, self._pullback
        if jit:
            sums, pullback = self._compiled_sums, self._compiled_pullback
        batch = (images, labels, draws)
        total = self._all_reduce(self._sum_of_pieces(sums, batch))
        values, cotangents = self._objective(total)
        return values, self._rows_of_pieces(
            lambda *piece: pullback(*piece, cotangents), batch
        )

    def _sum_of_pieces(self, function, batch):
        if self.pieces == 1:
            return function(*batch)
        cut = tf.nest.map_structure(self._cut, batch)

        def add_piece(i, total):
            own = function(*tf.nest.map_structure(lambda t: t[i], cut))
            return i + 1, tf.nest.map_structure(tf.add, total, own)

        first = function(*tf.nest.map_structure(lambda t: t[0], cut))
        # One piece at a time: parallel pieces would take the memory of all.
        return tf.while_loop(
            lambda i, total: i < self.pieces,
            add_piece,
            (tf.constant(1), first),
            parallel_iterations=1,
        )[1]

    def _rows_of_pieces(self, function, batch):
        if self.pieces == 1:
            return function(*batch)
        rows = tf.map_fn(
            lambda piece: function(*piece),
            tf.nest.map_structure(self._cut, batch),
            fn_output_signature=self.images.dtype,
            parallel_iterations=1,
        )
        return tf.reshape(rows, self.images.shape)

    def _cut(self, tensor):
        # From (n, ...) to (pieces, n / pieces, ...).
        tensor = tf.convert_to_tensor(tensor)
        size = self.share // self.pieces
        return tf.reshape(tensor, (self.pieces, size, *tensor.shape[1:]))

    def _one_pass(self, images, labels, draws, reduce=lambda sums: sums):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            own = self._sums(images, labels, draws)
        # The tape of the sums serves their pullback, so the networks run once.
        values, cotangents = self._objective(reduce(own))
        return values, _gradient(tape, own, images, cotangents)

    def _pullback(self, images, labels, draws, cotangents):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            own = self._sums(images, labels, draws)
        return _gradient(tape, own, images, cotangents)

    def _sums(self, images, labels, draws):
        """Computes the sums over these rows, a list of tensors for each term.

        The last list belongs to no term: it holds the number of images that the
        teacher recognizes, and the number of images.
        """
        images = apply(self.transforms, images, draws.transforms)
        # The networks see transformed images; the optimizer moves the original
        # ones.
        reading, student_logits = self.networks.read(images)
        view = View(
            images,
            labels,
            reading.logits,
            reading.batch_norm_calls,
            student_logits,
            reading.head,
        )
        sums = [
            term.sums(view._replace(numbers=numbers))
            for term, numbers in zip(self.terms, draws.terms, strict=True)
        ]
        shown = tf.argmax(reading.logits, -1, labels.dtype)
        return [*sums, mean_sums(tf.cast(shown == labels, images.dtype))]

    def _all_reduce(self, sums):
        if self.rows.replicas == 1:
            return sums
        # All sums cross the devices in one call.
        context = tf.distribute.get_replica_context()
        return tf.nest.pack_sequence_as(
            sums,
            context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.nest.flatten(sums)
            ),
        )

    def _objective(self, sums):
        """Returns weighted terms, the recognized share, and d loss / d sums."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sums)
            values = tf.stack(
                [
                    tf.cast(v, self.images.dtype)
                    for v in weighted_values(
                        self.terms, sums[:-1], self.networks.teacher.batch_norms
                    )
                ]
            )
            # The gradient of the loss with respect to the sums is all that the
            # pullback needs.
            loss = tf.reduce_sum(values)
        cotangents = tape.gradient(
            loss, sums, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        recognized = mean_value(sums[-1])[None]
        return tf.concat([values, recognized], 0), cotangents

    def _clip(self, images):
        black, white = self.networks.preprocessing.bounds()
        return tf.clip_by_value(
            images,
            tf.constant(black, images.dtype),
            tf.constant(white, images.dtype),
        )
