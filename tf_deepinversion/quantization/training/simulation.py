"""A network that computes as its file of whole numbers will.

The layers stay as they are: within a context their calls are replaced, so the
saved network has no wrapper.
"""

import contextlib

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.networks.call_hooks import replace
from tf_deepinversion.quantization.layers.kernels import has_kernel
from tf_deepinversion.quantization.layers.kernels import is_depthwise
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.layers.layer_graph import LayerGraph
from tf_deepinversion.quantization.layers.layer_graph import is_linear
from tf_deepinversion.quantization.training.pixel_ranges import PIXELS
from tf_deepinversion.quantization.training.pixel_ranges import normalized
from tf_deepinversion.quantization.training.pixel_ranges import normalizes
from tf_deepinversion.quantization.training.pixel_ranges import range_of_inputs
from tf_deepinversion.quantization.training.pixel_ranges import (
    ranges_of_rescaled,
)
from tf_deepinversion.quantization.training.pixel_ranges import rescaled
from tf_deepinversion.quantization.training.pixel_ranges import rescaled_pixels
from tf_deepinversion.quantization.training.pixel_ranges import rescales
from tf_deepinversion.quantization.training.ranges import FixedRange
from tf_deepinversion.quantization.training.ranges import Phase
from tf_deepinversion.quantization.training.ranges import Range
from tf_deepinversion.quantization.training.simulated_calls import FIXED
from tf_deepinversion.quantization.training.simulated_calls import JOINED
from tf_deepinversion.quantization.training.simulated_calls import activated
from tf_deepinversion.quantization.training.simulated_calls import activation_of
from tf_deepinversion.quantization.training.simulated_calls import (
    folded_output_of,
)
from tf_deepinversion.quantization.training.simulated_calls import output_of

# What averages neighbors: LiteRT wants one range for inputs and outputs.
_MIXING = (layers.AveragePooling2D, layers.UpSampling2D)
# What moves or selects values of its input, or leaves the input as it is after
# training: the range stays.
_SAME = (
    layers.InputLayer,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
    layers.Identity,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.MaxPooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
)
_SAME_OPERATIONS = {
    "Reshape",
    "Transpose",
    "Squeeze",
    "ExpandDims",
    "Flip",
    "Split",
}


