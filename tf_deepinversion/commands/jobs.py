"""The jobs of the command `tf-deepinversion`, each a function of flags."""

import time

from tf_deepinversion.commands.images import OF_NEW_IMAGES
from tf_deepinversion.commands.images import pool_of
from tf_deepinversion.commands.images import synthesis_of
from tf_deepinversion.commands.images import synthesizer_of
from tf_deepinversion.commands.learn import learn
from tf_deepinversion.commands.output import save_output
from tf_deepinversion.commands.values import images_of
from tf_deepinversion.commands.values import network_of
from tf_deepinversion.commands.values import numbers
from tf_deepinversion.commands.values import pixels_of
from tf_deepinversion.commands.values import preprocessing
from tf_deepinversion.commands.values import refuse_unread
from tf_deepinversion.commands.values import targets
from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.labels import classes_of
from tf_deepinversion.core.remote_path import RemotePath

# The schemes that calibrate nothing.
UNCALIBRATED = "dynamic", "float16"


def invert(args):
    import tf_deepinversion as di
    from tf_deepinversion.core.pictures import save_folders

    synthesizer = synthesizer_of(args, args.recipe)
    labels = args.labels and numbers("labels", args.labels, int)
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


def measure(args):
    import tf_deepinversion as di

    if args.images is None:
        raise ValueError(
            "Expected unlabeled images to measure: pass --images=PATH. "
            "Received: no --images"
        )
    refuse_unread(args, ["dtype", "seed"], "other commands")
    measured = di.FeatureTargets.measure(
        network_of(args),
        pixels_of(images_of(args.images, labeled=False)),
        preprocessing=preprocessing(args),
    )
    path = args.output / "targets.npz"
    measured.save(path)
    return {
        "images": measured.images,
        "layers": len(measured.statistics),
        "targets": str(path),
    }


def synthesize(args):
    if args.workers is not None or args.only or args.engine:
        return _synthesize_batches(args)
    refuse_unread(args, ["chain", "address"], "--workers or --engine")
    if args.worker:
        raise ValueError(
            "--worker is the number of one of several workers: pass --workers, "
            f"how many there are, too. Received: --worker={args.worker} alone"
        )
    pool = pool_of(args, network_of(args), args.output)
    return {
        "images": len(pool),
        "recognized": float((pool.labels == pool.requested).mean()),
        "pool": _output(args, "pool"),
    }


def _synthesize_batches(args):
    """Works as one of many workers, or tells of their work."""
    import tf_deepinversion as di

    if args.only == "status":
        status = di.datasets.status_of_batches(args.output)
        print(status)
        return status._asdict()
    if args.only == "merge":
        pool = di.datasets.merge_batches(args.output)
        return {"images": len(pool), "pool": _output(args)}
    given = {**synthesis_of(args), "chain": args.chain}
    if args.only == "plan":
        plan = di.inversion.plan_batches(network_of(args), **given)
        print(plan)
        return plan._asdict()
    if args.engine not in (None, "ray"):
        raise ValueError(
            f"`--engine` must be ray. Received: --engine={args.engine}"
        )
    if args.only:
        raise ValueError(
            "`--only` must be status, merge or plan. "
            f"Received: --only={args.only}"
        )
    if args.engine:
        refuse_unread(args, ["worker"], "workers without --engine")
    else:
        refuse_unread(args, ["address"], "--engine")
    if args.engine == "ray":
        pool = di.inversion.synthesize_on_ray(
            network_of(args),
            args.output,
            address=args.address,
            workers=args.workers,
            **given,
        )
        return {"images": len(pool), "pool": _output(args)}
    status = di.synthesize_batches(
        network_of(args),
        args.output,
        worker=args.worker,
        workers=args.workers,
        **given,
    )
    # Schedulers start a worker again that ends with another code than 0.
    code = 143 if status.stopped else int(bool(status.failed))
    return {**status._asdict(), "exit_code": code}


def _output(args, *parts) -> str:
    """The output folder as it was given, or a part of it."""
    remote = path_of(args.output)
    path = remote if isinstance(remote, RemotePath) else args.output
    for part in parts:
        path = path / part
    return str(path)


def distill(args):
    import tf_deepinversion as di
    from tf_deepinversion.networks.student_input import preprocessing_of_student

    if args.images:
        refuse_unread(args, OF_NEW_IMAGES, "new images, without --images")
    if args.share is not None or args.student:
        refuse_unread(args, ["width"], "the student of neither of the others")
    teacher, feeding = network_of(args), preprocessing(args)
    # Other students may contain a preprocessing of their own.
    own = None if args.share is None else feeding
    refresh = None
    if not args.images:
        refresh = di.RefreshPool(
            args.images_per_batch, args.steps_of_images, batches=args.batches
        )
    result = di.distill(
        teacher,
        _student(args, teacher, feeding),
        args.images and images_of(args.images, labeled=False),
        rounds=args.rounds,
        steps_per_round=args.steps_per_round,
        refresh=refresh,
        preprocessing=feeding,
        student_preprocessing=own,
        dtype=args.dtype,
        targets=targets(args),
        folder=args.output,
        seed=args.seed,
    )
    own = preprocessing_of_student(
        result.student, own, di.Preprocessing.of(teacher, feeding), teacher
    )
    return _saved(teacher, result.student, args, result.history, own)


