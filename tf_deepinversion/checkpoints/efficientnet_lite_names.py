"""Maps the tensors of a weight file to the variables of a Keras model."""

import re

import numpy as np

# Keras's and PyTorch's names of the variables of a BatchNormalization.
BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


# PyTorch's count of the batches of a BatchNormalization, which Keras lacks.
COUNTER = "num_batches_tracked"


def torch_name(path) -> str:
    """Returns PyTorch's name of a variable of an EfficientNet-Lite.

    Args:
        path: String, Keras's `"layer/variable"`.

    >>> torch_name("blocks_3_bn1/moving_mean")
    '_blocks.3._bn1.running_mean'
    >>> torch_name("conv_stem/kernel")
    '_conv_stem.weight'
    """
    layer, variable = path.split("/")
    layer = re.sub(r"^blocks_(\d+)_", r"blocks.\1._", layer)
    variable = BATCH_NORM.get(variable, variable)
    return f"_{layer}.{'weight' if variable == 'kernel' else variable}"


def in_keras_order(tensor) -> np.ndarray:
    """Transposes a weight to Keras's order of axes.

    PyTorch's kernels are (out, in, height, width), its depthwise kernels
    (channels, 1, height, width), and its matrices (out, in).

    Args:
        tensor: Array of 4 (a kernel), 2 (a matrix), or fewer dimensions.
    """
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T


def _value(variable, tensor):
    value = in_keras_order(tensor)
    # Keras's depthwise kernels are (height, width, channels, 1).
    if "depthwise_conv" in variable.path:
        value = value.swapaxes(2, 3)
    if value.shape != variable.shape or value.dtype.kind != "f":
        raise ValueError(
            f"{variable.path} has the shape {tuple(variable.shape)}. "
            f"Received: a tensor of shape {value.shape} and dtype "
            f"{value.dtype}; the file belongs to another network."
        )
    if not np.isfinite(value).all():
        raise ValueError(
            "The file has weights that are not finite. "
            f"Received: {torch_name(variable.path)}"
        )
    return value


def assign(model, tensors):
    """Gives a model's variables the values of a weight file, all or none.

    Args:
        model: A `keras.Model` of `models.efficientnet_lite`.
        tensors: Dict from PyTorch's names to arrays.

    Raises:
        ValueError: if a tensor is missing, is left over, or does not fit.
    """
    names = {torch_name(v.path): v for v in model.weights}
    given = {n for n in tensors if not n.endswith(f".{COUNTER}")}
    if given != set(names):
        missing, left = sorted(names.keys() - given), sorted(given - set(names))
        raise ValueError(
            f"The file is not of a {model.name!r}. Received: {len(missing)} "
            f"tensors missing {missing[:3]}, {len(left)} left over {left[:3]}"
        )
    # All values are checked before the first is assigned.
    values = {n: _value(v, tensors[n]) for n, v in names.items()}
    for name, variable in names.items():
        variable.assign(values[name])
