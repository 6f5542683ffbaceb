"""The command `tf-deepinversion`, as its users type it."""

import configparser
import json
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from modern import modern
from tiny import CLASSES
from tiny import SHAPE
from tiny import with_head

import tf_deepinversion as di
import tf_deepinversion_command as command
from tf_deepinversion import Preprocessing
from tf_deepinversion.commands import jobs
from tf_deepinversion.commands import learn
from tf_deepinversion.commands.output import check_output
from tf_deepinversion.commands.output import save_output
from tf_deepinversion.datasets import load_images
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.serving import Served

ROOT = pathlib.Path(__file__).parent.parent
FEEDING = ("--mean=127.5", "--std=50", "--pixel_range=normalized")
FED = Preprocessing(127.5, 50, "normalized")
FAILING = (True, [], 143), (False, [1], 1)
NONE = np.zeros(0, "int64")
FEW = ("--batches=1", "--images_per_batch=12", "--steps_of_images=2")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command on a tiny network; gives its figures and its folder."""
    network = with_head(keras.layers.Dense(CLASSES))
    network.save(tmp_path / "mine.keras")
    monkeypatch.chdir(tmp_path)

    def run(name, *flags):
        command.run([name, "mine.keras", *FEEDING, *flags])
        printed = capsys.readouterr().out
        figures = json.loads(printed.strip().splitlines()[-1])
        return figures, tmp_path / "output" / name, network

    return run


def test_invert_leaves_the_images_that_it_counts(run, eagerly):
    figures, output, network = run("invert", "--labels=1,0,1", "--steps=2")
    images, labels = load_images(output / "images")
    assert labels.tolist() == [0, 1, 1] and figures["images"] == 3
    right = accuracy(network, images, labels, FED)
    assert figures["recognized"] == pytest.approx(right)
    assert (output / "images.png").exists()


def test_what_measure_writes_serves_a_network_without_batch_norm(
    run, tmp_path, eagerly
):
    modern().save(tmp_path / "mine.keras")
    images = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), "uint8")
    np.savez("unlabeled.npz", images=images)
    with pytest.raises(ValueError, match="no such layer"):
        run("invert", "--labels=0,1", "--steps=2")
    with pytest.raises(ValueError, match="pass --images=PATH"):
        run("measure")
    figures, output, _ = run("measure", "--images=unlabeled.npz")
    assert (figures["images"], figures["layers"]) == (12, 4)
    targets = f"--targets={figures['targets']}"
    figures, output, _ = run("invert", "--labels=0,1", "--steps=2", targets)
    assert figures["images"] == 2
    figures, output, _ = run("synthesize", *FEW, targets)
    assert figures["images"] == 12


@pytest.mark.slow
def test_a_network_without_batch_norm_learns_by_targets(run, tmp_path):
    modern().save(tmp_path / "mine.keras")
    images = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), "uint8")
    labels = np.arange(12) % 2 + CLASSES
    np.savez("new.npz", images=images, labels=labels)
    figures, _, _ = run("measure", "--images=new.npz")
    learn = ("learn", "--data=new.npz", "--method=replay", "--epochs=1", *FEW)
    figures, _, _ = run(*learn, f"--targets={figures['targets']}")
    assert figures["classes"] == CLASSES + 2


def test_a_pool_serves_prune(run, monkeypatch):
    figures, output, network = run("synthesize", *FEW)
    images, labels = load_images(output / "pool")
    assert figures["images"] == len(images) == 12
    said = np.argmax(network(FED.fed(images)), -1)
    np.testing.assert_array_equal(labels, said)

    pool = f"--images={output / 'pool'}"
    steps = "--steps=2", "--steps_per_round=1", "--rounds=3"
    trained, train = [], Recovery.train

    def counted(*args, steps, **kwargs):
        trained.append(steps)
        return train(*args, steps=steps, **kwargs)

    monkeypatch.setattr(Recovery, "train", counted)
    figures, output, _ = run("prune", pool, "--target=0.3", *steps)
    assert trained == [1, 1, 2]
    student = keras.models.load_model(output / "network.keras")
    ratio = student.count_params() / network.count_params()
    assert figures["parameters_ratio"] == pytest.approx(ratio)
    assert ratio < 1 and figures["cost_ratio"] <= 0.7
    np.testing.assert_allclose(
        Served(output / "saved_model")(images),
        student(FED.fed(images)),
        atol=1e-4,
    )


def test_images_serve_quantize(run):
    images = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), "uint8")
    np.savez("some.npz", images=images, labels=np.zeros(12, int))
    pool = "--images=some.npz"
    figures, output, network = run("quantize", pool)
    content = (output / "int8.tflite").read_bytes()
    assert figures["bytes"] == len(content)
    exact = np.asarray(network(FED.fed(images)))
    found = LiteRT(content)(images)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.95
    assert figures["dtypes"]["input"] == "uint8"

    device = "--input_dtype=int8", "--batch_size=1", "--dense=per_tensor"
    figures, output, _ = run("quantize", pool, *device)
    found = LiteRT((output / "int8.tflite").read_bytes())
    assert found.dtypes["input"] == figures["dtypes"]["input"] == "int8"
    assert found.input["shape_signature"].tolist() == [1, *SHAPE]
    assert sum(figures["ops"].values()) == len(found.ops)
    trained = "--scheme=int4", "--training_steps=1"
    figures, output, _ = run("quantize", pool, *trained)
    assert "int4" in figures["dtypes"]["tensors"]
    assert keras.models.load_model(output / "network.keras").built
    with pytest.raises(ValueError, match="per_channel or per_tensor. Received"):
        run("quantize", "--dense=one")
    with pytest.raises(ValueError, match="for scheme='dynamic'"):
        run("quantize", "--scheme=dynamic", "--input_dtype=int8")


def test_workers_share_a_folder(run, eagerly):
    few = "--recipe=replay_pixels", "--batches=2", "--images_per_batch=3"
    few = "synthesize", *few, "--steps_of_images=2", "--workers=2"
    few = *few, "--jpeg_quality=100"
    planned, output, _ = run(*few, "--only=plan")
    assert planned["images"] == 6 and not output.exists()
    figures, output, network = run(*few, "--worker=1")
    assert figures["done"] == 2 and figures["failed"] == []
    status, _, _ = run(*few, "--only=status")
    assert status["images"] == 6 and status["seconds_left"] == 0
    merged, _, _ = run(*few, "--only=merge")
    images, labels = load_images(merged["pool"])
    assert merged["images"] == len(images) == 6
    said = np.argmax(network(FED.fed(images)), -1)
    np.testing.assert_array_equal(labels, said)
    assert di.Pool.open(output).jpeg_quality == 100
    with pytest.raises(ValueError, match="status, merge or plan. Received"):
        run(*few, "--only=all")


def test_workers_may_be_those_of_ray(run, monkeypatch):
    asked = {}

    def on_ray(teacher, folder, **kwargs):
        asked.update(kwargs, folder=folder)
        return range(7)

    monkeypatch.setattr(di.inversion, "synthesize_on_ray", on_ray)
    flags = "synthesize", "--recipe=ours", "--batches=3", "--address=auto"
    figures, output, _ = run(*flags, "--engine=ray")
    assert figures == {"images": 7, "pool": str(asked["folder"])}
    assert (asked["address"], asked["workers"]) == ("auto", None)
    assert (asked["batches"], asked["jpeg_quality"]) == (3, None)
    with pytest.raises(ValueError, match="must be ray. Received: --engine=r"):
        run(*flags, "--engine=rey")


@pytest.mark.parametrize(("stopped", "failed", "code"), FAILING)
def test_a_scheduler_is_told_to_start_a_worker_again(
    run, monkeypatch, stopped, failed, code
):
    """By the exit code."""
    status = di.datasets.BatchesStatus(3, 2, 6, 1.0, failed, [], {}, None)
    status = status._replace(stopped=stopped)
    monkeypatch.setattr(di, "synthesize_batches", lambda *_, **__: status)
    with pytest.raises(SystemExit) as end:
        run("synthesize", "--workers=3", "--recipe=ours")
    assert end.value.code == code


@pytest.mark.slow
def test_distill_trains_a_network_of_the_library(run):
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), "uint8")
    np.savez("some.npz", images=images, labels=np.zeros(20, int))
    figures, output, network = run(
        "distill",
        "--images=some.npz",
        "--width=2",
        "--rounds=2",
        "--steps_per_round=2",
    )
    student = keras.models.load_model(output / "network.keras")
    assert student.output_shape == (None, CLASSES)
    ratio = student.count_params() / network.count_params()
    assert figures["parameters_ratio"] == pytest.approx(ratio)
    # It is fed pixels, its teacher z.
    np.testing.assert_allclose(
        Served(output / "saved_model")(images),
        student(images.astype("float32")),
        atol=1e-4,
    )


def test_distill_goes_on_where_it_was_stopped(run, monkeypatch, eagerly):
    flags = "--width=2", "--rounds=1", "--steps_per_round=2", "--seed=5", *FEW
    weights = []

    def saved(args, network):
        weights.append(network.get_weights())
        if len(weights) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "save_output", saved)
    with pytest.raises(KeyboardInterrupt):
        run("distill", *flags)
    run("distill", *flags)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_distill_makes_as_many_images_as_asked_for(run, monkeypatch):
    seen = []

    def distill(*_, refresh, **__):
        seen.append(refresh and refresh.settings())
        raise InterruptedError

    monkeypatch.setattr(di, "distill", distill)
    np.savez("some.npz", images=np.zeros((3, *SHAPE), "uint8"), labels=[0] * 3)
    for flags in (
        ["--batches=3", "--images_per_batch=5"],
        [],
        ["--images=some.npz"],
    ):
        of_images = (
            [] if "--images=some.npz" in flags else ["--steps_of_images=7"]
        )
        with pytest.raises(InterruptedError):
            run("distill", *of_images, *flags)
    asked = {"images": 5, "steps": 7, "first_steps": None, "when": None}
    assert seen == [
        {**asked, "batches": 3},
        {**asked, "images": 256, "batches": None},
        None,
    ]


def test_report_scores_a_student_beside_its_teacher(run, tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, *SHAPE), "uint8")
    labels = np.arange(40) % CLASSES
    np.savez(tmp_path / "some.npz", images=images, labels=labels)
    keras.utils.set_random_seed(3)
    with_head(keras.layers.Dense(CLASSES)).save(tmp_path / "small.keras")
    figures, output, network = run(
        "report",
        "--student=small.keras",
        "--images=some.npz",
        "--test_data=some.npz",
    )
    student = keras.models.load_model(tmp_path / "small.keras")
    said, answered = (
        np.argmax(each(FED.fed(images)), -1) for each in (network, student)
    )
    assert figures["agreement"] == (said == answered).mean()
    assert figures["student_test_accuracy"] == (answered == labels).mean()
    page = (output / "report.html").read_text()
    assert "What the student predicts for real images" in page
    assert "The rounds" not in page
    with pytest.raises(ValueError, match="no --student"):
        run("report", "--images=some.npz")


def save_images_of(folder, **classes):
    """Saves eight random images of the classes in turn, for each name."""
    random = np.random.default_rng(0)
    for name, labels in classes.items():
        np.savez(
            folder / f"{name}.npz",
            images=random.integers(0, 256, (8, *SHAPE), "uint8"),
            labels=np.resize(labels, 8),
        )


@pytest.mark.parametrize(
    "method", ["lwf", pytest.param("replay", marks=pytest.mark.slow)]
)
def test_learn_makes_room_for_the_classes_of_a_file(
    run, tmp_path, method, eagerly
):
    save_images_of(tmp_path, new=[CLASSES, CLASSES + 1])
    few = FEW if method == "replay" else ()
    with np.load("new.npz") as new:
        images, labels = new["images"], new["labels"]
    labels[:4] %= CLASSES
    np.savez("test.npz", images=images, labels=labels)
    test = "--test_data=test.npz"
    figures, output, before = run(
        "learn",
        "--data=new.npz",
        test,
        f"--method={method}",
        "--epochs=1",
        *few,
    )
    assert figures["classes"] == CLASSES + 2
    network = keras.models.load_model(output / "network.keras")
    assert network.output_shape == (None, CLASSES + 2)
    for name, which, rows in (
        ("old_accuracy_before", before, slice(4)),
        ("old_accuracy", network, slice(4)),
        ("new_accuracy", network, slice(4, None)),
    ):
        said = np.argmax(which(FED.fed(images[rows])), -1)
        assert figures[name] == np.mean(said == labels[rows])


def test_a_head_of_sums_may_begin_with_any_classes(run, tmp_path):
    save_images_of(tmp_path, late=[1], early=[0, 2])
    with pytest.raises(ValueError, match=r"without gaps.*classes \[1\]"):
        run("learn", "--method=analytic", "--data=late.npz")
    head = str(tmp_path / "output/learn/head.npz")
    command.run(["learn", head, "--method=analytic", "--data=early.npz"])
    network = keras.models.load_model(tmp_path / "output/learn/network.keras")
    assert network.output_shape == (None, 3)


def test_an_interrupted_head_of_sums_can_be_updated_again(
    run, tmp_path, monkeypatch
):
    save_images_of(tmp_path, one=[0, 1], two=[2, 3])
    _, output, _ = run("learn", "--method=analytic", "--data=one.npz")
    head = str(output / "head.npz")
    later = ["learn", head, "--method=analytic", "--data=two.npz"]
    with monkeypatch.context() as patched:
        patched.setattr(learn, "save_output", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            command.run(later)
    command.run(later)
    network = keras.models.load_model(output / "network.keras")
    assert network.output_shape == (None, 4)


def test_learn_adds_classes_to_a_head_of_sums(run, tmp_path):
    save_images_of(tmp_path, one=[0, 1], two=[2, 3])
    flags = ("--method=analytic", "--places=2")
    figures, output, _ = run("learn", *flags, "--data=one.npz")
    assert figures["classes"] == 2
    head = str(output / "head.npz")
    with pytest.raises(ValueError, match="alone.*head.npz and --method=abd"):
        command.run(["learn", head, "--data=two.npz"])
    command.run(["learn", head, "--method=analytic", "--data=two.npz"])
    with pytest.raises(ValueError, match=r"fewer: .*Received: classes \[0, 1"):
        run("learn", *flags, "--data=one.npz")
    network = keras.models.load_model(output / "network.keras")
    assert network.output_shape == (None, 4)
    # The 4 channels of the 6x6 maps, in 2x2 cells.
    features = di.incremental.AnalyticHead.load(head).features
    assert features.output_shape == (None, 16)
    for given in ("--places=2", "--channel_order=bgr", "--image_size=8,8"):
        with pytest.raises(ValueError, match=f"leave them out.*{given}"):
            command.run(["learn", head, flags[0], given, "--data=two.npz"])
    with pytest.raises(ValueError, match="--epochs=3, --targets=no.npz$"):
        run("learn", *flags, "--data=one.npz", "--epochs=3", "--targets=no.npz")
    with pytest.raises(ValueError, match="--places=2 and --method=abd"):
        command.run(["learn", "mine.keras", "--places=2", "--data=two.npz"])


def test_flags_that_belong_together_are_asked_for(run):
    with pytest.raises(ValueError, match="belong together"):
        command.run(["invert", "mine.keras", "--mean=100"])
    with pytest.raises(SystemExit):
        command.run(["nonesuch"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["synthesize", "--chain=3"], "for --workers or --eng.*--chain=3"),
        (["synthesize", "--workers=0"], "workers.*Received.*0"),
        (["measure", "--images=a.npz", "--dtype=auto"], "--dtype=auto"),
        (
            ["report", "--student=s.keras", "--images=a.npz", "--seed=5"],
            "--seed=5",
        ),
        (
            ["learn", "--data=new.npz", "--test_data=none_of.npz"],
            "no images in none_of.npz",
        ),
        (["distill", "--images=none.npz"], "Expected an .npz.*none.npz"),
        (["distill", "--targets=none.npz"], "none.npz, which does not exist"),
        (["measure", "--images=broken.npz"], "Expected an .npz.*broken.npz"),
        (["measure", "--images=~/mine.npz"], "/somebody/mine.npz"),
        (
            ["distill", "--images=a.npz", "--batches=3", "--student=s.keras"],
            "new images, without --images: .*--batches=3",
        ),
        (["distill", "--share=0.5", "--width=9"], "leave them out.*--width=9"),
        (["distill", "--width=0", "--images=a.npz"], "`width` must be a whole"),
        (["distill", "--dtype=float99"], "Expected a dtype policy"),
        (["prune", "--images=a.npz", "--recipe=no"], "--recipe=no"),
        (["quantize", "--images=a.npz", "--recipe=no"], "--recipe=no"),
        (["quantize", "--scheme=dynamic", "--batches=9"], "--batches=9"),
        (["synthesize", "--workers=1", "--address=a"], "--engine: .*--address"),
        (["synthesize", "--engine=ray", "--worker=1"], "--worker=1"),
        (["distill", "--share=0", "--images=a.npz"], "Received: --share=0"),
        (["distill", "--share=0", "--student=s.keras"], "not both.*share=0"),
        (["prune", "--seed=5000000000"], "`seed` must be a whole number"),
        (["quantize", "--batch_size=0"], "`batch_size` must be a whole"),
        (
            ["learn", "--data=a.npz", "--method=finetune", "--recipe=no"],
            "replayed images: .*--recipe=no",
        ),
        (["learn"], "pass --data=PATH"),
        (["learn", "--method=analytic"], "pass --data=PATH"),
        (["learn", "--data=a.npz", "--method=lwf", "--batches=9"], "--batches"),
        (
            ["learn", "--data=new.npz", "--test_data=far.npz"],
            r"`test_data` must lie in \[0, 4\).*to 9",
        ),
        (
            ["learn", "--data=new.npz", "--test_data=wide.npz"],
            r"shape \(8, 8, 1\) of the new.*\(8, 9, 1\) in wide.npz",
        ),
        (["measure", "--images=a.npz", "--output=a.npz/x"], "a.npz/x"),
    ],
)
def test_flags_that_nothing_reads_and_files_that_nobody_can_read(
    run, monkeypatch, flags, message
):
    np.savez("a.npz", images=np.zeros((12, *SHAPE), "uint8"))
    np.savez("new.npz", images=np.zeros((1, *SHAPE), "uint8"), labels=[3])
    np.savez("none_of.npz", images=np.zeros((0, *SHAPE), "uint8"), labels=NONE)
    np.savez("far.npz", images=np.zeros((1, *SHAPE), "uint8"), labels=[9])
    np.savez("wide.npz", images=np.zeros((1, 8, 9, 1), "uint8"), labels=[0])
    pathlib.Path("broken.npz").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.setenv("HOME", "/somebody")
    name, *others = flags
    arguments = ["tf-deepinversion", name, "mine.keras", *FEEDING, *others]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(
        SystemExit, match=f"^tf-deepinversion: error:.*{message}"
    ):
        command.main()


def test_a_network_is_pruned_on_the_images_that_teach_most():
    given = command.parser().parse_args(["prune", "mine.keras"])
    assert given.recipe == "distillation_pixels"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--rounds=0", "`rounds` must be a whole number, 1 or more"),
        ("--target=1", "between 0 and 1: .*Received: .*target=1"),
        ("--target=0.999", "cannot be reached: .*target=0.999"),
        ("--cost=flop", "must be one of .*Received: .*cost='flop'"),
    ],
)
def test_prune_refuses_before_it_makes_images(run, monkeypatch, flag, message):
    monkeypatch.setattr("tf_deepinversion.commands.jobs.pool_of", None)
    arguments = ["tf-deepinversion", "prune", "mine.keras", *FEEDING, flag]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        command.main()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            [keras.layers.Flatten(), keras.layers.Dense(CLASSES)],
            "No channel of this network can be removed",
        ),
        (
            [
                keras.layers.Conv2D(4, 3, trainable=False),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(CLASSES, trainable=False),
            ],
            "no trainable weights",
        ),
    ],
)
def test_prune_looks_at_the_network_before_it_makes_images(
    run, monkeypatch, network, message
):
    keras.Sequential([keras.Input(SHAPE), *network]).save("mine.keras")
    monkeypatch.setattr("tf_deepinversion.commands.jobs.pool_of", None)
    arguments = ["tf-deepinversion", "prune", "mine.keras", *FEEDING]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        command.main()


@pytest.mark.parametrize(
    "flags",
    [
        ["prune"],
        ["distill"],
        ["distill", "--student=out/network.keras"],
        ["learn", "--data=new.npz"],
        ["learn", "--data=new.npz", "--method=analytic"],
        ["quantize", "--training_steps=2"],
    ],
)
def test_no_job_replaces_the_network_that_it_reads(run, monkeypatch, flags):
    pathlib.Path("out").mkdir()
    written = pathlib.Path("out/network.keras")
    written.write_bytes(pathlib.Path("mine.keras").read_bytes())
    before = written.read_bytes()
    name, *others = flags
    network = "mine.keras" if "student" in str(flags) else "out/network.keras"
    pathlib.Path("link").symlink_to("out")
    given = [name, network, *FEEDING, *others, "--output=link"]
    monkeypatch.setattr("sys.argv", ["tf-deepinversion", *given])
    with pytest.raises(SystemExit, match="would replace the network.*--output"):
        command.main()
    assert written.read_bytes() == before


JOBS = (
    ["distill"],
    ["prune"],
    ["learn", "--data=new.npz"],
    ["quantize", "--training_steps=2"],
)


@pytest.mark.parametrize(
    ("flags", "other"), list(zip(JOBS, JOBS[1:] + JOBS[:1], strict=True))
)
def test_no_job_replaces_the_network_of_another(run, monkeypatch, flags, other):
    args = command.parser().parse_args([*other, "mine.keras", "--output=out"])
    saved = save_output(args, keras.Sequential())
    before = pathlib.Path(saved).read_bytes()
    check_output(args)  # its own, again
    name, *others = flags
    monkeypatch.setitem(jobs.JOBS, name, None)  # no work is begun
    given = [name, "mine.keras", *FEEDING, *others, "--output=out"]
    monkeypatch.setattr("sys.argv", ["tf-deepinversion", *given])
    with pytest.raises(SystemExit, match=f"which the command `{other[0]}` wro"):
        command.main()
    assert pathlib.Path(saved).read_bytes() == before
    pathlib.Path("out/network.json").unlink()
    with pytest.raises(SystemExit, match="which no command wrote"):
        command.main()


@pytest.mark.parametrize("taken", ["network.keras", "saved_model"])
def test_what_cannot_be_written_is_refused_first(run, monkeypatch, taken):
    (pathlib.Path("out") / taken).mkdir(parents=True)
    (pathlib.Path("out") / taken / "letter.txt").write_text("of mine")
    monkeypatch.setattr("tf_deepinversion.commands.jobs.pool_of", None)
    given = ["prune", "mine.keras", *FEEDING, "--output=out"]
    monkeypatch.setattr("sys.argv", ["tf-deepinversion", *given])
    with pytest.raises(SystemExit, match=f"error: .*{taken}"):
        command.main()


@pytest.mark.parametrize("flag", ["--images=", "--output=", "--recipe="])
def test_an_empty_text_is_no_value(capsys, flag):
    with pytest.raises(SystemExit) as end:
        command.run(["prune", "mine.keras", flag])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert f"{flag[:-1]}: expected a value" in told


def test_a_network_that_is_cut_off_is_said_to_be(run, monkeypatch):
    content = pathlib.Path("mine.keras").read_bytes()
    pathlib.Path("cut.keras").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr("sys.argv", ["tf-deepinversion", "invert", "cut.keras"])
    with pytest.raises(SystemExit, match="error: .*cut off.*name=cut.keras"):
        command.main()


@pytest.mark.parametrize("flag", ["--seed=-1", "--steps=1.5", "--steps=many"])
def test_numbers_are_whole_and_at_least_zero(capsys, flag):
    with pytest.raises(SystemExit) as end:
        command.run(["invert", "mine.keras", flag])
    assert end.value.code == 2
    assert "a whole number, at least 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flag"), [("invert", "--steps"), ("prune", "--steps_of_images")]
)
def test_messages_name_flags(monkeypatch, capsys, name, flag):
    monkeypatch.setattr("sys.argv", ["tf-deepinversion", name])

    def told():
        warnings.warn("Take more steps (`steps`, `first_steps`).", stacklevel=1)
        warnings.warn(
            "It is Preprocessing(81, 8.5, (-1, 1)) or Preprocessing(mean, std, "
            '"normalized").',
            stacklevel=1,
        )

    monkeypatch.setattr(command, "run", told)
    command.main()
    begin = "tf-deepinversion: warning: "
    assert capsys.readouterr().err.splitlines() == [
        begin + f"Take more steps ({flag}).",
        begin + "It is --mean=81 --std=8.5 --pixel_range=-1,1 or --mean=MEAN "
        "--std=STD --pixel_range=normalized.",
    ]


def test_an_interruption_is_one_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tf-deepinversion: interrupted.")


@pytest.mark.parametrize("error", command.REFUSALS)
def test_each_kind_of_refusal_is_one_line(monkeypatch, error):
    def refuse():
        raise error("Expected more.")

    monkeypatch.setattr(command, "run", refuse)
    monkeypatch.setattr(command, "_refused_here", lambda error: True)
    with pytest.raises(SystemExit, match="^tf-deepinversion: error: Expected"):
        command.main()


def test_what_the_library_refuses_is_one_line_without_a_traceback(
    run, monkeypatch
):
    flags = ["tf-deepinversion", "invert", "mine.keras"]
    monkeypatch.setattr("sys.argv", flags)
    with pytest.raises(SystemExit, match="^tf-deepinversion: error:.*--mean"):
        command.main()

    def fail(*_, **__):
        raise ValueError("a failure within another library")

    monkeypatch.setattr("sys.argv", [*flags, "--mean=100", "--std=50"])
    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(ValueError, match="another library"):
        command.main()


def test_a_warning_of_several_parts_of_a_job_is_one_line(monkeypatch, capsys):
    def warn_twice():
        warnings.warn("Wrong inputs.", stacklevel=1)
        warnings.warn("Wrong inputs.", stacklevel=1)  # another line

    monkeypatch.setattr(command, "run", warn_twice)
    command.main()
    said = "tf-deepinversion: warning: Wrong inputs.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", command._COMMANDS)
def test_help_fits_one_screen_and_its_example_is_accepted(
    name, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        command.run([name, "--help"])
    text = capsys.readouterr().out
    assert not end.value.code and len(text.splitlines()) <= 40
    example = command._COMMANDS[name][1]
    assert command.parser().parse_args(example.split()).command == name


def test_help_needs_no_tensorflow():
    code = (
        "import sys, tf_deepinversion_command as command\n"
        "try: command.run(['distill', '--help'])\n"
        "finally: sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_pip_installs_the_command():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"]
    assert scripts.strip() == "tf-deepinversion = tf_deepinversion_command:main"
