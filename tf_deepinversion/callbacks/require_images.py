"""Refuses a model that has no images to watch."""


def require_images(callback):
    if not hasattr(callback.model, "images"):
        raise TypeError(
            f"{type(callback).__name__} watches an inversion: give it to the "
            "`fit` of a `DeepInversion`. Received: a model of "
            f"{type(callback.model)}"
        )
