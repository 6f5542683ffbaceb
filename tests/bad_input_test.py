"""What users get wrong, or a notebook does for them: told at once, by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher
from tiny import with_head

import tf_deepinversion as di
from tf_deepinversion.incremental import learn_task
from tf_deepinversion.incremental import learn_tasks
from tf_deepinversion.incremental import method
from tf_deepinversion.incremental._train import train
from tf_deepinversion.metrics import recognition
from tf_deepinversion.metrics.verification import verification_table
from tf_deepinversion.networks import reader
from tf_deepinversion.pruning import narrow
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import recover
from tf_deepinversion.pruning import shorten
from tf_deepinversion.pruning import sparsify
from tf_deepinversion.quantization import train_quantized
from tf_deepinversion.reports import report_student

pytestmark = pytest.mark.usefixtures("eagerly")
FED = di.Preprocessing(127.5, 50, "normalized")
OTHERWISE = di.Preprocessing(127.5, 64, (0, 1))
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (9, *SHAPE), "uint8")
LABELS = np.arange(9) % CLASSES


def test_labels_in_a_column_are_refused_where_they_would_be_broadcast():
    """As `keras.datasets.cifar10` gives them."""
    teacher, column = tiny_teacher(), LABELS[:, None]
    with pytest.raises(ValueError, match=r"\(9,\), one per image.*\(9, 1\)"):
        recognition.accuracy(teacher, IMAGES, column, FED)
    with pytest.raises(ValueError, match=r"Received: .*\(9, 1\)"):
        verification_table(
            {"ours": (IMAGES, column)}, {"tiny": teacher}, {"tiny": FED}
        )
    student = with_head(keras.layers.Dense(CLASSES))

    def scored(labels):
        model = di.Distillation(teacher, student, FED)
        model.compile()
        return model.evaluate(IMAGES, labels, verbose=0, return_dict=True)

    with pytest.raises(ValueError, match="one-hot"):
        scored(np.eye(CLASSES)[LABELS])
    # Keras itself takes columns.
    assert scored(LABELS)["accuracy"] == scored(column)["accuracy"]


def test_pixels_in_0_to_1_are_refused_where_they_would_be_black():
    teacher = tiny_teacher()
    for function in (reader.read_logits, reader.penultimate_features):
        with pytest.raises(TypeError, match="uint8.*scale the images.*float64"):
            function(teacher, IMAGES / 255, FED)
    with pytest.raises(
        ValueError, match="pixels in .0, 255.. Received: from -"
    ):
        reader.read_logits(teacher, IMAGES.astype("int64") - 128, FED)
    with pytest.raises(TypeError, match="uint8.*float64"):
        train(with_head(keras.layers.Dense(3)), IMAGES / 255, LABELS, epochs=1)


@pytest.mark.parametrize(
    "head",
    [
        [keras.layers.Dense(1, activation="tanh")],
        [keras.layers.Dense(3, activation="sigmoid")],
        [keras.layers.Dense(3), keras.layers.Activation("sigmoid")],
    ],
)
def test_a_sigmoid_s_answers_are_no_logits(head):
    with pytest.raises(ValueError, match=r"two or more.*Received.*\(2, [13]\)"):
        di.DeepInversion(with_head(*head), FED)


def test_a_sigmoid_elsewhere_is_none_of_our_business():
    """As the gate of a squeeze-and-excite block, declared after the head."""

    class Gated(keras.Model):
        def __init__(self):
            super().__init__()
            self.stem = keras.layers.Conv2D(4, 3)
            self.norm = keras.layers.BatchNormalization()
            self.pool = keras.layers.GlobalAveragePooling2D()
            self.head = keras.layers.Dense(CLASSES)
            self.gate = keras.layers.Dense(4, activation="sigmoid")

        def call(self, x):
            x = self.pool(self.norm(self.stem(x)))
            return self.head(x * self.gate(x))

    model = di.DeepInversion(Gated(), FED, image_shape=SHAPE)
    assert model.classes == CLASSES


def test_a_color_student_of_a_gray_teacher_needs_a_mean_of_colors():
    teacher = tiny_teacher()
    student = with_head(keras.layers.Dense(CLASSES), shape=(8, 8, 3))
    with pytest.raises(ValueError, match="have 3 channels: to feed it gray"):
        di.Distillation(teacher, student, FED)
    colors = di.Preprocessing([100, 110, 120], 50, "normalized")
    model = di.Distillation(teacher, student, FED, colors)
    fed = (IMAGES - np.array([100, 110, 120], "float32")) / 50
    np.testing.assert_allclose(
        model.answers(IMAGES)[1], student(fed), rtol=1e-4, atol=1e-5
    )


def test_transforms_may_come_from_an_iterator():
    teacher, student = tiny_teacher(), with_head(keras.layers.Dense(CLASSES))
    flips = (x for x in [di.HorizontalFlip()])
    model = di.Distillation(teacher, student, FED, transforms=flips)
    assert len(model.settings()["transforms"]) == 1


def test_images_are_channels_last(monkeypatch):
    inputs = keras.Input((3, 16, 16))
    x = keras.layers.BatchNormalization(axis=1)(inputs)
    x = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x))
    with pytest.raises(ValueError, match="Permute.*3, 16, 16"):
        di.DeepInversion(keras.Model(inputs, x), FED)
    # Axis 1 of rows of features is the last one.
    for shape in ((1, 16, 2), (3, 8, 1), (4, 8, 1)):
        inputs = keras.Input(shape)
        x = keras.layers.Dense(8)(keras.layers.Flatten()(inputs))
        x = keras.layers.BatchNormalization(axis=1)(x)
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
        assert di.DeepInversion(model, FED).image_shape == shape
    # Three pixels high, of six channels.
    strip = with_head(keras.layers.Dense(CLASSES), shape=(3, 64, 6))
    assert di.DeepInversion(strip, FED).image_shape == (3, 64, 6)
    teacher = tiny_teacher()
    monkeypatch.setattr(
        keras.config, "image_data_format", lambda: "channels_first"
    )
    with pytest.raises(ValueError, match="set_image_data_format"):
        di.DeepInversion(teacher, FED)


def test_a_student_that_would_not_learn_or_would_change_its_teacher():
    teacher = tiny_teacher()
    head = keras.layers.Dense(CLASSES)
    shared = keras.Model(teacher.inputs, head(teacher.layers[-2].output))
    kept = "would change .*must stay as it is"
    cases = [(teacher, kept), (shared, kept)]
    frozen = with_head(keras.layers.Dense(CLASSES))
    frozen.trainable = False
    for student, message in [*cases, (frozen, "no trainable.* a copy of")]:
        model = di.Distillation(teacher, student, FED)
        model.compile(optimizer="sgd")
        with pytest.raises(ValueError, match=message):
            model.fit(IMAGES, verbose=0)
        assert len(model.evaluate(IMAGES, verbose=0)) >= 2  # only looked at
    # Frozen, what is shared stays as it is, and the head alone learns.
    for layer in shared.layers[:-1]:
        layer.trainable = False
    before = teacher.get_weights()
    model = di.Distillation(teacher, shared, FED)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    bias = np.array(head.bias)
    model.fit(IMAGES, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (np.array(head.bias) != bias).any()


def test_floats_in_training_or_scoring_are_refused():
    model = di.Distillation(tiny_teacher(0), tiny_teacher(1), FED)
    model.compile(optimizer="sgd")
    floats = IMAGES.astype("float32") / 255
    for run in (model.fit, model.evaluate):
        with pytest.raises(TypeError, match="uint8 pixels.*dtype float32"):
            run(floats, verbose=0)


class Counting(di.DeepInversion):
    """Counts its batches."""

    batches = 0

    def fit(self, *args, **kwargs):
        self.batches += 1
        return super().fit(*args, **kwargs)


def some_pool(shape):
    pool = di.Pool(2, shape, CLASSES)
    pool.add(np.zeros((2, *shape), "uint8"), [0, 1])
    return pool


def float_dataset(named=False):
    images, labels = np.zeros((2, *SHAPE), "float32"), [0, 1]
    elements = images, labels
    if named:
        elements = {"id": labels, "image": images, "label": labels}
    return tf.data.Dataset.from_tensor_slices(elements).batch(2)


def distilled(folder, teacher=None, student=None, **kwargs):
    teacher = teacher or tiny_teacher()
    synthesizer = kwargs.pop("synthesizer", None) or Counting(
        teacher, FED, recipe="replay_pixels"
    )
    arguments = {
        "rounds": 1,
        "steps_per_round": 1,
        "batch_size": 2,
        "preprocessing": FED,
        "refresh": di.RefreshPool(6, 1, when="every_round"),
        "verbose": 0,
        **kwargs,
    }
    student = student or with_head(keras.layers.Dense(CLASSES))
    seen = keras.callbacks.Callback()  # knows the model that `fit` trains
    callbacks = [seen, *arguments.pop("callbacks", [])]
    found = di.distill(
        teacher,
        student,
        synthesizer,
        folder=folder,
        callbacks=callbacks,
        **arguments,
    )
    return seen.model, found.pool


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"transforms": [keras.layers.RandomFlip()]}, TypeError, "transforms"),
        ({"callbacks": [di.ImageGrid("a.png")]}, TypeError, "an inversion"),
        ({"capacity": 5}, ValueError, "hold the 6 images.*capacity=5"),
        ({"seed": -1}, ValueError, "`seed` must be.*seed=-1"),
        ({"rounds": 2.0}, ValueError, "`rounds` must be.*rounds=2.0"),
        ({"rounds": "2"}, ValueError, "`rounds` must be.*rounds='2'"),
        ({"refresh": {"images": 6}}, TypeError, "must be a `RefreshPool`"),
        (
            {"refresh": di.RefreshPool(6, [1, 2])},
            ValueError,
            r"has 1 stages.*steps=\[1, 2\]",
        ),
        (
            {"refresh": di.RefreshPool(2)},
            ValueError,
            "1 batches of 2 images leave out some of the 3 classes",
        ),
        ({"temperature": float("inf")}, ValueError, "`temperature` must"),
        (
            {"fixed_images": some_pool((9, 8, 1))},
            ValueError,
            r"images \(9, 8, 1",
        ),
        (
            {
                "fixed_images": (
                    np.zeros((6, *SHAPE), "uint8"),
                    np.zeros(6, int),
                )
            },
            TypeError,
            "`fixed_images` must be a `Pool`.*Received: tuple",
        ),
        (
            {"fixed_images": some_pool(SHAPE), "fixed_share": 0.9},
            ValueError,
            "All images of a batch would be.*size=2, fixed_share=0.9",
        ),
        (
            {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
            ValueError,
            "gradient_accumulation_steps",
        ),
        (
            {"validation_data": (np.zeros((2, *SHAPE)), np.zeros(2, int))},
            TypeError,
            "images of dtype float64",
        ),
        *(
            (
                {"validation_data": float_dataset(named)},
                TypeError,
                "images of dtype float32",
            )
            for named in (False, True)
        ),
    ],
)
def test_distill_says_so_before_it_makes_an_image(
    tmp_path, arguments, error, message
):
    synthesizer = Counting(tiny_teacher(), FED, recipe="replay_pixels")
    with pytest.raises(error, match=message) as held:
        distilled(tmp_path, synthesizer=synthesizer, **arguments)
    assert synthesizer.batches == 0
    # As in a notebook, which holds the error: the folder is as it was, or free
    # and fit for the call as it should have been.
    assert held.value is not None
    assert not list(tmp_path.iterdir())


def test_distill_refuses_what_does_not_belong_together(tmp_path):
    teacher = tiny_teacher()
    color = with_head(keras.layers.Dense(CLASSES), shape=(8, 8, 3))
    with pytest.raises(ValueError, match="have 3 channels"):
        distilled(tmp_path, teacher, color)
    large = with_head(keras.layers.Dense(CLASSES), shape=(9, 9, 1))
    of_another = di.DeepInversion(large, FED)
    with pytest.raises(ValueError, match="synthesizer of the teacher"):
        distilled(tmp_path, teacher, synthesizer=of_another)
    of_a_like = di.DeepInversion(tiny_teacher(seed=1), FED)
    with pytest.raises(ValueError, match="of another network, 'tiny'"):
        distilled(tmp_path, teacher, synthesizer=of_a_like)
    # Equal weights are no equal function.
    of_other_layers = di.DeepInversion(tiny_teacher(pixel_scale=(1, 0)), FED)
    with pytest.raises(ValueError, match="of another network, 'tiny'"):
        distilled(tmp_path, teacher, synthesizer=of_other_layers)
    rival = with_head(keras.layers.Dense(CLASSES))
    competing = di.DeepInversion(teacher, FED, student=rival)
    with pytest.raises(ValueError, match="another network than the student"):
        distilled(tmp_path, teacher, synthesizer=competing)


@pytest.mark.slow
def test_an_optimizer_may_be_named_or_have_served_before():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    results = []
    for given in (optimizer, optimizer, "sgd"):
        model, _ = distilled(None, optimizer=given)
        assert int(model.optimizer.iterations) == 1
        results.append(model.student.get_weights())
    for first, second in zip(*results[:2], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_teacher_of_any_size_is_told_its_images(tmp_path):
    teacher = with_head(keras.layers.Dense(CLASSES), shape=(None, None, 1))
    arguments = {"image_shape": SHAPE, "preprocessing": FED}
    pool = di.distill(
        teacher,
        tiny_teacher(seed=1),
        rounds=1,
        steps_per_round=1,
        batch_size=2,
        refresh=di.RefreshPool(images=6, steps=1),
        verbose=0,
        **arguments,
    ).pool
    made = di.synthesize(
        teacher,
        CLASSES,
        batches=1,
        images=6,
        steps=1,
        recipe="replay_pixels",
        **arguments,
    )
    assert pool.images.shape == (18, *SHAPE)  # with two snapshots each
    assert made.images.shape == (6, *SHAPE)


@pytest.fixture
def pool(tmp_path):
    """Of `synthesize`, in a folder."""

    def make(**kwargs):
        arguments = {
            "batches": 1,
            "images": 6,
            "steps": 1,
            "recipe": "replay_pixels",
            "preprocessing": FED,
            "classes": CLASSES,
            **kwargs,
        }
        classes = arguments.pop("classes")
        return di.synthesize(
            tiny_teacher(), classes, folder=tmp_path / "pool", **arguments
        )

    return make


@pytest.mark.filterwarnings("ignore:The network takes")
@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"preprocessing": OTHERWISE}, "preprocessing"),
        ({"steps": 2}, "steps"),
        pytest.param({"classes": 2}, "classes", marks=pytest.mark.slow),
        pytest.param({"seed": 1}, "seed", marks=pytest.mark.slow),
    ],
)
def test_another_synthesis_is_refused_by_what_differs(pool, other, name):
    images = pool().images
    with pytest.raises(ValueError, match=f"differs in: {name}"):
        pool(**other)
    # NumPy's numbers are the same as Python's.
    again = pool(seed=np.int64(0), batches=np.int32(1)).images
    np.testing.assert_array_equal(again, images)


@pytest.mark.filterwarnings("ignore:The network takes")
def test_a_synthesis_that_was_refused_leaves_no_folder(pool, tmp_path):
    with pytest.raises(ValueError, match="steps=0"):
        pool(steps=0)
    assert not list(tmp_path.iterdir())
    assert len(pool()) == 6


def stream(step):
    dataset = tf.data.Dataset.from_tensors((IMAGES, LABELS))
    return dataset.repeat()


@pytest.mark.parametrize("function", [prune, sparsify])
def test_pruning_reads_a_function_from_a_step(function):
    steps = {"steps": 2} if function is sparsify else {}
    with pytest.raises(TypeError, match="function from a step.*ndarray"):
        function(tiny_teacher(), IMAGES, target=0.5, **steps)


def larger_images(kind):
    """Images of 9x9 pixels, which no network here takes."""
    images = np.zeros((6, 9, 9, 1), "uint8"), np.arange(6) % CLASSES
    pool = di.Pool.of(*images, CLASSES)
    return {
        "arrays": images,
        "pool": pool,
        "function": lambda step: pool.dataset(2, first_step=step),
    }[kind]


@pytest.mark.parametrize("kind", ["arrays", "pool", "function"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: prune(tiny_teacher(), x, target=0.5, preprocessing=FED),
        lambda x: narrow(tiny_teacher(), x, preprocessing=FED),
        lambda x: sparsify(tiny_teacher(), x, target=0.5, steps=2),
        lambda x: recover(tiny_teacher(), tiny_teacher(1), x, steps=1),
        lambda x: train_quantized(
            tiny_teacher(), x, steps=1, preprocessing=FED
        ),
        lambda x: shorten(di.models.ResNet14(SHAPE, CLASSES, width=2), x),
    ],
    ids=["prune", "narrow", "sparsify", "recover", "quantize", "shorten"],
)
def test_images_of_another_shape_are_refused(call, kind):
    with pytest.raises(ValueError, match=r"\(8, 8, 1\).*\(9, 9, 1\)"):
        call(larger_images(kind))


def test_a_report_on_images_of_another_shape_is_refused(tmp_path):
    pair = di.Distillation(tiny_teacher(), tiny_teacher(1), FED)
    pool = di.Pool.of(IMAGES, LABELS, CLASSES)
    for given in (
        {"pool": larger_images("pool")},
        {"pool": pool, "real": larger_images("arrays")},
    ):
        with pytest.raises(ValueError, match=r"\(8, 8, 1\).*\(9, 9, 1\)"):
            report_student(tmp_path / "report.html", pair, {}, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_another_pruning_is_refused(tmp_path):
    def pruned(preprocessing):
        return prune(
            tiny_teacher(),
            stream,
            target=0.3,
            rounds=1,
            ranking_batches=1,
            final_steps=1,
            preprocessing=preprocessing,
            folder=tmp_path,
            run="stream",
        )

    def sparse(policy):
        return sparsify(
            tiny_teacher(),
            stream,
            target=0.5,
            steps=2,
            policy=policy,
            preprocessing=FED,
            folder=tmp_path,
            run="stream",
        )

    for function, ours, other in (
        (pruned, FED, OTHERWISE),
        (sparse, None, keras.layers.Dense),
    ):
        function(ours)
        with pytest.raises(ValueError, match="belongs to another run"):
            function(other)


def test_another_task_is_refused(tmp_path):
    teacher, terms = tiny_teacher(), method("finetune")
    labels = CLASSES + np.arange(9) % 2

    def learn(images=IMAGES, **kwargs):
        return learn_task(
            teacher,
            images,
            labels,
            terms,
            **{"epochs": 1, "preprocessing": FED, **kwargs},
            folder=str(tmp_path / "task"),
        )[0].get_weights()

    first = learn()
    for kwargs, name in (
        ({"images": 255 - IMAGES}, "images"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"preprocessing": OTHERWISE}, "preprocessing"),
    ):
        with pytest.raises(ValueError, match=f"differs in: {name}"):
            learn(**kwargs)
    for old, new in zip(first, learn(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_training_is_refused(tmp_path):
    def trained(images=IMAGES, **kwargs):
        keras.utils.set_random_seed(0)
        model = with_head(keras.layers.Dense(CLASSES))
        return train(
            model,
            images,
            LABELS,
            **{"epochs": 1, **kwargs},
            folder=tmp_path,
        ).network.get_weights()

    first = trained()
    for kwargs, name in (
        ({"images": 255 - IMAGES}, "images"),
        ({"epochs": 2}, "epochs"),
    ):
        with pytest.raises(ValueError, match=f"differs in: {name}"):
            trained(**kwargs)
    for old, new in zip(first, trained(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_architecture_of_the_same_weights_is_another_training(tmp_path):
    def trained(activation, name=None):
        keras.utils.set_random_seed(0)
        head = keras.layers.Dense(CLASSES, activation, name=name)
        model = with_head(head, keras.layers.Dense(CLASSES))
        train(model, IMAGES, LABELS, epochs=1, folder=tmp_path)

    trained("relu")
    trained("relu", "called_otherwise")
    with pytest.raises(ValueError, match="differs in: model"):
        trained("tanh")


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (LABELS[:5], ValueError, "9 images and 5 labels"),
        (LABELS + 0.5, TypeError, "must be integers"),
        (LABELS + 1, ValueError, "must lie in"),
    ],
)
def test_labels_of_a_training_fit_its_images(labels, error, message):
    with pytest.raises(error, match=message):
        train(with_head(keras.layers.Dense(CLASSES)), IMAGES, labels, epochs=1)


@pytest.mark.parametrize(
    ("transforms", "error"),
    [([di.MixUp()], ValueError), ([di.HorizontalFlip], TypeError)],
)
def test_labeled_images_are_not_blended(transforms, error):
    network, labels = tiny_teacher(), CLASSES + np.arange(9) % 2
    calls = []

    def synthesize(*args):
        calls.append(args)

    for call in (
        lambda: train(network, IMAGES, LABELS, epochs=1, transforms=transforms),
        lambda: learn_task(
            network,
            IMAGES,
            labels,
            method("replay"),
            synthesize=synthesize,
            preprocessing=FED,
            transforms=transforms,
        ),
    ):
        with pytest.raises(error, match="MixUp|transforms of tf_deep"):
            call()
    assert not calls


def diverging_student(folder):
    di.distill(
        learned_teacher(),
        tiny_teacher(1),
        rounds=2,
        steps_per_round=3,
        batch_size=4,
        refresh=di.RefreshPool(images=6, steps=1),
        preprocessing=FED,
        optimizer=keras.optimizers.SGD(1e38),
        folder=folder,
        verbose=0,
    )


def diverging_recovery(folder):
    pool = di.Pool(9, SHAPE, CLASSES)
    pool.add(IMAGES, LABELS)
    recover(
        learned_teacher(),
        tiny_teacher(1),
        lambda step: pool.dataset(4, first_step=step),
        steps=6,
        steps_per_epoch=3,
        preprocessing=FED,
        optimizer=keras.optimizers.SGD(1e38),
        folder=folder,
        run="pool",
    )


def diverging_training(folder):
    model = with_head(keras.layers.Dense(CLASSES))
    options = {"epochs": 2, "batch_size": 3, "learning_rate": 1e38}
    train(model, IMAGES, LABELS, folder=folder, **options)


def diverging_task(folder):
    learn_task(
        tiny_teacher(),
        IMAGES,
        CLASSES + np.arange(9) % 2,
        method("finetune"),
        epochs=2,
        batch_size=3,
        learning_rate=1e38,
        preprocessing=FED,
        folder=folder,
    )


@pytest.mark.parametrize(
    "diverging",
    [
        diverging_student,
        diverging_recovery,
        diverging_training,
        diverging_task,
    ],
)
def test_a_network_whose_training_failed_is_no_result(diverging, tmp_path):
    with pytest.raises(
        FloatingPointError, match="in epoch 1.*lower.*rate.*Received: .*kernel"
    ):
        diverging(tmp_path)
    assert not [*tmp_path.glob("*.npz"), *tmp_path.rglob("*.keras")]


def test_a_frozen_network_is_refused_where_it_would_not_learn(tmp_path):
    network = tiny_teacher()
    network.trainable = False
    task = IMAGES, CLASSES + np.arange(9) % 2
    with pytest.raises(ValueError, match="head of the network is frozen"):
        learn_tasks(
            network,
            [task],
            method("finetune"),
            epochs=1,
            preprocessing=FED,
            folder=tmp_path,
        )
    assert not list(tmp_path.rglob("*.*"))


def test_test_images_of_a_later_task_are_looked_at_first(tmp_path):
    labels = CLASSES + np.arange(9) % 2
    tests = [(IMAGES, LABELS), (IMAGES / 255, labels)]
    with pytest.raises(TypeError, match="images of dtype float64"):
        learn_tasks(
            tiny_teacher(),
            [(IMAGES, labels)],
            method("finetune"),
            epochs=1,
            preprocessing=FED,
            tests=tests,
            folder=tmp_path,
        )
    assert not list(tmp_path.iterdir())


def test_tasks_may_be_any_iterable_but_not_empty():
    teacher, terms = tiny_teacher(), method("finetune")
    tasks = zip([IMAGES], [CLASSES + np.arange(9) % 2], strict=True)
    arguments = {"epochs": 1, "preprocessing": FED}
    learned = learn_tasks(teacher, tasks, terms, **arguments)
    assert learned.network.output_shape[-1] == 5 and len(learned.history) == 1
    with pytest.raises(ValueError, match="at least one task"):
        learn_tasks(teacher, [], terms, **arguments)


def test_a_folder_of_others_stays_as_it_was(tmp_path):
    for name in (".thesis.zip.part", "thesis.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="folder of its own"):
        di.Pool(3, SHAPE, CLASSES, folder=tmp_path, run="ours")
    names = [path.name for path in tmp_path.iterdir()]
    assert sorted(names) == [".thesis.zip.part", "thesis.txt"]
    (tmp_path / "thesis.txt").unlink()
    di.Pool(3, SHAPE, CLASSES, folder=tmp_path, run="ours").close()
    assert (tmp_path / ".thesis.zip.part").read_text() == "mine"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda t: di.DeepInversion(t, lambda x: x / 127.5 - 1),
            TypeError,
            "matches a `preprocess_input`",
        ),
        (
            lambda t: di.DeepInversion(t, FED, dtype="bfloat16"),
            ValueError,
            'mixed_bfloat16"',
        ),
        (
            lambda t: di.DeepInversion(t, FED).compile(steps_per_execution=-1),
            ValueError,
            "`steps_per_execution` must be",
        ),
        (
            lambda t: di.DeepInversion(t, FED).compile(loss=di.CrossEntropy()),
            TypeError,
            "`loss` must be a list",
        ),
        (
            lambda t: di.RECIPES["ours"].replace(
                transforms=[keras.layers.RandomFlip()]
            ),
            TypeError,
            "list of transforms",
        ),
        (
            lambda t: di.DeepInversion(t, FED).fit([0], batch_index=-1),
            ValueError,
            "`batch_index` must be",
        ),
        (
            lambda t: di.Verifier({"t": t}, {"t": FED}, every=0),
            ValueError,
            "`every` must be",
        ),
        (
            lambda t: di.Verifier({"t": t}),
            ValueError,
            "not known from its name",
        ),
        (
            lambda t: di.ImageGrid("grid.png", columns=0),
            ValueError,
            "`columns` must be",
        ),
        (
            lambda t: di.ImageGrid("{run}/grid.png"),
            ValueError,
            "no other braces.*{run}",
        ),
    ],
)
def test_everyday_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny_teacher())
