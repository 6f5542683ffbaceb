"""Refuses files that compute in float where whole numbers are asked for."""

from tf_deepinversion.quantization.file.file_operations import in_float
from tf_deepinversion.quantization.file.file_operations import operations_of

_ELSE = {
    False: 'pass scheme="dynamic", which computes in float anyway.',
    True: "call `quantize` with images, without this training.",
}


def require_integers_alone(content, model, scheme, trained=False):
    """Reads a file back: the converter leaves in float what it cannot do.

    Args:
        content: Bytes of a `.tflite` file.
        model: The `keras.Model` that was converted.
        scheme: String, for the message.
        trained: Bool, whether the ranges are of a training. Defaults to False.

    Raises:
        ValueError: if the file computes in float, naming the layers, or by an
            operation that LiteRT computes wrongly.
    """
    operations = operations_of(content)
    if any(
        o.name == "SUM" and o.inputs[0].dtype == "int16" for o in operations
    ):
        raise ValueError(
            f"{model.name!r} cannot be converted to scheme={scheme!r}: LiteRT "
            "does not add several values of int16 correctly. Write `ops.mean` "
            "times the number of values in place of `ops.sum`."
        )
    left = in_float(operations)
    # The operations around these convert from and to integers.
    left = [o for o in left if o.name not in ("QUANTIZE", "DEQUANTIZE")] or left
    if left:
        # A tensor's name holds the names of the layers that lead to it.
        places = {f"{o.name} ({o.outputs[0].name.split(';')[0]})" for o in left}
        raise ValueError(
            f"{model.name!r} cannot be converted to scheme={scheme!r} alone: "
            "LiteRT computes in float "
            f"{', '.join(sorted(places)[:5])}. Replace these layers, or "
            f"{_ELSE[trained]}"
        )
