"""The examples, as their users start them, in tiny runs."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from idx_files import write_split
from tiny import with_head

from tf_deepinversion import Pool
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.metrics.recognition import accuracy
from tf_deepinversion.models import VGG11BN
from tf_deepinversion.pruning import flops_of_model
from tf_deepinversion.quantization import LiteRT

ROOT = pathlib.Path(__file__).parent.parent
TINY_ROUNDS = (
    "--set=rounds=2,steps_per_round=2",
    "--set=images_per_round=20,first_steps=2,synthesis_steps=1",
)
TINY_DISTILLATION = (
    *TINY_ROUNDS,
    "--student=ResNet14",
    "--set=student_width=2",
)


def example(name, *arguments):
    """Runs an example; returns its last line, read."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs an example in this process: its status and output."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "examples" / name), None, "__main__")
        return end.value.code, capsys.readouterr()

    return run


@pytest.fixture
def garments(tmp_path):
    """Files of 200 garments, for training and for tests."""
    images, labels = load_test_images()
    for stem in ("train", "t10k"):
        write_split(
            tmp_path, stem, images[:200, ..., 0], labels[:200].astype("uint8")
        )
    return images[:200], labels[:200]


def assert_exported(folder, figures):
    """The student is scored, and its SavedModel takes uint8 pixels."""
    images, labels = load_test_images()
    student = keras.models.load_model(folder / "student.keras")
    assert figures["student_test_accuracy"] == pytest.approx(
        accuracy(student, images, labels)
    )
    assert figures["saved_model_max_difference"] < 1e-4
    page = (folder / "report.html").read_text()
    assert "Ankle boot" in page
    assert figures["pool_diversity"] > 0 and figures["test_images"] == 2000
    served = tf.saved_model.load(str(folder / "saved_model"))
    logits = served.signatures["serving_default"](tf.constant(images[:50]))
    np.testing.assert_allclose(
        logits["logits"],
        student(images[:50].astype("float32")),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.slow
def test_distill_makes_all_pixels_before_the_student_begins(tmp_path, script):
    code, printed = script(
        "distill.py", *TINY_DISTILLATION, f"--output={tmp_path}"
    )
    figures = json.loads(printed.out.splitlines()[-1])
    assert not code and figures["method"] == "deepinversion"
    # With two snapshots of each image.
    assert (figures["images"], figures["fixed_images"]) == (2 * 20 * 3, 0)
    assert figures["student_steps"] == 4
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert {len(v) for v in curves.values()} == {figures["rounds"]}
    synthesis = json.loads((tmp_path / "synthesis.json").read_text())
    assert list(synthesis) == ["0", "1"] and "loss" in synthesis["1"]
    assert_exported(tmp_path, figures)


@pytest.mark.slow
def test_distill_by_a_generator_beside_fixed_images(tmp_path):
    figures = example(
        "distill.py",
        "--recipe=fashion_mnist_generator",
        *TINY_DISTILLATION,
        "--set=draws=3,fixed_batches=1,fixed_images=20,fixed_steps=3",
        f"--output={tmp_path}",
    )
    assert figures["method"] == "fast" and figures["images"] == 120
    assert figures["fixed_images"] == 20
    # A term of several rounds has a curve.
    assert ">feature_statistics " in (tmp_path / "report.html").read_text()
    assert_exported(tmp_path, figures)


@pytest.mark.parametrize(
    ("recipe", "method", "classes"),
    [
        pytest.param("cifar10_paper", "adi", 10, marks=pytest.mark.slow),
        pytest.param("cifar100_fast", "fast", 100, marks=pytest.mark.slow),
    ],
)
def test_recipes_for_32x32x3(tmp_path, script, recipe, method, classes):
    keras.utils.set_random_seed(0)
    teacher = VGG11BN((32, 32, 3), classes, width=1, mean=120, std=60)
    teacher.save(tmp_path / "teacher.keras")
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (30, 32, 32, 3), "uint8")
    labels = random.integers(0, classes, 30)
    np.savez(tmp_path / "test.npz", images=real, labels=labels)
    code, printed = script(
        "distill.py",
        f"--recipe={recipe}",
        f"--teacher={tmp_path / 'teacher.keras'}",
        "--student=VGG11BN",
        "--set=student_width=1,rounds=1,steps_per_round=1",
        f"--set=images_per_round={classes},synthesis_steps=1,first_steps=1",
        f"--test_data={tmp_path / 'test.npz'}",
        f"--output={tmp_path}",
    )
    figures = json.loads(printed.out.splitlines()[-1])
    assert not code and figures["method"] == method
    assert figures["images"] == classes and figures["test_images"] == 30
    student = keras.models.load_model(tmp_path / "student.keras")
    assert student.output_shape == (None, classes)
    assert figures["student_test_accuracy"] == pytest.approx(
        accuracy(student, real, labels)
    )
    page = (tmp_path / "report.html").read_text()
    # The matrix of a hundred classes is a picture beside that of the images.
    assert page.count("data:image/png;base64,") == 1 + (classes == 100)


