"""The number types that a quantized file may hold."""

import typing

import tensorflow as tf

from tf_deepinversion.core.keras_internals import use_one_scale_per_dense_layer


class Scheme(typing.NamedTuple):
    """How a file stores weights and computes activations.

    Args:
        holds: String, what an error says of the file.
        dtypes: Tuple of the possible dtypes of the input and of the output.
        default: Pair of strings, the dtypes of the input and of the output.
        ops: A `tf.lite.OpsSet`, or None for operations in float.
        weights: A `tf.DType` of the stored weights where they are floats.
        bits: Int, the bits of a stored weight where it is a whole number.
    """

    holds: str
    dtypes: tuple
    default: tuple
    ops: object = None
    weights: object = None
    bits: int | None = 8

    @property
    def in_integers(self) -> bool:
        """Whether every operation must compute in integers."""
        return self.ops is not None


_FLOAT = ("float32",), ("float32", "float32")
_INT8 = ("uint8", "int8", "float32"), ("uint8", "int8")
_INT8_OPS = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
_INT16X8 = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"

SCHEMES = {
    "int8": Scheme("int8", *_INT8, _INT8_OPS),
    "int4": Scheme("int8 with weights of int4", *_INT8, _INT8_OPS, bits=4),
    "int16x8": Scheme(
        "int16 with weights of int8",
        ("int16", "float32"),
        ("int16", "int16"),
        tf.lite.OpsSet[_INT16X8],
    ),
    "dynamic": Scheme("float32 with weights of int8", *_FLOAT),
    "float16": Scheme(
        "float32 with weights of float16",
        *_FLOAT,
        weights=tf.float16,
        bits=None,
    ),
}


# Elements of the smallest weight that the converter rounds in "dynamic".
ROUNDED_IN_DYNAMIC = 1024

# Whose rounding `train_quantized` simulates.
TRAINED = ("int8", "int4")


def scheme_named(name) -> Scheme:
    """Returns a scheme.

    Raises:
        ValueError: if there is no such scheme.
    """
    if name not in SCHEMES:
        raise ValueError(
            f"Expected a scheme among {', '.join(SCHEMES)}. "
            f"Received: scheme={name!r}"
        )
    return SCHEMES[name]


def weight_bits(name) -> int:
    """Returns the bits of a weight in a scheme that rounds weights.

    Raises:
        ValueError: if there is no such scheme, or its weights are floats.
    """
    bits = scheme_named(name).bits
    if bits is None:
        raise ValueError(
            "Expected a scheme that rounds weights to whole numbers, such as "
            f'"int8" or "int4". Received: scheme={name!r}'
        )
    return bits


def check_scheme(
    scheme, input_dtype=None, output_dtype=None, per_tensor_dense=False
) -> tuple:
    """Returns a `Scheme`, and the dtypes of the input and of the output.

    Args:
        scheme: String, the name of the scheme.
        input_dtype: String, `tf.DType`, or None for the scheme's default.
        output_dtype: String, `tf.DType`, or None for the scheme's default.
        per_tensor_dense: Bool.

    Raises:
        ValueError: if there is no such scheme, or if it does not have the
            dtypes or the scales.
    """
    chosen = scheme_named(scheme)
    if per_tensor_dense and chosen.bits != 8:
        raise ValueError(
            "Expected `per_tensor_dense=False` with a scheme whose weights "
            'have no scale, or one per output; "int8", "int16x8" and "dynamic" '
            f"have the choice. Received: per_tensor_dense=True, {scheme=}"
        )
    given = {"input_dtype": input_dtype, "output_dtype": output_dtype}
    dtypes = []
    for (name, dtype), default in zip(
        given.items(), chosen.default, strict=True
    ):
        dtype = default if dtype is None else getattr(dtype, "name", dtype)
        if dtype not in chosen.dtypes:
            raise ValueError(
                f"Expected `{name}` among {', '.join(chosen.dtypes)} for "
                f"scheme={scheme!r}. Received: {name}={dtype!r}"
            )
        dtypes.append(dtype)
    return chosen, dtypes


def set_scheme(converter, scheme, dtypes, per_tensor_dense):
    """Sets the options of a `tf.lite.TFLiteConverter`."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme.ops:
        converter.target_spec.supported_ops = [scheme.ops]
        converter.inference_input_type = tf.as_dtype(dtypes[0])
        converter.inference_output_type = tf.as_dtype(dtypes[1])
    if scheme.weights:
        converter.target_spec.supported_types = [scheme.weights]
    if per_tensor_dense:
        use_one_scale_per_dense_layer(converter)
