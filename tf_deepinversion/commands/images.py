"""The new images that flags of the command ask for."""

from tf_deepinversion.commands.values import network_of
from tf_deepinversion.commands.values import preprocessing
from tf_deepinversion.commands.values import targets

# What only new images need; no command that is given images reads it.
OF_NEW_IMAGES = (
    "recipe",
    "batches",
    "images_per_batch",
    "steps_of_images",
    "targets",
)


def synthesizer_of(args, recipe):
    from tf_deepinversion.inversion import make_synthesizer
    from tf_deepinversion.networks.measured_policy import chosen_policy

    return make_synthesizer(
        network_of(args),
        preprocessing(args),
        recipe=recipe,
        seed=args.seed,
        dtype=chosen_policy(args.dtype, args.output, ["state.npz"]),
        targets=targets(args),
    )


def pool_of(args, teacher, folder, classes=None, **changed):
    import tf_deepinversion as di

    given = {**synthesis_of(args), **changed}
    _require_batches(args, folder)
    return di.synthesize(teacher, classes, folder=folder, **given)


def _require_batches(args, folder):
    """Refuses more images in a folder whose training has begun.

    The training would refuse them, and the pool would have them nevertheless.
    """
    from tf_deepinversion.core.files import read_json

    pool = folder / "pool" / "pool.json"
    states = "prune.npz", "recover_0.npz", "trained/train_quantized.npz"
    begun = any((folder / name).exists() for name in states)
    if not (begun and pool.exists()):
        return
    made = read_json(
        pool, lambda told: len(told["shards"]), "take another --output."
    )
    if made != args.batches:
        raise ValueError(
            f"The training in {folder} has begun with {made} batches of "
            "images: pass as many, or another --output. "
            f"Received: --batches={args.batches}"
        )


def synthesis_of(args) -> dict:
    """Returns the arguments of `synthesize` that the flags give."""
    return {
        "recipe": args.recipe,
        "batches": args.batches,
        "images": args.images_per_batch,
        "steps": args.steps_of_images,
        "first_steps": args.steps_of_images,
        "preprocessing": preprocessing(args),
        "seed": args.seed,
        "dtype": args.dtype,
        "targets": targets(args),
        "jpeg_quality": getattr(args, "jpeg_quality", None),
    }