class Simulation:
    """The roundings of a network's weights and activations.

    Each tensor that the file will hold has a range. The output of a linear
    convolution has none if a BatchNormalization or ReLU follows that the
    converter joins with the convolution.

    Args:
        model: A built functional or sequential `keras.Model`.
        bits: Int, the bits of a weight.
        preprocessing: The model's `Preprocessing`, whose black and white end
            the range of the inputs.
        keep_statistics: Bool, whether BatchNormalization layers stay in
            inference mode in training; gamma and beta train nevertheless.
            Defaults to True.

    Attributes:
        ranges: Dict from names to `Range`, in the order of the calls.

    Raises:
        ValueError: if the model has no graph of layers, or a
            BatchNormalization that cannot be joined with the layer before.
    """

    def __init__(self, model, bits, preprocessing, keep_statistics=True):
        self._model, self._bits = model, bits
        self._preprocessing = preprocessing
        self._keep_statistics = keep_statistics
        self._inputs = range_of_inputs(preprocessing)
        self._graph = LayerGraph(model)
        self.ranges, self._places = {}, {}
        self._phase, self._training = None, False
        self._norms, self._tensors = {}, {}
        for node in self._graph.nodes:
            norm = self._graph.norm_behind(node)
            if norm is not None and self._graph.called_once(node.operation):
                self._norms[id(node.operation)] = norm
        self._joined = {id(norm) for norm in self._norms.values()}
        for node in self._graph.nodes:
            self._place(node)

    def _place(self, node):
        operation = node.operation
        if _is_input(node, self._model):
            self._hold(node, self._inputs)
            return
        read = [
            self._tensors.get(self._graph.key(t)) for t in node.input_tensors
        ]
        if _keeps_range(operation):
            self._hold(node, read and read[0])
        if id(operation) in self._places or _keeps_range(operation):
            return
        self._require_possible(node)
        function = activation_of(operation)
        inner = out = None
        if has_kernel(operation) and not is_linear(operation):
            function = operation.activation
            if function not in JOINED:
                inner = self._range(f"{operation.name}/linear")
        if isinstance(operation, _MIXING) and read[0]:
            out = read[0]
        elif rescales(operation) and read[0] is self._inputs:
            inner, out = ranges_of_rescaled(operation, self._inputs)
        elif normalizes(operation) or (
            rescales(operation) and np.any(operation.offset)
        ):
            inner = self._range(f"{operation.name}/inner")
            out = self._range(operation.name)
        elif not keras.backend.is_float_dtype(node.outputs[0].dtype):
            pass  # a comparison, whose output no scale applies to
        elif not self._is_joined(node) and function not in FIXED:
            out = self._range(operation.name)
        made = FixedRange(*FIXED[function]) if function in FIXED else out
        self._hold(node, made)
        self._places[id(operation)] = operation, read and read[0], inner, out

    def _require_possible(self, node):
        operation = node.operation
        if not has_kernel(operation) and any(
            "kernel" in weight.name
            for weight in getattr(operation, "weights", ())
        ):
            raise ValueError(
                "Training simulates the kernels of Conv2D, DepthwiseConv2D and "
                "Dense: call `quantize` without this training, or build a "
                "SeparableConv2D of a DepthwiseConv2D and a Conv2D of size 1. "
                f"Received: {operation.name!r} ({type(operation).__name__})"
            )
        if isinstance(operation, layers.Dense) and (
            len(node.input_tensors[0].shape) not in (2, 4)
        ):
            raise ValueError(
                "Expected dense layers of vectors or of images, because the "
                "converter leaves the bias of others in float. Received: "
                f"{operation.name!r} of {node.input_tensors[0].shape}"
            )
        standing = isinstance(operation, layers.BatchNormalization)
        if standing and id(operation) not in self._joined:
            raise ValueError(
                "Expected each BatchNormalization behind a linear Conv2D, "
                "DepthwiseConv2D or Dense that nothing else reads, because the "
                "converter joins both. "
                f"Received: {operation.name!r} behind another layer"
            )

    def _hold(self, node, found):
        for tensor in node.outputs if found else ():
            self._tensors[self._graph.key(tensor)] = found

    def _range(self, name):
        count = sum(n.split("#")[0] == name for n in self.ranges)
        name = f"{name}#{count + 1}" if count else name
        self.ranges[name] = Range()
        return self.ranges[name]

    def _is_joined(self, node):
        """Tells whether the converter joins a call with the call behind."""
        operation = node.operation
        if id(operation) in self._norms:
            return True
        may_join = (
            type(operation).__name__ == "Add"  # a layer, or `+`
            or id(operation) in self._joined
            or (has_kernel(operation) and is_linear(operation))
        )
        reader = self._graph.only_reader(node) if may_join else None
        return reader is not None and activation_of(reader.operation) in JOINED

    @contextlib.contextmanager
    def open(self, phase):
        """Within the context, calls of the model are simulated.

        Args:
            phase: A `Phase`.

        Raises:
            ValueError: if a range is not known, but for the phase MEASURE.
        """
        if phase is not Phase.MEASURE:
            self._require_known()
        for found in self.ranges.values():
            found.fix()
        self._phase = phase
        calls = [self._call_of(*place) for place in self._places.values()]
        with replace("call", [*calls, (self._model, self._root())]):
            yield self

    def measure(self, stream, batches):
        """Measures the ranges on the first batches of a stream of images.

        Args:
            stream: Function from a step to batches of pixels and labels.
            batches: Int.
        """
        with self.open(Phase.MEASURE):
            for pixels, _ in stream(0).take(batches):
                fed = self._preprocessing.fed(pixels)
                self._model(fed, training=False)
        self._require_known()

    @property
    def ends(self) -> dict:
        """Dict from names to pairs of floats, the ranges."""
        return {name: found.ends for name, found in self.ranges.items()}

    def load(self, ends):
        """Sets the ranges to those that `ends` gave.

        Raises:
            ValueError: if they belong to another network.
        """
        if not isinstance(ends, dict) or set(ends) != set(self.ranges):
            raise ValueError(
                "Expected the ranges that `train_quantized` returned for this "
                f"network, of {len(self.ranges)} activations: "
                f"{', '.join(list(self.ranges)[:3])}... Received: ranges="
                f"{str(ends)[:100]}"
            )
        for name, pair in ends.items():
            self.ranges[name].variable.assign(np.float32(pair))

    def round_kernels(self):
        """Rounds the kernels of the model itself, as its file will."""
        for node in self._graph.nodes:
            layer = node.operation
            if has_kernel(layer):
                depthwise = is_depthwise(layer)
                layer.kernel.assign(
                    on_grid(layer.kernel, self._bits, depthwise)
                )

    def _require_known(self):
        unknown = [n for n, found in self.ranges.items() if not found.known]
        if unknown:
            raise ValueError(
                "Expected known ranges of all activations: measure them on "
                "images before training. An activation that is always 0 has "
                f"none, either. Received: no range of {', '.join(unknown[:5])}"
            )

    def _root(self):
        """Returns the model's call, which rounds the inputs."""
        call = self._model.call

        def root(inputs, *args, training=None, **kwargs):
            inputs = keras.tree.map_structure(
                lambda x: self._inputs(x, self._phase), inputs
            )
            self._training = bool(training)
            try:
                return call(inputs, *args, training=training, **kwargs)
            finally:
                self._training = False

        return root

    def _call_of(self, operation, read, inner, out):
        def seen(measured, found):
            if measured is None:
                return found
            return keras.tree.map_structure(
                lambda x: measured(x, self._phase, self._training), found
            )

        if has_kernel(operation):
            call = self._kernel_call(operation, read, lambda x: seen(inner, x))
        elif rescales(operation):
            call = rescaled(operation, lambda x: seen(inner, x))
        elif normalizes(operation):
            call = normalized(operation, lambda x: seen(inner, x))
        elif id(operation) in self._joined and self._phase is Phase.FIXED:
            call = _unchanged
        elif id(operation) in self._joined and self._keep_statistics:
            call = _in_inference_mode(operation.call)
        else:
            call = operation.call
            function = activation_of(operation)
            if function is not None:
                call = self._activation_call(function, call)

        def simulated(*args, **kwargs):
            return seen(out, call(*args, **kwargs))

        return operation, simulated

    def _kernel_call(self, layer, read, inner):
        if self._phase is Phase.FIXED:
            norm = self._norms.get(id(layer))
            compute = folded_output_of(layer, norm, self._bits, read)
        else:
            compute = output_of(layer, self._bits)

        def call(inputs, *args, **kwargs):
            x = inner(compute(inputs))
            if is_linear(layer):
                return x
            function = layer.activation
            return activated(function, function, x, self._phase)

        return call

    def _activation_call(self, function, original):
        def call(inputs, *args, **kwargs):
            return activated(function, original, inputs, self._phase)

        return call

    @contextlib.contextmanager
    def file_of(self, fed):
        """Within the context, the converter sees the network of the file.

        Args:
            fed: The model with pixels as inputs, see `takes_pixels`.
        """
        outer = []
        if fed is not self._model:
            kinds = {type(x).__name__ for x in fed.operations}
            outer = [
                (x, rescaled_pixels(x, "Flip" in kinds))
                for x in fed.layers
                if rescales(x)
            ]
            outer.append((fed, _with_rounded_pixels(fed.call)))
        with self.open(Phase.FIXED), replace("call", outer):
            yield


def _is_input(node, model):
    """Tells whether a node is the input of the model itself."""
    inputs = functional_of(model).inputs
    return any(tensor is inputs[0] for tensor in node.outputs)


def _keeps_range(operation):
    if type(operation).__name__ in _SAME_OPERATIONS:
        return True
    return isinstance(operation, _SAME)


def _with_rounded_pixels(call):
    def rounding(pixels, *args, **kwargs):
        return call(PIXELS(pixels, Phase.FIXED), *args, **kwargs)

    return rounding


def _in_inference_mode(call):
    return lambda inputs, *args, **kwargs: call(inputs, training=False)


def _unchanged(inputs, *args, **kwargs):
    return inputs
