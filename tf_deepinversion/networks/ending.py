"""How a network ends, derived from the graph of one call."""

import collections
import typing

import keras

from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.graph_questions import gives


class Turn(typing.NamedTuple):
    """One of the calls of a layer in one call of the network.

    Attributes:
        layer: The layer. It may be shared, and called several times.
        name: String, the attribute that is called.
        earlier: Int, number of earlier calls of the same.
    """

    layer: object
    name: str
    earlier: int


class Ends(typing.NamedTuple):
    """The end of a network, as the graph of one call shows it.

    Attributes:
        softmax: The `Turn` of the layer whose softmax, or whose sigmoid of a
            single output, ends the network; or None.
        head: The `Turn` of the `Dense` layer that outputs the logits, or None.
        features: Int, number of inputs of the head, or None.
        pooling: The `Turn` of the `GlobalAveragePooling2D` whose outputs are
            the head's inputs or, without a head, the logits; or None.
        unbounded: Bool, whether the logits are known to be unbounded.
        random: Bool, whether the logits depend on random numbers.
        single: Bool, whether the network has one output, the logit x of the
            second of two classes. The logits are then (0, x).
    """

    softmax: object
    head: object
    features: int | None = None
    pooling: object = None
    unbounded: bool = False
    random: bool = False
    single: bool = False


class Reading(typing.NamedTuple):
    """The tensors of one call of a network.

    Attributes:
        logits: Tensor `(batch, classes)` in float32 or float64.
        batch_norm_calls: List with the `Call` of every BatchNormalization, in
            the order of the calls.
        head: The `Call` of the `Dense` layer that outputs the logits, or None
            if another layer does.
        pooling: The `Call` of the `GlobalAveragePooling2D` whose outputs are
            the head's inputs or, without a head, the logits; or None.
    """

    logits: object
    batch_norm_calls: list
    head: object
    pooling: object = None

    @property
    def batch_norms(self) -> list:
        """The layers of `batch_norm_calls`."""
        return [call.layer for call in self.batch_norm_calls]

    @property
    def features(self):
        """The head's inputs `(batch, features)`; without a head, the logits."""
        if self.head is None:
            return self.logits
        return at_least_float32(self.head.inputs)

    @property
    def class_maps(self):
        """The logits at each place of the image, before their global average.

        Tensor `(batch, height, width, classes)` in float32 or float64: the
        head's outputs for the features at each place. The mean over the places
        is the logits, without a dropout before the head. None if neither the
        head's inputs nor the logits are a global average.
        """
        if self.pooling is None:
            return None
        features = at_least_float32(self.pooling.inputs)
        if self.head is None:
            return two_logits(features)
        return _head_outputs(self.head.layer, features)


def at_least_float32(x):
    """Casts a tensor to float32; leaves float64 unchanged."""
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return x
    return keras.ops.cast(x, "float32")


def two_logits(logit):
    """Returns (0, x), the logits of two classes, for a single logit x.

    Their softmax is (1 - p, p), where p is the sigmoid of x.

    Args:
        logit: Tensor `(batch, 1)`; with more columns it is returned as is.

    >>> two_logits(np.array([[3.0]], "float32")).numpy().tolist()
    [[0.0, 3.0]]
    """
    if logit.shape[-1] != 1:
        return logit
    return keras.ops.concatenate([keras.ops.zeros_like(logit), logit], -1)


def masked_logits(head, mask):
    """Computes the logits that a dense head outputs for masked features.

    Args:
        head: The `Call` of the `Dense` layer.
        mask: Float tensor `(batch, features)` that multiplies the features.

    Returns:
        A tensor `(batch, classes)` in float32 or float64.
    """
    features = at_least_float32(head.inputs)
    return _head_outputs(
        head.layer, features * keras.ops.cast(mask, features.dtype)
    )


def _head_outputs(dense, features):
    """Computes the logits of features `(..., features)`, without a softmax."""
    kernel = keras.ops.cast(dense.kernel, features.dtype)
    logits = keras.ops.tensordot(features, kernel, 1)
    if dense.bias is not None:
        logits = logits + keras.ops.cast(dense.bias, features.dtype)
    return two_logits(logits)


def reading_of(result, calls, ends) -> Reading:
    """Makes the `Reading` of a call.

    Args:
        result: Tensor `(batch, classes)`, the network's output.
        calls: List of the `Call`s of the watched layers.
        ends: `Ends` of the network.
    """
    logits, batch_norm_calls, head, pooling = result, [], None, None
    for call, turn in _turns(calls):
        if turn == ends.softmax:
            logits = call.inputs
        elif turn == ends.head:
            head = call
        elif turn == ends.pooling:
            pooling = call
        elif hasattr(call.layer, "moving_mean"):
            batch_norm_calls.append(call)
    logits = two_logits(at_least_float32(logits))
    return Reading(logits, batch_norm_calls, head, pooling)


def find(result, calls) -> Ends:
    """Finds the softmax, the head and the pooling that end a network, if any.

    Args:
        result: Tensor `(batch, classes)` of a graph, the network's output.
        calls: List of the `Call`s of the watched layers.
    """
    softmax, dense, pooling, logits = None, None, None, result
    single, turns = result.shape[-1] == 1, _turns(calls)
    for call, turn in turns:
        if _may_end(call, single):
            if gives(call.outputs, result):
                softmax, logits = turn, call.inputs
    averaged = logits
    for call, turn in turns:
        # The head of features at several places gives no single logits.
        vectors = len(call.inputs.shape) == 2
        own_call = call.name == "call" and vectors
        if type(call.layer) is keras.layers.Dense and own_call:
            # A `Dense` with another activation does not output logits.
            own = original(call.layer, "activation")
            linear = own in (None, keras.activations.linear)
            if (linear and gives(call.outputs, logits)) or (
                turn._replace(name="activation") == softmax
            ):
                dense, averaged = turn, call.inputs
    for call, turn in turns:
        # Class maps have their channels last.
        averages = (
            isinstance(call.layer, keras.layers.GlobalAveragePooling2D)
            and call.layer.data_format == "channels_last"
        )
        if averages and gives(call.outputs, averaged):
            pooling = turn
    return Ends(softmax, dense, pooling=pooling, single=single)


def _turns(calls) -> list:
    """Pairs each call with its `Turn`."""
    earlier, found = collections.Counter(), []
    for call in calls:
        key = id(call.layer), call.name
        found.append((call, Turn(call.layer, call.name, earlier[key])))
        earlier[key] += 1
    return found


def _may_end(call, single) -> bool:
    """Tells whether a call is a softmax, or a sigmoid of a single output."""
    sigmoid = original(call.layer, "activation") is keras.activations.sigmoid
    if call.name == "activation":
        return sigmoid == single
    return isinstance(call.layer, keras.layers.Softmax) and not single
