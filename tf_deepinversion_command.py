"""The command `tf-deepinversion`: runs a job of the library on a network file.

    tf-deepinversion invert teacher.keras --mean=73 --std=90
    tf-deepinversion COMMAND --help

The last line that a command prints is one line of JSON.

The module lies beside the package, because importing any part of the package
imports TensorFlow: `--help` answers at once, and TensorFlow starts silent.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import traceback
import warnings

_COMMON = (
    ("--seed", "N", 0, "random seed"),
    (
        "--dtype",
        "POLICY",
        None,
        "mixed_bfloat16; auto: that, where it is faster",
    ),
)


def _whole(text) -> int:
    """Reads a whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected a whole number, at least 0. Received: {text}"
        )
    return int(text)


def _text(text) -> str:
    """Reads a text that is not empty, as a variable that a shell lacks is."""
    if not text:
        raise argparse.ArgumentTypeError(
            "expected a value: leave the flag out for its default. Received: "
            "an empty text"
        )
    return text


def _folder(text) -> pathlib.Path:
    return pathlib.Path(_text(text))


_KINDS = {"N": _whole, "SHARE": float}
_ANEW = "measure", "report"  # they keep no state

_FEEDING = (
    ("--image_size", "H,W", None, "if NETWORK leaves its image size open"),
    ("--mean", "N,N,N", None, "mean of the training pixels, in gray levels"),
    ("--std", "N,N,N", None, "standard deviation of these pixels"),
    ("--pixel_range", "B,W", "0,255", 'inputs for black, white; "normalized"'),
    ("--channel_order", "ORDER", "rgb", "input channels: rgb or bgr"),
)

_SIZES = (
    ("--images_per_batch", "N", 256, "number of images in a batch"),
    ("--steps_of_images", "N", None, "steps of a batch; default: the recipe's"),
)


def _recipe(default) -> tuple:
    return ("--recipe", "NAME", default, "recipe of the images, in RECIPES")


_BATCHES = (("--batches", "N", 10, "number of batches of images"), *_SIZES)

_MADE = (_recipe("generator"), *_BATCHES)

_GIVEN = ("--images", "PATH", None, "pool folder or .npz; default: new images")

_TARGETS = (
    "--targets",
    "FILE",
    None,
    "statistics that `measure` wrote; default: BatchNormalization's",
)

