"""The error of a LiteRT model, layer by layer."""

import collections
import functools

import keras
import numpy as np

from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.quantization.conversion import to_litert
from tf_deepinversion.quantization.kept_tensors import KeptTensors
from tf_deepinversion.quantization.layer_calls import calls_of
from tf_deepinversion.quantization.layer_calls import tensors_of_calls
from tf_deepinversion.quantization.layer_calls import trace
from tf_deepinversion.quantization.pixel_input import takes_pixels

# In dB; the float file of a network that LiteRT computes well has above 120.
_SURE = 60


def compare(model, content, images, preprocessing=None) -> dict:
    """Measures the signal-to-noise ratio of each layer of a LiteRT model.

    The signal is a layer's output in the Keras model. The noise is the
    difference of the LiteRT model's output, which carries the errors of all
    layers before. The ratio is `10 log10(sum(signal^2) / sum(noise^2))`: 20 dB
    are a relative root mean square error of 10 %, 40 dB of 1 %.

    A file does not hold the output of each layer: the converter joins a
    convolution with the BatchNormalization and the ReLU that follow, and the
    file holds the output of the ReLU alone. The names of the tensors tell which
    layer a tensor stands for. As proof, the network is converted to float32,
    too; layers are left out whose ratio in this file is below 60 dB.

    Args:
        model: The `keras.Model` that was converted.
        content: Bytes of a `.tflite` file, from `quantize` or `to_litert`.
        images: uint8 array `(n, height, width, channels)`. A hundred suffice.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.

    Returns:
        Dict from the layers' names, in the order of their calls, to floats in
        dB; infinity if there is no error. A name that several calls share is
        followed by the number of the call. The last entry is the last layer's,
        which no proof leaves out.

    Raises:
        ValueError: if the file holds no layer of the model, if the images do
            not fit, or if the model cannot be converted.

    Reference:
        https://arxiv.org/abs/1806.08342, on quantization layer by layer.

    Example:
        ```python
        levels = di.quantization.compare(teacher, content, images)
        print(min(levels, key=levels.get))
        ```
    """
    served = KeptTensors(content)
    images = served.checked(images)
    count, *shape = served.input["shape_signature"].tolist()
    fixed = tuple(shape), count if count > 0 else None
    proof = KeptTensors(to_litert(model, preprocessing, *fixed))
    with reading(model, keras.DTypePolicy("float32")):
        fed = takes_pixels(model, preprocessing, *fixed)
        traced = trace(model, fed)
        network = functools.partial(calls_of, model, _inference(fed))
        few = images[: served.batch_size]
        sure = _ratios(network, traced, proof, few)
        found = _ratios(network, traced, served, images)
    names = _names(traced.calls)
    last = max(found)
    return {
        names[i]: found[i]
        for i in sorted(found)
        if i == last or sure.get(i, 0) > _SURE
    }


def _inference(fed):
    return lambda x: fed(x, training=False)


def _ratios(network, traced, served, images):
    """Returns the ratios, in dB, by the number of a layer's call."""
    held = tensors_of_calls(served.content, traced)
    if set(held.values()) <= {None}:
        raise ValueError(
            "Expected the LiteRT model of this network, with its layers' "
            "names. Received: a file without layers of the network"
        )
    sums = collections.defaultdict(lambda: np.zeros(2))
    for batch in pieces_of(images, served.batch_size):
        _, calls = network(served.filled(batch).astype("float32"))
        for i, value in served.values(batch, held).items():
            exact = np.asarray(calls[i].output, "float64")
            # LiteRT may hold a tensor in another shape, with the same numbers.
            if exact.size == value.size:
                noise = value.reshape(exact.shape) - exact
                exact, noise = exact[: len(batch)], noise[: len(batch)]
                sums[i] += np.sum(exact**2), np.sum(noise**2)
    return {i: decibels(*pair) for i, pair in sums.items()}


def _names(calls):
    """Names calls by their layers, by paths or numbers where names repeat."""
    layers = {id(call.layer): call.layer for call in calls}.values()
    repeated = collections.Counter(layer.name for layer in layers)
    names, seen = [], collections.Counter()
    for call in calls:
        layer = call.layer
        # Some of Keras's layers have no path.
        path = layer.path or layer.name
        name = path if repeated[layer.name] > 1 else layer.name
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return names


def decibels(signal, noise) -> float:
    """Returns the ratio of two sums of squares in dB."""
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(max(signal, 1e-30) / noise))
