"""The main job in one command: `python -m tf_deepinversion.demo`.

The demo inverts the network that ships with the package. It writes a grid of
the images, the images themselves and a report into ./output. Then it trains a
smaller network on synthesized images alone, and exports the smaller network as
a SavedModel. The demo takes about five minutes on two CPU cores.
"""

import argparse
import functools
import json
import os
import pathlib
import time

import keras
import numpy as np

from tf_deepinversion.callbacks.image_grid import ImageGrid
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.callbacks.stopwatch import Stopwatch
from tf_deepinversion.callbacks.verifier import Verifier
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import names_of
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.recipes import RECIPES
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.models.pretrained import PRETRAINED
from tf_deepinversion.models.pretrained import load_pretrained
from tf_deepinversion.networks import reader
from tf_deepinversion.objective.class_means import ClassMeans
from tf_deepinversion.pruning._narrow import narrow
from tf_deepinversion.reports import inversion_report
from tf_deepinversion.reports.page import ratio
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export


def invert_and_report(model, output, **kwargs) -> dict:
    """Runs `invert_and_measure` and writes the report."""
    figures, write = invert_and_measure(model, output, **kwargs)
    write()
    return figures


def invert_and_measure(
    model,
    output,
    *,
    labels=None,
    steps=None,
    verifier=None,
    real=None,
    names=None,
    prior_images=None,
) -> tuple:
    """Runs an inversion, saves its images and measures them.

    Args:
        model: A `DeepInversion` or `FastInversion`.
        output: Path of the folder for `images/`, `grid.png`, `report.html` and
            the state of the run. Repeating the same call resumes from the
            state.
        labels: As for `DeepInversion.fit`.
        steps: As for `DeepInversion.fit`.
        verifier: Another network with the same classes, known by its name; or
            None.
        real: A pair, real images and labels for a comparison, or None.
        names: List of the names of the classes, or None.
        prior_images: Int, number of images of a second inversion without
            R_feature, which shows what the teacher's statistics are worth; 0
            for none. Defaults to all labels.

    Returns:
        A pair: a dict of figures, and a function that writes `report.html`. The
        function takes `student`, HTML about a student; see `report_inversion`.
    """
    output = pathlib.Path(output)
    teacher, preprocessing = model.teacher, model.preprocessing
    # The grid shows the images while they are made.
    watch = Stopwatch(output / "seconds.json")
    callbacks = [watch, ImageGrid(output / "grid.png")]
    if verifier is not None:
        callbacks.append(Verifier({"verifier": verifier}))
    history = model.fit(
        labels, steps, callbacks=callbacks, checkpoint=output / "state.npz"
    )
    images, labels = model.images, model.labels
    # Each set of images becomes a row of the table of the report.
    sets, times = {}, {"DeepInversion": watch.total}
    sets["uniform noise"] = np.random.default_rng(model.seed).integers(
        0, 256, images.shape, "uint8"
    )
    if prior_images != 0:
        begin = time.monotonic()
        sets["image prior alone"] = _prior_alone(
            model, labels[:prior_images], steps
        )
        times["image prior alone"] = time.monotonic() - begin
    sets["DeepInversion"] = images
    if real is not None:
        # As many real images of each class as synthesized images.
        sets["real images"] = diversity.alike(*real, labels)
    rows = {
        name: inversion_report.measure_images(
            s,
            labels[: len(s)],
            teacher,
            preprocessing,
            verifier,
            times.get(name),
            targets=model.networks.targets,
        )
        for name, s in sets.items()
    }
    for name, s in sets.items():
        if len(s) != len(images):  # the distance depends on their number
            rows[name]["feature_distance"] = None
    figures = _figures(rows)
    if real is not None:
        figures["teacher_test_accuracy"] = recognition.accuracy(
            teacher, *real, preprocessing
        )
        figures["test_images"] = len(real[0])
    names = names_of(names, int(max(labels)) + 1)
    save_folders(output / "images", images, labels, names)
    write = functools.partial(
        inversion_report.report_inversion,
        output / "report.html",
        title=f"What {teacher.name} remembers",
        sets=sets,
        rows=rows,
        labels=labels,
        names=names,
        history=history.history,
        figures={k: v for k, v in figures.items() if k != "ladder"},
    )
    return {**figures, "images": len(images), "seed": model.seed}, write


def _prior_alone(model, labels, steps):
    """Repeats an inversion without the teacher's statistics."""
    twin = type(model)(
        model.teacher,
        model.preprocessing,
        recipe=model.recipe,
        image_shape=model.image_shape,
        seed=model.seed,
    )
    # The same terms except those of the statistics.
    twin.compile(loss=[t for t in model.terms if not t.needs_batch_norms])
    print("The same without the network's statistics, for a comparison:")
    twin.fit(labels, steps)
    return twin.images


