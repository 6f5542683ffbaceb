"""The command `tf-deepinversion`: runs a job of the library on a network file.

    tf-deepinversion invert teacher.keras --mean=73 --std=90
    tf-deepinversion COMMAND --help

The last line that a command prints is one line of JSON.
"""

import argparse
import json
import pathlib
import time

from tf_deepinversion.core.files import require_local


def invert(args):
    import tf_deepinversion as di
    from tf_deepinversion.core.pictures import save_folders

    synthesizer = _synthesizer(args, args.recipe)
    labels = args.labels and [int(label) for label in args.labels.split(",")]
    begin = time.monotonic()
    synthesizer.fit(labels, args.steps, checkpoint=args.output / "state.npz")
    images, labels = synthesizer.images, synthesizer.labels
    save_folders(args.output / "images", images, labels)
    di.show(images[:100], labels[:100]).save(args.output / "images.png")
    shown = synthesizer.classes_of(images)
    return {
        "images": len(images),
        "recognized": float((shown == labels).mean()),
        "seconds": time.monotonic() - begin,
    }


def synthesize(args):
    pool = _pool(args, _network(args), args.output)
    return {
        "images": len(pool),
        "recognized": float((pool.labels == pool.requested).mean()),
        "pool": str(args.output / "pool"),
    }


def distill(args):
    import tf_deepinversion as di

    teacher, feeding = _network(args), preprocessing(args)
    # The ResNet-20 contains its own preprocessing. The student of a file shares
    # the teacher's.
    own = feeding if args.student else None
    result = di.distill(
        teacher,
        _student(args, teacher),
        args.images and _images(args.images),
        rounds=args.rounds,
        steps_per_round=args.steps_per_round,
        preprocessing=feeding,
        student_preprocessing=own,
        dtype=args.dtype,
        folder=args.output,
        seed=args.seed,
    )
    return _saved(teacher, result.student, args, result.history, own)


def prune(args):
    import tf_deepinversion as di

    teacher, feeding = _network(args), preprocessing(args)
    result = di.prune(
        teacher,
        _images(args.images)
        if args.images
        else _pool(args, teacher, args.output),
        target=args.target,
        cost=args.cost,
        final_steps=args.steps,
        preprocessing=feeding,
        dtype=args.dtype,
        folder=args.output,
        seed=args.seed,
    )
    figures = _saved(teacher, result.student, args, result.history, feeding)
    return {**figures, "cost_ratio": result.costs[-1]}


def quantize(args):
    import tf_deepinversion as di
    from tf_deepinversion.core.files import write_atomically

    network = _network(args)
    if args.images:
        pool = _images(args.images)
    else:
        pool = _pool(args, network, args.output)
    images = pool.images if isinstance(pool, di.Pool) else pool[0]
    content = di.quantize(network, images[:200], preprocessing(args))
    path = args.output / "int8.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
    return {"bytes": len(content), "model": str(path)}


