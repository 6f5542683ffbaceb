"""Names that TensorFlow's files can hold."""

import re


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
        if not re.match("[A-Za-z0-9.]", weight.path):
            raise ValueError(
                "TensorFlow writes no layer whose name begins with another "
                "character than a letter, a digit or a dot: rename the layer. "
                f"Received: a weight {weight.path!r}"
            )
