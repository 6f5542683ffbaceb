"""The job `learn` of the command `tf-deepinversion`: new classes."""

from tf_deepinversion.commands import pool_of
from tf_deepinversion.core.files import save_network
from tf_deepinversion.flag_values import network_of
from tf_deepinversion.flag_values import preprocessing
from tf_deepinversion.flag_values import refuse_unread
from tf_deepinversion.flag_values import targets


def learn(args):
    import tf_deepinversion as di

    if args.method == "analytic":
        return _learn_by_sums(args)
    if args.places is not None:
        raise ValueError(
            "--places is for a head of sums: pass --method=analytic, or leave "
            f"the flag out. Received: --places={args.places} and "
            f"--method={args.method}"
        )

    def replayed(model, classes, folder, seed, targets=None):
        given = {"classes": classes, "seed": seed, "targets": targets}
        return pool_of(args, model, folder, **given)

    result = di.learn_tasks(
        network_of(args),
        [di.datasets.load_images(args.data)],
        di.incremental.method(args.method),
        synthesize=replayed,
        targets=targets(args),
        epochs=args.epochs,
        preprocessing=preprocessing(args),
        folder=args.output,
        run=args.method,
        seed=args.seed,
    )
    path = args.output / "network.keras"
    save_network(path, result.network)
    return {
        "classes": result.classes[-1],
        "network": str(path),
        "kept_bytes": result.kept_bytes,
    }


# What no head of sums needs.
OF_TRAINING = (
    "epochs",
    "targets",
    "recipe",
    "batches",
    "images_per_batch",
    "steps_of_images",
    "dtype",
    "seed",
)
OF_A_NETWORK = (
    "image_size",
    "places",
    "mean",
    "std",
    "pixel_range",
    "channel_order",
)


def _learn_by_sums(args):
    import tf_deepinversion as di

    refuse_unread(args, OF_TRAINING, "methods that train the network")
    if args.network.endswith(".npz"):
        refuse_unread(
            args, OF_A_NETWORK, "a network, and a head of sums has its features"
        )
        head = di.incremental.AnalyticHead.load(args.network)
    else:
        features = di.incremental.pooled_features(
            network_of(args), preprocessing(args), places=args.places
        )
        head = di.incremental.AnalyticHead(features)
    head.update(*di.datasets.load_images(args.data))
    path = args.output / "network.keras"
    save_network(path, head.classifier())
    head.save(path.with_name("head.npz"))
    return {
        "classes": len(head.classes),
        "network": str(path),
        "kept_bytes": head.kept_bytes,
    }