@pytest.mark.slow
def test_a_network_of_ones_own_is_not_scored_on_garments(tmp_path, script):
    """Though its images and classes are as many and as large."""
    teacher = with_head(keras.layers.Dense(10), shape=(28, 28, 1))
    teacher.save(tmp_path / "mine.keras")
    fed = [f"--teacher={tmp_path / 'mine.keras'}", "--mean=100", "--std=50"]
    small = with_head(keras.layers.Dense(10), shape=(14, 14, 1))
    small.save(tmp_path / "small.keras")
    code, printed = script(
        "distill.py",
        *TINY_ROUNDS,
        *fed,
        f"--student={tmp_path / 'small.keras'}",
        "--synthesis_recipe=replay_pixels",
        f"--output={tmp_path / 'd'}",
    )
    figures = json.loads(printed.out.splitlines()[-1])
    assert figures["images"] == 2 * 20  # that recipe keeps no snapshots
    assert not code and "student_test_accuracy" not in figures
    assert figures["saved_model_max_difference"] < 1e-4
    page = (tmp_path / "d" / "report.html").read_text()
    assert "Ankle boot" not in page and "<h2>The rounds" in page
    # Fed as it was said: its logits of the pixels (x - 100) / 50.
    code, _ = script(
        "quantize.py",
        *fed,
        "--pixel_range=normalized",
        "--nobaselines",
        f"--pool={tmp_path / 'd' / 'pool'}",
        "--images=30",
        f"--output={tmp_path}",
    )
    images = load_test_images()[0][:50]
    np.testing.assert_allclose(
        LiteRT((tmp_path / "float.tflite").read_bytes())(images),
        teacher((images.astype("float32") - 100) / 50),
        rtol=1e-3,
        atol=1e-4,
    )
    assert not code


