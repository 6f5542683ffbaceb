"""A trained Keras model as inversion reads it; the model stays unchanged."""

import contextlib
import typing
import weakref

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.checks import require_finite_weights
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks import ending
from tf_deepinversion.networks import graph_questions
from tf_deepinversion.networks import grouped_convolutions
from tf_deepinversion.networks.batch_norm_moments import cut_off
from tf_deepinversion.networks.batch_norm_moments import require_vectors
from tf_deepinversion.networks.batch_norm_moments import tap
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.compute_policy import check_policy
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.image_shape import find_image_shape
from tf_deepinversion.networks.image_shape import require_channels_last
from tf_deepinversion.networks.statistics_check import require_statistics

# Tracing a network takes seconds, and many functions read the same network.
_KNOWN = weakref.WeakKeyDictionary()


def _activated(model, activation) -> list:
    """Lists the layers with an activation."""
    layers = layers_of(model)
    return [x for x in layers if original(x, "activation") is activation]


def _softmaxes(model):
    """Lists the layers whose softmax or sigmoid may end the model.

    Returns:
        A pair: `Softmax` layers, whose `call` is the softmax, and layers whose
        `activation` is the softmax or the sigmoid.
    """
    own = [x for x in layers_of(model) if isinstance(x, keras.layers.Softmax)]
    softmax, sigmoid = keras.activations.softmax, keras.activations.sigmoid
    return own, [*_activated(model, softmax), *_activated(model, sigmoid)]


@contextlib.contextmanager
def _of_any_size(model):
    """Within the context, functional models accept images of any size."""
    networks = [x for x in layers_of(model) if isinstance(x, keras.Model)]
    insisting = [(x, x.input_spec) for x in networks if x.input_spec]
    try:
        for network, _ in insisting:
            network.input_spec = None
        yield
    finally:
        for network, spec in insisting:
            network.input_spec = spec


def _no_logits(values, shape):
    return ValueError(
        "Expected one logit for each of two or more exclusive classes, or a "
        "single logit or sigmoid of two. A model that ends in several "
        "sigmoids, or in another function with outputs within [-1, 1], judges "
        "each class independently: end the model before that function. "
        f"Received: an output of shape {shape}, "
        f"from {values.min():.3g} to {values.max():.3g}"
    )


class _Known(typing.NamedTuple):
    """What the graph of one call tells of a network, see `Classifier`."""

    ends: ending.Ends
    classes: int | None
    batch_norms: list
    places: tuple | None

    @property
    def certain(self) -> bool:
        """Whether no image needs to be read to know all this."""
        sizes = self.classes, *(self.places or ())
        return self.ends.unbounded and None not in sizes


