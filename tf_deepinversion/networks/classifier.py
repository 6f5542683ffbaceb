"""A trained Keras model as inversion sees it: images to logits, left alone."""

import contextlib
import weakref

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import not_finite
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks import ending
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import cut_off
from tf_deepinversion.networks.batch_norm_moments import require_vectors
from tf_deepinversion.networks.batch_norm_moments import tap
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.compute_policy import check_policy
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.image_shape import find_image_shape
from tf_deepinversion.networks.image_shape import require_channels_last

# Tracing a network takes seconds, and it is read by many functions in turn.
_ENDS = weakref.WeakKeyDictionary()


def _activated(model, activation) -> list:
    """The layers that have an activation."""
    layers = layers_of(model)
    return [x for x in layers if original(x, "activation") is activation]


def _softmaxes(model):
    """The layers that may end a model in probabilities, and where they do it.

    Returns:
        A pair: `Softmax` layers, whose `call` it is, and layers whose
        `activation` it is.
    """
    layers = layers_of(model)
    own = [x for x in layers if isinstance(x, keras.layers.Softmax)]
    return own, _activated(model, keras.activations.softmax)


@contextlib.contextmanager
def _of_any_size(model):
    """While it lasts, functional models take images of other sizes, too."""
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
        "Expected a logit for each of two or more classes, of which one is "
        "true. A model that ends in a sigmoid, or another function that keeps "
        "its outputs within [-1, 1], says of each by itself whether it is: "
        "end the model before that function, or, where it says that of one, "
        "in a `Dense(2)` with the logits (0, x) of its logit x (see "
        f"docs/teachers.md). Received: an output of shape {shape}, "
        f"from {values.min():.3g} to {values.max():.3g}"
    )


