"""The job `learn` of the command `tf-deepinversion`: new classes."""

import json

from tf_deepinversion.commands.images import OF_NEW_IMAGES
from tf_deepinversion.commands.images import pool_of
from tf_deepinversion.commands.output import save_output
from tf_deepinversion.commands.values import network_of
from tf_deepinversion.commands.values import preprocessing
from tf_deepinversion.commands.values import refuse_unread
from tf_deepinversion.commands.values import targets
from tf_deepinversion.core.labels import classes_of
from tf_deepinversion.core.labels import require_classes


def learn(args):
    import tf_deepinversion as di

    if args.method == "analytic":
        return _learn_by_sums(args)
    if args.network.endswith(".npz"):
        raise ValueError(
            "A head of sums learns by --method=analytic alone. "
            f"Received: {args.network} and --method={args.method}"
        )
    terms = di.incremental.method(args.method)
    if not any(term.replays for term in terms):
        refuse_unread(args, [*OF_NEW_IMAGES, "dtype"], "replayed images")
    if args.places is not None:
        raise ValueError(
            "--places is for a head of sums: pass --method=analytic, or leave "
            f"the flag out. Received: --places={args.places} and "
            f"--method={args.method}"
        )

    network, images = network_of(args), _new_images(args)
    test = _test_images(args, network, images)

    def replayed(model, classes, folder, seed, targets=None):
        given = {"classes": classes, "seed": seed, "targets": targets}
        return pool_of(args, model, folder, **given)

    result = di.learn_tasks(
        network,
        [images],
        terms,
        synthesize=replayed,
        targets=targets(args),
        epochs=args.epochs,
        preprocessing=preprocessing(args),
        folder=args.output,
        # What the replayed images depend on, too.
        run=json.dumps(
            [args.method]
            + [getattr(args, name) for name in OF_NEW_IMAGES]
            + [args.dtype]
        ),
        seed=args.seed,
    )
    path = save_output(args, result.network)
    return {
        "classes": result.classes[-1],
        **_scores(network, result.network, test, preprocessing(args)),
        "network": path,
        "kept_bytes": result.kept_bytes,
    }


def _test_images(args, network, new):
    """Loads --test_data, and checks it before the training; or returns None."""
    import tf_deepinversion as di

    if args.test_data is None:
        return None
    images, labels = di.datasets.load_images(args.test_data)
    if not len(images):
        raise ValueError(
            "Expected test images, or no --test_data. Received: no images in "
            f"{args.test_data}"
        )
    classes = max(classes_of(network), 1 + new[1].max())
    require_classes(classes, test_data=labels)
    if images.shape[1:] != new[0].shape[1:]:
        raise ValueError(
            f"Expected test images of the shape {new[0].shape[1:]} of the new "
            f"images. Received: {images.shape[1:]} in {args.test_data}"
        )
    return images, labels


def _scores(before, network, test, fed) -> dict:
    """Scores both networks on test images of the old and of the new classes."""
    if test is None:
        return {}
    from tf_deepinversion.metrics import accuracy

    images, labels = test
    old = labels < classes_of(before)
    scored = {
        "old_accuracy_before": (before, old),
        "old_accuracy": (network, old),
        "new_accuracy": (network, ~old),
    }
    return {
        name: accuracy(of, images[rows], labels[rows], fed)
        if rows.any()
        else None
        for name, (of, rows) in scored.items()
    }


def _new_images(args):
    import tf_deepinversion as di

    if args.data is None:
        raise ValueError(
            "Expected images of the new classes: pass --data=PATH. "
            "Received: no --data"
        )
    return di.datasets.load_images(args.data)


# What no head of sums needs.
OF_TRAINING = (
    "epochs",
    *OF_NEW_IMAGES,
    "dtype",
    "seed",
    "test_data",
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
    images = _new_images(args)
    if args.network.endswith(".npz"):
        head = di.incremental.AnalyticHead.load(args.network)
    else:
        features = di.incremental.pooled_features(
            network_of(args), preprocessing(args), places=args.places
        )
        head = di.incremental.AnalyticHead(features)
    head.update(*images)
    sums = args.output / "head.npz"
    _require_more(sums, head)
    try:
        network = head.classifier()
    except ValueError:
        # The sums of classes with gaps serve a later call.
        head.save(sums)
        raise
    # The sums come last: a call that was interrupted before can be repeated.
    path = save_output(args, network)
    head.save(sums)
    return {
        "classes": len(head.classes),
        "network": path,
        "kept_bytes": head.kept_bytes,
    }


def _require_more(path, head):
    """Refuses to replace a head of sums by one that lacks some classes."""
    import tf_deepinversion as di

    if not path.exists():
        return
    there = di.incremental.AnalyticHead.load(path).classes
    if not set(there) <= set(head.classes):
        raise ValueError(
            f"{path} has the classes {there}, and this call would replace it "
            "by fewer: pass that file in place of the network, or another "
            f"--output. Received: classes {head.classes}"
        )