class Classifier:
    """Reads logits and statistics of a Keras model without changing the model.

    If the model ends in a softmax, the logits are the inputs of the softmax. A
    single output is the logit x of the second of two classes, or the sigmoid of
    x; the logits are then (0, x).

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        image_shape: Tuple `(height, width, channels)`, required if the model
            does not fix it. Defaults to the model's.
        dtype_policy: String or `keras.DTypePolicy` in which all floating-point
            layers compute while the model is read, such as `"mixed_bfloat16"`.
            The variables keep their dtype. Defaults to the model's own policy,
            with float32 in place of float16, in which the gradients of images
            underflow.
        targets: `FeatureTargets` of the model, or None. `batch_norms` and the
            calls of a `Reading` are then those of the targets. Defaults to
            None.

    Attributes:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int, number of logits.
        features: Int, number of inputs of the dense head, or None.
        places: Tuple `(height, width)` of the class maps of a `Reading`, or
            None.
        batch_norms: List with one BatchNormalization layer per call, in the
            order of the calls.

    Raises:
        TypeError: if `model` is not a `keras.Model`.
        ValueError: if the model has several inputs or outputs, weights that are
            not finite, an unknown image size, probabilities without a softmax
            that can be found, or layers whose gradient does not reach the
            images; or if `dtype_policy` does not allow gradients.

    Example:
        >>> classifier = di.networks.Classifier(teacher)
        >>> classifier.image_shape, classifier.classes
        ((8, 8, 1), 3)
        >>> with classifier.open():
        ...     reading = classifier.read(images.astype("float32"))
        >>> reading.logits.shape.as_list()
        [12, 3]
    """

    def __init__(
        self, model, image_shape=None, dtype_policy=None, targets=None
    ):
        if not isinstance(model, keras.Model):
            raise TypeError(
                "Expected a `keras.Model`. A SavedModel (`TFSMLayer`, "
                "`tf.saved_model.load`) hides its layers: load the .keras "
                "file, or rebuild the architecture and load the weights. "
                f"Received: {type(model)}"
            )
        require_channels_last()
        self.model = model
        self._policy = check_policy(dtype_policy)
        self.image_shape = find_image_shape(model, image_shape)
        if not model.built:
            # Building the model creates its layers, which are listed below.
            model(self._noise(), training=False)
        self._check_weights()
        self._targets, self._measured = targets, []
        if targets is not None:
            self._measured = targets.layers_of(model)
        self._softmaxes = _softmaxes(model)
        ends = keras.layers.Dense, keras.layers.GlobalAveragePooling2D
        self._last = [x for x in layers_of(model) if type(x) in ends]
        self._any_size = False
        known = self._known()
        self._ends, self.features = known.ends, known.ends.features
        self.batch_norms, self.places = known.batch_norms, known.places
        self.classes = known.classes if known.certain else self._probe()

    def _check_weights(self):
        require_finite_weights(self.model)

    def _noise(self, image_shape=None):
        fixed = getattr(self.model, "input_shape", (None,))[0]
        shape = fixed or 2, *(image_shape or self.image_shape)
        return tf.constant(
            np.random.default_rng(0).normal(size=shape), "float32"
        )

    def _known(self) -> _Known:
        """What a call of the network shows, traced once for these layers."""
        # Without the model itself, which the cache must not keep alive.
        parts = [
            (x, original(x, "activation"), vars(x).get("call"))
            for x in layers_of(self.model, include_self=False)
        ]
        key = (
            self.image_shape,
            self._policy and self._policy.name,
            id(self._targets),
            *(id(part) for layer in parts for part in layer),
        )
        known = _KNOWN.setdefault(self.model, {})
        if key not in known:
            # Keeping the parts alive prevents Python from reusing their ids.
            known[key] = self._traced(), parts, self._targets
        return known[key][0]

    def _traced(self) -> _Known:
        # A graph skips the unused gradients of the weights. Eager execution
        # computes them, and for some shapes of convolutions the kernel of
        # TensorFlow 2.21 writes past its memory. The graph never runs.
        found = []
        noise = self._noise()
        with self.open(sums=False):
            traced = tf.function(
                lambda x: found.append(self._find(x)), autograph=False
            )
            traced = traced.get_concrete_function(
                tf.TensorSpec(noise.shape, noise.dtype)
            )
        self._check_state(traced.graph)
        self._warn_of_chance(found[0].ends)
        return found[0]

    def _probe(self) -> int:
        """Reads noise images and returns the number of classes."""
        noise, unbounded = self._noise(), self._ends.unbounded
        with self.open():
            probes = [noise] if unbounded else [noise, 1e3 * noise]
            found = [self.read(x) for x in probes]
        values = np.concatenate([reading.logits for reading in found])
        maps = found[0].class_maps
        self.places = None if maps is None else tuple(maps.shape[1:3])
        if (values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-2):
            raise ValueError(
                "The model returns probabilities, but has no softmax layer "
                "that could be found: end the model with a "
                '`Softmax` layer or `activation="softmax"`, or return logits.'
            )
        classes = values.shape[-1]
        if not unbounded and (np.abs(values) <= 1).all():
            outputs = 1 if self._ends.single else classes
            raise _no_logits(values[:, -outputs:], (len(noise), outputs))
        return classes

    def _find(self, noise) -> _Known:
        """Finds how the network ends; gradients must reach the images."""
        # Only gradients with respect to the images count, not to the weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(noise)
            result, calls = self._called(noise)
            ends = ending.find(tf.identity(result), calls)
            stored = ending.reading_of(result, calls, ends).batch_norm_calls
            found = self._reading(result, calls, ends)
            for call in found.batch_norm_calls:
                require_vectors(call)
            seen = [call.inputs for call in found.batch_norm_calls]
            lost = cut_off([found.logits, *seen], noise, tape)
        if lost:
            names = [x.path for x in [self.model, *found.batch_norms]]
            raise ValueError(
                "The gradient from the inputs of these layers does not reach "
                "the images: `keras.remat`, `tf.recompute_grad`, "
                "`tf.function` or a cast to integers blocks it. Rebuild the "
                "model without that and load its weights. "
                f"Received: {', '.join(names[i] for i in lost)}"
            )
        outputs = [call.outputs for call in stored]
        ends = ends._replace(
            features=found.head and found.head.inputs.shape[-1],
            unbounded=graph_questions.is_unbounded(found.logits, outputs),
            random=graph_questions.is_random(found.logits),
        )
        maps = found.class_maps
        places = None if maps is None else tuple(maps.shape[1:3])
        return _Known(ends, found.logits.shape[-1], found.batch_norms, places)

    def _warn_of_chance(self, ends):
        if ends.random:
            warn_caller(
                "The model draws random numbers in inference mode, as a "
                "`Dropout` does that is called with `training=True`: it "
                "answers otherwise each time, and the same seed gives other "
                "images. Rebuild it with the `training` that it is given, and "
                f"load its weights. Received: {self.model.name!r}"
            )

    def _check_state(self, graph):
        changed = graph_questions.assigned(graph, self.model.weights)
        if changed:
            raise ValueError(
                "A call in inference mode changes the model: it always calls "
                "a layer with `training=True`. Rebuild the model so that it "
                "passes its own `training` argument to that layer, and load "
                "its weights. Received: "
                f"{', '.join(v.path for v in changed)}"
            )

    @contextlib.contextmanager
    def open(self, sums=True):
        """Within the context, the model can be read.

        Args:
            sums: Bool, whether `fast_batch_norm` computes the sums of the
                inputs of BatchNormalization layers on the way. Defaults to
                True.
        """
        own, activated = self._softmaxes
        sizes = contextlib.nullcontext()
        if self._any_size:
            sizes = _of_any_size(self.model)
        with (
            sizes,
            tap(self.model, sums),
            grouped_convolutions.faster(self.model),
            watch(own),
            watch(activated, "activation"),
            watch(self._last),
            watch(self._measured),
        ):
            yield self

    def read(self, inputs, training=False) -> ending.Reading:
        """Calls the open model.

        Args:
            inputs: Tensor `(batch, *image_shape)`, preprocessed for the model.
            training: Bool. Defaults to False, inference mode.

        Returns:
            A `Reading`.

        Raises:
            ValueError: if the model's output is not a single tensor of shape
                `(batch, classes)`.
        """
        return self._reading(*self._called(inputs, training), self._ends)

    def _reading(self, result, calls, ends) -> ending.Reading:
        found = ending.reading_of(result, calls, ends)
        if self._targets is None:
            return found
        return found._replace(
            batch_norm_calls=self._targets.calls_of(self.model, calls)
        )

    def _called(self, inputs, training=False):
        """The model's output, and the watched calls."""
        with reading(self.model, self._policy), collect() as calls:
            # Without the argument, a call inherits its caller's phase.
            result = self.model(inputs, training=training)
        if not hasattr(result, "shape") or len(result.shape) != 2:
            raise ValueError(
                "Expected a model with one output of shape (batch, classes). "
                f"Received: {result!r}"
            )
        return result, calls

    def require_size(self, image_shape):
        """Prepares to read images of another shape.

        Args:
            image_shape: Tuple `(height, width, channels)`.

        Raises:
            ValueError: if the model cannot read them, for instance because of a
                `Flatten` layer.
        """
        self._any_size = True
        try:
            with self.open():
                found = self.read(self._noise(image_shape))
            if found.batch_norms != self.batch_norms:
                raise ValueError("Other layers are called at that size.")
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"{self.model.name!r} cannot read images at the resolution of "
                "a stage of the recipe: use a recipe whose stages have a "
                "`scale` of 1, or rebuild the model for images of any size. "
                f"Received: images of shape {image_shape}"
            ) from error

    def require_batch_norms(self):
        """Checks that there are statistics of the training data.

        Warns:
            UserWarning: if they are those of a network before its training.

        Raises:
            ValueError: if the model has neither BatchNormalization nor targets.
        """
        require_statistics(self.model, self.batch_norms)
