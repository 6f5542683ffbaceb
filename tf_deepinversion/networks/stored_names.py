"""Names that TensorFlow's files can hold."""

import re

# What TensorFlow takes for the name of a scope.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def require_stored_names(model):
    """Checks that TensorFlow can trace the layers of a network under a name.

    Keras allows names that begin with an underscore, TensorFlow's scopes do
    not.

    Args:
        model: A `keras.Model`.

    Raises:
        ValueError: if the path of a weight is no name of a scope.
    """
    for weight in model.weights:
        if not all(map(_NAME.fullmatch, weight.path.split("/"))):
            raise ValueError(
                "TensorFlow writes no name with spaces or other characters "
                "than letters, digits and . _ - > or that begins with _ or -: "
                "rename the layer or the model. "
                f"Received: a weight {weight.path!r}"
            )
