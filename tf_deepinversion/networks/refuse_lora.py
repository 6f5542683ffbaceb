"""Refuses layers whose kernel is a sum with LoRA weights."""


def refuse_lora(layer):
    """Checks that a layer has a kernel of its own.

    Args:
        layer: A `keras.layers.Layer`.

    Raises:
        ValueError: if the layer has LoRA weights, with what to do.
    """
    if getattr(layer, "lora_enabled", False):
        # Saving merges the weights, but loading adds new ones.
        raise ValueError(
            "Expected layers without LoRA: build the model again without "
            "`enable_lora` and `lora_rank`, and set the kernel of each such "
            "layer to the old `layer.kernel`, which includes LoRA. "
            f"Received: {layer.name!r} with LoRA"
        )
