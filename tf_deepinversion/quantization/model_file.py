"""Reads and writes the content of a LiteRT file as objects."""

import flatbuffers

from tf_deepinversion.core.keras_internals import litert_schema


def read_model(content):
    """Reads the bytes of a `.tflite` file as a `ModelT` of LiteRT's schema."""
    schema = litert_schema()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def write_model(model) -> bytes:
    """Writes a `ModelT` as the bytes of a `.tflite` file."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