@pytest.mark.slow
def test_the_ceiling_is_what_real_images_give(tmp_path, script):
    """The same student, steps and number of images."""
    images, labels = load_test_images()
    for stem, rows in {"train": range(60, 260), "t10k": range(60)}.items():
        write_split(
            tmp_path, stem, images[rows, ..., 0], labels[rows].astype("uint8")
        )
    teacher = with_head(keras.layers.Dense(10), shape=(28, 28, 1))
    teacher.save(tmp_path / "mine.keras")

    def distil(*flags):
        code, printed = script(
            "distill.py",
            *TINY_DISTILLATION,
            f"--teacher={tmp_path / 'mine.keras'}",
            "--mean=100",
            "--std=50",
            f"--idx_dir={tmp_path}",
            *flags,
        )
        assert not code
        return json.loads(printed.out.splitlines()[-1])

    ours = distil("--method=noise", f"--output={tmp_path / 'ours'}")
    real = distil("--method=real", f"--output={tmp_path / 'real'}")
    assert ours["images"] == real["images"] == 120
    assert ours["student_steps"] == real["student_steps"] == 4
    # That there are no training images is said before anything is made.
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError):
        distil("--method=real", f"--output={tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()


def test_prune_asks_for_whole_batches(script):
    code, printed = prune(script, "--images=400")
    assert code == 1 and "a multiple of 256, or fewer" in printed.err


INCREMENTAL, GAUSSIANS = "incremental.py", "--head=gaussians"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (INCREMENTAL, ["--route", GAUSSIANS], "--route or --head=gaussians"),
        (
            INCREMENTAL,
            ["--route", "--method=analytic", "--weights=local=5"],
            "nothing reads --weights=['local=5'], --route=True: leave",
        ),
        (
            INCREMENTAL,
            [GAUSSIANS, "--method=joint"],
            "nothing reads --head=gaussians",
        ),
        (
            INCREMENTAL,
            ["--statistics=class", "--filters=9", "--method=lwf"],
            "nothing reads --statistics=class, --filters=9",
        ),
        (
            INCREMENTAL,
            ["--method=abd", "--synthesis=pixels", "--draws=3"],
            "nothing reads --draws=3",
        ),
        (
            "prune.py",
            ["--criterion=magnitude", "--cost=latency", "--rounds=9"],
            "nothing reads --cost=latency, --rounds=9",
        ),
        (
            "prune.py",
            ["--pool=some", "--images=3", "--runtime=litert"],
            "nothing reads --runtime=litert, --images=3",
        ),
        (
            "quantize.py",
            ["--training_steps=3", "--scheme=int16x8"],
            "--training_steps is for --scheme among",
        ),
        (
            "quantize.py",
            ["--pool=some", "--steps=3", "--nobaselines", "--sets=2"],
            "nothing reads --steps=3, --sets=2",
        ),
        (
            INCREMENTAL,
            ["--weights=balance", "--method=lwf"],
            "such as --weights=balance=1,local=2",
        ),
        ("imagenet.py", ["--verifiers="], "must name one or more networks"),
        ("imagenet.py", ["--recipe=none"], "Expected a JSON file or one of"),
        (
            "invert.py",
            ["--images=3", "--labels=1"],
            "pass --images or --labels, not both",
        ),
        ("invert.py", ["--teacher=none"], "A class in keras.applications"),
        ("prune.py", ["--data=real"], "--data=real needs --idx_dir"),
    ],
)
def test_what_no_example_takes(script, name, arguments, message):
    code, printed = script(name, *arguments)
    assert code == 1 and message in printed.err


@pytest.mark.parametrize("flag", ["steps=5,x", "labels=boot", "labels=1.5"])
def test_what_is_no_list_of_whole_numbers(monkeypatch, flag):
    monkeypatch.setattr(sys, "argv", ["invert.py", f"--{flag}"])
    message = f"Expected whole numbers with commas between them.*--{flag}"
    with flagsaver.flagsaver(), pytest.raises(ValueError, match=message):
        runpy.run_path(str(ROOT / "examples" / "invert.py"), None, "__main__")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=cifar10_fast"], "needs --teacher"),
        (["--recipe=cifar10_paper", "--method=fast"], "but adi, deepinv"),
        (["--method=real"], "--method=real needs --idx_dir or --tfds_dir"),
        (["--method=real", "--minutes=1"], "--method=real has no --minutes"),
        (["--student=narrow", "--method=adi"], "compete with the student"),
        (["--set=draws=3"], "only a generator draws"),
        (["--set=optimizer=adam"], "is not one of ['muon', 'sgd']"),
        (["--set=round=3"], "--set=round=3: this is no setting"),
        (
            [
                "--student=narrow",
                "--set=rounds=2,student_width=3,fixed_steps=5",
            ],
            "nothing reads fixed_steps, student_width",
        ),
    ],
)
def test_what_does_not_fit_a_recipe(script, arguments, message):
    code, printed = script("distill.py", *arguments)
    assert code == 1 and message in printed.err


def test_a_folder_of_images_has_one_list_of_verifiers(tmp_path, script):
    (tmp_path / "verifiers.json").write_text('["lite1", "lite2"]')
    code, printed = script(
        "imagenet.py", "--verifiers=lite2", f"--output={tmp_path}"
    )
    assert (
        code == 1 and 'are of the verifiers ["lite1", "lite2"]' in printed.err
    )


