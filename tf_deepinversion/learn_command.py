"""The job `learn` of the command `tf-deepinversion`: new classes."""

from tf_deepinversion.commands import pool_of
from tf_deepinversion.flag_values import network_of
from tf_deepinversion.flag_values import preprocessing


def learn(args):
    import tf_deepinversion as di

    if args.method == "analytic":
        return _learn_by_sums(args)

    def replayed(model, classes, folder, seed):
        return pool_of(args, model, folder, classes=classes, seed=seed)

    result = di.learn_tasks(
        network_of(args),
        [di.datasets.load_images(args.data)],
        di.incremental.method(args.method),
        synthesize=replayed,
        epochs=args.epochs,
        preprocessing=preprocessing(args),
        folder=args.output,
        run=args.method,
        seed=args.seed,
    )
    path = args.output / "network.keras"
    result.network.save(path)
    return {
        "classes": result.classes[-1],
        "network": str(path),
        "kept_bytes": result.kept_bytes,
    }


def _learn_by_sums(args):
    import tf_deepinversion as di

    if args.network.endswith(".npz"):
        if args.image_size is not None:
            raise ValueError(
                "--image_size is for a network, and the features of a head of "
                "sums have their own size: leave the flag out. "
                f"Received: --image_size={args.image_size}"
            )
        head = di.incremental.AnalyticHead.load(args.network)
    else:
        features = di.incremental.pooled_features(
            network_of(args), preprocessing(args)
        )
        head = di.incremental.AnalyticHead(features)
    head.update(*di.datasets.load_images(args.data))
    path = args.output / "network.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    head.classifier().save(path)
    head.save(path.with_name("head.npz"))
    return {
        "classes": len(head.classes),
        "network": str(path),
        "kept_bytes": head.kept_bytes,
    }
