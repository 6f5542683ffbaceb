"""Variables have their values again, however a trial ends."""

import keras
import pytest

from tf_deepinversion.core.kept_values import kept_values


def test_values_return_after_an_exception():
    variable, other = keras.Variable([1.0, 2.0]), keras.Variable(3.0)
    with pytest.raises(KeyboardInterrupt):
        with kept_values([variable]):
            variable.assign([5.0, 6.0])
            other.assign(7.0)
            raise KeyboardInterrupt
    assert keras.ops.convert_to_numpy(variable).tolist() == [1.0, 2.0]
    assert float(other.value) == 7.0
