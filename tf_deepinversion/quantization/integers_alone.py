"""Refuses files that compute in float where whole numbers are asked for."""

from tf_deepinversion.quantization.file_operations import in_float
from tf_deepinversion.quantization.file_operations import operations_of


def require_integers_alone(content, model, scheme):
    """Reads a file back: the converter leaves in float what it cannot do.

    Args:
        content: Bytes of a `.tflite` file.
        model: The `keras.Model` that was converted.
        scheme: String, for the message.

    Raises:
        ValueError: if the file computes in float, naming the layers.
    """
    left = in_float(operations_of(content))
    # The operations around these convert from and to integers.
    left = [o for o in left if o.name not in ("QUANTIZE", "DEQUANTIZE")] or left
    if left:
        # A tensor's name holds the names of the layers that lead to it.
        places = {f"{o.name} ({o.outputs[0].name.split(';')[0]})" for o in left}
        raise ValueError(
            f"{model.name!r} cannot be converted to scheme={scheme!r} alone: "
            "LiteRT computes in float "
            f"{', '.join(sorted(places)[:5])}. Replace these layers, or pass "
            'scheme="dynamic", which computes in float anyway.'
        )