class Classifier:
    """A Keras model, held as it is: its weights, flags and statistics stay.

    Where the model ends in a softmax, the logits are what that was given.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        image_shape: Tuple `(height, width, channels)`, needed where the model
            does not fix it.
        dtype_policy: String or `keras.DTypePolicy` in which all layers of
            floats compute while the model is read, such as
            `"mixed_bfloat16"`; their variables stay what they are. None: as
            the model does, but in float32 where that is float16, in which the
            gradients of images underflow.

    Attributes:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int, number of logits.
        features: Int, how many features feed the dense head, or None.
        batch_norms: List of the BatchNormalizations, one a call, in the order
            in which the model calls them.

    Raises:
        TypeError: if `model` is not a `keras.Model`.
        ValueError: if it has several inputs or outputs, weights that are not
            finite, an unknown image size, probabilities whose logits cannot
            be found, or layers whose gradient does not reach the images; or
            if gradients cannot be computed in `dtype_policy`.
    """

    def __init__(self, model, image_shape=None, dtype_policy=None):
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
            # In its own precision, and before its layers are listed.
            model(self._noise(), training=False)
        self._check_weights()
        self._softmaxes = _softmaxes(model)
        self._dense = [
            x for x in layers_of(model) if type(x) is keras.layers.Dense
        ]
        self._any_size = False
        self._ends = self._known_ends()
        self.features = self._ends.features
        self.classes = self._probe()

    def _check_weights(self):
        weight = not_finite(self.model.weights)
        if weight is not None:
            raise ValueError(
                "The model has weights that are not finite; it was saved "
                f"after its training had failed. Received: {weight.path}"
            )

    def _noise(self, image_shape=None):
        fixed = getattr(self.model, "input_shape", (None,))[0]
        shape = fixed or 2, *(image_shape or self.image_shape)
        return tf.constant(
            np.random.default_rng(0).normal(size=shape), "float32"
        )

    def _known_ends(self) -> ending.Ends:
        """How the network ends, traced once for its layers as they are."""
        parts = [
            (x, original(x, "activation"), vars(x).get("call"))
            for x in layers_of(self.model)
        ]
        key = (
            self.image_shape,
            self._policy and self._policy.name,
            *(id(part) for layer in parts for part in layer),
        )
        known = _ENDS.setdefault(self.model, {})
        if key not in known:
            # The parts stay alive, so that no other can have their ids.
            known[key] = self._traced_ends(), parts
        return known[key][0]

    def _traced_ends(self) -> ending.Ends:
        # In a graph the gradients of weights, which nobody asks for, are not
        # computed. Eagerly they are, and of some shapes of convolutions
        # TensorFlow 2.21's kernel writes past its memory. The graph is not run.
        found = []
        noise = self._noise()
        with self.open(sums=False):
            traced = tf.function(
                lambda x: found.append(self._find_ends(x)), autograph=False
            )
            traced = traced.get_concrete_function(
                tf.TensorSpec(noise.shape, noise.dtype)
            )
        self._check_state(traced.graph)
        return found[0]

    def _probe(self) -> int:
        """Reads noise images; returns how many classes there are."""
        noise, unbounded = self._noise(), self._ends.unbounded
        with self.open():
            probes = [noise] if unbounded else [noise, 1e3 * noise]
            found = [self.read(x) for x in probes]
        values = np.concatenate([reading.logits for reading in found])
        self.batch_norms = found[0].batch_norms
        if (values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-2):
            raise ValueError(
                "The model returns probabilities, and the layer that turns "
                "logits into them was not found: end the model with a "
                '`Softmax` layer or `activation="softmax"`, or return logits.'
            )
        bounded = not unbounded and (np.abs(values) <= 1).all()
        if bounded or values.shape[-1] < 2:
            raise _no_logits(values, (len(noise), *values.shape[1:]))
        return values.shape[-1]

    def _find_ends(self, noise) -> ending.Ends:
        """How the network ends, in a graph; the gradient must reach there."""
        # The tape must see the images only, not the weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(noise)
            result, calls = self._called(noise)
            ends = ending.find(tf.identity(result), calls)
            found = ending.reading_of(result, calls, ends)
            for call in found.batch_norm_calls:
                require_vectors(call)
            seen = [call.inputs for call in found.batch_norm_calls]
            lost = cut_off([found.logits, *seen], noise, tape)
        if lost:
            names = [x.path for x in [self.model, *found.batch_norms]]
            raise ValueError(
                "The gradient of what these layers see does not reach the "
                "images: a function under `keras.remat`, `tf.recompute_grad` "
                "or `tf.function` hides it, or a cast to whole numbers. "
                "Rebuild the model without that and load its weights. "
                f"Received: {', '.join(names[i] for i in lost)}"
            )
        outputs = [call.outputs for call in found.batch_norm_calls]
        return ends._replace(
            features=found.head and found.head.inputs.shape[-1],
            unbounded=ending.is_unbounded(found.logits, outputs),
        )

    def _check_state(self, graph):
        changed = ending.assigned(graph, self.model.weights)
        if changed:
            raise ValueError(
                "To read the model in inference mode would change it: a layer "
                "is called with `training=True` whatever the model is asked. "
                "Rebuild the model with the `training` that it is given, and "
                "load its weights. Received: "
                f"{', '.join(v.path for v in changed)}"
            )

    @contextlib.contextmanager
    def open(self, sums=True):
        """While open, the model can be read.

        Args:
            sums: Bool, whether the sums of what BatchNormalizations see are
                made on the way, see `fast_batch_norm`.
        """
        own, activated = self._softmaxes
        sizes = contextlib.nullcontext()
        if self._any_size:
            sizes = _of_any_size(self.model)
        with (
            sizes,
            tap(self.model, sums),
            watch(own),
            watch(activated, "activation"),
            watch(self._dense),
        ):
            yield self

    def read(self, inputs, training=False) -> ending.Reading:
        """Calls the open model, in inference mode unless told otherwise.

        Args:
            inputs: Tensor `(batch, *image_shape)`, as the model is fed.
            training: Bool.

        Raises:
            ValueError: if the model's output is not one tensor of the shape
                `(batch, classes)`.
        """
        return ending.reading_of(*self._called(inputs, training), self._ends)

    def _called(self, inputs, training=False):
        """What the model gives, and the watched calls within."""
        with reading(self.model, self._policy), collect() as calls:
            # Explicitly: a call inherits its caller's phase.
            result = self.model(inputs, training=training)
        if not hasattr(result, "shape") or len(result.shape) != 2:
            raise ValueError(
                "Expected a model with one output of shape (batch, classes). "
                f"Received: {result!r}"
            )
        return result, calls

    def require_size(self, image_shape):
        """From here on images of that shape can be read, too.

        Raises:
            ValueError: if they cannot, as where the model has a `Flatten`.
        """
        self._any_size = True
        try:
            with self.open():
                found = self.read(self._noise(image_shape))
            if found.batch_norms != self.batch_norms:
                raise ValueError("Other layers are called at that size.")
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                "The recipe has stages of another resolution, at which "
                f"{self.model.name!r} cannot be read: use one whose stages "
                "have a `scale` of 1, or rebuild the model for images of any "
                f"size. Received: images of shape {image_shape}"
            ) from error

    def require_batch_norms(self):
        """Raises a ValueError if the model has no BatchNormalization."""
        if not batch_norms(self.model):
            raise ValueError(
                "DeepInversion reads the statistics that BatchNormalization "
                "layers keep of the training data, and this teacher has none. "
                "Without them only an image prior is left: pass a `loss` "
                "without `FeatureStatistics` to `compile`. "
                f"Received: {self.model.name!r}"
            )


def in_scope(model, strategy):
    """The model itself, or a copy of it where the strategy needs its own.

    Several replicas need variables made in the scope of their strategy.

    Raises:
        ValueError: if a copy is needed and cannot be made.
    """
    if strategy.num_replicas_in_sync == 1 or all(
        strategy.extended.variable_created_in_scope(v.value)
        for v in getattr(model, "variables", ())
    ):
        return model
    with strategy.scope():
        try:
            return copy_of(model)
        except ValueError as e:
            raise ValueError(
                "The model was made outside the strategy's scope and cannot "
                "be copied into it: make or load it under "
                f"`with strategy.scope():`. Received: {model.name!r} ({e})"
            ) from e
