"""A trained Keras model as inversion sees it: images to logits, left alone."""

import contextlib
import typing
import weakref

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import not_finite
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks import ending
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import channels_axis
from tf_deepinversion.networks.batch_norm_moments import cut_off
from tf_deepinversion.networks.batch_norm_moments import require_vectors
from tf_deepinversion.networks.batch_norm_moments import tap
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.compute_policy import check_policy
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.copies import copy_of


class _Ends(typing.NamedTuple):
    """How a network ends, as one call of it shows in a graph.

    Attributes:
        softmax: The layer whose softmax ends the network, or None.
        head: The `Dense` that gives the logits, or None.
        features: Int, how many features feed the head, or None.
        unbounded: Bool, whether the logits are known to have no bounds.
    """

    softmax: object
    head: object
    features: int | None
    unbounded: bool


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


def _channels_first(layer):
    axis = channels_axis(layer) if hasattr(layer, "moving_mean") else None
    layout = getattr(layer, "data_format", None)
    return axis == 1 or layout == "channels_first"


def _check_layout():
    """All pixels here are (height, width, channels)."""
    layout = keras.config.image_data_format()
    if layout != "channels_last":
        raise ValueError(
            "Images are channels last here: call "
            'keras.config.set_image_data_format("channels_last") before the '
            f"network is made. Received: {layout!r}"
        )


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


def _at_least_float32(x):
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return x
    return keras.ops.cast(x, "float32")


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
        _check_layout()
        self.model = model
        self._policy = check_policy(dtype_policy)
        self.image_shape = self._find_image_shape(image_shape)
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

    def _find_image_shape(self, given):
        try:
            shape = self.model.input_shape
        except AttributeError:  # subclassed, or never called
            shape = None
        if isinstance(shape, (list, dict)):
            raise ValueError(
                "Expected a model with one input, the image. "
                f"Received: input_shape={shape}"
            )
        fixed = shape[1:] if shape else (None, None, None)
        if len(fixed) != 3:
            raise ValueError(
                "Expected images of shape (height, width, channels). "
                f"Received: a model with input_shape={shape}"
            )
        found = tuple(given) if given else tuple(fixed)
        if len(found) != 3 or None in found:
            raise ValueError(
                "The size of the images is not known from the model: pass "
                "image_shape=(height, width, channels). "
                f"Received: input_shape={shape}, image_shape={given}"
            )
        if any(f not in (None, g) for f, g in zip(fixed, found, strict=True)):
            raise ValueError(
                f"The model takes images of shape {tuple(fixed)}. "
                f"Received: image_shape={given}"
            )
        if found[0] in (1, 3) and any(
            map(_channels_first, layers_of(self.model))
        ):
            raise ValueError(
                "Expected images of shape (height, width, channels): let a "
                "`keras.layers.Permute((3, 1, 2))` precede a model that takes "
                f"its channels first. Received: {found}"
            )
        return found

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

    def _known_ends(self) -> _Ends:
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

    def _traced_ends(self) -> _Ends:
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
            reads = [self._read(x) for x in probes]
        values = np.concatenate([logits for logits, _, _ in reads])
        self.batch_norms = [call.layer for call in reads[0][1]]
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

    def _find_ends(self, noise) -> _Ends:
        """How the network ends, in a graph; the gradient must reach there."""
        # The tape must see the images only, not the weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(noise)
            result, calls = self._called(noise)
            softmax, dense = self._last_layers(tf.identity(result), calls)
            self._ends = _Ends(softmax, dense, None, False)
            logits, records, head = self._parts(result, calls)
            for record in records:
                require_vectors(record)
            seen = [logits, *(r.inputs for r in records)]
            lost = cut_off(seen, noise, tape)
        if lost:
            names = [x.path for x in [self.model, *(r.layer for r in records)]]
            raise ValueError(
                "The gradient of what these layers see does not reach the "
                "images: a function under `keras.remat`, `tf.recompute_grad` "
                "or `tf.function` hides it, or a cast to whole numbers. "
                "Rebuild the model without that and load its weights. "
                f"Received: {', '.join(names[i] for i in lost)}"
            )
        return _Ends(
            softmax,
            dense,
            head and head.inputs.shape[-1],
            ending.is_unbounded(logits, [r.outputs for r in records]),
        )

    def _last_layers(self, result, calls):
        """Which layer's softmax ends the model, and which `Dense`, if any."""
        softmax, dense, logits = None, None, result
        for call in calls:
            own = isinstance(call.layer, keras.layers.Softmax)
            if own or call.name == "activation":
                if ending.gives(call.outputs, result):
                    softmax, logits = call.layer, call.inputs
        for call in calls:
            if call.layer in self._dense and call.name == "call":
                # One that puts another function after its kernel is no head.
                own = original(call.layer, "activation")
                linear = own in (None, keras.activations.linear)
                if (linear and ending.gives(call.outputs, logits)) or (
                    call.layer is softmax
                ):
                    dense = call.layer
        return softmax, dense

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
        """While open, the model can be read by calling this object.

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

    def __call__(self, inputs, training=False):
        """Calls the open model, in inference mode unless told otherwise.

        Args:
            inputs: Tensor `(batch, *image_shape)`, as the model is fed.
            training: Bool.

        Returns:
            A pair: logits `(batch, classes)` in float32 or float64, and the
            list of the `Call` of every BatchNormalization.

        Raises:
            ValueError: if the model's output is not one tensor of that shape.
        """
        logits, records, _ = self._read(inputs, training)
        return logits, records

    def with_features(self, inputs):
        """The logits, and what feeds the dense head.

        Args:
            inputs: Tensor `(batch, *image_shape)`, as the model is fed.

        Returns:
            A pair of tensors in float32 or float64: logits `(batch, classes)`
            and features `(batch, features)`; where the head is not dense the
            logits are both.
        """
        logits, _, head = self._read(inputs)
        features = logits if head is None else _at_least_float32(head.inputs)
        return logits, features

    def with_dropout(self, inputs, mask):
        """As a call, and the logits that are left of a part of the features.

        Args:
            inputs: Tensor `(batch, *image_shape)`, as the model is fed.
            mask: Tensor `(batch, features)` by which the features are
                multiplied that feed the dense head.

        Returns:
            A triple: logits, list of `Call`, and the logits of the masked
            features.
        """
        logits, records, head = self._read(inputs)
        features = _at_least_float32(head.inputs)
        kernel = keras.ops.cast(head.layer.kernel, features.dtype)
        masked = (features * keras.ops.cast(mask, features.dtype)) @ kernel
        if head.layer.bias is not None:
            masked = masked + keras.ops.cast(head.layer.bias, features.dtype)
        return logits, records, masked

    def _read(self, inputs, training=False):
        """Logits, the calls of the BNs, and the call of the dense head."""
        return self._parts(*self._called(inputs, training))

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

    def _parts(self, logits, calls):
        records, head = [], None
        for call in calls:
            # The last calls of these are those at the end.
            softmax = isinstance(call.layer, keras.layers.Softmax)
            if softmax or call.name == "activation":
                if call.layer is self._ends.softmax:
                    logits = call.inputs
            elif call.layer is self._ends.head:
                head = call
            elif hasattr(call.layer, "moving_mean"):
                records.append(call)
        return _at_least_float32(logits), records, head

    def require_size(self, image_shape):
        """From here on images of that shape can be read, too.

        Raises:
            ValueError: if they cannot, as where the model has a `Flatten`.
        """
        self._any_size = True
        try:
            with self.open():
                _, records, _ = self._read(self._noise(image_shape))
            if [call.layer for call in records] != self.batch_norms:
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
