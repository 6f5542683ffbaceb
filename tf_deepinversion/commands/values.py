"""What flags of the command and of the examples stand for."""

import os
import pathlib

import numpy as np


def at_home(arguments) -> list:
    """Replaces `~` at the beginning of flags' values by the home folder.

    A shell leaves `~` behind `--flag=` as it is.

    Args:
        arguments: List of strings, as `sys.argv`.

    >>> at_home(["run.py", "--rate=~1", "--path=a~b"])
    ['run.py', '--rate=~1', '--path=a~b']
    """
    pairs = [argument.partition("=") for argument in arguments]
    return [name + sign + os.path.expanduser(v) for name, sign, v in pairs]


def network_of(flags):
    """Loads the network of a command, with the flag `image_size`."""
    from tf_deepinversion.models.pretrained import load_network

    return load_network(flags.network, image_size(flags))


def refuse_unread(args, names, readers):
    """Refuses flags that the job would not read.

    Args:
        args: The arguments of a command, with `given`, the names of those that
            differ from their defaults.
        names: List of strings.
        readers: String, what reads these flags.

    Raises:
        ValueError: if one of `names` is given.
    """
    unread = [
        f"--{name}={vars(args)[name]}" for name in names if name in args.given
    ]
    if unread:
        raise ValueError(
            f"These flags are for {readers}: leave them out. "
            f"Received: {', '.join(unread)}"
        )


def image_size(flags) -> tuple | None:
    """Returns height and width of the flag `image_size`, such as `"32,32"`.

    Raises:
        ValueError: if these are not two positive whole numbers.
    """
    text = flags.image_size
    if text is None:
        return None
    size = tuple(numbers("image_size", text, int))
    if len(size) != 2 or min(size) < 1:
        raise ValueError(
            "Expected height and width in pixels, such as --image_size=32,32. "
            f"Received: --image_size={text}"
        )
    return size


def preprocessing(flags):
    """Builds a `Preprocessing` from flags.

    Args:
        flags: An object with the texts `mean`, `std`, `pixel_range` and
            `channel_order`, as argparse and absl return them.

    Returns:
        A `Preprocessing`, or None without `mean` and `std`.

    Raises:
        ValueError: if only one of `mean` and `std` is given, or none, and one
            of the others.
    """
    import tf_deepinversion as di

    if flags.mean is None and flags.std is None:
        others = {"pixel_range": "0,255", "channel_order": "rgb"}
        for flag, default in others.items():
            if getattr(flags, flag) != default:
                raise ValueError(
                    f"--{flag} describes a preprocessing together with --mean "
                    "and --std: pass them, too. "
                    f"Received: --{flag}={getattr(flags, flag)} alone"
                )
        return None
    if flags.mean is None or flags.std is None:
        raise ValueError(
            "--mean and --std belong together: pass both or none. "
            f"Received: --mean={flags.mean}, --std={flags.std}"
        )
    pair = flags.pixel_range
    if pair != "normalized":
        pair = numbers("pixel_range", pair)
    mean, std = numbers("mean", flags.mean), numbers("std", flags.std)
    return di.Preprocessing(mean, std, pair, flags.channel_order)


def numbers(flag, text, kind=float) -> list:
    """Reads numbers with commas between them.

    Raises:
        ValueError: if the text has anything else, with the name of the flag.
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        kinds = "whole numbers" if kind is int else "numbers"
        raise ValueError(
            f"Expected {kinds} with commas between them, such as --{flag}=1,2. "
            f"Received: --{flag}={text}"
        ) from None


def whole_numbers(flag, text) -> list | None:
    """Reads whole numbers as `numbers` does; None without the flag."""
    return numbers(flag, text, int) if text else None


def targets(flags):
    """Loads the targets of --targets; None without that flag."""
    import tf_deepinversion as di

    path = getattr(flags, "targets", None)
    return path and di.FeatureTargets.load(path)


def images_of(path, labeled=True):
    """Opens a pool, or loads the arrays of an .npz or of PNG folders.

    An .npz that need not be `labeled` may lack labels, which are then 0.
    """
    import tf_deepinversion as di
    from tf_deepinversion.datasets.image_files import arrays_of

    if (pathlib.Path(path) / "pool.json").exists():
        return di.Pool.open(path)
    if not labeled and str(path).endswith(".npz"):
        (images,) = arrays_of(path, "images")
        return images, np.zeros(len(images), "int32")
    return di.datasets.load_images(path)


def pixels_of(images, count=None):
    """Returns the images of a pool or of a pair, or None of None.

    `count` of them are spread evenly: files are often sorted by class.
    """
    if images is None:
        return None
    pixels = images[0] if isinstance(images, tuple) else images.images
    if count is None or count >= len(pixels):
        return pixels[:]
    return pixels[np.arange(count) * len(pixels) // count]