@pytest.mark.slow
def test_quantize_scores_the_files_it_writes(tmp_path):
    images, labels = load_test_images()
    save_folders(tmp_path / "pool", images[:5], labels[:5])
    figures = example(
        "quantize.py",
        "--images=4",
        "--sets=1",
        "--training_steps=1",
        f"--pool={tmp_path / 'pool'}",
        f"--output={tmp_path}",
    )
    assert figures["calibration_images"] == 4 and figures["sets"] == 1
    assert figures["test_images"] == 1996
    trained = LiteRT((tmp_path / "trained.tflite").read_bytes())
    scored = trained.accuracy(images[4:], labels[4:])
    assert figures["trained_test_accuracy"] == pytest.approx(scored)
    assert "CONV_2D" in (tmp_path / "layers.html").read_text()
    assert 10 < figures["lowest_ratio_db"] < 50
    int8 = figures["int8_test_accuracies"]
    assert {name: len(v) for name, v in int8.items()} == {
        "noise": 1,
        "synthesized": 1,
        "real": 1,
    }
    images, labels = images[4:], labels[4:]
    contents = {
        name: (tmp_path / f"{name}.tflite").read_bytes()
        for name in ("int8", "float")
    }
    scored = LiteRT(contents["int8"]).accuracy(images, labels)
    assert scored == int8["synthesized"][0]
    assert figures["int8_test_accuracy"]["real"] > 0.9
    assert figures["size_ratio"] == len(contents["int8"]) / len(
        contents["float"]
    )


@pytest.mark.slow
def test_imagenet_goes_on_to_the_same_images(tmp_path):
    """A minute, by the one weight file that the tests install."""
    arguments = (
        "--verifiers=lite0",
        "--images=3",
        "--batch_size=2",
        "--size=64",
        "--steps=1,2",
        "--steps_per_epoch=1",
        f"--output={tmp_path}",
    )
    figures = example("imagenet.py", *arguments)
    assert figures["images"] == 3 and len(set(figures["labels"])) == 3
    assert figures["verifier_accuracy"]["all"] == figures["teacher_accuracy"]
    assert 1 <= figures["inception_score"] <= 3
    seconds, verified = np.transpose(figures["curve"])
    assert len(verified) == 3 and (np.diff(seconds) > 0).all()
    assert seconds[-1] == figures["seconds_per_image"]
    assert verified[-1] == figures["verifier_accuracy"]["all"]
    assert len(list(tmp_path.glob("images/*/*.png"))) == 3
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    again = example("imagenet.py", *arguments)
    assert again == figures


def test_imagenet_s_curve_is_of_all_batches():
    curve_of = runpy.run_path(str(ROOT / "examples/imagenet.py"))["curve_of"]
    histories = [
        {"seconds": [10.0, 5.0], "verified": [0.5, 1.0]},
        {"seconds": [4.0, 1.0], "verified": [0.0, 0.0]},
    ]
    # Three images in 14 and then in 20 seconds; the last batch is of one.
    assert curve_of(histories, [2, 1]) == pytest.approx(
        np.array([[14 / 3, 1 / 3], [20 / 3, 2 / 3]])
    )


