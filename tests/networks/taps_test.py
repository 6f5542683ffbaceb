"""Attributes are replaced for a while, in any order, and put back."""

import contextlib

import pytest

from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace


class Owner:
    of_class = "class's"

    def __init__(self):
        self.own = "own"


@pytest.mark.parametrize("name,was", [("own", "own"), ("of_class", "class's")])
@pytest.mark.parametrize("first_closed", [0, 1, 2])
def test_the_last_one_opened_counts(name, was, first_closed):
    owner = Owner()
    before = dict(vars(owner))
    # The first and the last are equal, and yet not the same.
    values = ["a", "b", "a"]
    opened = [replace(name, [(owner, value)]) for value in values]
    for one, value in zip(opened, values, strict=True):
        one.__enter__()
        assert getattr(owner, name) == value
        assert original(owner, name) == was
    for i in (first_closed, (first_closed + 1) % 3, (first_closed + 2) % 3):
        opened[i].__exit__(None, None, None)
        values[i] = None
        left = [value for value in values if value]
        assert getattr(owner, name) == (left[-1] if left else was)
    assert vars(owner) == before


def test_attributes_are_put_back_after_an_exception():
    one, other = Owner(), Owner()
    with contextlib.suppress(RuntimeError):
        with replace("own", [(one, 1), (other, 2)]):
            assert (one.own, other.own) == (1, 2)
            raise RuntimeError
    assert (one.own, other.own) == ("own", "own")


def test_an_attribute_may_change_between_two_replacements():
    owner = Owner()
    for value in ("first", "second"):
        owner.own = value
        with replace("own", [(owner, "replaced")]):
            assert original(owner, "own") == value
        assert owner.own == value
