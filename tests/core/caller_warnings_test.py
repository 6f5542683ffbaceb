"""A warning names the line of the user's code."""

import pytest

from tf_deepinversion.core.caller_warnings import warn_caller


def test_a_warning_points_to_who_called_the_package():
    deep = {"__name__": "tf_deepinversion.deep", "warn_caller": warn_caller}
    exec("def one():\n    warn_caller('so')\ndef two():\n    one()", deep)
    with pytest.warns(UserWarning, match="^so$") as seen:
        deep["two"]()
    assert seen[0].filename == __file__
    # Keras calls what this package gave it.
    between = {"__name__": "keras.src.callbacks", "inner": deep["two"]}
    exec("def on_epoch_begin():\n    inner()", between)
    deep["outer"] = between["on_epoch_begin"]
    exec("def fit():\n    outer()", deep)
    with pytest.warns(UserWarning, match="^so$") as seen:
        deep["fit"]()
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning) as seen:
        exec("warn_caller('so')", {"warn_caller": warn_caller})
    assert seen[0].filename == "<string>"