# For each command: its purpose, an example and its flags.
_COMMANDS = {
    "invert": (
        "show what a network remembers: pictures of its classes",
        "invert fashion_mnist_resnet20 --steps=50",
        (
            _recipe("ours"),
            (
                "--labels",
                "N,N",
                None,
                "classes; default: in turn, as many as the recipe's images",
            ),
            ("--steps", "N", None, "number of steps; default: the recipe's"),
            _TARGETS,
        ),
    ),
    "measure": (
        "measure images, for a network without BatchNormalization",
        "measure mine.keras --images=unlabeled.npz --mean=110 --std=60",
        (("--images", "PATH", None, ".npz of `images`, or a pool folder"),),
    ),
    "synthesize": (
        "make a pool of images for the other commands",
        "synthesize fashion_mnist_resnet20 --batches=2",
        (
            _TARGETS,
            *_MADE,
            ("--jpeg_quality", "N", None, "1 to 100: JPEG in place of PNG"),
            ("--workers", "N", None, "number of workers that share the folder"),
            ("--worker", "N", 0, "number of this worker, from 0"),
            ("--chain", "N", 10, "workers' batches of one generator"),
            ("--engine", "NAME", None, "ray: workers on a Ray cluster"),
            ("--address", "TEXT", None, "of the cluster; default: here"),
            ("--only", "WHAT", None, "status, merge or plan, for workers"),
        ),
    ),
    "distill": (
        "train a smaller network on synthesized images",
        "distill fashion_mnist_resnet20 --width=8 --rounds=4",
        (
            _GIVEN,
            _TARGETS,
            ("--student", "FILE", None, "untrained .keras; default: ResNet-20"),
            ("--share", "SHARE", None, "start from this share of the channels"),
            ("--width", "N", 8, "channels of the ResNet-20's first stage"),
            ("--rounds", "N", 32, "number of rounds of training"),
            ("--steps_per_round", "N", 480, "the student's steps in a round"),
            ("--batches", "N", None, "batches of images; default: one a round"),
            *_SIZES,
        ),
    ),
    "prune": (
        "remove channels of a network and train it further",
        "prune fashion_mnist_resnet20 --target=0.5 --images=output/synthesize/"
        "pool",
        (
            _GIVEN,
            ("--target", "SHARE", 0.5, "share of the cost to remove"),
            ("--cost", "NAME", "flops", "cost to reduce: flops or parameters"),
            ("--rounds", "N", None, "of removing; default: by the target"),
            ("--steps", "N", 3000, "training steps after the last round"),
            ("--steps_per_round", "N", 300, "after each of the other rounds"),
            _TARGETS,
            _recipe("distillation_pixels"),
            *_BATCHES,
        ),
    ),
    "quantize": (
        "convert a network to an int8 LiteRT model",
        "quantize fashion_mnist_resnet20 --images=output/synthesize/pool",
        (
            _GIVEN,
            (
                "--scheme",
                "NAME",
                "int8",
                "or int4, int16x8, dynamic, float16",
            ),
            ("--input_dtype", "NAME", None, "of the pixels, such as int8"),
            ("--output_dtype", "NAME", None, "of the logits, such as float32"),
            ("--batch_size", "N", None, "fixed in the file; default: open"),
            ("--dense", "NAME", "per_channel", "dense scales, or per_tensor"),
            ("--training_steps", "N", 0, "of quantized training; 0 for none"),
            _TARGETS,
            *_MADE,
        ),
    ),
    "learn": (
        "teach a network new classes, without data of the old classes",
        "learn mine.keras --data=new.npz",
        (
            ("--data", "PATH", None, ".npz of images of the new classes"),
            ("--test_data", "PATH", None, ".npz of images of all classes"),
            (
                "--method",
                "NAME",
                "abd",
                "finetune, lwf, lwf_mc, replay, abd or analytic",
            ),
            ("--epochs", "N", 20, "number of epochs over the new images"),
            ("--places", "N", None, "analytic: maps in NxN cells, as features"),
            _TARGETS,
            *_MADE,
        ),
    ),
    "report": (
        "write a page that compares a smaller network with its teacher",
        "report fashion_mnist_resnet20 --student=output/distill/network.keras "
        "--images=output/distill/pool",
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
    for name, (does, example, flags) in _COMMANDS.items():
        one = commands.add_parser(
            name,
            help=does,
            # All flags follow; argparse would name them twice.
            usage=f"tf-deepinversion {name} NETWORK [--FLAG=VALUE ...]",
            description=does.capitalize() + ".",
            epilog=f"Example: tf-deepinversion {example}",
        )
        one.set_defaults(command=name)
        one.add_argument(
            "network",
            type=_text,
            help="a .keras or .h5 file, or a shipped name",
        )
        for flag, metavar, default, says in (*flags, *_FEEDING, *_COMMON):
            one.add_argument(
                flag,
                metavar=metavar,
                default=default,
                type=_KINDS.get(metavar, _text),
                help=says if default is None else f"{says} ({default})",
            )
        again = "starts anew" if name in _ANEW else "resumes from here"
        one.add_argument(
            "--output",
            type=_folder,
            default=pathlib.Path("output") / name,
            metavar="FOLDER",
            help=f"(output/{name}); repeating the call {again}",
        )
    return whole


# What the library raises where it refuses something or cannot go on.
REFUSALS = (
    ArithmeticError,
    ImportError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def main():
    """Runs the command of a terminal: errors and warnings are one line each."""
    # On a CPU, TensorFlow logs as an error that there is no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.showwarning = _show_once()
        try:
            run()
        except KeyboardInterrupt:
            print(
                "tf-deepinversion: interrupted. The same command continues "
                "where it stopped, or starts anew: see its --help.",
                file=sys.stderr,
            )
            sys.exit(130)
        except REFUSALS as error:
            if not _refused_here(error):
                raise
            sys.exit(f"tf-deepinversion: error: {in_flags(str(error))}")


# What the library's messages call by the names of Python, and the flags.
_FLAGS_OF = {
    r"Preprocessing\(([-\d.]+), ([-\d.]+), \((-?\d+), (\d+)\)\)": (
        r"--mean=\1 --std=\2 --pixel_range=\3,\4"
    ),
    r'Preprocessing\(mean, std, "normalized"\)': (
        "--mean=MEAN --std=STD --pixel_range=normalized"
    ),
}
_STEPS = "(`steps`, `first_steps`)"


def in_flags(message) -> str:
    """Names the flags in a message where it names arguments of Python.

    >>> in_flags("as from about Preprocessing(81, 89, (0, 255))")
    'as from about --mean=81 --std=89 --pixel_range=0,255'
    """
    for words, flags in _FLAGS_OF.items():
        message = re.sub(words, flags, message)
    alone = sys.argv[1:2] == ["invert"]
    return message.replace(
        _STEPS, "(--steps)" if alone else "(--steps_of_images)"
    )


def _show_once():
    """Makes a writer of warnings without the line of code, each text once."""
    # A job passes one preprocessing to several parts, and each part warns.
    # Python's own "once" is once for each module.
    shown = set()

    def show(message, *_, **__):
        if str(message) not in shown:
            shown.add(str(message))
            text = in_flags(str(message))
            print(f"tf-deepinversion: warning: {text}", file=sys.stderr)

    return show


def _refused_here(error) -> bool:
    """Tells an argument that the library refuses from a failure within."""
    import tf_deepinversion

    *_, last = traceback.extract_tb(error.__traceback__)
    package = pathlib.Path(tf_deepinversion.__file__).parent
    if isinstance(error, OSError):  # it names the file
        return True
    ours = package in pathlib.Path(last.filename).parents
    return ours and str(last.line).startswith("raise")


def run(arguments=None):
    """Runs a command; prints its figures as one line of JSON."""
    args = parser().parse_args(arguments)
    # Only now: `--help` and mistyped flags need no TensorFlow.
    from tf_deepinversion.commands.jobs import JOBS
    from tf_deepinversion.commands.output import check_output
    from tf_deepinversion.core.checks import require_seed
    from tf_deepinversion.core.files import require_local

    names = ["images", "data", "test_data", "student", "targets"]
    for name in ("network", "output", *names):
        # A shell leaves `~` behind `--flag=` as it is.
        text = str(vars(args).get(name) or "")
        if text.startswith("~"):
            setattr(
                args, name, type(vars(args)[name])(os.path.expanduser(text))
            )
    if args.command != "synthesize":
        names.append("output")
    require_local(**{name: vars(args).get(name) for name in names})
    defaults = parser().parse_args([args.command, args.network])
    args.given = [
        name
        for name, value in vars(defaults).items()
        if vars(args)[name] != value
    ]
    check_output(args)
    if "seed" in args:
        require_seed(args.seed)
        # The weights of a new student, too, which a repeated call must find.
        import keras

        keras.utils.set_random_seed(args.seed)
    figures = JOBS[args.command](args)
    code = figures.pop("exit_code", 0)
    print(json.dumps(figures))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