def prune(args):
    import tf_deepinversion as di
    from tf_deepinversion.pruning._prune import check_removal

    if args.images:
        refuse_unread(args, OF_NEW_IMAGES, "new images, without --images")
    teacher, feeding = network_of(args), preprocessing(args)
    if not args.images:  # else `prune` itself refuses at once
        trains = bool(args.steps or args.steps_per_round)
        check_removal(teacher, args.target, args.cost, args.rounds, trains)
    result = di.prune(
        teacher,
        images_of(args.images, labeled=False)
        if args.images
        else pool_of(args, teacher, args.output),
        target=args.target,
        cost=args.cost,
        rounds=args.rounds,
        steps_per_round=args.steps_per_round,
        final_steps=args.steps,
        preprocessing=feeding,
        dtype=args.dtype,
        folder=args.output,
        seed=args.seed,
    )
    history = result.history
    if not args.steps:
        # The last channels went after the last training that measured it.
        history = {"agreement": [None]}
    figures = _saved(teacher, result.student, args, history, feeding)
    return {**figures, "cost_ratio": result.costs[-1]}


def quantize(args):
    import tf_deepinversion as di
    from tf_deepinversion.core.files import write_content
    from tf_deepinversion.quantization.scheme import TRAINED
    from tf_deepinversion.quantization.scheme import check_scheme

    if args.dense not in ("per_channel", "per_tensor"):
        raise ValueError(
            "Expected the scales of dense layers: per_channel or per_tensor. "
            f"Received: --dense={args.dense}"
        )
    options = {
        "scheme": args.scheme,
        "input_dtype": args.input_dtype,
        "output_dtype": args.output_dtype,
        "per_tensor_dense": args.dense == "per_tensor",
    }
    # Before images are made.
    check_scheme(**options)
    if args.batch_size is not None:
        require_whole(batch_size=args.batch_size)
    if args.training_steps and (
        args.scheme not in TRAINED or options["per_tensor_dense"]
    ):
        raise ValueError(
            f"--training_steps is for --scheme={' or '.join(TRAINED)} with "
            "--dense=per_channel. Received: "
            f"--scheme={args.scheme} and --dense={args.dense}"
        )
    if args.images or args.scheme in UNCALIBRATED:
        refuse_unread(args, [*OF_NEW_IMAGES, "dtype"], "new images")
    network, ranges = network_of(args), None
    images = _calibration_images(args, network)
    if args.training_steps:
        network, _, ranges = di.quantization.train_quantized(
            network,
            images,
            steps=args.training_steps,
            scheme=args.scheme,
            preprocessing=preprocessing(args),
            folder=args.output / "trained",
            seed=args.seed,
        )
        save_output(args, network)
    content = di.quantize(
        network,
        None if args.training_steps else pixels_of(images, 200),
        preprocessing(args),
        ranges=ranges,
        batch_size=args.batch_size,
        **options,
    )
    path = args.output / f"{args.scheme}.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_content(path, content)
    held = di.quantization.LiteRT(content)
    ops = {name: held.ops.count(name) for name in sorted(set(held.ops))}
    figures = {"bytes": len(content), "model": str(path)}
    return {**figures, "dtypes": held.dtypes, "ops": ops}


def _calibration_images(args, network):
    if args.images:
        return images_of(args.images, labeled=False)
    if args.scheme in UNCALIBRATED:
        return None
    return pool_of(args, network, args.output)


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
    refuse_unread(args, ["seed"], "other commands")
    teacher, pool = network_of(args), images_of(args.images)
    if not isinstance(pool, di.Pool):
        pool = di.Pool.of(*pool, classes_of(teacher))
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


def _student(args, teacher, feeding):
    from tf_deepinversion import models
    from tf_deepinversion.models.pretrained import load_network
    from tf_deepinversion.pruning import narrow

    if args.share is not None:
        if args.student:
            raise ValueError(
                "--share makes the student of the network's own channels: "
                "pass --share or --student, not both. "
                f"Received: --share={args.share} and --student={args.student}"
            )
        if not 0 < args.share < 1:
            raise ValueError(
                "--share is the share of the channels that stay, between 0 "
                f"and 1. Received: --share={args.share}"
            )
        return lambda images: narrow(
            teacher,
            images,
            args.share,
            preprocessing=feeding,
            seed=args.seed,
        )
    if args.student:
        student = load_network(args.student)
    else:
        student = models.ResNet20(
            teacher.input_shape[1:], classes_of(teacher), width=args.width
        )
    ratio = student.count_params() / teacher.count_params()
    if ratio > 1:
        smaller = "--student" if args.student else "--width"
        warn_caller(
            f"The student has {ratio:.1f} times as many weights as its "
            f"teacher: pass --share, a smaller {smaller}, or another student."
        )
    return student


def _saved(teacher, network, args, history, preprocessing):
    """Writes a network as .keras and as a SavedModel; returns figures."""
    import tf_deepinversion as di

    path = save_output(args, network)
    di.export(network, args.output / "saved_model", preprocessing)
    return {
        "parameters_ratio": network.count_params() / teacher.count_params(),
        "agreement": history["agreement"][-1],
        "network": path,
    }


JOBS = {
    "invert": invert,
    "measure": measure,
    "synthesize": synthesize,
    "distill": distill,
    "prune": prune,
    "quantize": quantize,
    "learn": learn,
    "report": report,
}
