"""The errors for networks whose channels cannot be counted or removed."""


def open_size(received) -> ValueError:
    """Returns the error for a network without a fixed image size."""
    return ValueError(
        "Channels and cost need a fixed image size: call the model on an "
        "input of one, `x = keras.Input((height, width, channels))`, and pass "
        "`keras.Model(x, model(x))`. "
        f"Received: {received}"
    )


def no_channels(model) -> ValueError:
    """Returns the error for a network whose channels all stay."""
    return ValueError(
        "No channel of this network can be removed: its images, its logits, "
        "and what enters or leaves a layer that mixes channels, such as a "
        "grouped convolution or a normalization over channels, keep all "
        "channels. Prune single weights by `sparsify` or "
        f"`prune_low_magnitude`. Received: {model.name!r}"
    )