def learn(args):
    import tf_deepinversion as di

    def replayed(model, classes, folder, seed):
        return _pool(args, model, folder, classes=classes, seed=seed)

    result = di.learn_tasks(
        _network(args),
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
    return {"classes": result.classes[-1], "network": str(path)}


def report(args):
    import tf_deepinversion as di
    from tf_deepinversion.models.pretrained import load_network
    from tf_deepinversion.reports import report_student

    for flag in ("student", "images"):
        if getattr(args, flag) is None:
            raise ValueError(
                "A report compares a smaller network with its teacher on "
                "images: pass --student=FILE and --images=PATH. Received: no "
                f"--{flag}"
            )
    teacher, pool = _network(args), _images(args.images)
    if not isinstance(pool, di.Pool):
        pool = di.Pool.of(*pool, teacher.output_shape[-1])
    page = args.output / "report.html"
    figures = report_student(
        page,
        di.Distillation(
            teacher,
            load_network(args.student),
            preprocessing(args),
            dtype=args.dtype,
        ),
        {},
        pool,
        real=args.test_data and di.datasets.load_images(args.test_data),
    )
    return {**figures, "page": str(page)}


def _network(args):
    from tf_deepinversion.models.pretrained import load_network

    return load_network(args.network)


def preprocessing(flags):
    """Builds a `Preprocessing` from flags.

    Args:
        flags: An object with the texts `mean`, `std`, `pixel_range` and
            `channel_order`, as argparse and absl return them.

    Returns:
        A `Preprocessing`, or None without `mean` and `std`.

    Raises:
        ValueError: if only one of `mean` and `std` is given.
    """
    import tf_deepinversion as di

    if flags.mean is None and flags.std is None:
        return None
    if flags.mean is None or flags.std is None:
        raise ValueError(
            "--mean and --std belong together: pass both or none. "
            f"Received: --mean={flags.mean}, --std={flags.std}"
        )
    pair = flags.pixel_range
    if pair != "normalized":
        pair = _numbers(pair)
    return di.Preprocessing(
        _numbers(flags.mean), _numbers(flags.std), pair, flags.channel_order
    )


def _numbers(text):
    return [float(part) for part in text.split(",")]


def _synthesizer(args, recipe):
    from tf_deepinversion.inversion import make_synthesizer

    return make_synthesizer(
        _network(args),
        preprocessing(args),
        recipe=recipe,
        seed=args.seed,
        dtype=args.dtype,
    )


def _pool(args, teacher, folder, classes=None, seed=None):
    import tf_deepinversion as di

    return di.synthesize(
        teacher,
        classes,
        recipe=args.recipe,
        batches=args.batches,
        images=args.images_per_batch,
        steps=args.steps_of_images,
        first_steps=args.steps_of_images,
        preprocessing=preprocessing(args),
        folder=folder,
        seed=args.seed if seed is None else seed,
        dtype=args.dtype,
    )


def _images(path):
    """Opens a pool, or loads the arrays of an .npz or of PNG folders."""
    import tf_deepinversion as di

    if (pathlib.Path(path) / "pool.json").exists():
        return di.Pool.open(path)
    return di.datasets.load_images(path)


def _student(args, teacher):
    from tf_deepinversion import models
    from tf_deepinversion.models.pretrained import load_network

    if args.student:
        return load_network(args.student)
    return models.ResNet20(
        teacher.input_shape[1:], teacher.output_shape[-1], width=args.width
    )


def _saved(teacher, network, args, history, preprocessing):
    """Writes a network as .keras and as a SavedModel; returns figures."""
    import tf_deepinversion as di

    path = args.output / "network.keras"
    network.save(path)
    di.export(network, args.output / "saved_model", preprocessing)
    return {
        "parameters_ratio": network.count_params() / teacher.count_params(),
        "agreement": history["agreement"][-1],
        "network": str(path),
    }


_COMMON = (
    ("--seed", "N", 0, "random seed"),
    ("--dtype", "POLICY", None, "mixed_bfloat16 halves the memory"),
)

_KINDS = {"N": int, "SHARE": float}

_FEEDING = (
    ("--mean", "N,N,N", None, "mean of the training pixels, in gray levels"),
    ("--std", "N,N,N", None, "standard deviation of these pixels"),
    ("--pixel_range", "B,W", "0,255", 'inputs for black, white; "normalized"'),
    ("--channel_order", "ORDER", "rgb", "input channels: rgb or bgr"),
)

_MADE = (
    ("--recipe", "NAME", "generator", "recipe of the images, in RECIPES"),
    ("--batches", "N", 10, "number of batches of images"),
    ("--images_per_batch", "N", 256, "number of images in a batch"),
    ("--steps_of_images", "N", None, "steps of a batch; default: the recipe's"),
)

_GIVEN = ("--images", "PATH", None, "pool folder or .npz; default: new images")

# For each command: its purpose, an example, its function and its flags.
_COMMANDS = {
    "invert": (
        "show what a network remembers: pictures of each class",
        "invert fashion_mnist_resnet20 --steps=50",
        invert,
        (
            ("--recipe", "NAME", "ours", "recipe of the images, in RECIPES"),
            ("--labels", "N,N", None, "classes of the images; default: all"),
            ("--steps", "N", None, "number of steps; default: the recipe's"),
        ),
    ),
    "synthesize": (
        "make a pool of images for the other commands",
        "synthesize fashion_mnist_resnet20 --batches=2",
        synthesize,
        _MADE,
    ),
    "distill": (
        "train a smaller network on synthesized images",
        "distill fashion_mnist_resnet20 --width=8 --rounds=4",
        distill,
        (
            _GIVEN,
            ("--student", "FILE", None, "untrained .keras; default: ResNet-20"),
            ("--width", "N", 8, "channels of the ResNet-20's first stage"),
            ("--rounds", "N", 32, "number of rounds of training"),
            ("--steps_per_round", "N", 480, "the student's steps in a round"),
        ),
    ),
    "prune": (
        "remove channels of a network and train it further",
        "prune fashion_mnist_resnet20 --target=0.5 --images=output/synthesize/"
        "pool",
        prune,
        (
            _GIVEN,
            ("--target", "SHARE", 0.5, "share of the cost to remove"),
            ("--cost", "NAME", "flops", "cost to reduce: flops or parameters"),
            ("--steps", "N", 500, "training steps after the last round"),
            *_MADE,
        ),
    ),
    "quantize": (
        "convert a network to an int8 LiteRT model",
        "quantize fashion_mnist_resnet20 --images=output/synthesize/pool",
        quantize,
        (_GIVEN, *_MADE),
    ),
    "learn": (
        "teach a network new classes, without data of the old classes",
        "learn mine.keras --data=new.npz",
        learn,
        (
            ("--data", "PATH", None, ".npz of images of the new classes"),
            ("--method", "NAME", "abd", "method: lwf, lwf_mc, replay or abd"),
            ("--epochs", "N", 20, "number of epochs over the new images"),
            *_MADE,
        ),
    ),
    "report": (
        "write a page that compares a smaller network with its teacher",
        "report fashion_mnist_resnet20 --student=output/distill/network.keras "
        "--images=output/distill/pool",
        report,
        (
            ("--student", "FILE", None, "the smaller network, a .keras file"),
            ("--images", "PATH", None, "a pool's folder or .npz to compare on"),
            ("--test_data", "PATH", None, ".npz of real images and labels"),
        ),
    ),
}


def parser() -> argparse.ArgumentParser:
    """Builds the parser of the command and of its jobs."""
    whole = argparse.ArgumentParser(
        "tf-deepinversion", description="Data-free work on Keras classifiers."
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, (does, example, function, flags) in _COMMANDS.items():
        one = commands.add_parser(
            name,
            help=does,
            description=does.capitalize() + ".",
            epilog=f"Example: tf-deepinversion {example}",
        )
        one.set_defaults(function=function)
        one.add_argument(
            "network", help="a .keras or .h5 file, or a shipped name"
        )
        for flag, metavar, default, says in (*flags, *_FEEDING, *_COMMON):
            one.add_argument(
                flag,
                metavar=metavar,
                default=default,
                type=_KINDS.get(metavar, str),
                help=says if default is None else f"{says} ({default})",
            )
        one.add_argument(
            "--output",
            type=pathlib.Path,
            default=pathlib.Path("output") / name,
            metavar="FOLDER",
            help=f"(output/{name}); repeating the call resumes from here",
        )
    return whole


def main(arguments=None):
    """Runs a command; prints its figures as one line of JSON."""
    args = parser().parse_args(arguments)
    names = "output", "images", "data", "test_data", "student"
    require_local(**{name: vars(args).get(name) for name in names})
    print(json.dumps(args.function(args)))


if __name__ == "__main__":
    main()