@pytest.mark.parametrize(
    ("criterion", "data"),
    [
        pytest.param("taylor", "synthesized", marks=pytest.mark.slow),
        pytest.param("magnitude", "noise", marks=pytest.mark.slow),
    ],
)
def test_prune_exports_a_smaller_network(tmp_path, criterion, data):
    keras.utils.set_random_seed(0)
    teacher = VGG11BN((28, 28, 1), width=4, mean=73, std=90)
    teacher.save(tmp_path / "teacher.keras")
    images, labels = load_test_images()
    np.savez(tmp_path / "test.npz", images=images, labels=labels)
    ranked = ["--rounds=1", "--ranking_batches=1"]
    made = ["--first_steps=2", "--synthesis_steps=1"]
    figures = example(
        "prune.py",
        f"--teacher={tmp_path / 'teacher.keras'}",
        f"--criterion={criterion}",
        f"--data={data}",
        "--steps=2",
        "--images=20",
        *([] if criterion == "magnitude" else ranked),
        *(made if data == "synthesized" else []),
        "--batch_size=8",
        "--latency_batch=2",
        f"--test_data={tmp_path / 'test.npz'}",
        f"--output={tmp_path}",
    )
    assert figures["saved_model_max_difference"] < 1e-4
    student = keras.models.load_model(tmp_path / "pruned.keras")
    assert figures["test_accuracy"] == pytest.approx(
        accuracy(student, images, labels), abs=2e-3
    )
    assert figures["baseline_test_accuracy"] == pytest.approx(
        accuracy(teacher, images, labels), abs=2e-3
    )
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page and ">parameters_ratio" in page
    if criterion == "magnitude":
        assert figures["flops_ratio"] == figures["parameters_ratio"] == 1
        assert figures["sparsity"] == pytest.approx(0.5, abs=1e-3)
    else:
        assert 0.45 < figures["flops_ratio"] <= 0.5
        ratio = student.count_params() / teacher.count_params()
        assert figures["parameters_ratio"] == ratio
        assert figures["flops_ratio"] == pytest.approx(
            flops_of_model(student) / flops_of_model(teacher)
        )


def prune(script, *arguments):
    return script(
        "prune.py",
        *arguments,
        "--target=0.2",
        "--criterion=filter_norm",
        "--ranking_batches=1",
        "--batch_size=4",
        "--latency_batch=2",
    )


@pytest.mark.slow
def test_prune_ranks_on_the_pool_that_it_was_given(tmp_path, script):
    keras.utils.set_random_seed(0)
    teacher = VGG11BN((28, 28, 1), width=1, mean=73, std=90)
    teacher.save(tmp_path / "teacher.keras")
    pool = Pool(7, (28, 28, 1), 10, folder=tmp_path / "given", run="any")
    images, labels = load_test_images()
    pool.add(images[:7], labels[:7])
    pool.close()
    code, printed = prune(
        script,
        f"--teacher={tmp_path / 'teacher.keras'}",
        "--data=none",
        f"--pool={tmp_path / 'given'}",
        f"--output={tmp_path / 'pruned'}",
    )
    figures = json.loads(printed.out.splitlines()[-1])
    assert not code and figures["images"] == 7
    assert not (tmp_path / "pruned" / "pool").exists()


def test_prune_takes_as_many_real_images(tmp_path, garments, script):
    teacher = with_head(keras.layers.Dense(10), shape=(28, 28, 1))
    teacher.save(tmp_path / "mine.keras")
    code, printed = prune(
        script,
        f"--teacher={tmp_path / 'mine.keras'}",
        "--mean=100",
        "--std=50",
        "--data=real",
        "--images=12",
        "--rounds=1",
        "--steps=1",
        "--steps_per_round=1",
        f"--idx_dir={tmp_path}",
        f"--output={tmp_path / 'pruned'}",
    )
    assert not code
    assert json.loads(printed.out.splitlines()[-1])["images"] == 12


def test_a_teacher_goes_on_where_it_was_killed(
    tmp_path, garments, script, monkeypatch
):
    def train(output, *flags):
        code, printed = script(
            "train_teacher.py",
            "--architecture=VGG11BN",
            "--width=1",
            "--epochs=2",
            "--batch_size=50",
            "--limit=100",
            f"--idx_dir={tmp_path}",
            f"--output={tmp_path / output / 'mine.keras'}",
            *flags,
        )
        return code, printed.out + printed.err

    # A network of one layer in place of eleven.
    monkeypatch.setattr(
        "tf_deepinversion.models.VGG11BN",
        lambda shape, classes, **_: with_head(
            keras.layers.Dense(classes), shape=shape
        ),
    )

    def weights(output):
        path = tmp_path / output / "mine.keras"
        return keras.models.load_model(path).get_weights()

    assert train("whole")[0] is None
    fit = keras.Model.fit

    def killed(model, *args, **kwargs):
        if kwargs["initial_epoch"] == 1:
            raise SystemExit("killed")
        return fit(model, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "fit", killed)
        assert train("parts")[0] == "killed"
    with pytest.raises(ValueError, match="learning_rate"):
        train("parts", "--learning_rate=0.2")
    code, printed = train("parts")
    # The first epoch is not repeated.
    assert code is None and "Epoch 1/2" not in printed
    for one, other in zip(weights("whole"), weights("parts"), strict=True):
        np.testing.assert_array_equal(one, other)
    # The state has served; another training may have the folder.
    assert [x.name for x in (tmp_path / "parts").iterdir()] == ["mine.keras"]


