"""A trained Keras model as inversion sees it: images to logits, left alone."""

import contextlib

import keras
import numpy as np

from tf_deepinversion.feature_statistics import batch_norms
from tf_deepinversion.feature_statistics import collect
from tf_deepinversion.feature_statistics import tap


def _is_softmax(layer) -> bool:
    return (
        isinstance(layer, keras.layers.Softmax)
        or getattr(layer, "activation", None) is keras.activations.softmax
    )


class Classifier:
    """A Keras model, held as it is: its weights, flags and statistics stay.

    A softmax at the end is taken off while the model is `open`, since
    inversion needs logits.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        image_shape: Tuple `(height, width, channels)`, needed where the model
            does not fix it.

    Attributes:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int, number of logits.

    Raises:
        TypeError: if `model` is not a `keras.Model`.
        ValueError: if it has several inputs or outputs, weights that are not
            finite, an unknown image size, or probabilities whose logits
            cannot be found.
    """

    def __init__(self, model, image_shape=None):
        if not isinstance(model, keras.Model):
            raise TypeError(
                "Expected a `keras.Model`. A SavedModel (`TFSMLayer`, "
                "`tf.saved_model.load`) hides its layers: load the .keras "
                "file, or rebuild the architecture and load the weights. "
                f"Received: {type(model)}"
            )
        self.model = model
        self.image_shape = self._find_image_shape(image_shape)
        self._check_weights()
        self._softmax = None
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
        return found

    def _check_weights(self):
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise ValueError(
                    "The model has weights that are not finite; it was saved "
                    f"after its training had failed. Received: {weight.path}"
                )

    def _probe(self):
        """Finds the softmax at the end, if there is one, on two noise images.

        The last layer is the one whose output object the model returns.
        """
        noise = np.random.default_rng(0).normal(size=(2, *self.image_shape))
        noise = noise.astype("float32")
        outputs = {}
        layers = [x for x in self.model._flatten_layers() if _is_softmax(x)]
        with contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(_record_output(layer, outputs))
            result = self.model(noise, training=False)
        if not hasattr(result, "shape") or len(result.shape) != 2:
            raise ValueError(
                "Expected a model with one output of shape (batch, classes). "
                f"Received: {result!r}"
            )
        for layer in layers:
            if any(output is result for output in outputs.get(layer, ())):
                self._softmax = layer
        values = np.asarray(result)
        sums = values.sum(-1)
        if (
            self._softmax is None
            and (values >= 0).all()
            and np.allclose(sums, 1, atol=1e-2)
        ):
            raise ValueError(
                "The model returns probabilities, and the layer that turns "
                "logits into them was not found: end the model with a "
                '`Softmax` layer or `activation="softmax"`, or return logits.'
            )
        return int(result.shape[-1])

    @contextlib.contextmanager
    def open(self):
        """While open, calls give logits and collect what the BNs see."""
        with tap(self.model), _without_softmax(self._softmax):
            yield self

    def __call__(self, inputs):
        """Calls the open model in inference mode.

        Returns:
            A pair: logits `(batch, classes)` in float32 or float64, and the
            list of `BatchNormInput` of every BatchNormalization call.
        """
        with collect() as records:
            # Explicitly not training: a call inherits the caller's phase.
            logits = self.model(inputs, training=False)
        if logits.dtype != "float64":
            logits = keras.ops.cast(logits, "float32")
        return logits, records

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


@contextlib.contextmanager
def _replaced(layer, name, value):
    """Replaces an attribute of the instance, and puts back what was there."""
    there = name in layer.__dict__
    previous = layer.__dict__.get(name)
    object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        if there:
            object.__setattr__(layer, name, previous)
        else:
            object.__delattr__(layer, name)


def _record_output(layer, outputs):
    call = layer.call

    def recording_call(*args, **kwargs):
        result = call(*args, **kwargs)
        outputs.setdefault(layer, []).append(result)
        return result

    return _replaced(layer, "call", recording_call)


def _without_softmax(layer):
    if layer is None:
        return contextlib.nullcontext()
    if isinstance(layer, keras.layers.Softmax):
        return _replaced(layer, "call", lambda inputs, mask=None: inputs)
    return _replaced(layer, "activation", keras.activations.linear)


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
            copy = keras.models.clone_model(model)
        except (NotImplementedError, TypeError, ValueError) as e:
            raise ValueError(
                "The model was made outside the strategy's scope and cannot "
                "be copied into it: make or load it under "
                f"`with strategy.scope():`. Received: {model.name!r} ({e})"
            ) from e
        copy.set_weights(model.get_weights())
    return copy
