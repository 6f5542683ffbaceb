"""Frozen settings that Keras can store."""

import dataclasses

import keras


def _name_of(kind) -> str:
    """Names a class so that no other class is found by the name."""
    name = keras.saving.get_registered_name(kind)
    found = keras.saving.get_registered_object(name)
    if (found or getattr(keras.optimizers, name, kind)) is kind:
        return name
    return f"{kind.__module__}.{kind.__qualname__}"


class Settings:
    """Settings that Keras can serialize: a frozen dataclass, usually.

    Of another class the settings are the attributes, which `__init__` must take
    by their names.
    """

    def assign(self, **values):
        for name, value in values.items():
            # A frozen dataclass refuses plain assignment.
            object.__setattr__(self, name, value)

    def get_config(self) -> dict:
        """Returns the fields in a form that JSON can store."""
        config, names = {}, list(vars(self))
        if dataclasses.is_dataclass(self):
            names = [field.name for field in dataclasses.fields(self)]
        for name in names:
            value = getattr(self, name)
            # JSON has neither classes nor tuples.
            if isinstance(value, type):
                value = _name_of(value)
            if isinstance(value, tuple):
                value = list(value)
            config[name] = keras.saving.serialize_keras_object(value)
        return config

    @classmethod
    def from_config(cls, config):
        """Creates the object that `get_config` described."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value)
                for name, value in config.items()
            }
        )