def test_prune_refuses_a_pool_that_it_would_not_read(tmp_path, script):
    code, printed = prune(script, "--data=noise", f"--pool={tmp_path}")
    assert code == 1 and "--data=noise reads no --pool" in printed.err


@pytest.mark.slow
def test_incremental_routes_by_a_head_of_sums(tmp_path, garments):
    images, labels = garments
    arguments = (
        "--case=fashion_5_5",
        "--nojoint",
        "--width=2",
        "--joint_epochs=1",
        f"--idx_dir={tmp_path}",
        f"--output={tmp_path}",
    )
    learned = *arguments, "--method=lwf", "--least_steps=1", "--epochs=1"
    alone = example(
        "incremental.py", *arguments, "--method=analytic", "--filters=2"
    )
    pair = example("incremental.py", *learned, "--route", "--filters=2")
    assert (alone["route"], pair["route"]) == (None, "analytic")
    own = example(
        "incremental.py",
        *arguments,
        "--method=analytic",
        "--features=network",
    )
    assert (alone["features"], own["features"]) == ("random", "network")
    # Two, four and eight channels in 4x4 cells, and the sums of 14 * 16.
    assert own["kept_bytes"] > 224 * 225 / 2 * 4
    assert alone["kept_bytes"] == pair["kept_bytes"] > 64 * 65 / 2 * 4
    folder = tmp_path / "fashion_5_5_seed0"
    head, network = (
        keras.models.load_model(folder / name)(images.astype("float32")).numpy()
        for name in ("analytic/network.keras", "lwf/task_1.keras")
    )
    task = head.argmax(-1) // 5
    found = 5 * task + np.where(
        task, network[:, 5:].argmax(-1), network[:, :5].argmax(-1)
    )
    rows = [labels // 5 == t for t in range(2)]
    assert list(pair["accuracy_by_task"].values()) == [
        (found == labels)[row].mean() for row in rows
    ]
    solved = example("incremental.py", *learned, "--head=gaussians")
    assert solved["head"] == "gaussians"
    assert (folder / "lwf/gaussians/network.keras").exists()


@pytest.mark.slow
def test_incremental_scores_the_network_it_writes(tmp_path, garments):
    images, labels = garments
    arguments = (
        "--case=fashion_5_5",
        "--weights=balance=0.5",
        "--width=2",
        "--joint_epochs=1",
        "--least_steps=1",
        "--synthesis_images=5",
        "--synthesis_batches=1",
        "--synthesis_steps=1",
        "--first_steps=1",
        f"--idx_dir={tmp_path}",
        f"--output={tmp_path}",
    )
    figures = example("incremental.py", *arguments)
    folder = tmp_path / "fashion_5_5_seed0" / "abd_class"
    network = keras.models.load_model(folder / "network.keras")
    rows = [labels // 5 == task for task in range(2)]
    expected = [accuracy(network, images[row], labels[row]) for row in rows]
    assert list(figures["accuracy_by_task"].values()) == expected
    assert figures["test_accuracy"] == pytest.approx(np.mean(expected))
    (first,), _ = figures["accuracies"]
    assert figures["forgetting"] == pytest.approx(first - expected[0])
    assert figures["saved_model_max_difference"] < 1e-4
    # Of this case, as no flag says otherwise.
    assert (figures["method"], figures["epochs"]) == ("abd", 10)
    assert figures["statistics"] == "class"
    assert ">all seen " in (folder / "report.html").read_text()
    assert "after task 2" in (folder / "report.html").read_text()