def _figures(rows):
    ours, noise = rows["DeepInversion"], rows["uniform noise"]
    real = rows.get("real images")

    def relative(row, figure, base):
        return ratio(row[figure], base and base[figure])

    # Noise has the ratio 1 of the statistics distance, real images the
    # diversity 1.
    ladder = {
        name: {
            "teacher_accuracy": row["teacher_accuracy"],
            "verifier_accuracy": row["verifier_accuracy"],
            "feature_distance_ratio": relative(row, "feature_distance", noise),
            "diversity": relative(row, "spread", real),
        }
        for name, row in rows.items()
    }
    return {
        **ladder["DeepInversion"],
        "feature_distance_to_real": relative(ours, "feature_distance", real),
        "verifier_accuracy_noise": noise["verifier_accuracy"],
        "seconds": ours["seconds"],
        "ladder": ladder,
    }


def distill_and_export(
    teacher, output, *, rounds, real, fixed_images, seed=0
) -> tuple:
    """Trains a student without data, exports it, and scores the SavedModel.

    The student has half the teacher's channels, and starts from the weights of
    the channels that are most important for the images. It answers at chance
    before `distill` trains it.

    Args:
        teacher: A `keras.Model` known by its name, from pixels to logits.
        output: Path of the folder for `student.keras`, `saved_model/` and the
            state. Repeating the same call resumes from the state.
        rounds: Int, see `distill`.
        real: A pair, real images and labels, to measure the accuracy.
        fixed_images: A `Pool`, see `distill`.
        seed: Int.

    Returns:
        A pair: a dict of figures, and an int array, the student's predictions
        of the real images.
    """
    output = pathlib.Path(output)
    keras.utils.set_random_seed(seed)
    watch = Stopwatch(output / "seconds.json")
    recipe = RECIPES["distillation_pixels"]
    # The class means help a student of few images of few steps alone.
    recipe = recipe.replace(loss=[*recipe.loss, ClassMeans(4.5)])
    student = distill(
        teacher,
        lambda images: narrow(teacher, images, ranking_batches=4, seed=seed),
        DeepInversion(teacher, recipe=recipe, seed=seed),
        rounds=rounds,
        steps_per_round=80,
        refresh=RefreshPool(images=256, steps=50, batches=3),
        fixed_images=fixed_images,
        folder=output,
        seed=seed,
        callbacks=[watch],
    ).student
    save_network(output / "student.keras", student)
    export(student, output / "saved_model")
    # The accuracy is that of the file that a user would serve.
    served = Served(output / "saved_model")
    logits = reader.read_logits(student, real[0])
    difference = np.abs(served(real[0]) - logits).max()
    figures = {
        "student_test_accuracy": served.accuracy(*real),
        "student_agreement": recognition.agreement(teacher, student, real[0]),
        "student_parameters_ratio": student.count_params()
        / teacher.count_params(),
        "student_seconds": watch.total,
        "saved_model_max_difference": float(difference),
    }
    return figures, logits.argmax(-1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds of the student"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="output/demo")
    args = parser.parse_args(argv)
    # A shell leaves `~` behind `--output=` as it is.
    args.output = os.path.expanduser(args.output)
    name = "fashion_mnist_resnet20"
    model = FastInversion(load_pretrained(name), seed=args.seed)
    real = load_test_images()
    figures, write = invert_and_measure(
        model,
        args.output,
        labels=balanced_labels(10, args.images),
        steps=args.steps,
        prior_images=30,
        verifier=load_pretrained("fashion_mnist_vgg11"),
        real=real,
        names=FASHION_MNIST_CLASSES,
    )
    write()  # a page to read while the student trains
    output = pathlib.Path(args.output).resolve()
    fixed_images = Pool(len(model.images), model.image_shape, model.classes)
    shown = model.classes_of(model.images)
    fixed_images.add(model.images, shown, requested=model.labels)
    print("A student, trained on these and more synthesized images alone:")
    found, answers = distill_and_export(
        model.teacher,
        output / "student",
        rounds=args.rounds,
        real=real,
        fixed_images=fixed_images,
        seed=args.seed,
    )
    figures |= found
    write(
        student=inversion_report.student_part(
            figures, real[1], answers, FASHION_MNIST_CLASSES
        )
    )
    print(f"The images: {output / 'grid.png'}")
    print(f"The report: {output / 'report.html'}")
    print(f"The student: {output / 'student' / 'saved_model'}")
    figures["teacher_sha256"] = PRETRAINED[name]["sha256"]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
