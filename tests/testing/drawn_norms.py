"""BatchNormalization layers with drawn weights, for tests of quantization."""

import keras


def drawn_norm(x, random, name, **kwargs):
    """Applies a BatchNormalization whose weights lie in [0.5, 2)."""
    bn = keras.layers.BatchNormalization(name=name, **kwargs)
    x = bn(x)
    for variable in bn.weights:
        variable.assign(random.uniform(0.5, 2, variable.shape))
    return x
