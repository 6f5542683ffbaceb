"""One step of the learner, beside the same step written with tf alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import Pool
from tf_deepinversion.incremental import METHODS
from tf_deepinversion.incremental import IncrementalLearner
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.incremental import method

RANDOM = np.random.default_rng(0)
NEW = RANDOM.integers(0, 256, (4, *SHAPE), "uint8")
LABELS = np.array([3, 4, 4, 3], "int32")
OLD = RANDOM.integers(0, 256, (6, *SHAPE), "uint8")
OLD_LABELS = np.array([0, 1, 2, 2, 1, 0], "int32")


def pool():
    made = Pool(20, SHAPE, CLASSES)
    made.add(OLD, OLD_LABELS)
    return made


def replay(step):
    """All the old images in every batch, in their order."""
    return tf.data.Dataset.from_tensors((OLD, OLD_LABELS)).repeat()


def dataset():
    return tf.data.Dataset.from_tensors((NEW, LABELS)).repeat()


def learner(name, grown=None, **kwargs):
    old = tiny_teacher(0)
    grown = grown or grow_head(old, 5)
    kwargs = {"replay": replay, "transforms": [], **kwargs}
    return IncrementalLearner(
        old, grown, method(name), preprocessing=NORMALIZED, **kwargs
    )


def compiled(*args, eager=False, **kwargs):
    model = learner(*args, **kwargs)
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        run_eagerly=eager,
        jit_compile=False,
    )
    return model


def softmax_ce(labels, logits):
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )


def parts(model):
    """Features and head of the tiny network, its head a plain product."""
    body = keras.Model(model.input, model.layers[-2].output)
    head = model.layers[-1]
    return body, lambda x: x @ head.kernel.value + head.bias.value


def abd_loss(old, new):
    x = NORMALIZED.normalize(np.concatenate([NEW, OLD]))
    (old_body, _), (body, head) = parts(old), parts(new)
    features = body(x, training=True)
    local = softmax_ce(LABELS - CLASSES, head(features[:4])[:, CLASSES:])
    frozen = head(tf.stop_gradient(features))
    balance = 0.6 * softmax_ce(OLD_LABELS, frozen[4:]) + 0.4 * softmax_ce(
        LABELS, frozen[:4]
    )
    moved = (features - old_body(x, training=False)) @ old.layers[-1].kernel
    return local + balance + 0.2 * tf.reduce_mean(tf.reduce_sum(moved**2, -1))


def replay_loss(old, new):
    x = NORMALIZED.normalize(np.concatenate([NEW, OLD]))
    p = tf.nn.softmax(old(x, training=False))
    logits = new(x, training=True)
    log_q = tf.nn.log_softmax(logits[4:])[:, :CLASSES]
    over_all = tf.reduce_mean(
        tf.reduce_sum(p[4:] * (tf.math.log(p[4:]) - log_q), -1)
    )
    log_q = tf.nn.log_softmax(logits[:4, :CLASSES])
    restricted = tf.reduce_mean(
        tf.reduce_sum(p[:4] * (tf.math.log(p[:4]) - log_q), -1)
    )
    return over_all + softmax_ce(LABELS, logits[:4]) + restricted


@pytest.mark.parametrize(
    ("name", "loss_of"), [("abd", abd_loss), ("replay", replay_loss)]
)
def test_one_step_follows_the_gradient(name, loss_of):
    old, twin = tiny_teacher(0), grow_head(tiny_teacher(0), 5, noise=0.5)
    with tf.GradientTape() as tape:
        loss = loss_of(old, twin)
    gradients = tape.gradient(loss, twin.trainable_variables)
    model = compiled(name, grow_head(tiny_teacher(0), 5, noise=0.5))
    before = [v.numpy() for v in model.network.trainable_variables]
    history = model.fit(dataset(), steps_per_epoch=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-4)
    for value, new, gradient in zip(
        before, model.network.trainable_variables, gradients, strict=True
    ):
        moved = value - new.numpy()
        np.testing.assert_allclose(moved, gradient, rtol=1e-3, atol=1e-5)


def test_the_bar_shows_every_term_and_their_weighted_sum(eagerly):
    old = tiny_teacher(0)
    model = IncrementalLearner(
        old,
        grow_head(old, 5),
        method("abd", local=2.0, balance=0.5, distillation=3.0),
        replay=pool(),
        batch_size=3,
        preprocessing=NORMALIZED,
    )
    model.compile(optimizer="sgd", jit_compile=False)
    logs = model.fit(dataset(), steps_per_epoch=1, verbose=0).history
    (loss, local), (balance, distance) = (
        (logs[a][0], logs[b][0])
        for a, b in (("loss", "local"), ("balance", "distillation"))
    )
    assert loss == pytest.approx(2 * local + 0.5 * balance + 3 * distance, 1e-5)


def test_the_old_network_stays_and_the_new_one_learns():
    model = compiled("abd", replay=pool(), batch_size=4)
    old = model._heads[0].layer, model._bodies[0]
    before = sum((part.get_weights() for part in old), [])
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=False)
    logs = model.fit(dataset(), steps_per_epoch=30, epochs=4, verbose=0).history
    assert logs["loss"][-1] < 0.7 * logs["loss"][0]
    assert logs["accuracy"][-1] > logs["accuracy"][0]
    found = model.evaluate(NEW, LABELS, verbose=0, return_dict=True)
    logits = model.network(NORMALIZED.normalize(NEW)).numpy()
    assert found["accuracy"] == (logits.argmax(-1) == LABELS).mean()
    np.testing.assert_allclose(model(NEW), logits, rtol=1e-4, atol=1e-4)
    after = sum((part.get_weights() for part in old), [])
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_replays_nothing_draws_nothing(eagerly):
    model = compiled("lwf", replay=None)
    logs = model.fit(dataset(), steps_per_epoch=2, verbose=0).history
    assert set(logs) == {"loss", "new", "distillation", "accuracy"}


@pytest.mark.parametrize("labels", [[2, 3, 4, 4], [3, 4, 5, 5]])
def test_labels_of_other_classes_are_refused(labels, eagerly):
    labels = np.array(labels, "int32")
    wrong = tf.data.Dataset.from_tensors((NEW, labels)).repeat()
    model = compiled("finetune", replay=None)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"lie in \[3, 5\)"
    ):
        model.fit(wrong, steps_per_epoch=1, verbose=0)


def test_labels_of_a_byte_are_compared_with_256_classes(eagerly):
    def fitted(dtype):
        data = tf.data.Dataset.from_tensors((NEW, LABELS.astype(dtype)))
        model = compiled("finetune", grow_head(tiny_teacher(0), 256))
        return model.fit(data, verbose=0).history

    assert fitted("uint8") == fitted("int32")


def step_numbers(step):
    """Batches of one image, whose pixels are the number of the step."""
    numbers = tf.data.Dataset.range(step, 200)
    return numbers.map(
        lambda s: (
            tf.fill((1, *SHAPE), tf.cast(s, "uint8")),
            tf.zeros(1, "int32"),
        )
    )


def spied(monkeypatch):
    """A learner whose replayed images are noted, one number a step."""
    seen = []

    model = compiled("replay", replay=step_numbers, eager=True)
    augmented = model._augmented

    def noting(streams):
        pixels = streams[1][0][0, 0, 0, 0]
        tf.py_function(lambda p: seen.append(int(p)), [pixels], [])
        return augmented(streams)

    monkeypatch.setattr(model, "_augmented", noting)
    return model, seen


def test_images_of_old_classes_go_on_from_epoch_to_epoch(monkeypatch, eagerly):
    """On data that end, as Keras takes them, and on those that do not."""
    model, seen = spied(monkeypatch)
    data = tf.data.Dataset.from_tensor_slices((NEW, LABELS)).batch(2)
    model.fit(data, epochs=3, verbose=0)
    assert seen == [0, 1, 2, 3, 4, 5]
    model.fit(data, epochs=2, steps_per_epoch=3, verbose=0)
    model.fit(data.repeat(), epochs=2, steps_per_epoch=1, verbose=0)
    assert seen[6:] == [6, 7, 8, 9, 10, 11, 12, 13]


def test_an_epoch_of_unknown_length_is_one_or_has_steps(monkeypatch, eagerly):
    model, seen = spied(monkeypatch)
    data = tf.data.Dataset.from_tensor_slices((NEW, LABELS)).batch(2)
    data = data.filter(lambda images, labels: True)
    model.fit(data, epochs=2, steps_per_epoch=2, verbose=0)
    assert seen == [0, 1, 2, 3]
    with pytest.warns(UserWarning, match="ran out of data"):  # Keras's own
        model.fit(data, verbose=0)
    assert seen[4:] == [4, 5]
    with pytest.raises(ValueError, match="`steps_per_epoch`.*epochs=2"):
        model.fit(data, epochs=2)
    compiled("lwf", replay=None, eager=True).fit(data, epochs=2, verbose=0)


@pytest.mark.parametrize("kind", ["float64", "float32", "bfloat16"])
def test_images_that_are_no_pixels_are_refused_everywhere(kind, eagerly):
    model = compiled("replay", eager=True)
    floats = tf.cast(NEW / 255, kind)
    data = tf.data.Dataset.from_tensors((floats, LABELS))
    right = tf.data.Dataset.from_tensors((NEW, LABELS))
    refused = pytest.raises(TypeError, match="Expected uint8 pixels.*float")
    for call in (
        lambda: model.fit(data, verbose=0),
        lambda: model.fit(right, validation_data=data, verbose=0),
        lambda: model.fit(right, validation_data=(floats, LABELS), verbose=0),
        lambda: model.evaluate(data, verbose=0),
        lambda: model.evaluate(floats, LABELS, verbose=0),
        lambda: model.predict(floats, verbose=0),
        lambda: model(floats),
    ):
        with refused:
            call()
    model = compiled("replay", replay=lambda step: data, eager=True)
    with refused:
        model.fit(right, verbose=0)


@pytest.mark.slow
def test_whole_numbers_of_any_kind_are_pixels_if_they_lie_in_range():
    moved = []
    for kind in ("uint8", "int64"):
        model = compiled("replay", grow_head(tiny_teacher(0), 5), eager=True)
        data = tf.data.Dataset.from_tensors((NEW.astype(kind), LABELS))
        model.fit(data, verbose=0)
        moved.append(model.network.get_weights()[0])
    np.testing.assert_array_equal(*moved)
    for wrong in (256, -1):
        pixels = NEW.astype("int32")
        pixels[0, 0, 0, 0] = wrong
        data = tf.data.Dataset.from_tensors((pixels, LABELS))
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"in \[0, 255\]"
        ):
            model.fit(data, verbose=0)
        with pytest.raises(ValueError, match=f"Received: from.*{wrong}"):
            model.evaluate(pixels, LABELS, verbose=0)


def test_dictionaries_as_tfds_gives_them(eagerly):
    found = []
    for named in (False, True):
        model = compiled("replay", grow_head(tiny_teacher(0), 5), eager=True)
        data = tf.data.Dataset.from_tensors((NEW, LABELS))
        if named:
            data = data.map(lambda x, y: {"image": x, "label": y, "id": "a"})
            model._replay = lambda step: replay(step).map(
                lambda x, y: {"label": y, "image": x}
            )
        logs = model.fit(data, validation_data=data, verbose=0).history
        figures = model.evaluate(data, verbose=0, return_dict=True)
        assert figures["accuracy"] == logs["val_accuracy"][0]
        found.append((logs, model.network.get_weights()[0].tolist()))
    assert found[0] == found[1]


def test_labels_to_evaluate_by_are_one_an_image():
    model = compiled("finetune", replay=None, eager=True)
    for labels in (np.eye(5)[LABELS], LABELS[:, None], LABELS / 1.0):
        for call in (
            lambda labels=labels: model.evaluate(NEW, labels),
            lambda labels=labels: model.evaluate(
                tf.data.Dataset.from_tensors((NEW, labels))
            ),
        ):
            with pytest.raises(ValueError, match="one-hot.*Received"):
                call()


def test_bad_arguments():
    with pytest.raises(ValueError, match="'replayed'.*pass `replay`.*=None"):
        learner("replay", replay=None)
    with pytest.raises(ValueError, match="without classes \\[1\\]"):
        few = Pool(9, SHAPE, CLASSES)
        few.add(OLD[:2], [0, 2])
        learner("abd", replay=few)
    with pytest.raises(
        ValueError, match="know more classes.*Received: 3 and 3"
    ):
        learner("finetune", tiny_teacher(1))
    other = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )
    with pytest.raises(ValueError, match="same images"):
        learner("finetune", other)
    frozen = grow_head(tiny_teacher(0), 5)
    frozen.trainable = False
    with pytest.raises(ValueError, match="no trainable variables"):
        learner("finetune", frozen)
    old = tiny_teacher(0)
    body = old.layers[-1].input
    grown = keras.Model(old.inputs, keras.layers.Dense(5)(body))
    with pytest.raises(ValueError, match="would change.*Received: shared"):
        IncrementalLearner(
            old, grown, method("finetune"), preprocessing=NORMALIZED
        )
    model = compiled("finetune")
    slow = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        model.compile(slow)
    with pytest.raises(TypeError, match="tf.data.Dataset"):
        model.fit(NEW, LABELS)
    with pytest.raises(ValueError, match="batches of .image, label"):
        model.fit(tf.data.Dataset.from_tensors(NEW))
    small = tf.data.Dataset.from_tensors((NEW[:, :4], LABELS))
    with pytest.raises(ValueError, match="batches of images .None, 8, 8, 1."):
        model.fit(small)


def test_every_method_compiles_as_keras_does():
    assert set(METHODS) == {"finetune", "lwf", "lwf_mc", "replay", "abd"}
    model = learner("abd", replay=pool(), batch_size=4)
    model.compile(optimizer="sgd")
    logs = model.fit(dataset(), steps_per_epoch=1, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


def test_what_a_learner_saves_as_a_model_is_the_grown_network(
    tmp_path, eagerly
):
    model = compiled("finetune")
    save = keras.callbacks.ModelCheckpoint(tmp_path / "grown.keras")
    model.fit(dataset(), steps_per_epoch=1, verbose=0, callbacks=[save])
    loaded = keras.models.load_model(tmp_path / "grown.keras")
    z = NORMALIZED.normalize(NEW)
    np.testing.assert_array_equal(loaded(z), model.network(z))
    with pytest.raises(NotImplementedError, match="Received"):
        model.get_config()
